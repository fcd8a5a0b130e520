#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/packet.h"

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, PACKET_BYTES_MAX + 4096);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static int decode(const uint8_t *bytes, size_t len)
{
    struct packet packet;
    size_t used;

    return packet_read(bytes, len, &packet, &used);
}

static void a_packet_comes_back_as_it_was_written(void **state)
{
    struct buf *out = *state;
    struct packet packet;
    size_t used;

    assert_int_equal(packet_write(out, PACKET_PROPOSE, 7, "hello", 5), 0);
    assert_int_equal(packet_read(out->data, out->len, &packet, &used), 0);
    assert_int_equal(used, PACKET_HEADER_BYTES + 5);
    assert_int_equal(packet.kind, PACKET_PROPOSE);
    assert_int_equal(packet.group, 7);
    assert_int_equal(packet.len, 5);
    assert_memory_equal(packet.payload, "hello", 5);
}

static void packets_follow_each_other(void **state)
{
    struct buf *out = *state;
    struct packet packet;
    size_t first, second;

    packet_write(out, PACKET_RAFT, 1, "a", 1);
    packet_write(out, PACKET_PING, 0, NULL, 0);
    assert_int_equal(packet_read(out->data, out->len, &packet, &first), 0);
    assert_int_equal(packet.kind, PACKET_RAFT);
    assert_int_equal(
        packet_read(out->data + first, out->len - first, &packet, &second), 0);
    assert_int_equal(packet.kind, PACKET_PING);
    assert_int_equal(packet.len, 0);
    assert_int_equal(first + second, out->len);
}

static void a_packet_made_in_place_equals_a_written_one(void **state)
{
    struct buf *out = *state;
    size_t begin, half;

    packet_write(out, PACKET_HOST, 3, "payload", 7);
    half = out->len;
    begin = packet_begin(out, PACKET_HOST, 3);
    buf_append(out, "pay", 3);
    buf_append(out, "load", 4);
    assert_int_equal(packet_end(out, begin), 0);
    assert_int_equal(out->len, 2 * half);
    assert_memory_equal(out->data, out->data + half, half);
}

static void an_incomplete_packet_is_short(void **state)
{
    struct buf *out = *state;

    packet_write(out, PACKET_RAFT, 1, "abcdefgh", 8);
    for (size_t n = 0; n < out->len; n++) {
        assert_int_equal(mangle_exact(decode, out->data, n), ERR_SHORT);
    }
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct buf *out = *state;

    packet_write(out, PACKET_RAFT, 1, "abcdefgh", 8);
    assert_int_equal(mangle_flip(decode, out->data, out->len), 0);
    mangle(decode, out->data, out->len);
}

static void the_header_alone_decides_what_is_refused(void **state)
{
    struct buf *out = *state;
    uint8_t header[PACKET_HEADER_BYTES];

    packet_write(out, PACKET_RAFT, 1, "a", 1);
    memcpy(header, out->data, sizeof header);
    header[4] = PACKET_VERSION + 1;
    assert_int_equal(decode(header, sizeof header), ERR_VERSION);
    memcpy(header, out->data, sizeof header);
    header[5] = 0;
    assert_int_equal(decode(header, sizeof header), ERR_CORRUPT);
    header[5] = PACKET_KIND_MAX + 1;
    assert_int_equal(decode(header, sizeof header), ERR_CORRUPT);
    memcpy(header, out->data, sizeof header);
    header[6] = 1;
    assert_int_equal(decode(header, sizeof header), ERR_CORRUPT);
    memcpy(header, out->data, sizeof header);
    put_le32(header, PACKET_BYTES_MAX + 1);
    assert_int_equal(decode(header, sizeof header), ERR_TOO_BIG);
    put_le32(header, PACKET_BYTES_MAX);
    assert_int_equal(decode(header, sizeof header), ERR_SHORT);
}

static void the_largest_payload_passes_and_one_byte_more_does_not(void **state)
{
    struct buf *out = *state;
    uint8_t *payload = calloc(1, PACKET_BYTES_MAX + 1);

    assert_non_null(payload);
    assert_int_equal(
        packet_write(out, PACKET_RAFT, 0, payload, PACKET_BYTES_MAX), 0);
    assert_int_equal(decode(out->data, out->len), 0);
    buf_reset(out);
    assert_int_equal(
        packet_write(out, PACKET_RAFT, 0, payload, PACKET_BYTES_MAX + 1),
        ERR_TOO_BIG);
    assert_int_equal(out->err, ERR_TOO_BIG);
    free(payload);
}

static void outputs_stay_as_they_are_on_failure(void **state)
{
    struct packet packet = {.kind = 9, .len = 99};
    size_t used = 12345;
    struct buf *out = *state;

    packet_write(out, PACKET_RAFT, 1, "abc", 3);
    out->data[out->len - 1] ^= 1;
    assert_int_equal(packet_read(out->data, out->len, &packet, &used),
                     ERR_CORRUPT);
    assert_int_equal(packet.kind, 9);
    assert_int_equal(packet.len, 99);
    assert_int_equal(used, 12345);
}

/* Pins the layout of docs/FORMATS.md: a change needs a new version. */
static void the_bytes_are_the_documented_ones(void **state)
{
    static const uint8_t expected[12] = {2, 0, 0, 0, PACKET_VERSION, 3, 0, 0,
                                         4, 3, 2, 1};
    struct buf *out = *state;

    packet_write(out, PACKET_RAFT, 0x01020304, "xy", 2);
    assert_memory_equal(out->data, expected, sizeof expected);
    assert_memory_equal(out->data + PACKET_HEADER_BYTES, "xy", 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_packet_comes_back_as_it_was_written),
        TEST(packets_follow_each_other),
        TEST(a_packet_made_in_place_equals_a_written_one),
        TEST(an_incomplete_packet_is_short),
        TEST(every_flipped_bit_is_noticed),
        TEST(the_header_alone_decides_what_is_refused),
        TEST(the_largest_payload_passes_and_one_byte_more_does_not),
        TEST(outputs_stay_as_they_are_on_failure),
        TEST(the_bytes_are_the_documented_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
