#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

static int setup(void **state)
{
    static struct buf b;

    buf_init(&b, 1000);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static void appended_bytes_follow_each_other(void **state)
{
    struct buf *b = *state;

    assert_int_equal(buf_append(b, "abc", 3), 0);
    assert_int_equal(buf_append(b, "def", 3), 0);
    assert_int_equal(b->len, 6);
    assert_memory_equal(b->data, "abcdef", 6);
}

static void content_survives_growing(void **state)
{
    struct buf *b = *state;

    for (unsigned i = 0; i < 1000; i++) {
        uint8_t byte = (uint8_t)i;

        assert_int_equal(buf_append(b, &byte, 1), 0);
    }
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(b->data[i], (uint8_t)i);
    }
}

static void the_maximum_fits_and_one_byte_more_does_not(void **state)
{
    static const uint8_t bytes[1001];
    struct buf *b = *state;

    assert_int_equal(buf_append(b, bytes, 1000), 0);
    assert_int_equal(buf_append(b, bytes, 1), ERR_TOO_BIG);
    assert_int_equal(b->len, 1000);
    buf_reset(b);
    assert_int_equal(buf_append(b, bytes, 1001), ERR_TOO_BIG);
}

static void a_length_near_the_end_of_its_range_is_too_big(void **state)
{
    struct buf *b = *state;

    assert_int_equal(buf_append(b, "a", 1), 0);
    assert_null(buf_room(b, SIZE_MAX));
    assert_int_equal(b->err, ERR_TOO_BIG);
}

static void the_first_failure_sticks_until_reset(void **state)
{
    static const uint8_t bytes[1001];
    struct buf *b = *state;

    buf_append(b, bytes, 1001);
    assert_int_equal(buf_append(b, "a", 1), ERR_TOO_BIG);
    assert_null(buf_room(b, 1));
    buf_reset(b);
    assert_int_equal(buf_append(b, "a", 1), 0);
    assert_int_equal(b->len, 1);
}

static void room_counts_only_what_was_added(void **state)
{
    struct buf *b = *state;
    uint8_t *room = buf_room(b, 100);

    assert_non_null(room);
    assert_int_equal(b->len, 0);
    memcpy(room, "xyz", 3);
    buf_added(b, 3);
    assert_int_equal(b->len, 3);
    assert_memory_equal(b->data, "xyz", 3);
}

static void consumed_bytes_leave_at_the_front(void **state)
{
    struct buf *b = *state;

    buf_append(b, "abcdef", 6);
    buf_consume(b, 2);
    assert_int_equal(b->len, 4);
    assert_memory_equal(b->data, "cdef", 4);
    buf_consume(b, 4);
    assert_int_equal(b->len, 0);
}

static void memory_can_be_taken_out(void **state)
{
    struct buf *b = *state;
    uint8_t *data;
    size_t len;

    buf_append(b, "abc", 3);
    data = buf_take(b, &len);
    assert_non_null(data);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "abc", 3);
    free(data);
    assert_int_equal(b->len, 0);
    assert_int_equal(buf_append(b, "de", 2), 0);
    assert_memory_equal(b->data, "de", 2);
}

static void nothing_can_be_taken_after_a_failure(void **state)
{
    struct buf *b = *state;
    size_t len = 77;

    buf_append(b, "abc", 3);
    assert_null(buf_room(b, 1001));
    assert_null(buf_take(b, &len));
    assert_int_equal(len, 77);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(appended_bytes_follow_each_other),
        TEST(content_survives_growing),
        TEST(the_maximum_fits_and_one_byte_more_does_not),
        TEST(a_length_near_the_end_of_its_range_is_too_big),
        TEST(the_first_failure_sticks_until_reset),
        TEST(room_counts_only_what_was_added),
        TEST(consumed_bytes_leave_at_the_front),
        TEST(memory_can_be_taken_out),
        TEST(nothing_can_be_taken_after_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
