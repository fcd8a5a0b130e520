/* The packets between nodes that consensus/ only carries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/host.h"

#define LEASE_BYTES 64u /* docs/FORMATS.md */
#define IMAGE_BYTES 64u

static const struct host_lease lease = {
    .db = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
    .epoch = 0x1112131415161718u,
    .index = 0x2122232425262728u,
    .term = 0x3132333435363738u,
    .stamp = 0x4142434445464748u,
    .us = 0x5152535455565758u,
    .node = 0x6162636465666768u};

static struct host_image image_with(const void *part, size_t len)
{
    return (struct host_image){
        .db = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
        .id = UINT64_MAX,
        .position = {0x3132333435363738u, 0x4142434445464748u},
        .checksum = 0x5152535455565758u,
        .page_size = 65536,
        .pages = UINT32_MAX,
        .first = 0x61626364u,
        .count = 0x71727374u,
        .part = part,
        .part_len = len};
}

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static int decode_lease(const uint8_t *bytes, size_t len)
{
    struct host_lease l;

    return host_lease_decode(bytes, len, &l);
}

/* Also touches every byte of the part. */
static int decode_image(const uint8_t *bytes, size_t len)
{
    struct host_image m;
    int rc = host_image_decode(bytes, len, &m);
    unsigned sum = 0;

    for (size_t i = 0; rc == 0 && i < m.part_len; i++) {
        sum += m.part[i];
    }
    return sum > 255 * PACKET_BYTES_MAX ? -EIO : rc;
}

static void a_lease_comes_back(void **state)
{
    struct buf *out = *state;
    struct host_lease back;

    assert_int_equal(host_lease_encode(&lease, out), 0);
    assert_int_equal(out->len, LEASE_BYTES);
    assert_int_equal(host_lease_decode(out->data, out->len, &back), 0);
    assert_true(uuid_equal(&back.db, &lease.db));
    assert_int_equal(back.epoch, lease.epoch);
    assert_int_equal(back.index, lease.index);
    assert_int_equal(back.term, lease.term);
    assert_int_equal(back.stamp, lease.stamp);
    assert_int_equal(back.us, lease.us);
    assert_int_equal(back.node, lease.node);
}

static void a_lease_has_the_documented_layout(void **state)
{
    static const uint8_t expected[LEASE_BYTES] = {
        1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,
        12,   13,   14,   15,   16,   0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
        0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x38,
        0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, 0x48, 0x47, 0x46, 0x45,
        0x44, 0x43, 0x42, 0x41, 0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52,
        0x51, 0x68, 0x67, 0x66, 0x65, 0x64, 0x63, 0x62, 0x61};
    struct buf *out = *state;

    assert_int_equal(host_lease_encode(&lease, out), 0);
    assert_memory_equal(out->data, expected, LEASE_BYTES);
}

static void a_lease_of_another_length_is_corrupt(void **state)
{
    struct buf *out = *state;
    struct host_lease back = {.epoch = 99};

    host_lease_encode(&lease, out);
    mangle(decode_lease, out->data, LEASE_BYTES);
    for (size_t n = 0; n < LEASE_BYTES; n++) {
        assert_int_equal(mangle_exact(decode_lease, out->data, n), ERR_CORRUPT);
    }
    buf_append(out, "", 1);
    assert_int_equal(host_lease_decode(out->data, out->len, &back),
                     ERR_CORRUPT);
    assert_int_equal(back.epoch, 99); /* untouched */
}

static void an_image_packet_comes_back_with_and_without_a_part(void **state)
{
    static const char *const parts[] = {"", "x", "an encoded part"};
    struct buf *out = *state;

    for (size_t i = 0; i < 3; i++) {
        struct host_image m = image_with(parts[i], strlen(parts[i])), back;
        buf_reset(out);
        assert_int_equal(host_image_encode(&m, out), 0);
        assert_int_equal(out->len, IMAGE_BYTES + m.part_len);
        assert_int_equal(host_image_decode(out->data, out->len, &back), 0);
        assert_true(uuid_equal(&back.db, &m.db));
        assert_int_equal(back.id, m.id);
        assert_true(position_equal(&back.position, &m.position));
        assert_int_equal(back.checksum, m.checksum);
        assert_int_equal(back.page_size, m.page_size);
        assert_int_equal(back.pages, m.pages);
        assert_int_equal(back.first, m.first);
        assert_int_equal(back.count, m.count);
        assert_int_equal(back.part_len, m.part_len);
        assert_memory_equal(back.part, m.part, m.part_len);
        assert_ptr_equal(back.part, out->data + IMAGE_BYTES); /* borrowed */
    }
}

static void an_image_packet_has_the_documented_layout(void **state)
{
    static const uint8_t expected[IMAGE_BYTES + 1] = {
        1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,
        12,   13,   14,   15,   16,   0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, 0x48,
        0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, 0x58, 0x57, 0x56, 0x55,
        0x54, 0x53, 0x52, 0x51, 0x00, 0x00, 0x01, 0x00, 0xff, 0xff, 0xff,
        0xff, 0x64, 0x63, 0x62, 0x61, 0x74, 0x73, 0x72, 0x71, 'p'};
    struct host_image m = image_with("p", 1);
    struct buf *out = *state;

    assert_int_equal(host_image_encode(&m, out), 0);
    assert_int_equal(out->len, sizeof expected);
    assert_memory_equal(out->data, expected, sizeof expected);
}

static void a_short_image_packet_is_corrupt(void **state)
{
    struct host_image m = image_with(NULL, 0), back = {.id = 99};
    struct buf *out = *state;

    host_image_encode(&m, out);
    mangle(decode_image, out->data, IMAGE_BYTES);
    for (size_t n = 0; n < IMAGE_BYTES; n++) {
        assert_int_equal(mangle_exact(decode_image, out->data, n), ERR_CORRUPT);
    }
    assert_int_equal(host_image_decode(out->data, IMAGE_BYTES - 1, &back),
                     ERR_CORRUPT);
    assert_int_equal(back.id, 99); /* untouched */
}

static void an_image_packet_cut_in_its_part_has_a_shorter_part(void **state)
{
    struct host_image m = image_with("0123456789", 10), back;
    struct buf *out = *state;

    host_image_encode(&m, out);
    for (size_t n = 0; n <= 10; n++) {
        assert_int_equal(host_image_decode(out->data, IMAGE_BYTES + n, &back),
                         0);
        assert_int_equal(back.part_len, n);
    }
}

static bool range_valid(uint32_t first, uint32_t count, size_t len)
{
    static const uint8_t hashes[8 * (IMAGE_RANGE_PAGES_MAX + 1)];
    struct host_image m = image_with(hashes, len);

    m.first = first;
    m.count = count;
    return host_image_range_valid(&m);
}

static void a_range_has_a_hash_for_each_page_or_none(void **state)
{
    const uint32_t most = IMAGE_RANGE_PAGES_MAX;

    (void)state;
    assert_true(range_valid(1, 1, 0));
    assert_true(range_valid(1, 1, 8));
    assert_false(range_valid(1, 1, 7));
    assert_false(range_valid(1, 1, 16));
    assert_true(range_valid(1, most, 8 * most));
    assert_false(range_valid(1, most, 8 * (most - 1)));
    assert_false(range_valid(1, most + 1, 8 * (most + 1)));
    assert_false(range_valid(1, most + 1, 0));
    /* Nothing asked: a sign of life. */
    assert_true(range_valid(0, 0, 0));
    assert_false(range_valid(0, 0, 8));
}

static void a_range_lies_among_the_page_numbers(void **state)
{
    (void)state;
    assert_false(range_valid(0, 1, 0));
    assert_true(range_valid(UINT32_MAX - 1, 1, 0));
    assert_false(range_valid(UINT32_MAX, 1, 0));
    assert_false(range_valid(UINT32_MAX - 1, 2, 0));
    assert_true(range_valid(UINT32_MAX - 2, 2, 0));
}

static void what_is_encoded_is_appended(void **state)
{
    struct host_image m = image_with("p", 1);
    struct buf *out = *state;

    assert_int_equal(buf_append(out, "head", 4), 0);
    assert_int_equal(host_lease_encode(&lease, out), 0);
    assert_int_equal(host_image_encode(&m, out), 0);
    assert_int_equal(out->len, 4 + LEASE_BYTES + IMAGE_BYTES + 1);
    assert_memory_equal(out->data, "head", 4);
    assert_int_equal(decode_lease(out->data + 4, LEASE_BYTES), 0);
}

static void nothing_grows_beyond_its_buffer(void **state)
{
    struct host_image m = image_with("0123456789", 10);
    struct buf small;

    (void)state;
    buf_init(&small, LEASE_BYTES - 1);
    assert_int_equal(host_lease_encode(&lease, &small), ERR_TOO_BIG);
    assert_int_equal(small.err, ERR_TOO_BIG);
    buf_close(&small);
    buf_init(&small, IMAGE_BYTES - 1);
    assert_int_equal(host_image_encode(&m, &small), ERR_TOO_BIG);
    buf_close(&small);
    buf_init(&small, IMAGE_BYTES + 9);
    assert_int_equal(host_image_encode(&m, &small), ERR_TOO_BIG);
    assert_int_equal(host_lease_encode(&lease, &small), ERR_TOO_BIG);
    buf_close(&small);
    buf_init(&small, IMAGE_BYTES + 10);
    assert_int_equal(host_image_encode(&m, &small), 0);
    buf_close(&small);
}

static void a_preference_comes_back_and_nothing_like_it_is_taken(void **state)
{
    struct host_prefer sent = {.node = 0x0102030405060708, .stand_in = 1};
    struct host_prefer got = {.node = 0};
    struct buf *out = *state;

    assert_int_equal(host_prefer_encode(&sent, out), 0);
    assert_int_equal(out->len, 12);
    assert_int_equal(out->data[0], 8);
    assert_int_equal(host_prefer_decode(out->data, 12, &got), 0);
    assert_int_equal(got.node, sent.node);
    assert_int_equal(got.stand_in, 1);
    assert_int_equal(host_prefer_decode(out->data, 11, &got), ERR_CORRUPT);
    assert_int_equal(host_prefer_decode(out->data, 13, &got), ERR_CORRUPT);
    out->data[8] = 2;
    assert_int_equal(host_prefer_decode(out->data, 12, &got), ERR_CORRUPT);
}

static void the_kinds_have_the_documented_numbers(void **state)
{
    (void)state;
    assert_int_equal(HOST_LEASE_ASK, 32);
    assert_int_equal(HOST_LEASE_GRANT, 33);
    assert_int_equal(HOST_LEASE_RECALL, 34);
    assert_int_equal(HOST_LEASE_RELEASE, 35);
    assert_int_equal(HOST_IMAGE_ASK, 36);
    assert_int_equal(HOST_IMAGE_BEGIN, 37);
    assert_int_equal(HOST_IMAGE_NO, 38);
    assert_int_equal(HOST_IMAGE_MORE, 39);
    assert_int_equal(HOST_IMAGE_PAGES, 40);
    assert_int_equal(HOST_IMAGE_END, 41);
    assert_int_equal(HOST_LEASE_PROBE, 42);
    assert_int_equal(HOST_LEASE_ALIVE, 43);
    assert_int_equal(HOST_LEASE_TAKE, 44);
    assert_int_equal(HOST_LEASE_TABLE, 45);
    assert_int_equal(HOST_PREFER, 56);
    assert_int_equal(HOST_MEMBERS, 62);
    assert_int_equal(HOST_VERIFY_ASK, 57);
    assert_int_equal(HOST_VERIFY_ANSWER, 58);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_lease_comes_back),
        T(a_lease_has_the_documented_layout),
        T(a_lease_of_another_length_is_corrupt),
        T(an_image_packet_comes_back_with_and_without_a_part),
        T(an_image_packet_has_the_documented_layout),
        T(a_short_image_packet_is_corrupt),
        T(an_image_packet_cut_in_its_part_has_a_shorter_part),
        T(a_range_has_a_hash_for_each_page_or_none),
        T(a_range_lies_among_the_page_numbers),
        T(what_is_encoded_is_appended),
        T(nothing_grows_beyond_its_buffer),
        T(a_preference_comes_back_and_nothing_like_it_is_taken),
        T(the_kinds_have_the_documented_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
