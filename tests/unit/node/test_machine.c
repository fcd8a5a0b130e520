/* The state machine: compare-and-swap on the position, tokens, parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/machine_world.h"

static void the_first_to_enroll_a_name_wins(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    assert_ptr_equal(enroll(w, "main", 2), db);
    assert_int_equal(w->enrolled, 1);
    assert_int_equal(db->uuid.b[0], 1);
    assert_int_equal(w->machine.ignored, 1);
}

static void a_transaction_on_the_position_is_accepted(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_txn(w, db, db->position, 1, 0);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(db->position.txid, 1);
    assert_int_equal(db->pages, 2);
    assert_int_equal(db->checksum, 1);
    put_txn(w, db, db->position, 2, 0);
    assert_int_equal(db->position.txid, 2);
}

static void a_transaction_on_an_old_position_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position, after;

    put_txn(w, db, start, 1, 0);
    after = db->position;
    put_txn(w, db, start, 2, 0);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_true(position_equal(&db->position, &after));
    assert_int_equal(w->accepted, 1);
}

static void equal_txid_with_another_hash_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position forged = db->position;

    forged.hash ^= 1;
    put_txn(w, db, forged, 1, 0);
    assert_int_equal(w->decided, 1);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_int_equal(w->accepted, 0);
}

static void the_same_token_twice_counts_once(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position;

    put_txn(w, db, start, 1, 0);
    put_txn(w, db, start, 1, 0);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(w->verdict, VERDICT_REPEATED);
}

static void what_is_older_than_the_ring_is_forgotten_not_a_conflict(
    void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position;

    for (uint64_t i = 1; i <= TOKEN_RING; i++) {
        put_txn(w, db, db->position, i, 0);
    }
    put_txn(w, db, start, 1, 0);
    assert_int_equal(w->verdict, VERDICT_REPEATED); /* just in the ring */
    put_txn(w, db, db->position, TOKEN_RING + 1, 0);
    put_txn(w, db, start, 1, 0);
    assert_int_equal(w->verdict, VERDICT_FORGOTTEN);
}

static void parts_come_in_order_whatever_the_log_s_order(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 1);
    put_part(w, db, 9, 0);
    put_part(w, db, 9, 1); /* proposed again */
    put_txn(w, db, db->position, 9, 2);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(w->parts, 2);
    assert_true(list_empty(&db->parts));
}

static void a_missing_part_is_incomplete_and_can_still_be_accepted(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 1);
    put_txn(w, db, db->position, 9, 2);
    assert_int_equal(w->verdict, VERDICT_INCOMPLETE);
    assert_int_equal(w->accepted, 0);
    put_part(w, db, 9, 0);
    put_txn(w, db, db->position, 9, 2);
    assert_int_equal(w->accepted, 1);
}

static void a_size_must_follow_from_the_pages_given(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position;

    put_sized(w, db, 1, 0, 0xfffffffe);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    put_sized(w, db, 2, 0, 1 + TXN_UNWRITTEN_PAGES_MAX + 1);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_int_equal(w->decided, 2);
    assert_int_equal(w->accepted, 0);
    assert_true(position_equal(&db->position, &start));
    put_sized(w, db, 3, 0, 1 + TXN_UNWRITTEN_PAGES_MAX);
    assert_int_equal(w->accepted, 1);
    put_sized(w, db, 4, 0, 1); /* shrinking is free */
    assert_int_equal(w->accepted, 2);
    assert_int_equal(db->pages, 1);
}

static void the_pages_of_all_parts_count_for_the_size(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 0);
    put_part(w, db, 9, 1);
    put_part(w, db, 9, 2); /* not counted: the transaction names two */
    put_part(w, db, 7, 0); /* nor somebody else's */
    put_sized(w, db, 9, 2, 3 + TXN_UNWRITTEN_PAGES_MAX + 1);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    put_part(w, db, 10, 0);
    put_part(w, db, 10, 1);
    put_sized(w, db, 10, 2, 3 + TXN_UNWRITTEN_PAGES_MAX);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(w->parts, 2);
}

static void parts_of_the_losers_are_dropped_at_acceptance(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 5, 0);
    put_txn(w, db, db->position, 6, 0);
    assert_true(list_empty(&db->parts));
}

static void a_holder_counts_once(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct entry_holds e = {.db = db->uuid, .node = 2};

    for (int i = 0; i < 2; i++) {
        struct buf out;
        buf_init(&out, PACKET_BYTES_MAX);
        entry_encode_holds(&e, &out);
        apply(w, &out);
    }
    assert_int_equal(w->held, 2);
    assert_int_equal(db->n_holders, 2); /* node 1 enrolled it */
}

static void an_empty_transaction_only_drops_what_waits_before_the_first(
    void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 0);
    put_fence(w, db, 10);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_int_equal(db->position.txid, 0);
    assert_true(list_empty(&db->parts));
    put_txn(w, db, db->position, 9, 1); /* the rest comes after all */
    assert_int_equal(w->verdict, VERDICT_INCOMPLETE);
    put_part(w, db, 9, 0);
    put_txn(w, db, db->position, 9, 1);
    assert_int_equal(db->position.txid, 1);
    put_part(w, db, 11, 0);
    put_fence(w, db, 12);
    assert_int_equal(db->position.txid, 2);
    assert_true(list_empty(&db->parts));
}

static void noise_and_strangers_are_no_ops(void **state)
{
    struct world *w = *state;
    struct machine_db stranger = {.uuid = uuid_of(9)};

    put_txn(w, &stranger, (struct position){0, 0}, 1, 0);
    assert_int_equal(machine_apply(&w->machine, "\xc1\x00", 2), 0);
    assert_int_equal(w->machine.ignored, 2);
    assert_int_equal(w->accepted + w->decided + w->enrolled, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_first_to_enroll_a_name_wins),
        T(a_transaction_on_the_position_is_accepted),
        T(a_transaction_on_an_old_position_is_a_conflict),
        T(equal_txid_with_another_hash_is_a_conflict),
        T(the_same_token_twice_counts_once),
        T(what_is_older_than_the_ring_is_forgotten_not_a_conflict),
        T(parts_come_in_order_whatever_the_log_s_order),
        T(a_missing_part_is_incomplete_and_can_still_be_accepted),
        T(a_size_must_follow_from_the_pages_given),
        T(the_pages_of_all_parts_count_for_the_size),
        T(parts_of_the_losers_are_dropped_at_acceptance),
        T(a_holder_counts_once),
        T(an_empty_transaction_only_drops_what_waits_before_the_first),
        T(noise_and_strangers_are_no_ops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
