#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/pack.h"
#include "wire/raft_message.h"

#define INDEX_LIMIT (1ull << 44)

/* ---- libraft's allocator, counted and made to fail ---------------------- */

static int live;         /* blocks that were not freed */
static int fail_at = -1; /* the allocation that fails, from 0; -1: none */

static bool may_allocate(void)
{
    return fail_at < 0 || fail_at-- > 0;
}

static void *count_malloc(void *data, size_t size)
{
    void *p = may_allocate() ? malloc(size) : NULL;

    (void)data;
    live += p != NULL;
    return p;
}

static void count_free(void *data, void *p)
{
    (void)data;
    live -= p != NULL;
    free(p);
}

static void *count_calloc(void *data, size_t n, size_t size)
{
    void *p = may_allocate() ? calloc(n, size) : NULL;

    (void)data;
    live += p != NULL;
    return p;
}

static void *count_realloc(void *data, void *old, size_t size)
{
    void *p = may_allocate() ? realloc(old, size) : NULL;

    (void)data;
    live += p != NULL && old == NULL;
    return p;
}

static struct raft_heap heap = {.malloc = count_malloc,
                                .free = count_free,
                                .calloc = count_calloc,
                                .realloc = count_realloc};

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 2 * PACKET_BYTES_MAX);
    *state = &out;
    live = 0;
    fail_at = -1;
    raft_heap_set(&heap);
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    raft_heap_set_default();
    return live == 0 ? 0 : -1;
}

/* ---- samples ------------------------------------------------------------ */

static int decode(const uint8_t *bytes, size_t len)
{
    struct raft_message m;
    int rc = raft_message_decode(bytes, len, &m);

    if (rc == 0) {
        raft_message_close(&m);
    }
    return rc;
}

static struct raft_message pass(struct buf *out, const struct raft_message *m)
{
    struct raft_message back;

    buf_reset(out);
    assert_int_equal(raft_message_encode(m, out), 0);
    assert_int_equal(raft_message_decode(out->data, out->len, &back), 0);
    assert_int_equal(back.type, m->type);
    assert_int_equal(back.server_id, 0);
    assert_null(back.server_address);
    return back;
}

static void make_conf(struct raft_configuration *conf, unsigned n)
{
    raft_configuration_init(conf);
    for (unsigned i = 0; i < n; i++) {
        char address[32];

        snprintf(address, sizeof address, "host-%u:8610", i);
        assert_int_equal(
            raft_configuration_add(conf, i + 1, address, (int)(i % 3)), 0);
    }
}

static struct raft_buffer make_change(unsigned n)
{
    struct raft_configuration conf;
    struct raft_buffer change;

    make_conf(&conf, n);
    assert_int_equal(raft_configuration_encode(&conf, &change), 0);
    raft_configuration_close(&conf);
    return change;
}

static struct raft_message append_of(struct raft_entry *entries, unsigned n)
{
    return (struct raft_message){.type = RAFT_IO_APPEND_ENTRIES,
                                 .server_id = 7,
                                 .server_address = (char *)1, /* never read */
                                 .append_entries = {.term = 5,
                                                    .prev_log_index = 10,
                                                    .prev_log_term = 4,
                                                    .leader_commit = 9,
                                                    .entries = entries,
                                                    .n_entries = n}};
}

static struct raft_entry entry_of(unsigned short type, void *base, size_t len)
{
    return (struct raft_entry){.term = 5, .type = type, .buf = {base, len}};
}

/* ---- tests -------------------------------------------------------------- */

static void entries_share_one_aligned_batch(void **state)
{
    struct raft_buffer change = make_change(3);
    struct raft_entry entries[] = {
        entry_of(RAFT_COMMAND, "abc", 3),
        entry_of(RAFT_BARRIER, NULL, 0),
        entry_of(RAFT_CHANGE, change.base, change.len),
        entry_of(RAFT_COMMAND, "0123456789", 10),
    };
    struct raft_message m = append_of(entries, 4);
    struct raft_message back = pass(*state, &m);
    struct raft_append_entries *p = &back.append_entries;

    assert_int_equal(p->term, 5);
    assert_int_equal(p->prev_log_index, 10);
    assert_int_equal(p->prev_log_term, 4);
    assert_int_equal(p->leader_commit, 9);
    assert_int_equal(p->n_entries, 4);
    assert_ptr_equal(p->entries[0].buf.base, p->entries[0].batch);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(p->entries[i].term, 5);
        assert_int_equal(p->entries[i].type, entries[i].type);
        assert_int_equal(p->entries[i].buf.len, entries[i].buf.len);
        assert_int_equal((uintptr_t)p->entries[i].buf.base % 8, 0);
        assert_ptr_equal(p->entries[i].batch, p->entries[0].batch);
        if (entries[i].buf.len > 0) {
            assert_memory_equal(p->entries[i].buf.base, entries[i].buf.base,
                                entries[i].buf.len);
        }
    }
    raft_message_close(&back);
    raft_free(change.base);
}

/* What the core does when it has taken an AppendEntries. */
static void the_core_frees_batch_and_array_and_nothing_else(void **state)
{
    struct raft_entry entries[] = {entry_of(RAFT_COMMAND, "abc", 3),
                                   entry_of(RAFT_COMMAND, "def", 3)};
    struct raft_message m = append_of(entries, 2);
    struct raft_message back = pass(*state, &m);

    assert_int_equal(live, 2);
    raft_free(back.append_entries.entries[0].batch);
    raft_free(back.append_entries.entries);
    assert_int_equal(live, 0);
}

static void a_heartbeat_has_no_entries(void **state)
{
    struct raft_message m = append_of(NULL, 0);
    struct raft_message back = pass(*state, &m);

    assert_null(back.append_entries.entries);
    assert_int_equal(back.append_entries.n_entries, 0);
    assert_int_equal(live, 0);
    raft_message_close(&back);
}

static void entries_without_content_have_a_batch_too(void **state)
{
    struct raft_entry entries[] = {entry_of(RAFT_COMMAND, NULL, 0)};
    struct raft_message m = append_of(entries, 1);
    struct raft_message back = pass(*state, &m);

    assert_non_null(back.append_entries.entries[0].batch);
    assert_non_null(back.append_entries.entries[0].buf.base);
    raft_message_close(&back);
}

static void append_results_come_back(void **state)
{
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES_RESULT,
                             .append_entries_result = {1, 2, 3}};
    struct raft_message back = pass(*state, &m);

    assert_int_equal(back.append_entries_result.term, 1);
    assert_int_equal(back.append_entries_result.rejected, 2);
    assert_int_equal(back.append_entries_result.last_log_index, 3);
}

static void votes_come_back(void **state)
{
    struct raft_message m = {
        .type = RAFT_IO_REQUEST_VOTE,
        .request_vote = {INDEX_LIMIT - 1, UINT64_MAX, 3, 4, true, false}};
    struct raft_message back = pass(*state, &m);

    assert_true(back.request_vote.term == INDEX_LIMIT - 1);
    assert_true(back.request_vote.candidate_id == UINT64_MAX);
    assert_int_equal(back.request_vote.last_log_index, 3);
    assert_int_equal(back.request_vote.last_log_term, 4);
    assert_true(back.request_vote.disrupt_leader);
    assert_false(back.request_vote.pre_vote);
}

static void vote_results_come_back(void **state)
{
    for (raft_tribool t = raft_tribool_unknown; t <= raft_tribool_false; t++) {
        struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE_RESULT,
                                 .request_vote_result = {9, true, t}};
        struct raft_message back = pass(*state, &m);

        assert_int_equal(back.request_vote_result.term, 9);
        assert_true(back.request_vote_result.vote_granted);
        assert_int_equal(back.request_vote_result.pre_vote, t);
    }
}

static void timeout_now_comes_back(void **state)
{
    struct raft_message m = {.type = RAFT_IO_TIMEOUT_NOW,
                             .timeout_now = {1, 2, 3}};
    struct raft_message back = pass(*state, &m);

    assert_int_equal(back.timeout_now.term, 1);
    assert_int_equal(back.timeout_now.last_log_index, 2);
    assert_int_equal(back.timeout_now.last_log_term, 3);
}

static struct raft_message install_of(unsigned servers)
{
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT,
                             .install_snapshot = {.term = 5,
                                                  .last_index = 6,
                                                  .last_term = 4,
                                                  .conf_index = 2,
                                                  .data = {"content", 7}}};

    make_conf(&m.install_snapshot.conf, servers);
    return m;
}

static void an_install_owns_its_configuration_and_data(void **state)
{
    struct raft_message m = install_of(3);
    struct raft_message back = pass(*state, &m);
    struct raft_install_snapshot *p = &back.install_snapshot;

    assert_int_equal(p->term, 5);
    assert_int_equal(p->last_index, 6);
    assert_int_equal(p->last_term, 4);
    assert_int_equal(p->conf_index, 2);
    assert_int_equal(p->data.len, 7);
    assert_memory_equal(p->data.base, "content", 7);
    assert_int_equal(p->conf.n, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(p->conf.servers[i].id, i + 1);
        assert_int_equal(p->conf.servers[i].role, i % 3);
        assert_string_equal(p->conf.servers[i].address,
                            m.install_snapshot.conf.servers[i].address);
    }
    raft_configuration_close(&m.install_snapshot.conf);
    raft_message_close(&back);
    raft_message_close(&back); /* twice is once */
    assert_int_equal(live, 0);
}

static void a_configuration_has_at_least_one_server_and_at_most_64(void **state)
{
    static const struct {
        unsigned servers;
        int code;
    } cases[] = {
        {0, ERR_CORRUPT}, {1, 0}, {NODES_MAX, 0}, {NODES_MAX + 1, ERR_TOO_BIG}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct raft_message m = install_of(cases[i].servers);

        buf_reset(*state);
        assert_int_equal(raft_message_encode(&m, *state), cases[i].code);
        raft_configuration_close(&m.install_snapshot.conf);
    }
}

static int decode_conf(const uint8_t *bytes, size_t len)
{
    struct raft_configuration conf;
    int rc = raft_conf_decode(bytes, len, &conf);

    if (rc == 0) {
        raft_configuration_close(&conf);
    }
    return rc;
}

static void configurations_of_the_encoder_are_understood(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= NODES_MAX; n++) {
        struct raft_buffer change = make_change(n);
        struct raft_configuration conf;

        assert_int_equal(raft_conf_decode(change.base, change.len, &conf), 0);
        assert_int_equal(conf.n, n);
        assert_int_equal(conf.servers[n - 1].id, n);
        raft_configuration_close(&conf);
        raft_free(change.base);
    }
}

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

static void damaged_messages_are_survived(void **state)
{
    static const uint8_t huge[] = {0xdd, 0x0f, 0xff, 0xff, 0xff, 0xc0};
    struct raft_buffer change = make_change(2);
    struct raft_entry entries[] = {
        entry_of(RAFT_COMMAND, "abc", 3),
        entry_of(RAFT_CHANGE, change.base, change.len)};
    struct raft_message append = append_of(entries, 2);
    struct raft_message install = install_of(2);
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE,
                                .request_vote = {1, 2, 3, 4, true, true}};
    struct buf *out = *state;

    assert_int_equal(mangle_exact(decode, huge, sizeof huge), ERR_CORRUPT);
    raft_message_encode(&append, out);
    mangle(decode, out->data, out->len);
    buf_reset(out);
    raft_message_encode(&install, out);
    mangle(decode, out->data, out->len);
    buf_reset(out);
    raft_message_encode(&vote, out);
    mangle(decode, out->data, out->len);
    mangle(decode_conf, change.base, change.len);
    raft_configuration_close(&install.install_snapshot.conf);
    raft_free(change.base);
    assert_int_equal(live, 0);
}

/* Let the allocations fail one after the other, until one run needs none of
 * those that fail. */
static void assert_survives_no_memory(struct buf *out)
{
    struct raft_message back = {.type = 99};
    int before = live;
    int failures = 0, rc;

    for (;;) {
        fail_at = failures;
        rc = raft_message_decode(out->data, out->len, &back);
        fail_at = -1;
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        assert_int_equal(back.type, 99);
        assert_int_equal(live, before);
        failures++;
    }
    assert_int_not_equal(failures, 0);
    raft_message_close(&back);
    assert_int_equal(live, before);
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    struct raft_buffer change = make_change(2);
    struct raft_entry entries[] = {
        entry_of(RAFT_COMMAND, "abc", 3),
        entry_of(RAFT_CHANGE, change.base, change.len)};
    struct raft_message append = append_of(entries, 2);
    struct raft_message install = install_of(2);
    struct buf *out = *state;

    raft_message_encode(&append, out);
    assert_survives_no_memory(out);
    buf_reset(out);
    raft_message_encode(&install, out);
    assert_survives_no_memory(out);
    buf_reset(out);
    fail_at = 0;
    assert_int_equal(raft_message_encode(&install, out), -ENOMEM);
    fail_at = -1;
    raft_configuration_close(&install.install_snapshot.conf);
    raft_free(change.base);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(entries_share_one_aligned_batch),
        TEST(the_core_frees_batch_and_array_and_nothing_else),
        TEST(a_heartbeat_has_no_entries),
        TEST(entries_without_content_have_a_batch_too),
        TEST(append_results_come_back),
        TEST(votes_come_back),
        TEST(vote_results_come_back),
        TEST(timeout_now_comes_back),
        TEST(an_install_owns_its_configuration_and_data),
        TEST(a_configuration_has_at_least_one_server_and_at_most_64),
        TEST(configurations_of_the_encoder_are_understood),
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
        TEST(damaged_messages_are_survived),
        TEST(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
