/* Whole nodes whose logs are shortened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/consensus/nodes.h"

#define KEEP_BYTES (64u << 10)
#define KEEP_ENTRIES 400u

static struct cluster *shortening_cluster(unsigned shards)
{
    struct cluster *c = cluster_new(3, shards);

    c->log_bytes_keep = KEEP_BYTES;
    c->log_entries_keep = KEEP_ENTRIES;
    start_all(c);
    must(c, all_caught_up, "leaders");
    return c;
}

static bool all_are_equal(struct cluster *c)
{
    const struct node *first = NULL;

    for (unsigned i = 0; i < c->n; i++) {
        const struct node *node = &c->nodes[i];
        if (node->g == NULL) {
            continue;
        }
        first = first == NULL ? node : first;
        for (unsigned s = 0; s < c->shards; s++) {
            if (node->count[s] != first->count[s] ||
                node->sum[s] != first->sum[s]) {
                return false;
            }
        }
    }
    return true;
}

static uint64_t expected;

static bool all_have_expected(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].g != NULL && c->nodes[i].count[0] != expected) {
            return false;
        }
    }
    return all_are_equal(c);
}

/* Entries through `node`, all of which get everywhere. */
static void write_through(struct cluster *c, struct node *node, unsigned n,
                          size_t len)
{
    expected = node->count[0];
    for (unsigned i = 0; i < n; i++) {
        assert_true(propose(node, 0, len) != 0);
        expected++;
        if (i % 20 == 19) {
            must(c, all_have_expected, "twenty entries");
        }
    }
    must(c, all_have_expected, "entries");
}

static bool all_logs_are_short(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].g != NULL &&
            groups_log_bytes(c->nodes[i].g) > KEEP_BYTES) {
            return false;
        }
    }
    return true;
}

static bool third_restored(struct cluster *c)
{
    return c->nodes[2].restored > 0;
}

static bool third_holds(struct cluster *c)
{
    return c->nodes[2].held[0];
}

static bool the_leader_s_log_is_short(struct cluster *c)
{
    const struct node *leader = leader_of(c, 0);

    return leader != NULL && groups_log_bytes(leader->g) <= KEEP_BYTES;
}

/* Of eight bytes each. */
static bool all_logs_have_few(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (groups_log_bytes(c->nodes[i].g) > (KEEP_ENTRIES + 1) * 8) {
            return false;
        }
    }
    return true;
}

/* A follower takes its snapshot at the next entry, whenever that comes. */
static void become_short(struct cluster *c)
{
    for (unsigned i = 0; i < 100 && !all_logs_are_short(c); i++) {
        for (unsigned s = 0; s < c->shards; s++) {
            (void)propose(&c->nodes[i % 2], s, 8);
        }
        wait_ms(c, 100);
    }
    assert_true(all_logs_are_short(c));
}

static void let_go(struct node *node, unsigned group)
{
    assert_true(node->held[group]);
    node->hold = node->held[group] = false;
    groups_settled(node->g, group);
}

/* ---- tests --------------------------------------------------------------- */

static void logs_stay_within_their_bounds(void **state)
{
    struct cluster *c = shortening_cluster(1);
    uint64_t most = 0;

    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        write_through(c, &c->nodes[i % 3], 60, 1000);
        for (unsigned k = 0; k < 3; k++) {
            uint64_t bytes = groups_log_bytes(c->nodes[k].g);
            most = bytes > most ? bytes : most;
        }
    }
    print_message("1800 KB went through at most %" PRIu64 " KB\n", most / 1000);
    assert_true(most < 5 * KEEP_BYTES);
    become_short(c);
    for (unsigned k = 0; k < 3; k++) {
        assert_true(c->nodes[k].snapshots > 0);
        assert_int_equal(c->nodes[k].restored, 0);
    }
    cluster_free(c);
}

/* Also on a node where one of them has to wait for its next entry. */
static void many_groups_share_one_bound(void **state)
{
    struct cluster *c = shortening_cluster(16);

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        for (unsigned s = 0; s < c->shards; s++) {
            assert_true(propose(&c->nodes[i % 3], s, 2000) != 0);
        }
        wait_ms(c, 20);
    }
    must(c, all_are_equal, "the same everywhere");
    for (unsigned i = 0; i < 3; i++) {
        print_message("node %u keeps %" PRIu64 " bytes\n", i + 1,
                      groups_log_bytes(c->nodes[i].g));
    }
    become_short(c);
    cluster_free(c);
}

static void a_bound_on_entries_holds_for_each_group(void **state)
{
    struct cluster *c = shortening_cluster(1);

    (void)state;
    write_through(c, &c->nodes[0], 3000, 8);
    for (unsigned i = 0; i < 100 && !all_logs_have_few(c); i++) {
        write_through(c, &c->nodes[0], 1, 8);
        wait_ms(c, 100);
    }
    assert_true(all_logs_have_few(c));
    cluster_free(c);
}

static void a_node_that_was_away_gets_the_snapshot(void **state)
{
    struct cluster *c = shortening_cluster(1);
    struct node *third = &c->nodes[2];

    (void)state;
    write_through(c, &c->nodes[0], 20, 1000);
    stop(third, 0);
    write_through(c, &c->nodes[0], 400, 1000);
    start(third);
    must(c, all_caught_up, "the third node");
    must(c, all_have_expected, "the same everywhere");
    assert_true(third->restored > 0);
    assert_true(third->n[0] < 400); /* the rest came as entries */
    write_through(c, third, 200, 1000);
    become_short(c);
    cluster_free(c);
}

static void a_node_that_missed_little_gets_entries(void **state)
{
    struct cluster *c = shortening_cluster(1);
    struct node *third = &c->nodes[2];

    (void)state;
    write_through(c, &c->nodes[0], 400, 1000);
    become_short(c);
    stop(third, 0);
    write_through(c, &c->nodes[0], 5, 100);
    start(third);
    must(c, all_caught_up, "the third node");
    must(c, all_have_expected, "the same everywhere");
    assert_int_equal(third->restored, 1); /* its own, at the start */
    cluster_free(c);
}

static void all_start_from_their_snapshots(void **state)
{
    struct cluster *c = shortening_cluster(1);

    (void)state;
    write_through(c, &c->nodes[0], 400, 1000);
    for (unsigned i = 0; i < 3; i++) {
        stop(&c->nodes[i], 0);
    }
    start_all(c);
    must(c, all_caught_up, "leaders again");
    must(c, all_have_expected, "the same everywhere");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(c->nodes[i].restored, 1);
        assert_true(c->nodes[i].n[0] < 400);
    }
    write_through(c, &c->nodes[1], 200, 1000);
    cluster_free(c);
}

static bool first_is_short(struct cluster *c)
{
    return groups_log_bytes(c->nodes[0].g) < 150000;
}

/* Files that are not durable yet keep the log. */
static void nothing_is_forgotten_before_it_is_settled(void **state)
{
    struct cluster *c = shortening_cluster(1);
    struct node *third = &c->nodes[2];

    (void)state;
    third->hold = true;
    write_through(c, &c->nodes[0], 200, 1000);
    must(c, third_holds, "a snapshot that waits");
    assert_true(groups_log_bytes(third->g) >= 150000);
    must(c, first_is_short, "the others do not wait for it");
    stop(third, 0); /* while it waits */
    start(third);
    must(c, all_caught_up, "the third node");
    must(c, all_have_expected, "the same everywhere");
    assert_int_equal(third->restored, 0);
    assert_int_equal(third->n[0], 200);
    write_through(c, &c->nodes[0], 60, 1000);
    for (unsigned i = 0; i < 100 && !third_holds(c); i++) {
        (void)propose(&c->nodes[i % 2], 0, 8); /* taken at an entry */
        wait_ms(c, 100);
    }
    assert_true(third_holds(c));
    let_go(third, 0);
    become_short(c);
    cluster_free(c);
}

/* Without anything that is written: an entry without content helps. */
static void what_was_in_the_way_is_made_up_for(void **state)
{
    struct cluster *c = shortening_cluster(1);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        c->nodes[i].busy = true;
    }
    write_through(c, &c->nodes[0], 300, 1000);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(groups_log_bytes(c->nodes[i].g) >= 300000);
        c->nodes[i].busy = false;
    }
    must(c, the_leader_s_log_is_short, "a short log");
    become_short(c);
    cluster_free(c);
}

static void a_node_that_cannot_take_one_is_asked_again(void **state)
{
    struct cluster *c = shortening_cluster(1);
    struct node *third = &c->nodes[2];

    (void)state;
    stop(third, 0);
    write_through(c, &c->nodes[0], 300, 1000);
    third->closed_door = true;
    start(third);
    wait_ms(c, 1500);
    assert_int_equal(third->restored, 0);
    assert_int_equal(third->count[0], 0);
    third->closed_door = false;
    must(c, third_restored, "the snapshot");
    must(c, all_have_expected, "the same everywhere");
    cluster_free(c);
}

/* The leader that sent it is gone before it is stored. */
static void a_change_of_term_does_not_disturb_an_install(void **state)
{
    struct cluster *c = shortening_cluster(1);
    struct node *third = &c->nodes[2], *leader;

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    stop(third, 0);
    write_through(c, &c->nodes[0], 300, 1000);
    third->hold = true;
    start(third);
    must(c, third_holds, "a snapshot that waits");
    leader = leader_of(c, 0);
    assert_ptr_not_equal(leader, third);
    stop(leader, 0);
    wait_ms(c, 500); /* an election is on its way, or over */
    let_go(third, 0);
    must(c, all_agree_on_leaders, "another leader");
    must(c, all_have_expected, "the same on both");
    assert_true(third->restored >= 1); /* the next one may have less still */
    write_through(c, third, 100, 1000);
    start(leader);
    must(c, all_caught_up, "all three");
    must(c, all_have_expected, "the same everywhere");
    cluster_free(c);
}

static void a_stop_while_an_install_waits_loses_nothing(void **state)
{
    struct cluster *c = shortening_cluster(1);
    struct node *third = &c->nodes[2];

    (void)state;
    write_through(c, &c->nodes[0], 20, 1000);
    stop(third, 0);
    write_through(c, &c->nodes[0], 300, 1000);
    third->hold = true;
    start(third);
    must(c, third_holds, "a snapshot that waits");
    stop(third, 0);
    third->hold = false;
    start(third);
    must(c, all_caught_up, "the third node");
    must(c, all_have_expected, "the same everywhere");
    cluster_free(c);
}

/* The peer that is connected and only a little slow gets the entries, not the
 * snapshot; the one that hangs does not keep the log for ever. */
static void a_leader_waits_for_a_slow_peer_within_bounds(void **state)
{
    struct cluster *c = shortening_cluster(1);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    for (unsigned i = 0; i < 200; i++) { /* as fast as it takes them */
        assert_true(propose(&c->nodes[0], 0, 4000) != 0);
        (void)uv_run(&c->loop, UV_RUN_NOWAIT);
    }
    expected = 200;
    must(c, all_have_expected, "the same everywhere");
    assert_int_equal(c->nodes[1].restored + c->nodes[2].restored, 0);
    become_short(c);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_stay_within_their_bounds),
        cmocka_unit_test(many_groups_share_one_bound),
        cmocka_unit_test(a_bound_on_entries_holds_for_each_group),
        cmocka_unit_test(a_node_that_was_away_gets_the_snapshot),
        cmocka_unit_test(a_node_that_missed_little_gets_entries),
        cmocka_unit_test(all_start_from_their_snapshots),
        cmocka_unit_test(nothing_is_forgotten_before_it_is_settled),
        cmocka_unit_test(what_was_in_the_way_is_made_up_for),
        cmocka_unit_test(a_node_that_cannot_take_one_is_asked_again),
        cmocka_unit_test(a_change_of_term_does_not_disturb_an_install),
        cmocka_unit_test(a_stop_while_an_install_waits_loses_nothing),
        cmocka_unit_test(a_leader_waits_for_a_slow_peer_within_bounds),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
