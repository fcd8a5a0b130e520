#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/consensus/nodes.h"

/* ---- tests -------------------------------------------------------------- */

static void a_single_node_leads_and_applies_at_once(void **state)
{
    struct cluster *c = cluster_new(1, 2);
    struct node *node = &c->nodes[0];

    (void)state;
    start_all(c);
    must(c, all_caught_up, "a leader");
    assert_int_equal(groups_leader(node->g, 0), 1);
    assert_true(groups_quorum_fresh(node->g, 0));
    awaited = propose(node, 0, 100);
    must(c, all_have_awaited, "an entry");
    assert_int_equal(groups_applied(node->g, 0), groups_last_index(node->g, 0));
    stop(node, 0);
    start(node);
    must(c, all_caught_up, "a leader again");
    assert_int_equal(node->n[0], 1);
    assert_true(has(node, 0, awaited));
    cluster_free(c);
}

/* As whoever leads first knows, and nobody who leads later. */
static void a_group_is_new_until_something_is_proposed(void **state)
{
    struct cluster *c = running_cluster(2);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(groups_is_new(c->nodes[i].g, 0));
    }
    awaited = propose(leader_of(c, 0), 0, 10);
    must(c, all_have_awaited, "an entry");
    for (unsigned i = 0; i < 3; i++) {
        assert_false(groups_is_new(c->nodes[i].g, 0));
        assert_true(groups_is_new(c->nodes[i].g, 1));
    }
    stop(&c->nodes[0], 0);
    start(&c->nodes[0]);
    must(c, all_caught_up, "the node again");
    assert_false(groups_is_new(c->nodes[0].g, 0));
    cluster_free(c);
}

static void entries_proposed_anywhere_are_applied_everywhere_in_order(
    void **state)
{
    struct cluster *c = cluster_new(3, 3);

    (void)state;
    start_all(c);
    must(c, all_caught_up, "leaders");
    for (unsigned k = 0; k < 300; k++) {
        for (unsigned s = c->shards; s-- > 0;) {
            awaited = propose(&c->nodes[k % 3], s, 50 + k);
            assert_true(awaited != 0);
        }
        uv_run(&c->loop, UV_RUN_NOWAIT);
    }
    must(c, all_have_awaited, "the last entry");
    must(c, all_have_the_same, "the same everywhere");
    assert_int_equal(c->nodes[0].n[0], 300);
    cluster_free(c);
}

static void a_node_that_returns_applies_from_the_first_entry_on(void **state)
{
    struct cluster *c = running_cluster(1);
    struct node *third = &c->nodes[2];

    (void)state;
    for (unsigned k = 0; k < 50; k++) {
        awaited = propose(&c->nodes[0], 0, 100);
    }
    must(c, all_have_awaited, "50 entries");
    stop(third, 0);
    for (unsigned k = 0; k < 500; k++) {
        awaited = propose(&c->nodes[0], 0, 10000);
    }
    must(c, all_have_awaited, "500 more without the third node");
    start(third);
    must(c, all_caught_up, "the third node catches up");
    /* It says so when all of that is applied, not before. */
    assert_true(has(third, 0, awaited));
    assert_int_equal(third->n[0], 550);
    assert_true(all_have_the_same(c));
    cluster_free(c);
}

static void the_others_go_on_when_a_leader_dies(void **state)
{
    struct cluster *c = running_cluster(1);
    struct node *first = leader_of(c, 0);
    uint64_t begin;

    (void)state;
    awaited = propose(first, 0, 100);
    must(c, all_have_awaited, "an entry");
    stop(first, 0);
    begin = clock_ms();
    must(c, all_agree_on_leaders, "another leader");
    print_message("another leader after %" PRIu64 " ms\n", clock_ms() - begin);
    awaited = propose(&c->nodes[first == &c->nodes[2] ? 1 : 2], 0, 100);
    assert_true(awaited != 0);
    must(c, all_have_awaited, "an entry of the two");
    start(first);
    must(c, all_caught_up, "the first one is back");
    must(c, all_have_the_same, "the same everywhere");
    cluster_free(c);
}

static bool first_knows_it_is_alone(struct cluster *c)
{
    return !groups_quorum_fresh(c->nodes[0].g, 0);
}

static void a_node_knows_when_its_group_cannot_commit(void **state)
{
    struct cluster *c = running_cluster(1);
    char why[512];
    uint64_t begin;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(groups_quorum_fresh(c->nodes[i].g, 0));
    }
    stop(&c->nodes[1], 0);
    stop(&c->nodes[2], 0);
    begin = clock_ms();
    must(c, first_knows_it_is_alone, "it knows");
    assert_true(clock_ms() - begin < 500);
    wait_ms(c, 1200);
    assert_false(groups_quorum_fresh(c->nodes[0].g, 0));
    groups_why_no_quorum(c->nodes[0].g, 0, why, sizeof why);
    print_message("%s\n", why);
    assert_non_null(strstr(why, "no quorum: 1 of 3 reachable"));
    assert_non_null(strstr(why, "node 2 silent for 1."));
    wait_ms(c, 1500);
    assert_int_equal(groups_propose(c->nodes[0].g, 0, malloc(8), 8),
                     ERR_NO_LEADER);
    start(&c->nodes[1]);
    must(c, all_agree_on_leaders, "two of three");
    cluster_free(c);
}

/* ---- the rest of the contract ------------------------------------------- */

static void a_replica_follows_but_does_not_vote(void **state)
{
    struct cluster *c = cluster_new(3, 3);

    (void)state;
    c->replica[2] = true;
    start_all(c);
    must(c, all_caught_up, "leaders");
    awaited = propose(&c->nodes[2], 0, 100); /* forwarded */
    must(c, all_have_awaited, "an entry on the replica too");
    for (unsigned s = 0; s < 3; s++) {
        assert_true(groups_leader(c->nodes[0].g, s) != 3);
    }
    assert_true(groups_quorum_fresh(c->nodes[2].g, 0));
    stop(&c->nodes[1], 0);
    wait_ms(c, 2500);
    /* One voter of two and a replica are no majority. */
    assert_false(groups_quorum_fresh(c->nodes[0].g, 0));
    assert_true(groups_leader(c->nodes[0].g, 0) == 0);
    cluster_free(c);
}

static void the_logs_in_memory_are_bounded(void **state)
{
    struct cluster *c = cluster_new(3, 2);
    unsigned accepted = 0;

    (void)state;
    c->log_bytes_max = 1 << 20;
    start_all(c);
    must(c, all_caught_up, "leaders");
    for (unsigned k = 0; k < 64; k++) {
        if (propose(&c->nodes[1], k % 2, 64 << 10) != 0) {
            accepted++;
        }
        wait_ms(c, 5);
    }
    assert_true(accepted >= 13 && accepted <= 16);
    assert_true(groups_log_bytes(c->nodes[0].g) <= 1 << 20);
    assert_int_equal(
        groups_propose(c->nodes[0].g, 0, calloc(1, 64 << 10), 64 << 10),
        ERR_FULL);
    wait_ms(c, 300);
    assert_true(all_have_the_same(c));
    /* What is loaded counts too. */
    stop(&c->nodes[0], 0);
    start(&c->nodes[0]);
    must(c, all_caught_up, "back");
    assert_int_equal(
        groups_propose(c->nodes[0].g, 0, calloc(1, 64 << 10), 64 << 10),
        ERR_FULL);
    cluster_free(c);
}

static bool packets_arrived(struct cluster *c)
{
    return c->nodes[1].packets == 1 && c->nodes[2].packets == 1;
}

static void host_packets_and_the_cluster_id_get_through(void **state)
{
    struct cluster *c = running_cluster(2);
    struct uuid id = {{1, 2, 3}}, other = {{4}}, got;

    (void)state;
    assert_int_equal(
        groups_send(c->nodes[0].g, 2, PACKET_HOST + 3, 1, "hello", 5), 0);
    assert_int_equal(
        groups_send(c->nodes[1].g, 3, PACKET_HOST + 3, 1, "hello", 5), 0);
    assert_int_equal(
        groups_send(c->nodes[1].g, 9, PACKET_HOST + 3, 1, "hello", 5),
        ERR_CLOSED);
    must(c, packets_arrived, "both packets");
    assert_int_equal(groups_set_cluster(c->nodes[0].g, &id), 0);
    assert_int_equal(groups_set_cluster(c->nodes[0].g, &id), 0);
    assert_int_equal(groups_set_cluster(c->nodes[0].g, &other), ERR_MISMATCH);
    stop(&c->nodes[0], 0);
    start(&c->nodes[0]);
    got = groups_cluster(c->nodes[0].g);
    assert_true(uuid_equal(&got, &id));
    must(c, all_caught_up, "a node with an id among nodes without");
    assert_int_equal(groups_set_cluster(c->nodes[2].g, &other), 0);
    stop(&c->nodes[2], 0);
    start(&c->nodes[2]);
    wait_ms(c, 1500);
    assert_int_equal(c->nodes[0].peers_up, 1); /* another cluster's */
    cluster_free(c);
}

static void a_start_that_fails_leaves_nothing_behind(void **state)
{
    struct cluster *c = cluster_new(1, 2);
    struct node *node = &c->nodes[0];
    char good[64], why[512] = "";

    (void)state;
    memcpy(good, node->address, sizeof good);
    snprintf(node->address, sizeof node->address, "192.0.2.1:1");
    assert_true(try_start(node, why, sizeof why) < 0);
    print_message("%s\n", why);
    assert_non_null(strstr(why, "192.0.2.1:1"));
    memcpy(node->address, good, sizeof good);
    start(node); /* the store is free again */
    must(c, all_caught_up, "a leader");
    cluster_free(c);
}

static void stopping_at_once_is_fine(void **state)
{
    struct cluster *c = cluster_new(3, 3);

    (void)state;
    start_all(c);
    stop(&c->nodes[0], 1000);
    wait_ms(c, 30);
    stop(&c->nodes[1], 1000);
    start(&c->nodes[0]);
    start(&c->nodes[1]);
    must(c, all_caught_up, "leaders");
    cluster_free(c);
}

/* ---- a disk that fails -------------------------------------------------- */

static bool first_has_failed(struct cluster *c)
{
    return c->nodes[0].fatal[0] != '\0';
}

static void a_failing_store_stops_the_node(void **state)
{
    struct cluster *c = cluster_new(1, 2);
    struct node *node = &c->nodes[0];
    struct rlimit before, none = {0};

    (void)state;
    start_all(c);
    must(c, all_caught_up, "a leader");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_true(propose(node, 0, 4096) != 0);
    assert_true(propose(node, 1, 4096) != 0);
    assert_true(run_until(c, first_has_failed, 5000));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_non_null(strstr(node->fatal, "the log store cannot write"));
    wait_ms(c, 50);
    assert_int_equal(node->n[0] + node->n[1], 0); /* never committed */
    stop(node, 1000);
    start(node);
    must(c, all_caught_up, "a leader again");
    assert_int_equal(node->n[0] + node->n[1], 0);
    cluster_free(c);
}

/* ---- numbers, without a verdict ----------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void report_serial(struct cluster *c, struct node *node,
                          const char *where)
{
    enum { COUNT = 1000 };
    static uint64_t us[COUNT];
    uint64_t begin = clock_us(), total;

    for (unsigned k = 0; k < COUNT; k++) {
        uint64_t t = clock_us();
        unsigned n = node->n[0];
        assert_true(propose(node, 0, 4096) != 0);
        while (node->n[0] == n) {
            uv_run(&c->loop, UV_RUN_ONCE);
        }
        us[k] = clock_us() - t;
    }
    total = clock_us() - begin;
    qsort(us, COUNT, sizeof *us, by_value);
    print_message("serial 4 KiB from the %s: %" PRIu64
                  " commits/s, p50 %" PRIu64 " us, p99 %" PRIu64 " us\n",
                  where, (uint64_t)COUNT * 1000000 / total, us[COUNT / 2],
                  us[COUNT * 99 / 100]);
}

/* Each group has one entry under way, proposed at node `s % 3`. */
static void report_all_groups(void)
{
    struct cluster *c = running_cluster(16);
    unsigned expected[16] = {0}, total = 0;
    uint64_t begin;

    must(c, leaders_are_placed, "leaders in their places");
    begin = clock_us();
    while (clock_us() - begin < 2000000) {
        for (unsigned s = 0; s < 16; s++) {
            struct node *node = &c->nodes[s % 3];
            if (node->n[s] == expected[s]) {
                total += expected[s] > 0;
                assert_true(propose(node, s, 4096) != 0);
                expected[s]++;
            }
        }
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    print_message("16 groups, one 4 KiB entry each under way: %u commits/s\n",
                  total / 2);
    cluster_free(c);
}

static void report_commit_times(void **state)
{
    struct cluster *c = running_cluster(1);
    struct node *leader;

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    leader = leader_of(c, 0);
    report_serial(c, leader, "leader");
    report_serial(c, &c->nodes[leader == &c->nodes[2] ? 1 : 2], "follower");
    cluster_free(c);
    report_all_groups();
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_single_node_leads_and_applies_at_once),
        TEST(a_group_is_new_until_something_is_proposed),
        TEST(entries_proposed_anywhere_are_applied_everywhere_in_order),
        TEST(a_node_that_returns_applies_from_the_first_entry_on),
        TEST(the_others_go_on_when_a_leader_dies),
        TEST(a_node_knows_when_its_group_cannot_commit),
        TEST(a_replica_follows_but_does_not_vote),
        TEST(the_logs_in_memory_are_bounded),
        TEST(host_packets_and_the_cluster_id_get_through),
        TEST(a_start_that_fails_leaves_nothing_behind),
        TEST(stopping_at_once_is_fine),
        TEST(a_failing_store_stops_the_node),
        TEST(report_commit_times),
    };

    if (getenv("MARMOT_TEST_LOG") != NULL) {
        log_set_level(LOG_DEBUG);
    } else {
        log_set_level(LOG_ERROR);
    }
    if (getenv("MARMOT_TEST_ONLY") != NULL) {
        cmocka_set_test_filter(getenv("MARMOT_TEST_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
