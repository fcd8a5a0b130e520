/* What a database that is not ready needs next, and who holds its content. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/place.h"

/* ---- what is next -------------------------------------------------------- */

static void assert_next(const struct place *p, enum placing_action action)
{
    assert_int_equal(placing_next(&p->db), action);
}

static void nothing_is_decided_before_log_and_file_have_been_read(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    place_enroll(p);
    assert_next(p, PLACING_READY);
    p->db.caught_up = false;
    assert_next(p, PLACING_WAIT);
    p->db.caught_up = true;
    p->db.scanned = false;
    assert_next(p, PLACING_WAIT);
    p->db.scanned = true;
    p->db.job = p;
    assert_next(p, PLACING_WAIT);
    p->db.job = NULL;
    assert_next(p, PLACING_READY);
}

static void an_unknown_name_with_content_is_enrolled(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    assert_next(p, PLACING_ENROLL);
}

static void an_unknown_name_in_rollback_mode_is_converted_first(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    p->db.kind = FILE_ROLLBACK;
    assert_next(p, PLACING_CONVERT);
}

static void an_unknown_name_without_content_waits_for_a_writer(void **state)
{
    static const enum file_kind empty[] = {FILE_MISSING, FILE_EMPTY};
    struct place *p = *state;
    static struct list waiting;

    p->db.scanned = true;
    for (size_t i = 0; i < 2; i++) {
        p->db.kind = empty[i];
        assert_next(p, PLACING_WAIT);
        list_push(&p->db.waiters, &waiting);
        assert_next(p, PLACING_ENROLL);
        list_remove(&waiting);
    }
}

static void a_replica_enrols_and_converts_nothing(void **state)
{
    static const enum file_kind kinds[] = {FILE_MISSING, FILE_EMPTY,
                                           FILE_ROLLBACK, FILE_WAL};
    struct place *p = *state;
    static struct list waiting;

    p->env.replica = true;
    p->db.scanned = true;
    list_push(&p->db.waiters, &waiting);
    for (size_t i = 0; i < 4; i++) {
        p->db.kind = kinds[i];
        assert_next(p, i < 2 ? PLACING_WAIT : PLACING_STRANGER);
    }
    list_remove(&waiting);
}

static void a_known_name_without_a_file_is_fetched(void **state)
{
    static const enum file_kind empty[] = {FILE_MISSING, FILE_EMPTY};
    struct place *p = *state;

    place_enroll(p);
    p->db.scanned = true;
    for (size_t i = 0; i < 2; i++) {
        p->db.kind = empty[i];
        p->db.member = false;
        assert_next(p, PLACING_FETCH);
        p->db.member = true;
        assert_next(p, PLACING_FETCH);
    }
}

static void a_stranger_under_a_known_name_is_compared(void **state)
{
    static const enum file_kind content[] = {FILE_ROLLBACK, FILE_WAL};
    struct place *p = *state;

    place_enroll(p);
    place_scan(p, 555);
    for (size_t i = 0; i < 2; i++) {
        p->db.kind = content[i];
        assert_next(p, PLACING_COMPARE);
    }
}

static void a_member_that_lost_its_place_is_repaired_not_compared(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    place_scan(p, 555);
    p->db.member = true;
    assert_next(p, PLACING_FETCH_REPAIR);
}

static void a_replica_fetches_and_follows_as_any_other(void **state)
{
    struct place *p = *state;

    p->env.replica = true;
    place_enroll(p);
    place_scan(p, 555);
    assert_next(p, PLACING_COMPARE);
    p->db.kind = FILE_MISSING;
    assert_next(p, PLACING_FETCH);
    p->db.placed = true;
    assert_next(p, PLACING_READY);
}

/* ---- a majority ---------------------------------------------------------- */

static void hold(struct place *p, uint64_t node)
{
    p->m.holders[p->m.n_holders++] = node;
}

static void a_majority_of_the_voters_must_hold_the_content(void **state)
{
    static const unsigned needed[] = {0, 1, 2, 2, 3, 3}; /* by voters */
    struct place *p = *state;

    place_enroll(p);
    for (unsigned voters = 1; voters <= 5; voters++) {
        p->env.voters = voters;
        p->m.n_holders = 0;
        for (unsigned have = 0; have <= voters; have++) {
            assert_int_equal(placing_majority_holds(&p->db),
                             have >= needed[voters]);
            if (have < voters) {
                hold(p, p->voters[have]);
            }
        }
    }
}

static void replicas_that_hold_the_content_do_not_count(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    hold(p, 10);
    for (uint64_t replica = 20; replica < 30; replica++) {
        hold(p, replica);
    }
    assert_false(placing_majority_holds(&p->db));
    hold(p, 12);
    assert_true(placing_majority_holds(&p->db));
}

static void what_was_born_empty_needs_no_holder(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    assert_false(placing_majority_holds(&p->db));
    p->m.born_empty = true;
    assert_true(placing_majority_holds(&p->db));
}

/* The log of the group that it goes to may know the file. */
static void between_two_groups_no_file_is_taken_for_a_stranger(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    place_scan(p, 555);
    p->db.member = true;
    assert_next(p, PLACING_FETCH_REPAIR);
    p->m.frozen = true;
    assert_next(p, PLACING_WAIT);
    p->m.frozen = false;
    place_scan(p, 100);
    p->m.frozen = true;
    assert_next(p, PLACING_READY);
}

int main(void)
{
#define T(name) \
    cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        T(nothing_is_decided_before_log_and_file_have_been_read),
        T(an_unknown_name_with_content_is_enrolled),
        T(an_unknown_name_in_rollback_mode_is_converted_first),
        T(an_unknown_name_without_content_waits_for_a_writer),
        T(a_replica_enrols_and_converts_nothing),
        T(a_known_name_without_a_file_is_fetched),
        T(a_stranger_under_a_known_name_is_compared),
        T(a_member_that_lost_its_place_is_repaired_not_compared),
        T(a_replica_fetches_and_follows_as_any_other),
        T(a_majority_of_the_voters_must_hold_the_content),
        T(replicas_that_hold_the_content_do_not_count),
        T(what_was_born_empty_needs_no_holder),
        T(between_two_groups_no_file_is_taken_for_a_stranger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
