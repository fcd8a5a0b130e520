/* Each guard filter against the core. Where the bug shows without harm to the
 * test program, the bare core is asserted to have it: a core that lost the bug
 * should be noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/consensus/bench.h"

/* ---- W1, W2 ------------------------------------------------------------- */

static void addresses_are_neither_read_nor_passed_on(void **state)
{
    struct bench *b = bench_new(true);
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = 2};
    raft_id leader;
    const char *address;

    (void)state;
    bench_start(b);
    m.append_entries.term = 1;
    m.append_entries.prev_log_index = 1;
    m.append_entries.prev_log_term = 1;
    m.server_address = (const char *)(uintptr_t)1; /* freed long ago */
    b->recv(&b->raw, &m);
    raft_leader(&b->raft, &leader, &address);
    assert_int_equal(leader, 2);
    assert_int_equal(b->n_sent, 1);
    assert_null(b->sent[0].m.server_address);
    bench_free(b);
}

static int told;

static void tell(struct raft_io_send *req, int status)
{
    (void)req;
    told = status;
}

static void a_failing_send_is_told_later(void **state)
{
    struct bench *b = bench_new(true);
    struct raft_io_send req = {0};
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE, .server_id = 2};

    (void)state;
    bench_start(b);
    told = -1;
    b->send_fails = RAFT_NOCONNECTION;
    assert_int_equal(b->filters.io.send(&b->filters.io, &req, &m, tell), 0);
    assert_int_equal(told, -1);
    tick(b, 1);
    assert_int_equal(told, RAFT_NOCONNECTION);
    bench_free(b);
}

static void a_message_without_callback_outlives_its_request(void **state)
{
    struct bench *b = bench_new(true);
    struct raft_io_send *req = calloc(1, sizeof *req);
    struct raft_message m = {.type = RAFT_IO_TIMEOUT_NOW, .server_id = 2};

    (void)state;
    bench_start(b);
    assert_int_equal(b->filters.io.send(&b->filters.io, req, &m, NULL), 0);
    free(req); /* the transfer ended */
    assert_int_equal(b->n_sent, 1);
    transmit(b);
    tick(b, 1);
    bench_free(b);
}

/* ---- W3 ----------------------------------------------------------------- */

/* A tail of term 2 that the new leader of term 3 has not checked. Returns what
 * the answer to a heartbeat at index 1 acknowledges. */
static raft_index acknowledged_tail(bool filtered)
{
    struct bench *b = bench_new(filtered);
    const struct raft_message *m;
    raft_index last;

    b->term = 2;
    b->n_extra = 2;
    b->extra[0] = b->extra[1] = 2;
    bench_start(b);
    entries_in(b, 3, 3, 1, 1, 0, 1);
    set_durable(b, b->written);
    m = last_sent(b, RAFT_IO_APPEND_ENTRIES_RESULT, 3);
    assert_non_null(m);
    assert_int_equal(m->append_entries_result.rejected, 0);
    last = m->append_entries_result.last_log_index;
    bench_free(b);
    return last;
}

static void a_divergent_tail_is_not_acknowledged(void **state)
{
    (void)state;
    assert_int_equal(acknowledged_tail(false), 3); /* the bug */
    assert_int_equal(acknowledged_tail(true), 1);
}

/* ---- W4 ----------------------------------------------------------------- */

/* Entry 2 is of term 2; leading term 3, another server turns out to have it. */
static struct bench *leader_with_an_old_entry(bool filtered)
{
    struct bench *b = bench_new(filtered);

    b->term = 2;
    b->n_extra = 1;
    b->extra[0] = 2;
    bench_start(b);
    become_leader(b);
    assert_int_equal(peek_term(&b->raft), 3);
    result_in(b, 2, 3, 2);
    return b;
}

static void an_old_entry_is_not_committed_by_counting(void **state)
{
    struct bench *bare = leader_with_an_old_entry(false);
    struct bench *b = leader_with_an_old_entry(true);

    (void)state;
    assert_int_equal(peek_commit(&bare->raft), 2); /* the bug */
    assert_int_equal(peek_commit(&b->raft), 1);
    assert_int_equal(filters_own_first(&b->filters), 3);
    store_all(b); /* the barrier; now the result is counted, at index 3 */
    assert_int_equal(peek_commit(&b->raft), 1);
    result_in(b, 2, 3, 3);
    assert_int_equal(peek_commit(&b->raft), 3);
    bench_free(bare);
    bench_free(b);
}

/* ---- W5 ----------------------------------------------------------------- */

/* Under load the disk is always one entry ahead of the answers. Returns how
 * many of 10 entries were committed by then. */
static unsigned committed_under_load(bool filtered)
{
    struct bench *b = bench_new(filtered);
    raft_index first;
    unsigned committed;

    bench_start(b);
    become_leader(b);
    store_all(b);
    if (filtered) {
        result_in(b, 2, 2, 2); /* the barrier */
    }
    first = raft_last_index(&b->raft);
    for (raft_index i = 1; i <= 10; i++) {
        apply(b, 8);
        store_all(b);
        if (i > 1) {
            result_in(b, 2, 2, first + i - 1);
        }
    }
    committed = b->applied;
    bench_free(b);
    return committed;
}

static void commits_go_on_under_continuous_load(void **state)
{
    (void)state;
    assert_int_equal(committed_under_load(false), 0); /* the bug */
    assert_int_equal(committed_under_load(true), 9);
}

static void an_own_append_counts_once_a_quorum_has_it(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    become_leader(b);
    store_all(b);
    result_in(b, 2, 2, 2);
    apply(b, 8);
    store_all(b);
    assert_int_equal(peek_last_stored(&b->raft), 2);
    result_in(b, 3, 2, 3);
    assert_int_equal(peek_last_stored(&b->raft), 3);
    assert_int_equal(peek_commit(&b->raft), 3);
    bench_free(b);
}

static void whoever_leads_no_longer_is_told_what_it_stored(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    become_leader(b);
    store_all(b);
    apply(b, 8);
    apply(b, 8);
    store_all(b);
    assert_int_equal(peek_last_stored(&b->raft), 2);
    entries_in(b, 3, 3, 2, 2, 0, 1);
    assert_int_equal(raft_state(&b->raft), RAFT_FOLLOWER);
    assert_int_equal(peek_last_stored(&b->raft), 4);
    bench_free(b);
}

/* ---- W6 ----------------------------------------------------------------- */

static int state_after_a_slow_disk(bool filtered)
{
    struct bench *b = bench_new(filtered);
    int state;

    bench_start(b);
    entries_in(b, 2, 1, 1, 1, 1, 1);
    tick(b, 900);
    tick(b, 900);
    state = raft_state(&b->raft);
    bench_free(b);
    return state;
}

static void nobody_stands_while_entries_are_being_stored(void **state)
{
    (void)state;
    assert_int_equal(state_after_a_slow_disk(false), RAFT_CANDIDATE);
    assert_int_equal(state_after_a_slow_disk(true), RAFT_FOLLOWER);
}

static void nobody_stands_or_votes_during_an_install(void **state)
{
    struct bench *b = bench_new(true);
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    struct raft_install_snapshot *install = &m.install_snapshot;

    (void)state;
    bench_start(b);
    install->term = 2;
    install->last_index = 50;
    install->last_term = 2;
    install->conf_index = 1;
    install->data = some_bytes(8);
    raft_configuration_init(&install->conf);
    raft_configuration_add(&install->conf, 1, "1", RAFT_VOTER);
    raft_configuration_add(&install->conf, 2, "2", RAFT_VOTER);
    receive(b, 2, &m);
    set_durable(b, b->written);
    assert_non_null(b->put);
    assert_true(peek_installing(&b->raft));
    tick(b, 900);
    tick(b, 900);
    assert_int_equal(raft_state(&b->raft), RAFT_FOLLOWER);
    forget_sent(b);
    vote_wanted(b, 3, 9, 99, 9);
    set_durable(b, b->written);
    assert_int_equal(b->n_sent, 0);
    assert_int_equal(peek_term(&b->raft), 2);

    b->put->cb(b->put, 0);
    assert_false(peek_installing(&b->raft));
    assert_int_equal(peek_commit(&b->raft), 50);
    vote_wanted(b, 3, 9, 99, 9);
    set_durable(b, b->written);
    bench_free(b);
}

/* ---- W7 ----------------------------------------------------------------- */

static void a_large_message_is_split_into_a_chain(void **state)
{
    struct bench *b = bench_new(true);
    raft_index next = 3;
    struct raft_buffer bufs[10];
    struct raft_apply *req = calloc(1, sizeof *req);

    (void)state;
    b->bytes_max = 3000;
    bench_start(b);
    become_leader(b);
    store_all(b);
    result_in(b, 2, 2, 2); /* server 2 streams, server 3 is probed */
    forget_sent(b);
    for (unsigned i = 0; i < 10; i++) {
        bufs[i] = some_bytes(i == 4 ? 5000 : 1000);
    }
    assert_int_equal(raft_apply(&b->raft, req, bufs, 10, ignore_result), 0);
    for (unsigned i = 0; i < b->n_sent; i++) {
        const struct raft_append_entries *ae = &b->sent[i].m.append_entries;
        size_t bytes = 0;
        if (b->sent[i].m.server_id != 2) {
            continue;
        }
        assert_int_equal(ae->prev_log_index, next - 1);
        assert_int_equal(ae->prev_log_term, 2);
        for (unsigned k = 0; k < ae->n_entries; k++) {
            bytes += ae->entries[k].buf.len;
        }
        assert_true(ae->n_entries > 0);
        assert_true(bytes <= 3000 || ae->n_entries == 1);
        next += ae->n_entries;
    }
    assert_int_equal(next, 13);
    bench_free(b);
}

static void a_probed_server_gets_the_first_part_only(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    b->bytes_max = 3000;
    bench_start(b);
    become_leader(b);
    store_all(b);
    for (unsigned i = 0; i < 10; i++) {
        apply(b, 1000);
    }
    forget_sent(b);
    tick(b, 101); /* a heartbeat: the core sends all it has */
    assert_int_equal(b->n_sent, 2);
    assert_int_equal(b->sent[0].m.append_entries.n_entries, 3);
    assert_int_equal(b->sent[0].m.append_entries.prev_log_index, 1);
    bench_free(b);
}

/* Entries 2 and 3 are a tail of term 2; the leader of term 3 has committed up
 * to 3, but says so in a message that checks the log at 1 only. */
static raft_index committed_of_a_tail(bool filtered)
{
    struct bench *b = bench_new(filtered);
    raft_index commit;

    b->term = 2;
    b->n_extra = 2;
    b->extra[0] = b->extra[1] = 2;
    bench_start(b);
    entries_in(b, 3, 3, 1, 1, 0, 3);
    commit = peek_commit(&b->raft);
    if (filtered) {
        assert_int_equal(filters_commit_heard(&b->filters), 3);
    }
    bench_free(b);
    return commit;
}

static void a_tail_that_was_not_checked_is_not_committed(void **state)
{
    (void)state;
    assert_int_equal(committed_of_a_tail(false), 3); /* the bug */
    assert_int_equal(committed_of_a_tail(true), 1);
}

/* ---- W8 ----------------------------------------------------------------- */

static void closing_completes_appends_that_wait_and_that_are_written(void **s)
{
    struct bench *b = bench_new(true);

    (void)s;
    bench_start(b);
    become_leader(b);
    store_all(b);
    apply(b, 8);
    store_one(b);  /* waits for a quorum */
    apply(b, 8);   /* on its way to the disk */
    bench_free(b); /* asserts the order; a leak would be seen */
}

/* ---- W9 ----------------------------------------------------------------- */

/* Entry 2 of the leader of term 1 is being written when the leader of term 2
 * comes, who never had it. Returns what the latter is told. */
static raft_index told_to_the_new_leader(bool filtered)
{
    struct bench *b = bench_new(filtered);
    raft_index last = 0;

    bench_start(b);
    entries_in(b, 2, 1, 1, 1, 1, 1);
    entries_in(b, 3, 2, 1, 1, 0, 1);
    assert_int_equal(peek_term(&b->raft), filtered ? 1 : 2);
    store_all(b);
    assert_int_equal(peek_term(&b->raft), 2);
    for (unsigned i = 0; i < b->n_sent; i++) {
        const struct raft_message *m = &b->sent[i].m;
        if (m->type == RAFT_IO_APPEND_ENTRIES_RESULT && m->server_id == 3 &&
            m->append_entries_result.last_log_index > last) {
            last = m->append_entries_result.last_log_index;
        }
    }
    bench_free(b);
    return last;
}

static void a_new_leader_is_not_told_of_the_old_ones_entries(void **state)
{
    (void)state;
    assert_int_equal(told_to_the_new_leader(false), 2); /* the bug */
    assert_int_equal(told_to_the_new_leader(true), 1);
}

static int state_after_an_early_invitation(bool filtered)
{
    struct bench *b = bench_new(filtered);
    struct raft_message m = {.type = RAFT_IO_TIMEOUT_NOW};
    int state;

    bench_start(b);
    entries_in(b, 2, 1, 1, 1, 0, 1);
    entries_in(b, 2, 1, 1, 1, 1, 1);
    m.timeout_now.term = 1;
    m.timeout_now.last_log_index = 2;
    m.timeout_now.last_log_term = 1;
    receive(b, 2, &m);
    state = raft_state(&b->raft);
    store_all(b);
    if (filtered) {
        assert_int_equal(state, RAFT_FOLLOWER);
        state = raft_state(&b->raft);
    }
    bench_free(b);
    return state;
}

static void an_early_invitation_to_lead_waits_for_the_disk(void **state)
{
    (void)state;
    assert_int_equal(state_after_an_early_invitation(true), RAFT_CANDIDATE);
}

/* ---- commit index pushed by a leader ------------------------------------ */

static void a_pushed_commit_index_is_taken_without_an_answer(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    entries_in(b, 2, 1, 1, 1, 1, 1);
    store_all(b);
    assert_int_equal(b->n_sent, 1);
    entries_in(b, 2, 1, 2, 1, 0, 2);
    assert_int_equal(peek_commit(&b->raft), 2);
    assert_int_equal(b->n_sent, 1);
    entries_in(b, 2, 1, 2, 1, 0, 2); /* a heartbeat */
    assert_int_equal(b->n_sent, 2);
    assert_int_equal(b->sent[1].m.append_entries_result.last_log_index, 2);
    bench_free(b);
}

static void an_answer_that_tells_something_new_is_given(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    b->n_extra = 1;
    b->extra[0] = 1;
    bench_start(b);
    /* Brings a commit index, but the leader does not know yet what we have. */
    entries_in(b, 2, 1, 2, 1, 0, 2);
    assert_int_equal(peek_commit(&b->raft), 2);
    assert_int_equal(b->n_sent, 1);
    bench_free(b);
}

/* ---- W10 ---------------------------------------------------------------- */

static void a_vote_is_heard_once_it_is_durable(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    vote_wanted(b, 2, 5, 9, 4);
    assert_int_equal(b->written, 2); /* term and vote */
    assert_int_equal(b->n_sent, 0);
    set_durable(b, 1);
    assert_int_equal(b->n_sent, 0);
    set_durable(b, 2);
    assert_int_equal(b->n_sent, 1);
    assert_true(b->sent[0].m.request_vote_result.vote_granted);
    bench_free(b);
}

static void entries_leave_while_their_own_write_is_under_way(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    become_leader(b);
    store_all(b);
    result_in(b, 2, 2, 2);
    forget_sent(b);
    apply(b, 8);
    assert_true(b->durable < b->written);
    assert_non_null(last_sent(b, RAFT_IO_APPEND_ENTRIES, 2));
    bench_free(b);
}

static void messages_that_wait_keep_their_order(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    vote_wanted(b, 2, 5, 9, 4);
    vote_wanted(b, 3, 5, 9, 4); /* refused, nothing to write */
    assert_int_equal(b->n_sent, 0);
    set_durable(b, b->written);
    assert_int_equal(b->n_sent, 2);
    assert_int_equal(b->sent[0].m.server_id, 2);
    assert_int_equal(b->sent[1].m.server_id, 3);
    bench_free(b);
}

static void what_waits_at_a_close_is_cancelled(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    bench_start(b);
    vote_wanted(b, 2, 5, 9, 4);
    assert_int_equal(b->n_sent, 0);
    bench_free(b);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_are_neither_read_nor_passed_on),
        TEST(a_failing_send_is_told_later),
        TEST(a_message_without_callback_outlives_its_request),
        TEST(a_divergent_tail_is_not_acknowledged),
        TEST(an_old_entry_is_not_committed_by_counting),
        TEST(commits_go_on_under_continuous_load),
        TEST(an_own_append_counts_once_a_quorum_has_it),
        TEST(whoever_leads_no_longer_is_told_what_it_stored),
        TEST(nobody_stands_while_entries_are_being_stored),
        TEST(nobody_stands_or_votes_during_an_install),
        TEST(a_large_message_is_split_into_a_chain),
        TEST(a_probed_server_gets_the_first_part_only),
        TEST(a_tail_that_was_not_checked_is_not_committed),
        TEST(closing_completes_appends_that_wait_and_that_are_written),
        TEST(a_new_leader_is_not_told_of_the_old_ones_entries),
        TEST(an_early_invitation_to_lead_waits_for_the_disk),
        TEST(a_pushed_commit_index_is_taken_without_an_answer),
        TEST(an_answer_that_tells_something_new_is_given),
        TEST(a_vote_is_heard_once_it_is_durable),
        TEST(entries_leave_while_their_own_write_is_under_way),
        TEST(messages_that_wait_keep_their_order),
        TEST(what_waits_at_a_close_is_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
