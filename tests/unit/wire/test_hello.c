#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/wire/mangle.h"
#include "wire/hello.h"
#include "wire/pack.h"

static const struct hello sample = {
    .version_min = WIRE_VERSION_MIN,
    .version_max = WIRE_VERSION_MAX,
    .cluster = {{1, 2}},
    .store = {{3, 4}},
    .starts = 5,
    .node_id = 6,
    .shards = 16,
    .role = ROLE_REPLICA,
    .features = UINT64_MAX,
    .advertise = "[::1]:8610",
    .members = "1,2,3/replica",
};

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 4096);
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
    struct hello h;

    return hello_decode(bytes, len, &h);
}

static void a_hello_comes_back(void **state)
{
    struct buf *out = *state;
    struct hello h;

    assert_int_equal(hello_encode(&sample, out), 0);
    assert_int_equal(hello_decode(out->data, out->len, &h), 0);
    assert_int_equal(h.version_min, WIRE_VERSION_MIN);
    assert_int_equal(h.version_max, WIRE_VERSION_MAX);
    assert_true(uuid_equal(&h.cluster, &sample.cluster));
    assert_true(uuid_equal(&h.store, &sample.store));
    assert_int_equal(h.starts, 5);
    assert_int_equal(h.node_id, 6);
    assert_int_equal(h.shards, 16);
    assert_int_equal(h.role, ROLE_REPLICA);
    assert_true(h.features == UINT64_MAX);
    assert_string_equal(h.advertise, "[::1]:8610");
    assert_string_equal(h.members, "1,2,3/replica");
}

static void the_longest_texts_fit_and_a_byte_more_does_not(void **state)
{
    struct hello h = sample;
    char *longer = calloc(1, sizeof h.members + 1);
    struct buf *out = *state;

    assert_non_null(longer);
    memset(h.advertise, 'a', sizeof h.advertise - 1);
    memset(h.members, 'm', sizeof h.members - 1);
    assert_int_equal(hello_encode(&h, out), 0);
    assert_int_equal(decode(out->data, out->len), 0);

    /* The text of the members is last: the same with one byte more. */
    out->len -= sizeof h.members - 1 + 3;
    memset(longer, 'm', sizeof h.members);
    pack_str(out, longer);
    assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
    free(longer);
}

static void assert_refused(struct buf *out, const struct hello *h, int code)
{
    buf_reset(out);
    assert_int_equal(hello_encode(h, out), code);
    assert_int_equal(out->len, 0);
}

static void fields_are_checked_before_they_leave(void **state)
{
    struct hello h = sample;

    h.node_id = 0;
    assert_refused(*state, &h, ERR_CORRUPT);
    h = sample;
    h.shards = 0;
    assert_refused(*state, &h, ERR_CORRUPT);
    h.shards = SHARDS_MAX + 1;
    assert_refused(*state, &h, ERR_TOO_BIG);
    h = sample;
    h.role = ROLE_REPLICA + 1;
    assert_refused(*state, &h, ERR_CORRUPT);
    h.role = 0;
    assert_refused(*state, &h, ERR_CORRUPT);
    h = sample;
    h.version_min = h.version_max + 1;
    assert_refused(*state, &h, ERR_CORRUPT);
    h = sample;
    strcpy(h.members, "1,2\n");
    assert_refused(*state, &h, ERR_CORRUPT);
}

/* The same bytes with one field replaced, for what the encoder refuses. */
static int decode_with(struct buf *out, const char *magic, uint64_t min,
                       uint64_t max, uint64_t shards, const char *advertise)
{
    buf_reset(out);
    pack_array(out, 12);
    pack_str(out, magic);
    pack_uint(out, min);
    pack_uint(out, max);
    pack_bin(out, sample.cluster.b, 16);
    pack_bin(out, sample.store.b, 16);
    pack_uint(out, 1);
    pack_uint(out, 1);
    pack_uint(out, shards);
    pack_uint(out, ROLE_VOTER);
    pack_uint(out, 0);
    pack_str(out, advertise);
    pack_str(out, "1");
    return decode(out->data, out->len);
}

static void fields_are_checked_when_they_arrive(void **state)
{
    const char *m = HELLO_MAGIC;

    assert_int_equal(decode_with(*state, m, 1, 1, 16, "a:1"), 0);
    assert_int_equal(decode_with(*state, "MARMOT-PEEP", 1, 1, 16, "a:1"),
                     ERR_CORRUPT);
    assert_int_equal(decode_with(*state, "MARMOT", 1, 1, 16, "a:1"),
                     ERR_CORRUPT);
    assert_int_equal(decode_with(*state, m, 1, 1, 0, "a:1"), ERR_CORRUPT);
    assert_int_equal(decode_with(*state, m, 1, 1, SHARDS_MAX, "a:1"), 0);
    assert_int_equal(decode_with(*state, m, 1, 1, SHARDS_MAX + 1, "a:1"),
                     ERR_TOO_BIG);
    assert_int_equal(decode_with(*state, m, 1, 1, 16, "a\x1b[31m"),
                     ERR_CORRUPT);
}

static void version_ranges_must_meet(void **state)
{
    const char *m = HELLO_MAGIC;
    uint64_t max = WIRE_VERSION_MAX;

    assert_int_equal(decode_with(*state, m, 1, max + 5, 16, "a:1"), 0);
    assert_int_equal(decode_with(*state, m, max + 1, max + 5, 16, "a:1"),
                     ERR_VERSION);
    assert_int_equal(decode_with(*state, m, 0, max, 16, "a:1"), ERR_CORRUPT);
    assert_int_equal(decode_with(*state, m, 2, 1, 16, "a:1"), ERR_CORRUPT);
}

/* Only the head of a hello from the future is known to look like ours. */
static void a_newer_hello_of_another_shape_is_still_told_apart(void **state)
{
    struct buf *out = *state;

    pack_array(out, 5);
    pack_str(out, HELLO_MAGIC);
    pack_uint(out, WIRE_VERSION_MAX + 1);
    pack_uint(out, WIRE_VERSION_MAX + 2);
    pack_bool(out, true);
    pack_bool(out, true);
    assert_int_equal(decode(out->data, out->len), ERR_VERSION);
}

static void damaged_hellos_are_survived(void **state)
{
    static const uint8_t huge[] = {0xdd, 0x0f, 0xff, 0xff, 0xff, 0xc0};
    struct buf *out = *state;

    hello_encode(&sample, out);
    mangle(decode, out->data, out->len);
    assert_int_equal(mangle_exact(decode, huge, sizeof huge), ERR_CORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_hello_comes_back),
        TEST(the_longest_texts_fit_and_a_byte_more_does_not),
        TEST(fields_are_checked_before_they_leave),
        TEST(fields_are_checked_when_they_arrive),
        TEST(version_ranges_must_meet),
        TEST(a_newer_hello_of_another_shape_is_still_told_apart),
        TEST(damaged_hellos_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
