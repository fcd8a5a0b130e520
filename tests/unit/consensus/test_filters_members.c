/* W12: a change of the members at the end of a log, which a new leader takes
 * back. The bare core crashes or keeps it, so each case runs in a process of
 * its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/consensus/bench.h"

#define SNAPSHOT 10

/* Server `from` leads `term` and sends what follows entry `prev` of term 1: a
 * change to so many servers, or, 0, something else. */
static void one_entry_in(struct bench *b, raft_id from, raft_term term,
                         raft_index prev, unsigned servers)
{
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES};
    struct raft_append_entries *ae = &m.append_entries;

    if (servers == 0) {
        entries_in(b, from, term, prev, 1, 1, prev);
        return;
    }
    ae->term = term;
    ae->prev_log_index = prev;
    ae->prev_log_term = 1;
    ae->leader_commit = prev;
    ae->n_entries = 1;
    ae->entries = raft_calloc(1, sizeof *ae->entries);
    ae->entries[0].term = term;
    set_change(&ae->entries[0], servers);
    ae->entries[0].batch = ae->entries[0].buf.base;
    receive(b, from, &m);
}

enum when { LIVE, RESTARTED };

/* Voters after a change from 3 to 4 servers was taken back. */
static unsigned voters_after(bool filtered, enum when when, raft_index snapshot)
{
    struct bench *b = bench_new(filtered);
    raft_index prev = snapshot > 0 ? snapshot : 1;

    b->snapshot = snapshot;
    if (when == RESTARTED) {
        b->term = 2;
        b->n_extra = 1;
        b->extra[0] = 2;
        b->last_servers = 4;
        bench_start(b);
    } else {
        bench_start(b);
        one_entry_in(b, 2, 2, prev, 4);
        store_all(b);
    }
    if (peek_voters(&b->raft) != 4) {
        return 0; /* it was never there */
    }
    one_entry_in(b, 3, 3, prev, 0);
    store_all(b);
    return peek_last(&b->raft) == prev + 1 && peek_term(&b->raft) == 3
               ? peek_voters(&b->raft)
               : 0;
}

/* The same, or -1 when it crashed. */
static int voters_in_child(bool filtered, enum when when, raft_index snapshot)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka would go on with its tests */
        signal(SIGABRT, SIG_DFL);
        _exit((int)voters_after(filtered, when, snapshot));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_change_behind_a_snapshot_is_taken_back(void **state)
{
    (void)state;
    assert_int_not_equal(voters_in_child(false, LIVE, SNAPSHOT), 3); /* bug */
    assert_int_equal(voters_in_child(true, LIVE, SNAPSHOT), 3);
}

static void a_change_is_taken_back_after_a_restart(void **state)
{
    (void)state;
    assert_int_not_equal(voters_in_child(false, RESTARTED, 0), 3); /* bug */
    assert_int_equal(voters_in_child(true, RESTARTED, 0), 3);
}

static void a_change_behind_a_snapshot_after_a_restart(void **state)
{
    (void)state;
    assert_int_not_equal(voters_in_child(false, RESTARTED, SNAPSHOT), 3);
    assert_int_equal(voters_in_child(true, RESTARTED, SNAPSHOT), 3);
}

static void a_change_in_a_whole_log_is_taken_back(void **state)
{
    (void)state;
    assert_int_equal(voters_in_child(true, LIVE, 0), 3);
}

/* Nothing contradicts it: it stays. */
static void a_change_that_is_confirmed_stays(void **state)
{
    struct bench *b = bench_new(true);

    (void)state;
    b->snapshot = SNAPSHOT;
    bench_start(b);
    one_entry_in(b, 2, 2, SNAPSHOT, 4);
    store_all(b);
    entries_in(b, 2, 2, SNAPSHOT + 1, 2, 1, SNAPSHOT + 1);
    store_all(b);
    assert_int_equal(peek_voters(&b->raft), 4);
    entries_in(b, 3, 3, SNAPSHOT + 1, 2, 1, SNAPSHOT + 1);
    store_all(b);
    assert_int_equal(peek_voters(&b->raft), 4);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_behind_a_snapshot_is_taken_back),
        cmocka_unit_test(a_change_is_taken_back_after_a_restart),
        cmocka_unit_test(a_change_behind_a_snapshot_after_a_restart),
        cmocka_unit_test(a_change_in_a_whole_log_is_taken_back),
        cmocka_unit_test(a_change_that_is_confirmed_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
