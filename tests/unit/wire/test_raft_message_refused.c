/* Raft's messages as bytes: what cannot be one is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/wire/raft_samples.h"

static void too_many_servers_are_too_big(void **state)
{
    struct raft_buffer change = make_change(NODES_MAX + 1);

    (void)state;
    assert_int_equal(decode_conf(change.base, change.len), ERR_TOO_BIG);
    raft_free(change.base);
}

/* Two servers "a", ids 1 and 2, voters; 31 bytes and one of padding. */
static void put_conf(uint8_t bytes[32])
{
    memset(bytes, 0, 32);
    bytes[0] = 1;
    put_le64(bytes + 1, 2);
    put_le64(bytes + 9, 1);
    bytes[17] = 'a';
    bytes[19] = RAFT_VOTER;
    put_le64(bytes + 20, 2);
    bytes[28] = 'b';
    bytes[30] = RAFT_VOTER;
}

static void one_wrong_field_spoils_a_configuration(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        int code;
    } cases[] = {
        {0, 1, 0},
        {0, 2, ERR_VERSION},    /* format */
        {1, 0, ERR_CORRUPT},    /* no servers */
        {1, 3, ERR_CORRUPT},    /* more than there are */
        {1, 1, ERR_CORRUPT},    /* bytes left over */
        {8, 1, ERR_TOO_BIG},    /* 2^56 servers */
        {9, 0, ERR_CORRUPT},    /* id 0 */
        {20, 1, ERR_CORRUPT},   /* an id twice */
        {28, 'a', ERR_CORRUPT}, /* an address twice */
        {19, 3, ERR_CORRUPT},   /* role */
        {29, 'x', ERR_CORRUPT}, /* address without end */
        {31, 1, 0},             /* padding, which libraft does not set */
    };
    uint8_t bytes[32];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_conf(bytes);
        bytes[cases[i].at] = cases[i].value;
        assert_int_equal(decode_conf(bytes, sizeof bytes), cases[i].code);
        assert_int_equal(live, 0);
    }
}

static int decode_address_of(size_t len)
{
    uint8_t bytes[512] = {1, 1};

    bytes[9] = 1;
    memset(bytes + 17, 'a', len);
    bytes[17 + len + 1] = RAFT_VOTER;
    return decode_conf(bytes, (17 + len + 2 + 7) / 8 * 8);
}

static void an_address_above_its_maximum_is_too_big(void **state)
{
    (void)state;
    assert_int_equal(decode_address_of(ADDRESS_MAX - 1), 0);
    assert_int_equal(decode_address_of(ADDRESS_MAX), ERR_TOO_BIG);
}

/* The start of an AppendEntries, up to the array of entries. */
static void pack_append(struct buf *out, uint64_t term, uint64_t prev_index,
                        uint64_t prev_term, uint64_t commit, uint32_t elements)
{
    buf_reset(out);
    pack_array(out, 6);
    pack_uint(out, RAFT_IO_APPEND_ENTRIES);
    pack_uint(out, term);
    pack_uint(out, prev_index);
    pack_uint(out, prev_term);
    pack_uint(out, commit);
    pack_array(out, elements);
}

static int decode_entries(struct buf *out, uint32_t n, uint64_t prev_index,
                          uint64_t term, uint64_t type)
{
    pack_append(out, 5, prev_index, 5, 0, n * 3);
    for (uint32_t i = 0; i < n; i++) {
        pack_uint(out, term);
        pack_uint(out, type);
        pack_bin(out, "x", 1);
    }
    return decode(out->data, out->len);
}

static void one_entry_above_the_maximum_is_too_many(void **state)
{
    struct raft_message m = append_of(NULL, AE_ENTRIES_MAX + 1);

    assert_int_equal(decode_entries(*state, AE_ENTRIES_MAX, 0, 5, 1), 0);
    assert_int_equal(decode_entries(*state, AE_ENTRIES_MAX + 1, 0, 5, 1),
                     ERR_TOO_BIG);
    buf_reset(*state);
    assert_int_equal(raft_message_encode(&m, *state), ERR_TOO_BIG);
}

static void entries_have_known_types_and_terms(void **state)
{
    assert_int_equal(decode_entries(*state, 1, 0, 5, RAFT_COMMAND), 0);
    assert_int_equal(decode_entries(*state, 1, 0, 1, RAFT_BARRIER), 0);
    assert_int_equal(decode_entries(*state, 1, 0, 5, 0), ERR_CORRUPT);
    assert_int_equal(decode_entries(*state, 1, 0, 5, RAFT_CHANGE + 1),
                     ERR_CORRUPT);
    assert_int_equal(decode_entries(*state, 1, 0, 5, 65537), ERR_TOO_BIG);
    assert_int_equal(decode_entries(*state, 1, 0, 0, RAFT_COMMAND),
                     ERR_CORRUPT);
    assert_int_equal(decode_entries(*state, 1, 0, 6, RAFT_COMMAND),
                     ERR_CORRUPT);
}

/* The core would read its own structures out of that "x". */
static void a_change_entry_must_be_a_configuration(void **state)
{
    assert_int_equal(decode_entries(*state, 1, 0, 5, RAFT_CHANGE), ERR_CORRUPT);
}

static void entries_are_whole_triples(void **state)
{
    struct buf *out = *state;

    pack_append(out, 5, 1, 1, 1, 4);
    pack_uint(out, 5);
    pack_uint(out, 1);
    pack_bin(out, "", 0);
    pack_uint(out, 5);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
}

static void indexes_stay_far_from_overflow(void **state)
{
    struct buf *out = *state;
    uint64_t most = INDEX_LIMIT - 1;

    pack_append(out, most, most, most, most, 0);
    assert_int_equal(decode(out->data, out->len), 0);
    for (int field = 0; field < 4; field++) {
        pack_append(out, most + (field == 0), most + (field == 1),
                    most + (field == 2), most + (field == 3), 0);
        assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
    }
    assert_int_equal(decode_entries(out, 2, most - 2, 5, RAFT_COMMAND), 0);
    assert_int_equal(decode_entries(out, 2, most - 1, 5, RAFT_COMMAND),
                     ERR_TOO_BIG);
}

static void the_previous_term_is_not_above_the_own(void **state)
{
    struct buf *out = *state;

    pack_append(out, 5, 1, 6, 0, 0);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
}

static void a_candidate_has_an_id(void **state)
{
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE};
    struct buf *out = *state;

    raft_message_encode(&m, out);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
}

static void types_and_shapes_that_do_not_exist_are_refused(void **state)
{
    struct buf *out = *state;

    for (unsigned type = 0; type < 300; type++) {
        buf_reset(out);
        pack_array(out, 1);
        pack_uint(out, type);
        assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    }
}

static void a_message_above_a_packet_is_too_big(void **state)
{
    struct raft_message m = append_of(NULL, 0);
    uint8_t *bytes = calloc(1, PACKET_BYTES_MAX + 1);
    struct buf *out = *state;

    assert_non_null(bytes);
    raft_message_encode(&m, out);
    memcpy(bytes, out->data, out->len);
    assert_int_equal(decode(bytes, PACKET_BYTES_MAX + 1), ERR_TOO_BIG);
    assert_int_equal(decode(bytes, PACKET_BYTES_MAX), ERR_CORRUPT);
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(too_many_servers_are_too_big),
        TEST(one_wrong_field_spoils_a_configuration),
        TEST(an_address_above_its_maximum_is_too_big),
        TEST(one_entry_above_the_maximum_is_too_many),
        TEST(entries_have_known_types_and_terms),
        TEST(a_change_entry_must_be_a_configuration),
        TEST(entries_are_whole_triples),
        TEST(indexes_stay_far_from_overflow),
        TEST(the_previous_term_is_not_above_the_own),
        TEST(a_candidate_has_an_id),
        TEST(types_and_shapes_that_do_not_exist_are_refused),
        TEST(a_message_above_a_packet_is_too_big),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
