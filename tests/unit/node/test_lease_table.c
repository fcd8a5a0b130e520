/* Leases on the leader: one holder at a time, FIFO between nodes, recall,
 * release, running out, and what one leader hands to the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "node/lease_table.h"

enum { TERM = 7, VALID = 8000, OUTLIVED = 9000 };

static const struct uuid db = {{1}}, second = {{2}};
static char said[256]; /* "G1 R1 G2 ": grants and recalls by node */
static struct host_lease granted;
static uint64_t now;

static void on_send(void *data, uint64_t node, enum host_kind kind,
                    struct host_lease *l)
{
    (void)data;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%c%d ",
             kind == HOST_LEASE_GRANT ? 'G' : 'R', (int)node);
    if (kind == HOST_LEASE_GRANT) {
        granted = *l;
    }
}

static int setup(void **state)
{
    static struct lease_table t;

    said[0] = '\0';
    now = 1000000;
    lease_table_init(&t, NULL, on_send);
    lease_table_begin(&t, TERM, now);
    *state = &t;
    return 0;
}

static int teardown(void **state)
{
    lease_table_clear(*state);
    return 0;
}

/* What was said since the last call. */
static const char *heard(void)
{
    static char text[sizeof said];

    memcpy(text, said, sizeof said);
    said[0] = '\0';
    return text;
}

static void step(struct lease_table *t)
{
    lease_table_step(t, now, VALID);
}

static void ask_as(struct lease_table *t, uint64_t node, uint64_t epoch)
{
    struct host_lease l = {.db = db, .epoch = epoch, .stamp = now + node};

    assert_int_equal(lease_table_ask(t, node, &l, now), 0);
    step(t);
}

static void ask(struct lease_table *t, uint64_t node)
{
    ask_as(t, node, 0);
}

static void give_back(struct lease_table *t, uint64_t node)
{
    lease_table_release(t, node, &db, granted.epoch);
    step(t);
}

static uint64_t holder(const struct lease_table *t)
{
    return lease_table_holder(t, &db, now);
}

static void the_first_who_asks_gets_it(void **state)
{
    struct lease_table *t = *state;

    assert_int_equal(holder(t), 0);
    ask(t, 1);
    assert_string_equal(heard(), "G1 ");
    assert_int_equal(holder(t), 1);
    assert_true(uuid_equal(&granted.db, &db));
    assert_int_equal(granted.stamp, now + 1); /* of its question */
    assert_int_equal(granted.us, VALID);
}

static void another_who_asks_waits_for_the_release(void **state)
{
    struct lease_table *t = *state;

    ask(t, 1);
    ask(t, 2);
    assert_string_equal(heard(), "G1 R1 ");
    give_back(t, 1);
    assert_string_equal(heard(), "G2 ");
}

static void the_queue_is_first_in_first_out(void **state)
{
    struct lease_table *t = *state;

    ask(t, 1);
    ask(t, 2);
    ask(t, 3);
    now += 5;
    ask(t, 2); /* keeps its place; the new question counts */
    heard();
    give_back(t, 1);
    assert_string_equal(heard(), "G2 R2 ");
    assert_int_equal(granted.stamp, now + 2);
    give_back(t, 2);
    assert_string_equal(heard(), "G3 ");
}

static void a_release_of_an_older_grant_changes_nothing(void **state)
{
    struct lease_table *t = *state;
    uint64_t old;

    ask(t, 1);
    old = granted.epoch;
    ask(t, 1); /* the first grant was lost */
    assert_true(granted.epoch > old);
    lease_table_release(t, 1, &db, old);
    lease_table_release(t, 2, &db, granted.epoch);
    assert_int_equal(holder(t), 1);
}

static void a_holder_that_asks_again_keeps_it_as_the_same(void **state)
{
    struct lease_table *t = *state;
    uint64_t epoch;

    ask(t, 1);
    epoch = granted.epoch;
    ask(t, 2);
    heard();
    now += OUTLIVED - 1;
    ask_as(t, 1, epoch);
    assert_string_equal(heard(), "G1 R1 ");
    assert_int_equal(granted.epoch, epoch);
    now += OUTLIVED - 1;
    step(t);
    assert_int_equal(holder(t), 1);
}

static void what_is_not_renewed_runs_out_later_than_for_its_holder(void **state)
{
    struct lease_table *t = *state;

    ask(t, 1);
    ask(t, 2);
    now += OUTLIVED - 1;
    step(t);
    assert_int_equal(holder(t), 1);
    heard();
    now++;
    assert_int_equal(holder(t), 0);
    assert_true(lease_table_waits(t, now));
    step(t);
    assert_string_equal(heard(), "G2 ");
}

static void a_node_that_is_gone_loses_its_place_but_not_its_lease(void **state)
{
    struct lease_table *t = *state;

    ask(t, 1);
    ask(t, 2);
    ask(t, 3);
    lease_table_drop(t, 2);
    lease_table_drop(t, 1);
    heard();
    step(t);
    assert_string_equal(heard(), "");
    now += OUTLIVED;
    step(t);
    assert_string_equal(heard(), "G3 ");
}

static void without_proof_nothing_is_granted(void **state)
{
    struct lease_table *t = *state;
    struct host_lease l = {.db = db};

    lease_table_ask(t, 1, &l, now);
    assert_true(lease_table_waits(t, now));
    lease_table_step(t, now, 0);
    assert_string_equal(heard(), "");
    step(t);
    assert_string_equal(heard(), "G1 ");
    assert_false(lease_table_waits(t, now));
}

static void a_new_leader_waits_before_its_first_grant(void **state)
{
    struct lease_table *t = *state;

    lease_table_begin(t, TERM + 1, now + 100);
    ask(t, 1);
    now += 99;
    step(t);
    assert_false(lease_table_is_open(t, now));
    assert_string_equal(heard(), "");
    now++;
    step(t);
    assert_string_equal(heard(), "G1 ");
    assert_true(granted.epoch > (uint64_t)(TERM + 1) << 32);
}

static void who_no_longer_leads_grants_nothing(void **state)
{
    struct lease_table *t = *state;

    ask(t, 1);
    heard();
    lease_table_close(t);
    ask_as(t, 1, granted.epoch);
    give_back(t, 1);
    ask(t, 2);
    assert_string_equal(heard(), "");
}

/* ---- from leader to leader ----------------------------------------------- */

/* The next leader, which does not know yet what is held. */
static struct lease_table *next_leader(void)
{
    static struct lease_table t;

    lease_table_init(&t, NULL, on_send);
    lease_table_begin(&t, TERM + 1, now + OUTLIVED);
    return &t;
}

static void the_next_leader_takes_over_what_is_held(void **state)
{
    struct lease_table *old = *state, *t = next_leader();
    struct buf out;

    ask(old, 1);
    ask(t, 2);
    ask_as(t, 1, granted.epoch);
    now += VALID;
    heard();
    buf_init(&out, 1024);
    assert_int_equal(lease_table_hand_over(old, TERM + 1, now, &out), 0);
    assert_int_equal(lease_table_take_over(t, out.data, out.len, now), 0);
    assert_int_equal(holder(t), 1);
    step(t);
    assert_string_equal(heard(), "G1 R1 "); /* it had asked */
    give_back(t, 1);
    assert_string_equal(heard(), "G2 ");
    ask(old, 3);
    assert_string_equal(heard(), ""); /* it has given them away */
    buf_close(&out);
    lease_table_clear(t);
}

static void what_was_taken_over_runs_out_as_well(void **state)
{
    struct lease_table *old = *state, *t = next_leader();
    struct buf out;

    ask(old, 1);
    now += OUTLIVED - 800;
    buf_init(&out, 1024);
    assert_int_equal(lease_table_hand_over(old, TERM + 1, now, &out), 0);
    assert_int_equal(lease_table_take_over(t, out.data, out.len, now), 0);
    ask(t, 2);
    now += 899;
    step(t);
    assert_int_equal(holder(t), 1);
    now++;
    step(t);
    assert_int_equal(holder(t), 2);
    buf_close(&out);
    lease_table_clear(t);
}

static void what_has_run_out_or_was_given_back_is_not_handed_over(void **state)
{
    struct lease_table *old = *state;
    struct host_lease l = {.db = second};
    struct buf out;

    ask(old, 1);
    give_back(old, 1);
    lease_table_ask(old, 2, &l, now);
    step(old);
    now += OUTLIVED;
    buf_init(&out, 1024);
    assert_int_equal(lease_table_hand_over(old, TERM + 1, now, &out), 0);
    assert_int_equal(out.len, HOST_LEASE_BYTES);
    buf_close(&out);
}

static void only_the_leader_of_the_term_before_hands_over(void **state)
{
    struct lease_table *t = *state;
    struct buf out;

    buf_init(&out, 1024);
    assert_int_equal(lease_table_hand_over(t, TERM, now, &out), ERR_NOT_LEADER);
    ask(t, 1);
    assert_string_equal(heard(), "G1 "); /* still open */
    assert_int_equal(lease_table_hand_over(t, TERM + 2, now, &out),
                     ERR_NOT_LEADER);
    assert_int_equal(out.len, 0);
    assert_false(lease_table_is_open(t, now));
    buf_close(&out);
}

static void who_never_led_hands_nothing_over(void **state)
{
    struct lease_table t;
    struct buf out;

    (void)state;
    lease_table_init(&t, NULL, on_send);
    buf_init(&out, 1024);
    assert_int_equal(lease_table_hand_over(&t, 1, now, &out), ERR_NOT_LEADER);
    buf_close(&out);
}

static void who_waits_itself_hands_nothing_over(void **state)
{
    struct lease_table *t = *state;
    struct buf out;

    lease_table_begin(t, TERM, now + 1);
    buf_init(&out, 1024);
    assert_int_equal(lease_table_hand_over(t, TERM + 1, now, &out),
                     ERR_NOT_LEADER);
    buf_close(&out);
}

static void a_table_that_is_not_for_this_leader_is_ignored(void **state)
{
    struct lease_table *old = *state, *t = next_leader();
    struct buf out;

    ask(old, 1);
    buf_init(&out, 1024);
    lease_table_hand_over(old, TERM + 1, now, &out);
    for (size_t n = 0; n < out.len; n++) {
        if (n != HOST_LEASE_BYTES) {
            assert_int_equal(lease_table_take_over(t, out.data, n, now),
                             ERR_CORRUPT);
        }
    }
    lease_table_begin(t, TERM + 2, now + OUTLIVED);
    assert_int_equal(lease_table_take_over(t, out.data, out.len, now),
                     ERR_NOT_LEADER);
    assert_false(lease_table_is_open(t, now));
    lease_table_begin(t, TERM + 1, now); /* it has waited long enough */
    assert_int_equal(lease_table_take_over(t, out.data, out.len, now),
                     ERR_NOT_LEADER);
    assert_int_equal(holder(t), 0);
    buf_close(&out);
    lease_table_clear(t);
}

static void a_table_with_impossible_times_is_refused(void **state)
{
    struct lease_table *t = next_leader();
    struct host_lease head = {.term = TERM + 1},
                      l = {.db = db, .node = 1, .us = UINT64_MAX};
    struct buf out;

    (void)state;
    buf_init(&out, 1024);
    host_lease_encode(&head, &out);
    host_lease_encode(&l, &out);
    assert_int_equal(lease_table_take_over(t, out.data, out.len, now),
                     ERR_CORRUPT);
    assert_false(lease_table_is_open(t, now));
    buf_close(&out);
    lease_table_clear(t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_first_who_asks_gets_it),
        T(another_who_asks_waits_for_the_release),
        T(the_queue_is_first_in_first_out),
        T(a_release_of_an_older_grant_changes_nothing),
        T(a_holder_that_asks_again_keeps_it_as_the_same),
        T(what_is_not_renewed_runs_out_later_than_for_its_holder),
        T(a_node_that_is_gone_loses_its_place_but_not_its_lease),
        T(without_proof_nothing_is_granted),
        T(a_new_leader_waits_before_its_first_grant),
        T(who_no_longer_leads_grants_nothing),
        T(the_next_leader_takes_over_what_is_held),
        T(what_was_taken_over_runs_out_as_well),
        T(what_has_run_out_or_was_given_back_is_not_handed_over),
        T(only_the_leader_of_the_term_before_hands_over),
        T(who_never_led_hands_nothing_over),
        T(who_waits_itself_hands_nothing_over),
        T(a_table_that_is_not_for_this_leader_is_ignored),
        T(a_table_with_impossible_times_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
