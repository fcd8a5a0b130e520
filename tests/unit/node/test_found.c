/* Where a file stands when only the node's own log, which may end in entries
 * that were never committed, can tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/node.h"
#include "tests/unit/node/place.h"

static const struct uuid uuid = {{7}};

struct own_log {
    struct place *p;
    struct group_state group;
    struct position at; /* the last one that was accepted */
};

static int setup(void **state)
{
    struct own_log *o = calloc(1, sizeof *o);
    void *place;

    assert_non_null(o);
    assert_int_equal(place_setup(&place), 0);
    o->p = place;
    o->p->m.uuid = uuid;
    o->p->db.m = &o->p->m;
    list_init(&o->group.found);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct own_log *o = *state;
    void *place = o->p;

    found_forget(&o->group);
    free(o);
    return place_teardown(&place);
}

static void add(struct own_log *o, int rv, struct buf *bytes)
{
    assert_int_equal(rv, 0);
    found_add(&o->group, bytes->data, bytes->len);
    buf_close(bytes);
}

static void enrolled(struct own_log *o, uint64_t sum)
{
    struct entry_enroll e = {.name = "main",
                             .db = uuid,
                             .node = 1,
                             .page_size = 512,
                             .pages = PLACE_PAGES,
                             .checksum = sum};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    add(o, entry_encode_enroll(&e, &out), &out);
}

/* An entry upon `base`, without pages of its own. */
static struct position proposed(struct own_log *o, const struct position *base,
                                uint64_t session, uint64_t sum)
{
    struct entry_txn e = {.db = uuid,
                          .base = *base,
                          .token = {1, 2, session, 3},
                          .db_pages = PLACE_PAGES,
                          .checksum = sum,
                          .pages = {.page_size = 512}};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    add(o, entry_encode_txn(ENTRY_TXN, &e, NULL, NULL, &out), &out);
    return position_next(&e.base, &e.token, e.db_pages, e.checksum);
}

static struct position accepted(struct own_log *o, uint64_t sum)
{
    o->at = proposed(o, &o->at, o->at.txid, sum);
    return o->at;
}

static void assert_at(const struct own_log *o, const struct position *p)
{
    assert_true(o->p->db.placed);
    assert_int_equal(o->p->db.applied.txid, p->txid);
    assert_true(position_equal(&o->p->db.applied, p));
}

static void place_from_start(struct own_log *o, uint64_t sum)
{
    const struct position start = {0};

    place_scan(o->p, sum);
    o->p->db.placed = false;
    found_place(&o->group, &o->p->db, &start);
}

static void a_state_of_the_own_log_is_found(void **state)
{
    struct own_log *o = *state;
    struct position p;

    enrolled(o, 100);
    accepted(o, 101);
    p = accepted(o, 102);
    accepted(o, 103);
    place_from_start(o, 102);
    assert_at(o, &p);
}

/* A fence upon 102 was in the log behind the transaction that came first: it
 * never happened, but has the checksum of its base. */
static void an_entry_that_came_too_late_is_no_place(void **state)
{
    struct own_log *o = *state;
    struct position p;

    enrolled(o, 100);
    accepted(o, 101);
    p = accepted(o, 102);
    accepted(o, 103);
    proposed(o, &p, 99, 102);
    place_from_start(o, 102);
    assert_at(o, &p);
}

/* The log ends in a fence that may never have been committed. */
static void an_entry_that_changes_nothing_is_not_claimed(void **state)
{
    struct own_log *o = *state;
    struct position p;

    enrolled(o, 100);
    accepted(o, 101);
    p = accepted(o, 102);
    proposed(o, &p, 99, 102);
    place_from_start(o, 102);
    assert_at(o, &p);
}

static void a_state_that_was_never_accepted_is_not_found(void **state)
{
    struct own_log *o = *state;
    struct position p;

    enrolled(o, 100);
    p = accepted(o, 101);
    accepted(o, 102);
    proposed(o, &p, 99, 777);
    place_from_start(o, 777);
    assert_false(o->p->db.placed);
}

/* A snapshot brings a database that this node knew from its log only. */
static void from_the_enrolment_on_all_is_known(void **state)
{
    struct own_log *o = *state;
    struct position p;

    enrolled(o, 100);
    p = accepted(o, 101);
    place_scan(o->p, 101);
    o->p->db.placed = false;
    found_place(&o->group, &o->p->db, NULL);
    assert_at(o, &p);
}

static void without_a_beginning_nothing_is_known(void **state)
{
    struct own_log *o = *state;

    accepted(o, 101);
    place_scan(o->p, 101);
    o->p->db.placed = false;
    found_place(&o->group, &o->p->db, NULL);
    assert_false(o->p->db.placed);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_state_of_the_own_log_is_found),
        T(an_entry_that_came_too_late_is_no_place),
        T(an_entry_that_changes_nothing_is_not_claimed),
        T(a_state_that_was_never_accepted_is_not_found),
        T(from_the_enrolment_on_all_is_known),
        T(without_a_beginning_nothing_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
