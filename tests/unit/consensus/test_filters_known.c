/* W13: entries from the first one on, for a node whose log begins later. The
 * bare core crashes, so each case runs in a process of its own. */
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

/* The leader of its term sends so many entries from the first one on. Returns
 * the last index afterwards, or 0 when the answer does not say how far it has
 * what it was sent. */
static raft_index last_after(bool filtered, unsigned n)
{
    struct bench *b = bench_new(filtered);
    const struct raft_message *m;
    raft_index last;

    b->snapshot = SNAPSHOT;
    bench_start(b);
    entries_in(b, 2, 1, 0, 0, n, SNAPSHOT);
    store_all(b);
    m = last_sent(b, RAFT_IO_APPEND_ENTRIES_RESULT, 2);
    last = peek_last(&b->raft);
    if (m == NULL || m->append_entries_result.rejected != 0 ||
        m->append_entries_result.last_log_index != n) {
        last = 0;
    }
    bench_free(b);
    return last;
}

/* The same, or -1 when it crashed. */
static int last_in_child(bool filtered, unsigned n)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka would go on with its tests */
        signal(SIGABRT, SIG_DFL);
        _exit((int)last_after(filtered, n));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void entries_that_a_snapshot_took_the_place_of_are_not_appended(
    void **state)
{
    (void)state;
    assert_int_not_equal(last_in_child(false, 8), SNAPSHOT); /* bug */
    assert_int_equal(last_in_child(true, 8), SNAPSHOT);
}

static void what_follows_the_snapshot_is_appended(void **state)
{
    (void)state;
    assert_int_not_equal(last_in_child(false, 12), 12); /* bug */
    assert_int_equal(last_in_child(true, 12), 12);
    assert_int_equal(last_in_child(true, SNAPSHOT), SNAPSHOT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            entries_that_a_snapshot_took_the_place_of_are_not_appended),
        cmocka_unit_test(what_follows_the_snapshot_is_appended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
