/* Where the local file stands in the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/place.h"
#include "wire/entry.h"

/* The group accepts a transaction with `parts` parts before it, after which the
 * database has the checksum. */
static void accept_parts(struct place *p, uint64_t sum, unsigned parts)
{
    struct entry_txn txn = {.db_pages = PLACE_PAGES,
                            .parts = parts,
                            .checksum = sum,
                            .pages = {.page_size = 512}};
    struct machine_part *part[4];
    struct list list;
    struct machine_accept a = {
        .txn = &txn, .bytes = "last", .len = 4, .parts = &list};

    list_init(&list);
    for (unsigned i = 0; i < parts; i++) {
        part[i] = calloc(1, sizeof *part[i] + 1);
        assert_non_null(part[i]);
        part[i]->len = 1;
        part[i]->bytes[0] = (uint8_t)('a' + i);
        list_push(&list, &part[i]->link);
    }
    p->m.position.txid++;
    p->m.position.hash = 7000 + p->m.position.txid;
    a.position = p->m.position;
    p->woken = false;
    placing_accepted(&p->db, &a);
    for (unsigned i = 0; i < parts; i++) {
        free(part[i]);
    }
}

static void accept_one(struct place *p, uint64_t sum)
{
    accept_parts(p, sum, 0);
}

/* The log's history: after the enrolment at 100 come 101, 102, ... */
static void accept_up_to(struct place *p, uint64_t sum)
{
    while (p->m.position.txid + 100 < sum) {
        accept_one(p, p->m.position.txid + 101);
    }
}

static unsigned n_pending(const struct place *p)
{
    unsigned n = 0;

    for (const struct list *l = p->db.pending.next; l != &p->db.pending;
         l = l->next) {
        n++;
    }
    return n;
}

static void assert_placed(const struct place *p, uint64_t txid)
{
    assert_true(p->db.placed);
    assert_int_equal(p->db.applied.txid, txid);
    assert_int_equal(p->db.applied.hash, txid == 0 ? 0 : 7000 + txid);
    assert_int_equal(p->db.applied_sum, 100 + txid);
    assert_int_equal(p->db.applied_pages, PLACE_PAGES);
}

/* From which transaction on the applier has work; 0: none. */
static uint64_t first_pending(const struct place *p)
{
    const struct list *l = list_first(&p->db.pending);

    return l == NULL ? 0 : LIST_ENTRY(l, struct pending, link)->position.txid;
}

/* ---- the place in the log ------------------------------------------------ */

static void a_file_like_the_enrolled_one_stands_at_the_start(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    place_enroll(p);
    assert_placed(p, 0);
    assert_ptr_equal(p->m.local, &p->db);
    assert_true(p->woken);
}

static void it_also_does_when_it_is_scanned_afterwards(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    assert_false(p->db.placed);
    place_scan(p, 100);
    assert_placed(p, 0);
}

static void a_file_stands_where_its_checksum_is(void **state)
{
    struct place *p = *state;

    place_scan(p, 102);
    place_enroll(p);
    assert_false(p->db.placed);
    accept_up_to(p, 101);
    assert_false(p->db.placed);
    accept_up_to(p, 102);
    assert_placed(p, 2);
    assert_int_equal(n_pending(p), 0);
    accept_up_to(p, 105);
    assert_placed(p, 2);
    assert_int_equal(n_pending(p), 3);
    assert_int_equal(first_pending(p), 3);
}

static void a_file_that_is_scanned_late_is_found_in_what_was_kept(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    accept_up_to(p, 105);
    assert_int_equal(n_pending(p), 5);
    place_scan(p, 103);
    assert_placed(p, 3);
    assert_int_equal(n_pending(p), 2);
    assert_int_equal(first_pending(p), 4);
}

static void scanned_late_and_nothing_written_since_it_was_enrolled(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    accept_up_to(p, 103);
    place_scan(p, 100);
    assert_placed(p, 0);
    assert_int_equal(n_pending(p), 3);
    assert_int_equal(first_pending(p), 1);
}

static void of_several_places_the_last_one_counts(void **state)
{
    struct place *p = *state;

    place_scan(p, 101);
    place_enroll(p);
    accept_one(p, 101);
    accept_one(p, 102);
    accept_one(p, 101); /* a page was changed back */
    assert_true(p->db.placed);
    assert_int_equal(p->db.applied.txid, 3);
    assert_int_equal(n_pending(p), 0);
}

static void of_several_kept_places_the_last_one_counts(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    accept_one(p, 101);
    accept_one(p, 102);
    accept_one(p, 101);
    accept_one(p, 103);
    place_scan(p, 101);
    assert_int_equal(p->db.applied.txid, 3);
    assert_int_equal(n_pending(p), 1);
}

static void equal_checksums_of_another_size_are_no_place(void **state)
{
    struct place *p = *state;

    p->db.scanned = true;
    p->db.checksum.sum = 101;
    p->db.checksum.pages = PLACE_PAGES + 1;
    place_enroll(p);
    accept_one(p, 101);
    assert_false(p->db.placed);
}

static void a_file_that_is_nowhere_has_no_place_and_keeps_nothing(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    accept_up_to(p, 103);
    place_scan(p, 555);
    assert_false(p->db.placed);
    assert_int_equal(n_pending(p), 0);
    assert_int_equal(p->db.pending_bytes, 0);
    accept_up_to(p, 105); /* an image will bring them */
    assert_int_equal(n_pending(p), 0);
}

/* It matches the enrolled content, but what came after was not kept. */
static void the_start_is_no_place_when_the_way_from_it_is_lost(void **state)
{
    struct place *p = *state;

    place_scan(p, 555);
    place_enroll(p);
    accept_up_to(p, 102);
    p->db.state = DB_FETCHING;
    accept_up_to(p, 104);
    assert_int_equal(first_pending(p), 3);
    place_scan(p, 100);
    assert_false(p->db.placed);
}

static void nor_when_nothing_at_all_was_kept(void **state)
{
    struct place *p = *state;

    place_scan(p, 555);
    place_enroll(p);
    accept_up_to(p, 102);
    assert_int_equal(n_pending(p), 0);
    place_scan(p, 100);
    assert_false(p->db.placed);
}

/* Its checksum is not known yet: that it looks empty says nothing. */
static void what_has_not_been_scanned_is_nowhere(void **state)
{
    struct place *p = *state;

    p->m.checksum = 0;
    p->m.pages = 0;
    place_enroll(p);
    assert_false(p->db.placed);
    p->db.checksum.sum = 101;
    p->db.checksum.pages = PLACE_PAGES;
    accept_one(p, 101);
    assert_false(p->db.placed);
    assert_int_equal(n_pending(p), 1);
}

/* ---- while the file follows ---------------------------------------------- */

static void what_is_accepted_is_kept_with_all_its_parts(void **state)
{
    struct place *p = *state;
    struct pending *one;

    place_scan(p, 100);
    place_enroll(p);
    p->db.state = DB_READY;
    accept_parts(p, 101, 3);
    assert_true(p->woken);
    one = LIST_ENTRY(list_first(&p->db.pending), struct pending, link);
    assert_int_equal(one->n_entries, 4);
    assert_memory_equal(one->entries[0].bytes, "a", 1);
    assert_memory_equal(one->entries[2].bytes, "c", 1);
    assert_memory_equal(one->entries[3].bytes, "last", 4);
    assert_int_equal(one->checksum, 101);
    assert_int_equal(one->db_pages, PLACE_PAGES);
    assert_int_equal(one->page_size, 512);
    assert_int_equal(one->position.txid, 1);
    assert_int_equal(p->db.pending_bytes, 3 + 4);
}

static void a_file_that_follows_is_not_moved_by_an_equal_checksum(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    place_enroll(p);
    p->db.state = DB_READY;
    accept_one(p, 100); /* changed nothing in the end */
    assert_int_equal(p->db.applied.txid, 0);
    assert_int_equal(n_pending(p), 1);
}

static void what_an_image_has_brought_already_is_not_kept(void **state)
{
    struct place *p = *state;

    p->db.scanned = true;
    place_enroll(p);
    p->db.state = DB_READY;
    placing_applied(&p->db, &(struct position){3, 7003}, 103, PLACE_PAGES);
    accept_up_to(p, 103);
    assert_int_equal(n_pending(p), 0);
    accept_up_to(p, 104);
    assert_int_equal(first_pending(p), 4);
}

static void while_an_image_comes_everything_is_kept(void **state)
{
    struct place *p = *state;

    place_scan(p, 555);
    place_enroll(p);
    p->db.state = DB_FETCHING;
    accept_up_to(p, 102);
    assert_int_equal(n_pending(p), 2);
    placing_applied(&p->db, &(struct position){1, 7001}, 101, PLACE_PAGES);
    pending_drop(&p->db, 1);
    assert_int_equal(first_pending(p), 2);
}

static void a_second_scan_that_finds_the_same_keeps_the_place(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    place_enroll(p);
    p->db.state = DB_READY;
    accept_up_to(p, 102);
    place_scan(p, 100);
    assert_placed(p, 0);
    assert_int_equal(n_pending(p), 2);
}

static void a_second_scan_may_find_the_file_further_on(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    place_enroll(p);
    p->db.state = DB_READY;
    accept_up_to(p, 103);
    place_scan(p, 102);
    assert_placed(p, 2);
    assert_int_equal(first_pending(p), 3);
}

static void a_second_scan_that_finds_something_else_loses_the_place(
    void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    place_enroll(p);
    p->db.state = DB_READY;
    accept_up_to(p, 103);
    place_scan(p, 555);
    assert_false(p->db.placed);
    assert_int_equal(n_pending(p), 0);
}

static void a_scan_of_an_unknown_name_decides_nothing(void **state)
{
    struct place *p = *state;

    place_scan(p, 100);
    assert_false(p->db.placed);
}

#define ORDER 77u /* the number of an order (marmot recover -from) */

static void give_order(struct place *p)
{
    p->db.ordered.wanted = true;
    p->db.ordered.number = ORDER;
}

static void accept_token(struct place *p, uint64_t sum, struct token token)
{
    struct entry_txn txn = {.token = token,
                            .db_pages = PLACE_PAGES,
                            .checksum = sum,
                            .pages = {.page_size = 512, .count = PLACE_PAGES}};
    struct list none;
    struct machine_accept a = {
        .txn = &txn, .bytes = "last", .len = 4, .parts = &none};

    list_init(&none);
    p->m.position.txid++;
    p->m.position.hash = 7000 + p->m.position.txid;
    a.position = p->m.position;
    placing_accepted(&p->db, &a);
}

static void a_file_of_an_order_stands_nowhere_though_the_log_knows_it(
    void **state)
{
    struct place *p = *state;

    give_order(p);
    place_enroll(p);
    place_scan(p, 100);
    accept_up_to(p, 103);
    place_scan(p, 102);
    assert_false(p->db.placed);
    p->db.noted = (struct db_noted){true, {1, 7001}, 102, PLACE_PAGES};
    placing_noted(&p->db);
    assert_false(p->db.placed);
}

static void it_stands_where_an_attempt_of_its_order_was_accepted(void **state)
{
    struct place *p = *state;

    give_order(p);
    place_enroll(p);
    place_scan(p, 103);
    accept_up_to(p, 102);
    accept_token(p, 103, (struct token){10, ORDER, 0, ORDER_SEQUENCE + 2});
    assert_false(p->db.ordered.wanted);
    assert_placed(p, 3);
    assert_int_equal(n_pending(p), 0);
}

static void what_others_write_is_no_attempt_of_the_order(void **state)
{
    struct place *p = *state;

    give_order(p);
    place_enroll(p);
    place_scan(p, 101);
    accept_token(p, 101, (struct token){11, ORDER, 0, ORDER_SEQUENCE + 1});
    accept_token(p, 101, (struct token){10, ORDER + 1, 0, ORDER_SEQUENCE + 1});
    accept_token(p, 101, (struct token){10, ORDER, 0, FENCE_SEQUENCE + 1});
    assert_true(p->db.ordered.wanted);
    assert_false(p->db.placed);
}

static void what_an_order_replaces_is_kept_aside_everywhere(void **state)
{
    struct place *p = *state;
    const struct list *l;

    place_enroll(p);
    place_scan(p, 100);
    accept_token(p, 555, (struct token){11, 5, 0, ORDER_SEQUENCE + 1});
    accept_token(p, 556, (struct token){11, 5, 0, FENCE_SEQUENCE + 1});
    l = list_first(&p->db.pending);
    assert_true(LIST_ENTRY(l, struct pending, link)->ordered);
    assert_false(LIST_ENTRY(l->next, struct pending, link)->ordered);
}

static void what_is_dropped_ends_with_the_given_transaction(void **state)
{
    struct place *p = *state;

    place_enroll(p);
    accept_up_to(p, 104);
    pending_drop(&p->db, 2);
    assert_int_equal(first_pending(p), 3);
    assert_int_equal(p->db.pending_bytes, 2 * 4);
    pending_drop(&p->db, 2);
    assert_int_equal(n_pending(p), 2);
    pending_drop(&p->db, UINT64_MAX);
    assert_int_equal(n_pending(p), 0);
    assert_int_equal(p->db.pending_bytes, 0);
}

int main(void)
{
#define T(name) \
    cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        T(a_file_like_the_enrolled_one_stands_at_the_start),
        T(it_also_does_when_it_is_scanned_afterwards),
        T(a_file_stands_where_its_checksum_is),
        T(a_file_that_is_scanned_late_is_found_in_what_was_kept),
        T(scanned_late_and_nothing_written_since_it_was_enrolled),
        T(of_several_places_the_last_one_counts),
        T(of_several_kept_places_the_last_one_counts),
        T(equal_checksums_of_another_size_are_no_place),
        T(a_file_that_is_nowhere_has_no_place_and_keeps_nothing),
        T(the_start_is_no_place_when_the_way_from_it_is_lost),
        T(nor_when_nothing_at_all_was_kept),
        T(what_has_not_been_scanned_is_nowhere),
        T(what_is_accepted_is_kept_with_all_its_parts),
        T(a_file_that_follows_is_not_moved_by_an_equal_checksum),
        T(what_an_image_has_brought_already_is_not_kept),
        T(while_an_image_comes_everything_is_kept),
        T(a_second_scan_that_finds_the_same_keeps_the_place),
        T(a_second_scan_may_find_the_file_further_on),
        T(a_second_scan_that_finds_something_else_loses_the_place),
        T(a_scan_of_an_unknown_name_decides_nothing),
        T(a_file_of_an_order_stands_nowhere_though_the_log_knows_it),
        T(it_stands_where_an_attempt_of_its_order_was_accepted),
        T(what_others_write_is_no_attempt_of_the_order),
        T(what_an_order_replaces_is_kept_aside_everywhere),
        T(what_is_dropped_ends_with_the_given_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
