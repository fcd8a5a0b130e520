#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/pack.h"
#include "wire/unpack.h"

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 1u << 20);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static void open(struct unpack *u, const struct buf *bytes)
{
    unpack_init(u, bytes->data, bytes->len);
}

static void integers_of_every_width_come_back(void **state)
{
    static const uint64_t values[] = {0,          127,       128,   255,
                                      256,        65535,     65536, UINT32_MAX,
                                      1ull << 32, UINT64_MAX};
    struct buf *out = *state;
    struct unpack u;

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        pack_uint(out, values[i]);
    }
    open(&u, out);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_true(unpack_uint(&u, UINT64_MAX) == values[i]);
    }
    assert_int_equal(unpack_end(&u), 0);
}

static void an_integer_above_its_maximum_is_too_big(void **state)
{
    struct buf *out = *state;
    struct unpack u;

    pack_uint(out, 1000);
    open(&u, out);
    assert_int_equal(unpack_uint(&u, 1000), 1000);
    open(&u, out);
    assert_int_equal(unpack_uint(&u, 999), 0);
    assert_int_equal(u.err, ERR_TOO_BIG);
}

static void booleans_come_back(void **state)
{
    struct buf *out = *state;
    struct unpack u;

    pack_bool(out, true);
    pack_bool(out, false);
    open(&u, out);
    assert_true(unpack_bool(&u));
    assert_false(unpack_bool(&u));
    assert_int_equal(unpack_end(&u), 0);
}

static void binaries_of_every_length_class_come_back(void **state)
{
    static const size_t lengths[] = {0, 1, 255, 256, 65535, 65536};
    static uint8_t data[65536];
    struct buf *out = *state;
    struct unpack u;
    size_t len;

    memset(data, 0xa5, sizeof data);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const uint8_t *back;

        buf_reset(out);
        pack_bin(out, data, lengths[i]);
        open(&u, out);
        back = unpack_bin(&u, lengths[i], &len);
        assert_non_null(back);
        assert_int_equal(len, lengths[i]);
        assert_memory_equal(back, data, len);
        assert_int_equal(unpack_end(&u), 0);
    }
}

static void a_binary_above_its_maximum_is_too_big(void **state)
{
    struct buf *out = *state;
    struct unpack u;
    size_t len = 7;

    pack_bin(out, "abcd", 4);
    open(&u, out);
    assert_null(unpack_bin(&u, 3, &len));
    assert_int_equal(len, 0);
    assert_int_equal(u.err, ERR_TOO_BIG);
}

static void an_exact_binary_must_have_that_length(void **state)
{
    uint8_t back[5] = {9, 9, 9, 9, 9};
    struct buf *out = *state;
    struct unpack u;

    pack_bin(out, "abcd", 4);
    open(&u, out);
    unpack_bin_exact(&u, back, 4);
    assert_int_equal(unpack_end(&u), 0);
    assert_memory_equal(back, "abcd", 4);
    open(&u, out);
    unpack_bin_exact(&u, back, 5);
    assert_int_equal(u.err, ERR_CORRUPT);
    assert_int_equal(back[0], 0);
}

static void strings_come_back_with_a_terminator(void **state)
{
    char text[300], back[300];
    struct buf *out = *state;
    struct unpack u;

    memset(text, 'x', sizeof text);
    for (size_t len = 0; len < sizeof text; len++) {
        text[len] = '\0';
        buf_reset(out);
        pack_str(out, text);
        open(&u, out);
        unpack_str(&u, back, len + 1);
        assert_int_equal(unpack_end(&u), 0);
        assert_string_equal(back, text);
        text[len] = 'x';
    }
}

static void a_string_that_does_not_fit_is_too_big(void **state)
{
    char back[4] = "old";
    struct buf *out = *state;
    struct unpack u;

    pack_str(out, "four");
    open(&u, out);
    unpack_str(&u, back, sizeof back);
    assert_int_equal(u.err, ERR_TOO_BIG);
    assert_string_equal(back, "");
}

static void a_string_with_a_nul_inside_is_corrupt(void **state)
{
    char back[8];
    struct unpack u;

    (void)state;
    unpack_init(&u,
                "\xa3"
                "a\0b",
                4);
    unpack_str(&u, back, sizeof back);
    assert_int_equal(u.err, ERR_CORRUPT);
    assert_string_equal(back, "");
}

static void arrays_may_be_nested_up_to_the_maximum(void **state)
{
    struct buf *out = *state;
    struct unpack u;

    for (unsigned i = 0; i <= MSGPACK_DEPTH_MAX; i++) {
        pack_array(out, 1);
    }
    pack_uint(out, 5);
    open(&u, out);
    for (unsigned i = 0; i < MSGPACK_DEPTH_MAX; i++) {
        assert_int_equal(unpack_array(&u), 1);
        assert_int_equal(u.err, 0);
    }
    assert_int_equal(unpack_array(&u), 0);
    assert_int_equal(u.err, ERR_TOO_BIG);
}

static void arrays_that_were_left_do_not_count_as_nesting(void **state)
{
    struct buf *out = *state;
    struct unpack u;

    for (unsigned i = 0; i < 3 * MSGPACK_DEPTH_MAX; i++) {
        pack_array(out, 0);
    }
    open(&u, out);
    for (unsigned i = 0; i < 3 * MSGPACK_DEPTH_MAX; i++) {
        unpack_array_of(&u, 0);
        unpack_leave(&u);
    }
    assert_int_equal(unpack_end(&u), 0);
}

static void array_counts_come_back(void **state)
{
    static const uint32_t counts[] = {0, 15, 16, 65535, 65536};
    struct buf *out = *state;
    struct unpack u;

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        buf_reset(out);
        pack_array(out, counts[i]);
        for (uint32_t k = 0; k < counts[i]; k++) {
            pack_uint(out, 1);
        }
        open(&u, out);
        assert_int_equal(unpack_array(&u), counts[i]);
        assert_int_equal(u.err, 0);
    }
}

static void an_array_must_have_the_count_that_is_asked_for(void **state)
{
    struct buf *out = *state;
    struct unpack u;

    pack_array(out, 1);
    pack_uint(out, 1);
    open(&u, out);
    unpack_array_of(&u, 2);
    assert_int_equal(u.err, ERR_CORRUPT);
}

static void a_count_that_cannot_be_true_is_refused(void **state)
{
    static const uint8_t huge[] = {0xdd, 0x0f, 0xff, 0xff, 0xff, 0xc0};
    struct unpack u;

    (void)state;
    unpack_init(&u, huge, sizeof huge);
    assert_int_equal(unpack_array(&u), 0);
    assert_int_equal(u.err, ERR_CORRUPT);
    unpack_init(&u, "\x92\x01", 2);
    assert_int_equal(unpack_array(&u), 0);
    assert_int_equal(u.err, ERR_CORRUPT);
}

static void the_first_failure_sticks(void **state)
{
    struct unpack u;
    size_t len;
    char text[4];

    (void)state;
    unpack_init(&u, "\xc0\x01\x91\xc3\xc4\x01x\xa1x", 9);
    unpack_uint(&u, 0); /* nil */
    assert_int_equal(u.err, ERR_CORRUPT);
    assert_int_equal(unpack_uint(&u, 0), 0);
    assert_int_equal(unpack_array(&u), 0);
    unpack_leave(&u);
    assert_false(unpack_bool(&u));
    assert_null(unpack_bin(&u, 100, &len));
    unpack_str(&u, text, sizeof text);
    assert_string_equal(text, "");
    assert_int_equal(unpack_end(&u), ERR_CORRUPT);
}

static void bytes_left_over_are_corrupt(void **state)
{
    struct unpack u;

    (void)state;
    unpack_init(&u, "\x01\x02", 2);
    unpack_uint(&u, 1);
    assert_int_equal(u.err, 0);
    assert_int_equal(unpack_end(&u), ERR_CORRUPT);
}

/* Every first byte, with what each reader may take it for. */
static void each_reader_takes_only_its_own_types(void **state)
{
    (void)state;
    for (unsigned tag = 0; tag < 256; tag++) {
        uint8_t bytes[64] = {(uint8_t)tag};
        struct unpack u;
        char text[64];
        size_t len;

        unpack_init(&u, bytes, sizeof bytes);
        unpack_array(&u);
        assert_int_equal(u.err == 0,
                         tag >> 4 == 9 || tag == 0xdc || tag == 0xdd);
        unpack_init(&u, bytes, sizeof bytes);
        unpack_uint(&u, UINT64_MAX);
        assert_int_equal(u.err == 0, tag < 128 || (tag >= 0xcc && tag < 0xd0));
        unpack_init(&u, bytes, sizeof bytes);
        unpack_bool(&u);
        assert_int_equal(u.err == 0, tag == 0xc2 || tag == 0xc3);
        unpack_init(&u, bytes, sizeof bytes);
        unpack_bin(&u, 64, &len);
        assert_int_equal(u.err == 0, tag >= 0xc4 && tag <= 0xc6);
        unpack_init(&u, bytes, sizeof bytes);
        unpack_str(&u, text, sizeof text);
        assert_int_equal(u.err == 0,
                         tag == 0xa0 || (tag >= 0xd9 && tag <= 0xdb));
    }
}

static int decode_some(const uint8_t *bytes, size_t len)
{
    struct unpack u;
    char text[16];
    uint8_t exact[4];

    unpack_init(&u, bytes, len);
    unpack_array_of(&u, 5);
    unpack_uint(&u, UINT32_MAX);
    unpack_bool(&u);
    unpack_bin_exact(&u, exact, sizeof exact);
    unpack_str(&u, text, sizeof text);
    unpack_array_of(&u, 1);
    unpack_uint(&u, 70000);
    unpack_leave(&u);
    unpack_leave(&u);
    return unpack_end(&u);
}

static void damaged_input_is_survived(void **state)
{
    struct buf *out = *state;

    pack_array(out, 5);
    pack_uint(out, 70000);
    pack_bool(out, true);
    pack_bin(out, "abcd", 4);
    pack_str(out, "text");
    pack_array(out, 1);
    pack_uint(out, 300);
    mangle(decode_some, out->data, out->len);
}

static void a_full_buffer_is_remembered_by_the_packer(void **state)
{
    struct buf small;

    (void)state;
    buf_init(&small, 8);
    pack_uint(&small, UINT64_MAX);
    assert_int_equal(small.err, ERR_TOO_BIG);
    pack_uint(&small, 1);
    assert_int_equal(small.err, ERR_TOO_BIG);
    assert_int_equal(small.len, 0);
    buf_close(&small);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(integers_of_every_width_come_back),
        TEST(an_integer_above_its_maximum_is_too_big),
        TEST(booleans_come_back),
        TEST(binaries_of_every_length_class_come_back),
        TEST(a_binary_above_its_maximum_is_too_big),
        TEST(an_exact_binary_must_have_that_length),
        TEST(strings_come_back_with_a_terminator),
        TEST(a_string_that_does_not_fit_is_too_big),
        TEST(a_string_with_a_nul_inside_is_corrupt),
        TEST(arrays_may_be_nested_up_to_the_maximum),
        TEST(arrays_that_were_left_do_not_count_as_nesting),
        TEST(array_counts_come_back),
        TEST(an_array_must_have_the_count_that_is_asked_for),
        TEST(a_count_that_cannot_be_true_is_refused),
        TEST(the_first_failure_sticks),
        TEST(bytes_left_over_are_corrupt),
        TEST(each_reader_takes_only_its_own_types),
        TEST(damaged_input_is_survived),
        TEST(a_full_buffer_is_remembered_by_the_packer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
