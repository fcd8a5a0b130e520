/* Leases on the leader: FIFO between nodes, recall, release, loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/lease_table.h"

static const struct uuid db = {{1}};
static char said[256]; /* "G1 R1 G2 ": grants and recalls by node */
static uint64_t last_epoch;

static void on_send(void *data, uint64_t node, enum lease_word word,
                    const struct uuid *which, uint64_t epoch)
{
    (void)data;
    assert_true(uuid_equal(which, &db));
    snprintf(said + strlen(said), sizeof said - strlen(said), "%c%d ",
             word == LEASE_GRANT ? 'G' : 'R', (int)node);
    if (word == LEASE_GRANT) {
        last_epoch = epoch;
    }
}

static int setup(void **state)
{
    static struct lease_table t;

    said[0] = '\0';
    lease_table_init(&t, NULL, on_send);
    *state = &t;
    return 0;
}

static int teardown(void **state)
{
    lease_table_clear(*state);
    return 0;
}

static void the_first_who_asks_gets_it(void **state)
{
    struct lease_table *t = *state;

    assert_int_equal(lease_table_holder(t, &db), 0);
    lease_table_ask(t, 1, &db);
    assert_string_equal(said, "G1 ");
    assert_int_equal(lease_table_holder(t, &db), 1);
}

static void another_who_asks_waits_for_the_release(void **state)
{
    struct lease_table *t = *state;

    lease_table_ask(t, 1, &db);
    lease_table_ask(t, 2, &db);
    assert_string_equal(said, "G1 R1 ");
    lease_table_release(t, 1, &db, last_epoch);
    assert_string_equal(said, "G1 R1 G2 ");
}

static void the_queue_is_first_in_first_out(void **state)
{
    struct lease_table *t = *state;

    lease_table_ask(t, 1, &db);
    lease_table_ask(t, 2, &db);
    lease_table_ask(t, 3, &db);
    lease_table_ask(t, 2, &db); /* keeps its place */
    said[0] = '\0';
    lease_table_release(t, 1, &db, last_epoch);
    assert_string_equal(said, "G2 R2 ");
    lease_table_release(t, 2, &db, last_epoch);
    assert_string_equal(said, "G2 R2 G3 ");
}

static void a_release_of_an_older_grant_changes_nothing(void **state)
{
    struct lease_table *t = *state;
    uint64_t old;

    lease_table_ask(t, 1, &db);
    old = last_epoch;
    lease_table_ask(t, 1, &db); /* the first grant was lost */
    lease_table_release(t, 1, &db, old);
    lease_table_release(t, 2, &db, last_epoch);
    assert_int_equal(lease_table_holder(t, &db), 1);
}

static void a_node_that_is_gone_loses_lease_and_place(void **state)
{
    struct lease_table *t = *state;

    lease_table_ask(t, 1, &db);
    lease_table_ask(t, 2, &db);
    lease_table_ask(t, 3, &db);
    lease_table_drop(t, 2);
    said[0] = '\0';
    lease_table_drop(t, 1);
    assert_string_equal(said, "G3 ");
    assert_int_equal(lease_table_holder(t, &db), 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_first_who_asks_gets_it),
        T(another_who_asks_waits_for_the_release),
        T(the_queue_is_first_in_first_out),
        T(a_release_of_an_older_grant_changes_nothing),
        T(a_node_that_is_gone_loses_lease_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
