/* Transactions that are refused before anything of them gets into the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/fake_guest.h"

static int setup(void **state)
{
    *state = world_open(3);
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    return 0;
}

/* A part whose every field is the test's own, of up to two pages; images are
 * zeros that page 1 could have. */
static void send_pages(struct world *w, struct guest *g,
                       struct session_propose m, uint32_t first,
                       uint32_t second)
{
    uint8_t images[2 * WORLD_PAGE] = {0}, numbers[8];

    for (size_t i = 0; i < 2; i++) {
        images[i * WORLD_PAGE + 18] = images[i * WORLD_PAGE + 19] = 2;
        put_le32(numbers + 4 * i, i == 0 ? first : second);
    }
    assert_true((uint64_t)m.count * m.page_size <= sizeof images);
    g->sequence += g->parts == 0;
    m.sequence = g->sequence;
    m.numbers = numbers;
    m.images = images;
    guest_send(w, g, &m);
}

static void send_raw(struct world *w, struct guest *g, struct session_propose m,
                     uint32_t page)
{
    send_pages(w, g, m, page, page + 1);
}

static const struct session_propose good = {.page_size = WORLD_PAGE,
                                            .db_pages = 3,
                                            .count = 1,
                                            .last = true};

/* The answer to a transaction that was refused; nothing of it can commit. */
static struct world_message surely_failed(struct world *w, struct guest *g,
                                          enum session_reason reason)
{
    struct world_message m = guest_failed(g, SESSION_FAILED, reason);

    assert_int_equal(g->session.turn, TURN_OWNED);
    assert_null(w->db.proposal);
    world_pass(w, 30000000);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 0);
    guest_not_told(g);
    return m;
}

static void a_malformed_transaction_fails(void **state)
{
    static const struct {
        const char *what;
        struct session_propose m;
        uint32_t page, second;
    } bad[] = {
        {"another page size", {.page_size = 4096, .db_pages = 3}, 2, 3},
        {"no power of two",
         {.page_size = 513, .db_pages = 3, .count = 1},
         2,
         3},
        {"a tiny page size",
         {.page_size = 256, .db_pages = 3, .count = 1},
         2,
         3},
        {"a part out of turn",
         {.page_size = 512, .db_pages = 3, .count = 1, .number = 1},
         2,
         3},
        {"no size at the end", {.page_size = 512, .count = 1}, 2, 3},
        {"nothing at all", {.page_size = 512}, 2, 3},
        {"page 0", {.page_size = 512, .db_pages = 3, .count = 1}, 0, 1},
        {"a page twice", {.page_size = 512, .db_pages = 3, .count = 2}, 2, 2},
        {"descending", {.page_size = 512, .db_pages = 3, .count = 2}, 3, 2},
    };
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct session_propose m = bad[i].m;
        m.last = true;
        send_pages(w, g, m, bad[i].page, bad[i].second);
        if (g->n_inbox == 0) {
            fail_msg("accepted: %s", bad[i].what);
        }
        assert_non_null(
            strstr(surely_failed(w, g, REASON_IO).text, "malformed"));
        assert_int_equal(world_in_flight(w), 0);
    }
    send_raw(w, g, good, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

/* Over all parts: so none comes twice, and none is hashed twice. */
static void pages_that_do_not_ascend_fail(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    for (uint32_t page = 1; page <= 2; page++) {
        guest_part(w, g, 2);
        guest_not_told(g);
        guest_last(w, g, page);
        assert_non_null(
            strstr(surely_failed(w, g, REASON_IO).text, "malformed"));
    }
    guest_part(w, g, 2);
    guest_last(w, g, 3);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

/* Also where the database has no page size yet. */
static void parts_of_different_page_sizes_fail(void **state)
{
    for (uint32_t size = WORLD_PAGE; size <= 4096; size *= 8) {
        struct world *w = world_open(0);
        struct guest *g = guest_owner(w);
        uint32_t other = size == 4096 ? WORLD_PAGE : 4096;

        guest_part_sized(w, g, 1, 1, size, 0);
        guest_part_sized(w, g, 2, 1, other, 2);
        surely_failed(w, g, REASON_IO);
        guest_part_sized(w, g, 1, 2, other, 2); /* the size was not kept */
        world_deliver_all(w);
        guest_told(g, SESSION_COMMITTED);
        world_close(w);
    }
    (void)state;
}

/* A token names one attempt for ever. */
static void a_token_s_sequence_must_grow(void **state)
{
    static const uint64_t bad[] = {0, 6, 7, FENCE_SEQUENCE, UINT64_MAX};
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    g->sequence = 6;
    guest_last(w, g, 2); /* 7: it may begin anywhere, and leave some out */
    world_foreign(w);
    guest_told(g, SESSION_CONFLICT);
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_lose_all(w);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        g->sequence = bad[i] - 1;
        guest_last(w, g, 2);
        guest_failed(g, SESSION_FAILED, REASON_IO);
        assert_null(w->db.proposal);
        assert_int_equal(world_in_flight(w), 0);
        assert_int_equal(g->session.turn, TURN_OWNED);
    }
    g->sequence = FENCE_SEQUENCE - 2;
    guest_last(w, g, 2);
    assert_int_equal(world_peek(w, 0).txn.token.sequence, FENCE_SEQUENCE - 1);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

/* Where the database has no page size yet that it would have to fit. */
static void an_empty_database_takes_only_sizes_that_sqlite_knows(void **state)
{
    static const uint32_t sizes[] = {0, 16, 256, 513, 1000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct world *w = world_open(0);
        struct guest *g = guest_owner(w);
        uint8_t *image = calloc(1, sizes[i] + 1), number[4];
        struct session_propose m = good;

        assert_non_null(image);
        put_le32(number, 1);
        m.page_size = sizes[i];
        m.sequence = 1;
        m.images = image;
        m.numbers = number;
        guest_send(w, g, &m);
        surely_failed(w, g, REASON_IO);
        free(image);
        world_close(w);
    }
    (void)state;
}

static void a_first_page_that_leaves_wal_mode_fails(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    for (size_t at = 18; at <= 19; at++) {
        uint8_t image[WORLD_PAGE] = {0}, number[4];
        struct session_propose m = good;
        image[18] = image[19] = 2;
        image[at] = 1;
        put_le32(number, 1);
        m.sequence = ++g->sequence;
        m.numbers = number;
        m.images = image;
        guest_send(w, g, &m);
        surely_failed(w, g, REASON_IO);
    }
}

static void after_a_bad_part_the_answer_waits_for_the_last(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    send_raw(w, g, (struct session_propose){.page_size = 4096, .number = 1}, 2);
    guest_not_told(g);
    world_lose_all(w);
    world_lead(w, NODE_THERE);
    assert_int_equal(world_in_flight(w), 0); /* nothing of it leaves any more */
    g->parts = 2;
    guest_part(w, g, 2);
    guest_not_told(g);
    assert_int_equal(g->session.turn, TURN_PROPOSING);
    guest_last(w, g, 3);
    surely_failed(w, g, REASON_IO);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_true(slot_is_free(&w->db));
}

static void more_parts_than_a_transaction_may_have_fail_as_too_large(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    for (uint32_t i = 0; i < TXN_PARTS_MAX + 1; i++) {
        guest_part(w, g, 2 + i);
        world_lose_all(w);
    }
    guest_last(w, g, TXN_PARTS_MAX + 3);
    assert_non_null(strstr(surely_failed(w, g, REASON_FULL).text, "large"));
}

static void as_many_parts_as_a_transaction_may_have_are_accepted(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    for (uint32_t i = 0; i < TXN_PARTS_MAX; i++) {
        guest_part(w, g, 1 + i);
    }
    guest_last(w, g, TXN_PARTS_MAX + 1);
    assert_int_equal(world_in_flight(w), TXN_PARTS_MAX + 1);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void more_bytes_than_a_transaction_may_have_fail_as_too_large(
    void **state)
{
    const uint32_t size = 65536, count = PART_BYTES_MAX / size;
    struct world *w = world_open(0);
    struct guest *g = guest_owner(w);

    for (uint32_t i = 0; i < TXN_BYTES_MAX / PART_BYTES_MAX; i++) {
        guest_part_sized(w, g, 1 + i * count, count, size, 0);
        assert_int_equal(world_in_flight(w), 1);
        world_lose_all(w);
    }
    guest_part_sized(w, g, TXN_BYTES_MAX / size + 1, 1, size,
                     TXN_BYTES_MAX / size + 1);
    assert_non_null(strstr(surely_failed(w, g, REASON_FULL).text, "large"));
    world_close(w);
    (void)state;
}

static void a_part_with_more_pages_than_an_entry_holds_fails_as_too_large(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part_sized(w, g, 2, PART_BYTES_MAX / WORLD_PAGE + 1, WORLD_PAGE,
                     5000);
    surely_failed(w, g, REASON_FULL);
}

static void a_proposal_without_the_slot_is_not_heard(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *idle = guest_open(w), *waits = guest_open(w);

    guest_lock(w, waits);
    send_raw(w, idle, good, 2);
    send_raw(w, waits, good, 2);
    assert_null(w->db.proposal);
    guest_last(w, owner, 2);
    send_raw(w, owner, good, 2); /* one is under way */
    assert_int_equal(world_in_flight(w), 1);
    world_deliver_all(w);
    guest_told(owner, SESSION_COMMITTED);
    send_raw(w, owner, good, 2); /* that one is over */
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    guest_not_told(owner);
    guest_unlock(w, owner, UNLOCK_PUBLISHED);
    guest_told(waits, SESSION_GRANT);
    assert_int_equal(w->file.sum, w->log.sum);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_malformed_transaction_fails),
        T(pages_that_do_not_ascend_fail),
        T(parts_of_different_page_sizes_fail),
        T(a_token_s_sequence_must_grow),
        T(an_empty_database_takes_only_sizes_that_sqlite_knows),
        T(a_first_page_that_leaves_wal_mode_fails),
        T(after_a_bad_part_the_answer_waits_for_the_last),
        T(more_parts_than_a_transaction_may_have_fail_as_too_large),
        T(as_many_parts_as_a_transaction_may_have_are_accepted),
        T(more_bytes_than_a_transaction_may_have_fail_as_too_large),
        T(a_part_with_more_pages_than_an_entry_holds_fails_as_too_large),
        T(a_proposal_without_the_slot_is_not_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
