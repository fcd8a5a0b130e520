#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

/* Top bits set: shifts that go through int would show. */
static const uint8_t bytes[] = {0x00, 0xf1, 0xf2, 0xf3, 0xf4,
                                0xf5, 0xf6, 0xf7, 0xf8};

static void big_endian_is_read_from_any_address(void **state)
{
    (void)state;
    assert_int_equal(get_be16(bytes + 1), 0xf1f2);
    assert_int_equal(get_be32(bytes + 1), 0xf1f2f3f4);
}

static void little_endian_is_read_from_any_address(void **state)
{
    (void)state;
    assert_int_equal(get_le16(bytes + 1), 0xf2f1);
    assert_int_equal(get_le32(bytes + 1), 0xf4f3f2f1);
    assert_true(get_le64(bytes + 1) == 0xf8f7f6f5f4f3f2f1);
}

static void what_is_put_is_in_that_order_and_no_longer(void **state)
{
    uint8_t out[9] = {0};

    (void)state;
    put_be32(out, 0xf1f2f3f4);
    assert_memory_equal(out, bytes + 1, 4);
    assert_int_equal(out[4], 0);
    put_le64(out, 0xf8f7f6f5f4f3f2f1);
    assert_memory_equal(out, bytes + 1, 8);
    assert_int_equal(out[8], 0);
    put_le32(out, 0x04030201);
    assert_memory_equal(out, "\1\2\3\4\xf5", 5);
    put_le16(out, 0xf2f1);
    assert_memory_equal(out, "\xf1\xf2\3", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_endian_is_read_from_any_address),
        cmocka_unit_test(little_endian_is_read_from_any_address),
        cmocka_unit_test(what_is_put_is_in_that_order_and_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
