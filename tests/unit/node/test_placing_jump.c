/* Where the local file stands when the log begins with a snapshot, or a
 * snapshot comes in its middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/place.h"
#include "wire/entry.h"

/* Checksum n + 100 is that of transaction n. */
static struct position position_at(uint64_t txid)
{
    return (struct position){txid, txid == 0 ? 0 : 7000 + txid};
}

static void move_to(struct place *p, uint64_t txid)
{
    p->m.position = position_at(txid);
    p->m.checksum = 100 + txid;
}

static void accept_up_to(struct place *p, uint64_t txid)
{
    struct list none;

    list_init(&none);
    while (p->m.position.txid < txid) {
        struct entry_txn txn = {.db_pages = PLACE_PAGES,
                                .checksum = p->m.position.txid + 101,
                                .pages = {.page_size = 512}};
        struct machine_accept a = {
            .txn = &txn, .bytes = "last", .len = 4, .parts = &none};
        move_to(p, p->m.position.txid + 1);
        a.position = p->m.position;
        placing_accepted(&p->db, &a);
    }
}

/* The log begins with a snapshot of this transaction. */
static void begin_with(struct place *p, uint64_t txid)
{
    move_to(p, txid);
    place_enroll(p);
}

static void jump_to(struct place *p, uint64_t txid)
{
    move_to(p, txid);
    p->woken = false;
    placing_jumped(&p->db);
    assert_true(p->woken);
}

static struct db_noted state_at(uint64_t txid)
{
    return (struct db_noted){.valid = true,
                             .position = position_at(txid),
                             .checksum = 100 + txid,
                             .pages = PLACE_PAGES};
}

static void assert_placed(const struct place *p, uint64_t txid)
{
    struct position at = position_at(txid);

    assert_true(p->db.placed);
    assert_true(position_equal(&p->db.applied, &at));
    assert_int_equal(p->db.applied_sum, 100 + txid);
}

/* ---- the log begins with a snapshot ---------------------------------------
 */

static void a_file_as_in_the_snapshot_is_placed_there(void **state)
{
    struct place *p = *state;

    begin_with(p, 50);
    accept_up_to(p, 53);
    place_scan(p, 150);
    assert_placed(p, 50);
    assert_false(placing_behind(&p->db));
    assert_int_equal(placing_next(&p->db), PLACING_READY);
}

static void it_makes_no_difference_which_of_the_two_comes_first(void **state)
{
    struct place *p = *state;

    place_scan(p, 150);
    begin_with(p, 50);
    assert_placed(p, 50);
    accept_up_to(p, 53);
    assert_placed(p, 50);
    assert_false(placing_behind(&p->db));
}

static void a_file_from_behind_the_snapshot_is_found_in_the_log(void **state)
{
    struct place *p = *state;

    begin_with(p, 50);
    accept_up_to(p, 55);
    place_scan(p, 152);
    assert_placed(p, 52);
    assert_false(placing_behind(&p->db));
}

static void a_file_from_before_the_snapshot_is_unknown(void **state)
{
    struct place *p = *state;

    p->db.member = true;
    begin_with(p, 50);
    place_scan(p, 149);
    assert_false(p->db.placed);
    assert_int_equal(placing_next(&p->db), PLACING_FETCH_REPAIR);
}

static void unless_it_was_noted(void **state)
{
    struct place *p = *state;

    p->db.member = true;
    begin_with(p, 50);
    place_scan(p, 130);
    p->db.noted = state_at(30);
    placing_noted(&p->db);
    assert_placed(p, 30);
    assert_true(placing_behind(&p->db));
    assert_int_equal(placing_next(&p->db), PLACING_CATCH_UP);
}

static void an_image_that_was_expected_is_known_as_well(void **state)
{
    struct place *p = *state;

    begin_with(p, 50);
    place_scan(p, 160);
    p->db.noted = state_at(30);
    p->db.coming = state_at(60);
    placing_noted(&p->db);
    assert_placed(p, 60); /* ahead of what the log says so far */
    assert_false(placing_behind(&p->db));
    accept_up_to(p, 62);
    assert_placed(p, 60);
    assert_false(placing_behind(&p->db));
    assert_int_equal(
        LIST_ENTRY(list_first(&p->db.pending), struct pending, link)
            ->position.txid,
        61);
}

static void what_was_noted_of_another_state_does_not_count(void **state)
{
    struct place *p = *state;

    begin_with(p, 50);
    place_scan(p, 131);
    p->db.noted = state_at(30);
    p->db.coming = state_at(31);
    p->db.coming.pages++;
    placing_noted(&p->db);
    assert_false(p->db.placed);
    p->db.noted = state_at(31);
    p->db.noted.valid = false;
    placing_noted(&p->db);
    assert_false(p->db.placed);
}

static void a_place_that_is_known_is_not_taken_from_the_note(void **state)
{
    struct place *p = *state;

    begin_with(p, 50);
    place_scan(p, 150);
    p->db.noted = state_at(50);
    p->db.noted.position = position_at(40); /* the same content, earlier */
    placing_noted(&p->db);
    assert_placed(p, 50);
}

/* ---- a snapshot comes -----------------------------------------------------
 */

static void what_lies_before_a_snapshot_is_dropped(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    begin_with(p, 0);
    p->db.state = DB_READY;
    accept_up_to(p, 5);
    jump_to(p, 90);
    assert_true(list_empty(&p->db.pending));
    assert_placed(p, 0);
    assert_true(placing_behind(&p->db));
    accept_up_to(p, 91); /* there is a gap before this one */
    assert_true(placing_behind(&p->db));
}

static void a_file_that_is_already_there_goes_on(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    begin_with(p, 0);
    p->db.state = DB_READY;
    placing_applied(&p->db, &(struct position){90, 7090}, 190, PLACE_PAGES);
    jump_to(p, 90); /* an image was faster than the log */
    assert_false(placing_behind(&p->db));
    accept_up_to(p, 92);
    assert_false(placing_behind(&p->db));
    assert_placed(p, 90);
}

static void a_jump_places_a_file_that_had_no_place(void **state)
{
    struct place *p = *state;

    place_scan(p, 190);
    begin_with(p, 10);
    assert_false(p->db.placed);
    jump_to(p, 90);
    assert_placed(p, 90);
    assert_int_equal(placing_next(&p->db), PLACING_READY);
}

static void nothing_missing_is_not_behind(void **state)
{
    struct place *p = *state;

    assert_false(placing_behind(&p->db)); /* it has no place */
    place_scan(p, 100);
    begin_with(p, 0);
    p->db.state = DB_READY;
    assert_false(placing_behind(&p->db));
    accept_up_to(p, 3);
    assert_false(placing_behind(&p->db)); /* it is all pending */
}

/* ---- another group ------------------------------------------------------- */

/* It goes on in a group that took it over at this transaction. */
static void switch_at(struct place *p, struct machine_db *there, uint64_t txid)
{
    *there = p->m;
    there->position = position_at(txid);
    there->checksum = 100 + txid;
    placing_switched(&p->db, there);
    assert_ptr_equal(p->db.m, there);
    assert_ptr_equal(there->local, &p->db);
    assert_null(p->m.local);
}

static void what_was_read_to_its_end_goes_on_in_another_group(void **state)
{
    struct place *p = *state;
    struct machine_db there;

    place_scan(p, 100);
    begin_with(p, 0);
    p->db.state = DB_READY;
    accept_up_to(p, 3);
    switch_at(p, &there, 3);
    assert_placed(p, 0);
    assert_false(placing_behind(&p->db)); /* it is all pending */
}

static void what_was_not_read_of_the_old_group_is_missing(void **state)
{
    struct place *p = *state;
    struct machine_db there;

    place_scan(p, 100);
    begin_with(p, 0);
    p->db.state = DB_READY;
    accept_up_to(p, 3);
    switch_at(p, &there, 5);
    assert_placed(p, 0);
    assert_true(list_empty(&p->db.pending));
    assert_true(placing_behind(&p->db));
}

static void a_file_that_was_not_scanned_yet_is_found_after_it(void **state)
{
    struct place *p = *state;
    struct machine_db there;

    begin_with(p, 0);
    accept_up_to(p, 3);
    switch_at(p, &there, 3);
    place_scan(p, 102);
    assert_placed(p, 2);
}

static void a_file_that_is_ahead_of_it_stays(void **state)
{
    struct place *p = *state;
    struct machine_db there;
    struct position ahead = position_at(9);

    place_scan(p, 100);
    begin_with(p, 0);
    placing_applied(&p->db, &ahead, 109, PLACE_PAGES); /* an image */
    switch_at(p, &there, 3);
    assert_placed(p, 9);
    assert_false(placing_behind(&p->db));
}

int main(void)
{
#define T(name) \
    cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        T(a_file_as_in_the_snapshot_is_placed_there),
        T(it_makes_no_difference_which_of_the_two_comes_first),
        T(a_file_from_behind_the_snapshot_is_found_in_the_log),
        T(a_file_from_before_the_snapshot_is_unknown),
        T(unless_it_was_noted),
        T(an_image_that_was_expected_is_known_as_well),
        T(what_was_noted_of_another_state_does_not_count),
        T(a_place_that_is_known_is_not_taken_from_the_note),
        T(what_lies_before_a_snapshot_is_dropped),
        T(a_file_that_is_already_there_goes_on),
        T(a_jump_places_a_file_that_had_no_place),
        T(nothing_missing_is_not_behind),
        T(what_was_read_to_its_end_goes_on_in_another_group),
        T(what_was_not_read_of_the_old_group_is_missing),
        T(a_file_that_was_not_scanned_yet_is_found_after_it),
        T(a_file_that_is_ahead_of_it_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
