#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/ids.h"

static const struct position base = {41, 0x1122334455667788};
static const struct token token = {1, 2, 3, 4};

static void a_uuid_is_written_in_five_groups(void **state)
{
    struct uuid u = {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe,
                      0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10}};
    char text[UUID_TEXT_BYTES];

    (void)state;
    uuid_text(&u, text);
    assert_string_equal(text, "01234567-89ab-cdef-fedc-ba9876543210");
}

static void random_uuids_differ(void **state)
{
    struct uuid a = {{0}}, b = {{0}};

    (void)state;
    assert_int_equal(uuid_random(&a), 0);
    assert_int_equal(uuid_random(&b), 0);
    assert_false(uuid_is_none(&a));
    assert_false(uuid_equal(&a, &b));
}

static void a_transaction_counts_one_up(void **state)
{
    (void)state;
    assert_int_equal(position_next(&base, &token, 5, 6).txid, 42);
}

static void equal_transactions_give_equal_positions(void **state)
{
    struct position a = position_next(&base, &token, 5, 6);
    struct position b = position_next(&base, &token, 5, 6);

    (void)state;
    assert_true(position_equal(&a, &b));
}

static void assert_differs(const struct position *from, const struct token *by,
                           uint32_t db_pages, uint64_t checksum)
{
    struct position a = position_next(&base, &token, 5, 6);
    struct position b = position_next(from, by, db_pages, checksum);

    assert_int_not_equal(a.hash, b.hash);
}

static void every_input_changes_the_hash(void **state)
{
    struct position from = base;

    (void)state;
    from.txid++;
    assert_differs(&from, &token, 5, 6);
    from = base;
    from.hash++;
    assert_differs(&from, &token, 5, 6);
    assert_differs(&base, &(struct token){9, 2, 3, 4}, 5, 6);
    assert_differs(&base, &(struct token){1, 9, 3, 4}, 5, 6);
    assert_differs(&base, &(struct token){1, 2, 9, 4}, 5, 6);
    assert_differs(&base, &(struct token){1, 2, 3, 9}, 5, 6);
    assert_differs(&base, &token, 9, 6);
    assert_differs(&base, &token, 5, 9);
}

/* The chain is replicated state: nodes of different versions must agree. */
static void the_chain_never_changes(void **state)
{
    struct position next = position_next(&base, &token, 5, 6);

    (void)state;
    assert_int_equal(next.hash, 0x1d38a4171c8de27a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uuid_is_written_in_five_groups),
        cmocka_unit_test(random_uuids_differ),
        cmocka_unit_test(a_transaction_counts_one_up),
        cmocka_unit_test(equal_transactions_give_equal_positions),
        cmocka_unit_test(every_input_changes_the_hash),
        cmocka_unit_test(the_chain_never_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
