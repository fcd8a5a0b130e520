/* Members that come and go. The test is the registry: it tells every node who
 * belongs to the cluster, and hears which groups have let a member go. */
#include "consensus/view.h"
#include "tests/unit/consensus/nodes.h"

#define SHARDS 4u

static struct cluster *c;

static int setup(void **state)
{
    (void)state;
    c = cluster_new(3, SHARDS);
    assert_int_equal(uuid_random(&c->id), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cluster_free(c);
    return 0;
}

static struct groups_member *member(uint64_t id)
{
    for (unsigned i = 0; i < c->n_members; i++) {
        if (c->members[i].id == id) {
            return &c->members[i];
        }
    }
    return NULL;
}

/* Everybody has read the registry. */
static void tell_all(const struct departed *gone, unsigned n_gone)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].g != NULL) {
            groups_set_members(c->nodes[i].g, c->members, c->n_members, gone,
                               n_gone);
        }
    }
}

static void list(struct node *node, bool replica)
{
    struct groups_member *m = &c->members[c->n_members++];

    *m = (struct groups_member){
        .id = node->id, .store = node->store, .replica = replica};
    snprintf(m->address, sizeof m->address, "%s", node->address);
}

static bool everybody_votes(struct cluster *unused)
{
    struct groups_group_view v;

    (void)unused;
    for (unsigned i = 0; i < c->n; i++) {
        const struct groups_member *m = member(c->nodes[i].id);
        for (unsigned s = 0; c->nodes[i].g != NULL && m != NULL && s < SHARDS;
             s++) {
            groups_view_group(c->nodes[i].g, s, &v);
            if (strcmp(v.role, m->replica ? "standby" : "voter") != 0) {
                return false;
            }
        }
    }
    return all_agree_on_leaders(c);
}

static void found(struct node *node)
{
    assert_int_equal(uuid_random(&node->store), 0);
    list(node, false);
    start(node);
    assert_int_equal(groups_set_cluster(node->g, &c->id), 0);
    tell_all(NULL, 0);
    must(c, all_caught_up, "the first one leads");
}

static void join(struct node *node, bool replica)
{
    node->joins = true;
    assert_int_equal(uuid_random(&node->store), 0);
    list(node, replica);
    start(node);
    tell_all(NULL, 0);
    must(c, everybody_votes, "the new one votes");
}

static bool only_group_0(struct cluster *unused)
{
    (void)unused;
    return (c->left | 1) == (1u << SHARDS) - 1;
}

static bool all_groups(struct cluster *unused)
{
    (void)unused;
    return c->left == (1u << SHARDS) - 1;
}

/* Take a node out, as the registry does. */
static void take_out(struct node *node)
{
    struct groups_member *m = member(node->id);
    struct departed gone = {node->id, m->store};

    c->left = 0;
    m->leaving = true;
    tell_all(NULL, 0);
    must(c, only_group_0, "all groups but one let it go");
    assert_false(c->left & 1); /* group 0 waits */
    m->last = true;
    tell_all(NULL, 0);
    must(c, all_groups, "the last group lets it go");
    *m = c->members[--c->n_members];
    for (unsigned i = 0; i < c->n; i++) { /* it does not hear of this */
        if (c->nodes[i].g != NULL && &c->nodes[i] != node) {
            groups_set_members(c->nodes[i].g, c->members, c->n_members, &gone,
                               1);
        }
    }
}

static void all_write(void)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].g != NULL) {
            awaited = propose(&c->nodes[i], 0, 64);
            assert_int_not_equal(awaited, 0);
            must(c, all_have_awaited, "an entry is everywhere");
        }
    }
}

/* ---- tests --------------------------------------------------------------- */

static void a_cluster_grows_from_one_to_three_and_shrinks_to_one(void **state)
{
    (void)state;
    found(&c->nodes[0]);
    all_write();
    join(&c->nodes[1], false);
    all_write();
    join(&c->nodes[2], false);
    all_write();
    must(c, all_have_the_same, "all logs are equal");

    take_out(&c->nodes[0]);
    stop(&c->nodes[0], 0);
    must(c, all_agree_on_leaders, "the others lead");
    all_write();
    take_out(&c->nodes[1]);
    stop(&c->nodes[1], 0);
    must(c, all_agree_on_leaders, "the last one leads");
    all_write();
    assert_true(c->nodes[2].n[0] >= 8);
}

static void a_new_voter_counts(void **state)
{
    (void)state;
    found(&c->nodes[0]);
    join(&c->nodes[1], false);
    stop(&c->nodes[1], 0);
    propose(&c->nodes[0], 0, 64);
    run_until(c, NULL, 1000);
    assert_false(groups_quorum_fresh(c->nodes[0].g, 0));
    start(&c->nodes[1]);
    tell_all(NULL, 0);
    must(c, all_caught_up, "both are there");
    all_write();
}

static void a_replica_never_votes_and_leads(void **state)
{
    (void)state;
    found(&c->nodes[0]);
    join(&c->nodes[2], true);
    all_write();
    stop(&c->nodes[2], 0);
    all_write(); /* nobody misses it */
    for (unsigned s = 0; s < SHARDS; s++) {
        assert_int_equal(groups_leader(c->nodes[0].g, s), 1);
    }
}

static void all_start_again_after_the_members_have_changed(void **state)
{
    (void)state;
    found(&c->nodes[0]);
    join(&c->nodes[1], false);
    join(&c->nodes[2], false);
    take_out(&c->nodes[0]);
    for (unsigned i = 0; i < c->n; i++) {
        stop(&c->nodes[i], 0);
    }
    start(&c->nodes[1]);
    start(&c->nodes[2]);
    tell_all(NULL, 0);
    must(c, all_caught_up, "two of two are there");
    all_write();
    must(c, all_have_the_same, "all logs are equal");
}

/* The registry is ahead of the groups: three members that never came do not
 * keep those that vote from leading. */
static void the_first_election_looks_at_those_that_vote(void **state)
{
    struct node *a = &c->nodes[0], *b = &c->nodes[1];

    (void)state;
    found(a);
    join(b, false);
    for (uint64_t id = 11; id <= 13; id++) {
        struct node ghost = {.id = id, .address = "127.0.0.1:9"};
        assert_int_equal(uuid_random(&ghost.store), 0);
        list(&ghost, false);
    }
    stop(a, 0);
    stop(b, 0);
    start(a);
    start(b);
    tell_all(NULL, 0);
    must(c, all_caught_up, "both lead");
    all_write();
}

static void who_may_go_depends_on_who_is_there(void **state)
{
    char why[512] = "";

    (void)state;
    found(&c->nodes[0]);
    join(&c->nodes[1], false);
    join(&c->nodes[2], false);
    assert_true(groups_may_lose(c->nodes[0].g, 2, why, sizeof why));
    assert_true(groups_may_lose(c->nodes[0].g, 77, why, sizeof why));
    stop(&c->nodes[2], 0);
    run_until(c, NULL, 600);
    assert_true(groups_may_lose(c->nodes[0].g, 3, why, sizeof why));
    assert_false(groups_may_lose(c->nodes[0].g, 2, why, sizeof why));
    assert_non_null(strstr(why, "1 of 2 voters of shard 0"));
    assert_non_null(strstr(why, "node 3 silent for"));
}

static void a_node_comes_back_with_another_store_once_it_was_gone(void **state)
{
    struct node *b = &c->nodes[1];

    (void)state;
    found(&c->nodes[0]);
    join(b, false);
    take_out(b);
    stop(b, 0);
    run_command("rm -rf", b->folder, "");
    join(b, false);
    all_write();
    must(c, all_have_the_same, "all logs are equal");
}

#define with_nodes(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_nodes(a_cluster_grows_from_one_to_three_and_shrinks_to_one),
        with_nodes(a_new_voter_counts),
        with_nodes(a_replica_never_votes_and_leads),
        with_nodes(all_start_again_after_the_members_have_changed),
        with_nodes(the_first_election_looks_at_those_that_vote),
        with_nodes(who_may_go_depends_on_who_is_there),
        with_nodes(a_node_comes_back_with_another_store_once_it_was_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
