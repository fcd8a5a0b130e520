/* Raft's messages as bytes: what comes back, and what damage does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/wire/mangle.h"
#include "tests/unit/wire/raft_samples.h"

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
        TEST(damaged_messages_are_survived),
        TEST(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
