/* Nodes that come and go, step by step. Random runs meet the same and more
 * (test_runs.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "node/registry.h"
#include "tests/cluster/check.h"

#define KEEP 16u
#define LONG_US (30 * SECOND)

enum { A, B, C, D };

/* Nobody writes, nothing fails, and images travel when they may. */
static struct sim *begin(unsigned voters, enum sim_mutant mutant)
{
    struct sim_plan plan = {.seed = 1,
                            .voters = voters,
                            .spares = 1,
                            .members = true,
                            .quiet = true,
                            .mutant = mutant,
                            .log_entries_keep = KEEP,
                            .log_bytes_keep = 1u << 30};
    struct sim *s;

    log_set_level(LOG_ERROR + 1);
    s = sim_new(&plan);
    s->plan.print = getenv("MARMOT_TRACE") != NULL;
    return s;
}

static void pass(struct sim *s, uint64_t us)
{
    if (!sim_pass(s, us)) {
        fail_msg("%s", s->report.why);
    }
}

static void start_all(struct sim *s)
{
    for (unsigned i = 0; i < s->plan.voters; i++) {
        node_start(&s->nodes[i]);
    }
    pass(s, 10 * SECOND);
    assert_true(check_followed(s));
}

static struct sim_node *leader_of(struct sim *s, unsigned group)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].leads[group] != 0) {
            return &s->nodes[i];
        }
    }
    fail_msg("group %u has no leader", group);
    return NULL;
}

/* As its leader has it: RAFT_VOTER, ...; -1: not there. */
static int role_of(struct sim *s, unsigned group, unsigned node)
{
    return peek_role(sim_raft(leader_of(s, group), group), node + 1);
}

/* A node says that it holds a database that was never enrolled: a no-op. */
static void put(struct sim *s, unsigned group, uint64_t value)
{
    struct entry_holds e = {.db = {{0xee}}, .node = value};
    struct sim_node *n = leader_of(s, group);
    struct buf out;
    size_t len = 0;
    uint8_t *bytes;

    buf_init(&out, PACKET_BYTES_MAX);
    assert_int_equal(entry_encode_holds(&e, &out), 0);
    bytes = buf_take(&out, &len);
    assert_int_equal(groups_propose(n->node.groups, group, bytes, len), 0);
    node_turn_soon(n);
}

static void put_many(struct sim *s, unsigned group, unsigned n)
{
    for (uint64_t value = 1; value <= n; value++) {
        put(s, group, value);
        pass(s, 20 * MS);
    }
}

static void join(struct sim *s, unsigned node)
{
    struct sim_node *n = &s->nodes[node];

    n->joins = true;
    n->out = false;
    node_start(n);
    pass(s, LONG_US);
}

static void ask_removal(struct sim *s, unsigned via, unsigned node)
{
    char why[512] = "";

    if (membership_remove(&s->nodes[via].node, node + 1, why, sizeof why) !=
        0) {
        fail_msg("%s", why);
    }
    node_turn_soon(&s->nodes[via]);
}

/* ---- joining ------------------------------------------------------------- */

static void cut_off(struct sim *s, unsigned node, bool blocked)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (i != node) {
            net_block(s, node, i, blocked);
            net_block(s, i, node, blocked);
        }
    }
}

/* Its leader's snapshot is of all that there is in the group. */
static bool is_all_in_snapshot(struct sim *s, unsigned group)
{
    struct sim_node *n = leader_of(s, group);

    return disk_snapshot_index(n, group) == peek_last(sim_raft(n, group));
}

static void who_joins_votes_also_where_nobody_writes(void **state)
{
    struct sim *s = begin(3, MUTANT_NONE);

    (void)state;
    start_all(s);
    s->nodes[D].out = false;
    node_start(&s->nodes[D]);
    while (!s->nodes[D].alive) {
        pass(s, MS);
    }
    cut_off(s, D, true);
    pass(s, 5 * SECOND);
    assert_int_equal(role_of(s, 1, D), RAFT_STANDBY);
    put_many(s, 1, 4 * KEEP);
    while (!is_all_in_snapshot(s, 1)) {
        put_many(s, 1, 1);
        pass(s, SECOND);
    }
    cut_off(s, D, false);
    pass(s, LONG_US);
    assert_true(s->report.installs > 0);
    assert_int_equal(role_of(s, 0, D), RAFT_VOTER);
    assert_int_equal(role_of(s, 1, D), RAFT_VOTER);
    assert_true(check_followed(s));
    sim_free(s);
}

/* C was away as D came, and D leads group 0 now. */
static struct sim *away(enum sim_mutant mutant)
{
    struct sim *s = begin(3, mutant);

    start_all(s);
    node_kill(&s->nodes[C], false);
    join(s, D);
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].alive) {
            assert_int_equal(
                groups_prefer(s->nodes[i].node.groups, 0, D + 1, false), 0);
        }
    }
    pass(s, LONG_US);
    assert_true(s->nodes[D].leads[0] != 0);
    node_start(&s->nodes[C]);
    pass(s, LONG_US);
    return s;
}

static bool has_caught_up(struct sim *s, unsigned node)
{
    return s->nodes[node].applied[0] == leader_of(s, 0)->applied[0];
}

static void who_was_away_is_told_of_a_leader_that_it_does_not_know(void **state)
{
    struct sim *s = away(MUTANT_NOT_TOLD);

    (void)state;
    assert_false(has_caught_up(s, C)); /* it lets nobody in */
    sim_free(s);
    s = away(MUTANT_NONE);
    assert_true(has_caught_up(s, C));
    assert_int_equal(s->nodes[C].node.n_told, 0); /* it has read it */
    assert_true(check_followed(s));
    sim_free(s);
}

/* C is a founder whose first start comes late. */
static void a_founder_that_comes_last_is_told_too(void **state)
{
    struct sim *s = begin(3, MUTANT_NONE);

    (void)state;
    node_start(&s->nodes[A]);
    node_start(&s->nodes[B]);
    pass(s, 10 * SECOND);
    join(s, D);
    ask_removal(s, B, A);
    pass(s, LONG_US);
    for (unsigned i = B; i <= D; i += D - B) {
        assert_int_equal(
            groups_prefer(s->nodes[i].node.groups, 0, D + 1, false), 0);
    }
    pass(s, LONG_US);
    assert_true(s->nodes[D].leads[0] != 0);
    node_start(&s->nodes[C]);
    pass(s, LONG_US);
    assert_true(has_caught_up(s, C));
    assert_true(check_followed(s));
    sim_free(s);
}

/* ---- leaving ------------------------------------------------------------- */

static void who_leaves_is_in_no_group_any_more(void **state)
{
    struct sim *s = begin(3, MUTANT_NONE);

    (void)state;
    start_all(s);
    ask_removal(s, B, A); /* which led group 0 */
    pass(s, LONG_US);
    assert_int_equal(role_of(s, 0, A), -1);
    assert_int_equal(role_of(s, 1, A), -1);
    assert_true(check_followed(s));
    assert_int_equal(check_registry(s)->n, 2);
    sim_free(s);
}

/* The file that the cluster began with is A's; B could not fetch it. */
static struct sim *alone_with_content(enum sim_mutant mutant)
{
    struct sim *s = begin(2, mutant);
    struct file_state f;

    pages_fill(s, &f);
    s->nodes[A].files[0].now = f;
    s->no_images = true;
    start_all(s);
    ask_removal(s, B, A);
    pass(s, LONG_US);
    return s;
}

static void nobody_is_let_go_with_what_only_it_has(void **state)
{
    struct sim *s = alone_with_content(MUTANT_LET_GO);

    (void)state;
    assert_int_equal(role_of(s, 0, A), -1);
    sim_free(s);
    s = alone_with_content(MUTANT_NONE);
    assert_int_equal(role_of(s, 0, A), RAFT_VOTER);
    assert_int_equal(role_of(s, 1, A), -1); /* which has nothing of it */
    s->no_images = false;
    pass(s, LONG_US);
    assert_int_equal(s->nodes[B].dbs[0].state, DB_READY);
    assert_int_equal(role_of(s, 0, A), -1);
    assert_true(check_followed(s));
    sim_free(s);
}

/* ---- a store that is lost ------------------------------------------------ */

static void lose_store(struct sim *s, unsigned node)
{
    node_kill(&s->nodes[node], false);
    check_wiped(&s->nodes[node]);
    disk_wipe(&s->nodes[node]);
}

static bool is_heard(struct sim *s, unsigned by, unsigned node)
{
    const struct member *m = groups_member(s->nodes[by].node.groups, node + 1);

    return m != NULL && m->ready;
}

static void an_empty_store_is_not_listened_to(void **state)
{
    struct sim *s = begin(3, MUTANT_NONE);

    (void)state;
    start_all(s);
    assert_true(is_heard(s, A, C));
    lose_store(s, C);
    node_start(&s->nodes[C]); /* with the flags of its first start */
    pass(s, LONG_US);
    assert_true(s->nodes[C].alive);
    assert_false(is_heard(s, A, C));
    assert_false(is_heard(s, B, C));
    sim_free(s);
}

static void an_empty_store_joins_once_the_lost_one_is_gone(void **state)
{
    struct sim *s = begin(3, MUTANT_NONE);

    (void)state;
    start_all(s);
    lose_store(s, C);
    join(s, C);
    assert_false(s->nodes[C].alive);
    assert_true(s->report.refusals > 0); /* there is one already */
    ask_removal(s, A, C);
    pass(s, LONG_US);
    assert_true(s->nodes[C].alive);
    assert_int_equal(role_of(s, 0, C), RAFT_VOTER);
    assert_int_equal(role_of(s, 1, C), RAFT_VOTER);
    assert_true(check_followed(s));
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_joins_votes_also_where_nobody_writes),
        cmocka_unit_test(
            who_was_away_is_told_of_a_leader_that_it_does_not_know),
        cmocka_unit_test(a_founder_that_comes_last_is_told_too),
        cmocka_unit_test(who_leaves_is_in_no_group_any_more),
        cmocka_unit_test(nobody_is_let_go_with_what_only_it_has),
        cmocka_unit_test(an_empty_store_is_not_listened_to),
        cmocka_unit_test(an_empty_store_joins_once_the_lost_one_is_gone),
    };

    cmocka_set_test_filter(getenv("MARMOT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
