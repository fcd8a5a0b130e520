/* The applier when things go wrong: kills, torn headers, full disks, and
 * changes behind its back. */
#include "tests/unit/vfs/pair.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/err.h"

/* A child writes all frames of `t` but dies in the record callback, right
 * before its commit frame, or right before publishing. */
static int die(void *arg, const struct wal_state *state, bool advances)
{
    (void)arg;
    (void)state;
    if (advances) {
        _exit(7);
    }
    return 0;
}

static void apply_and_die(const struct pair *p, const struct txn *t)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct wal_state state;
        struct apply *a;
        if (apply_open(p->follower, &a) != 0) {
            _exit(1);
        }
        apply_set_record(a, die, NULL);
        put_txn(a, t, p->source.page_size);
        apply_commit(a, &state);
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void a_node_killed_before_its_commit_leaves_nothing(void **state)
{
    struct pair p;
    struct txn first = {.count = 0}, second = {.count = 0};

    (void)state;
    pair_start(&p, 4096, 0);
    run(p.source.db, workload[1]);
    assert_true(source_next(&p.source, &first));
    run(p.source.db, workload[2]);
    assert_true(source_next(&p.source, &second));
    apply_and_die(&p, &first); /* with an empty WAL */
    assert_other_process(p.follower, "SELECT count(*) FROM t", "1");
    pair_open(&p);
    apply_txn(p.a, &first, 4096);
    assert_int_equal(apply_close(p.a, false), 0);
    apply_and_die(&p, &second); /* behind committed frames */
    pair_open(&p);
    assert_other_process(p.follower, "SELECT count(*) FROM t", "401");
    apply_txn(p.a, &second, 4096);
    assert_other_process(p.follower, "PRAGMA integrity_check", "ok");
    assert_identical(&p);
    txn_close(&first);
    txn_close(&second);
    pair_end(&p);
}

static void a_full_disk_leaves_the_old_state(void **state)
{
    struct rlimit before, limit;
    struct pair p;
    struct txn t = {.count = 0};
    struct wal_state then, now;
    int err = 0;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    assert_true(source_next(&p.source, &t));
    assert_int_equal(apply_state(p.a, &then), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 40000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(apply_begin(p.a, t.db_pages), 0);
    for (uint32_t i = 0; i < t.count && err == 0; i++) {
        err = apply_page(p.a, t.numbers[i], t.images + (size_t)i * 4096);
    }
    if (err == 0) {
        err = apply_commit(p.a, &now);
    }
    assert_int_not_equal(err, 0);
    apply_abort(p.a);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(apply_state(p.a, &now), 0);
    assert_memory_equal(&then, &now, sizeof now);
    assert_other_process(p.follower, "SELECT count(*) FROM t", "1");
    apply_txn(p.a, &t, 4096);
    assert_identical(&p);
    txn_close(&t);
    pair_end(&p);
}

static void an_aborted_transaction_leaves_nothing(void **state)
{
    struct pair p;
    struct txn t = {.count = 0};
    struct wal_state before, after;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    assert_true(source_next(&p.source, &t));
    assert_int_equal(apply_state(p.a, &before), 0);
    for (int i = 0; i < 3; i++) {
        put_txn(p.a, &t, 4096);
        apply_abort(p.a);
        assert_other_process(p.follower, "SELECT count(*) FROM t", "1");
    }
    assert_int_equal(apply_state(p.a, &after), 0);
    assert_memory_equal(&before, &after, sizeof before);
    apply_txn(p.a, &t, 4096);
    assert_identical(&p);
    txn_close(&t);
    pair_end(&p);
}

/* Overwrite a byte of the -shm through a mapping of its own: what a writer that
 * died between the two header copies leaves. */
static void tear_header(const char *path, off_t offset)
{
    char name[PATH_MAX + 8], command[PATH_MAX + 128];

    snprintf(name, sizeof name, "%s-shm", path);
    /* In another process: closing a descriptor here would drop our locks. */
    snprintf(command, sizeof command,
             "printf '\\377' | dd of='%s' bs=1 seek=%ld conv=notrunc "
             "2>/dev/null",
             name, (long)offset);
    assert_int_equal(system(command), 0);
}

static void a_torn_header_is_recovered(void **state)
{
    struct pair p;
    struct wal_state before, after;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    /* More frames than one block of the index holds. */
    run(p.source.db,
        "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<6000)"
        " INSERT INTO t(v) SELECT randomblob(900) FROM n");
    follow(&p);
    assert_int_equal(apply_state(p.a, &before), 0);
    assert_true(before.frame > 8200);
    for (int copy = 0; copy < 2; copy++) {
        tear_header(p.follower, 48 * copy + 17);
        assert_int_equal(apply_state(p.a, &after), 0);
        assert_memory_equal(&before, &after, sizeof before);
        assert_other_process(p.follower, "PRAGMA integrity_check", "ok");
    }
    run(p.source.db, "INSERT INTO t(v) VALUES('on')");
    assert_int_equal(follow(&p), 1);
    tear_header(p.follower, 8);
    run(p.source.db, "DELETE FROM t WHERE id%2");
    assert_int_equal(follow(&p), 1); /* begin recovers by itself */
    assert_identical(&p);
    pair_end(&p);
}

static void a_torn_header_over_an_empty_log_is_no_foreign_write(void **state)
{
    struct pair p;
    uint32_t frames, backfilled;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    assert_int_equal(follow(&p), 1);
    assert_int_equal(apply_checkpoint(p.a, true), 0);
    apply_frames(p.a, &frames, &backfilled);
    assert_int_equal(frames, 0);
    run(p.source.db, workload[2]);
    {
        struct txn t = {.count = 0};
        /* An aborted first transaction has begun a new log. */
        assert_true(source_next(&p.source, &t));
        put_txn(p.a, &t, 1024);
        apply_abort(p.a);
        tear_header(p.follower, 17);
        apply_txn(p.a, &t, 1024);
        txn_close(&t);
    }
    assert_identical(&p);
    pair_end(&p);
}

static void a_foreign_write_is_noticed(void **state)
{
    struct pair p;
    struct wal_state state_now, elsewhere;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    assert_int_equal(follow(&p), 1);
    assert_int_equal(apply_state(p.a, &state_now), 0);
    elsewhere = state_now;
    elsewhere.cksum[1] ^= 1;
    apply_expect(p.a, &elsewhere);
    assert_int_equal(apply_begin(p.a, 10), ERR_FOREIGN);
    assert_int_equal(apply_checkpoint(p.a, true), ERR_FOREIGN);
    elsewhere = state_now;
    elsewhere.frame--;
    apply_expect(p.a, &elsewhere);
    assert_int_equal(apply_begin(p.a, 10), ERR_FOREIGN);
    apply_expect(p.a, &state_now);
    run(p.source.db, workload[2]);
    assert_int_equal(follow(&p), 1);
    assert_int_equal(apply_close(p.a, false), 0);
    pair_open(&p);
    assert_int_equal(apply_state(p.a, &state_now), 0);
    assert_int_equal(apply_close(p.a, false), 0);
    /* A real one, while the node is down. */
    assert_other_process(p.follower, "INSERT INTO t(v) VALUES('foreign')", "");
    pair_open(&p);
    apply_expect(p.a, &state_now);
    assert_int_equal(apply_begin(p.a, 10), ERR_FOREIGN);
    assert_int_equal(apply_close(p.a, false), 0);
    pair_end(&p);
}

struct recorded {
    struct wal_state last;
    int calls, fail;
};

static int note_state(void *arg, const struct wal_state *state, bool advances)
{
    struct recorded *r = arg;

    if (r->fail != 0) {
        return r->fail;
    }
    r->last = *state;
    r->calls += advances ? 1 : 100;
    return 0;
}

static void each_state_is_recorded_before_it_comes_to_be(void **state)
{
    struct pair p;
    struct recorded r = {.calls = 0};
    struct txn t = {.count = 0};
    struct wal_state now, before;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    apply_set_record(p.a, note_state, &r);
    run(p.source.db, workload[1]);
    assert_int_equal(follow(&p), 1);
    assert_int_equal(apply_state(p.a, &now), 0);
    assert_memory_equal(&now, &r.last, sizeof now);
    assert_int_equal(apply_checkpoint(p.a, true), 0);
    assert_int_equal(apply_state(p.a, &now), 0);
    assert_int_equal(now.frame, 0);
    assert_memory_equal(&now, &r.last, sizeof now);
    assert_int_equal(r.calls, 201);
    run(p.source.db, workload[2]);
    assert_true(source_next(&p.source, &t));
    before = now;
    r.fail = ERR_IO; /* already for the new log's header */
    assert_int_equal(apply_begin(p.a, t.db_pages), 0);
    assert_int_equal(apply_page(p.a, 2, t.images), ERR_IO);
    apply_abort(p.a);
    r.fail = 0;
    put_txn(p.a, &t, 4096);
    assert_int_equal(r.last.frame, 0);
    r.fail = ERR_IO;
    assert_int_equal(apply_commit(p.a, &now), ERR_IO);
    apply_abort(p.a);
    assert_int_equal(apply_state(p.a, &now), 0);
    assert_memory_equal(&now, &before, sizeof now);
    r.fail = 0;
    apply_txn(p.a, &t, 4096);
    assert_int_equal(apply_sync(p.a), 0);
    assert_identical(&p);
    txn_close(&t);
    pair_end(&p);
}

static void replaced_and_unlinked_files_are_noticed(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct pair p;
        char name[PATH_MAX + 8], other[PATH_MAX + 16];
        pair_start(&p, 4096, 0);
        pair_open(&p);
        assert_int_equal(apply_check_identity(p.a), 0);
        snprintf(name, sizeof name, "%s%s", p.follower, suffixes[i]);
        snprintf(other, sizeof other, "%s.away", name);
        assert_int_equal(rename(name, other), 0);
        assert_int_equal(apply_check_identity(p.a), ERR_FOREIGN);
        copy_file(p.source.path, name);
        assert_int_equal(apply_check_identity(p.a), ERR_FOREIGN);
        assert_int_equal(rename(other, name), 0);
        assert_int_equal(apply_check_identity(p.a), 0);
        assert_int_equal(apply_close(p.a, false), 0);
        pair_end(&p);
    }
}

/* What a node remembers across a kill, in shared memory. */
struct journal {
    int done; /* transactions */
    struct wal_state states[6000];
    int after[6000]; /* so many transactions each state is */
    int count;
};

static int note_in_journal(void *arg, const struct wal_state *state,
                           bool advances)
{
    struct journal *j = arg;

    if (j->count == 6000) {
        return ERR_TOO_BIG;
    }
    j->states[j->count] = *state;
    j->after[j->count] = j->done + (advances ? 1 : 0);
    j->count++;
    return 0;
}

/* How many transactions does this state hold? -1: nobody knows. */
static int find_done(const struct journal *j, const struct wal_state *state)
{
    for (int i = j->count - 1; i >= 0; i--) {
        if (memcmp(&j->states[i], state, sizeof *state) == 0) {
            return j->after[i];
        }
    }
    return -1;
}

static void apply_until_killed(const char *path, struct journal *j,
                               const struct txn *txns, int count)
{
    struct wal_state state;
    struct apply *a;

    if (apply_open(path, &a) != 0 || apply_state(a, &state) != 0) {
        _exit(1);
    }
    j->done = find_done(j, &state);
    if (j->done < 0) {
        _exit(2);
    }
    apply_set_record(a, note_in_journal, j);
    while (j->done < count) {
        put_txn(a, &txns[j->done], 1024);
        if (apply_commit(a, &state) != 0) {
            _exit(3);
        }
        j->done++;
        if (apply_checkpoint(a, j->done % 3 == 0) != 0) {
            _exit(4);
        }
    }
    _exit(0);
}

/* Start, and kill it after a while. */
static void run_and_kill(const struct pair *p, struct journal *j,
                         const struct txn *txns, int count, unsigned delay_us)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        apply_until_killed(p->follower, j, txns, count);
    }
    usleep(delay_us);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* Somebody who has the file open, so that its -shm outlives the node. */
static pid_t start_holder(const char *path)
{
    int ready[2];
    char c;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(open_sql(path), "SELECT count(*) FROM t");
        (void)!write(ready[1], "x", 1);
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void kill_again_and_again(struct pair *p, struct txn *txns, int count,
                                 bool held)
{
    struct journal *j = mmap(NULL, sizeof *j, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t holder = held ? start_holder(p->follower) : 0;
    struct wal_state state;

    assert_true(j != MAP_FAILED);
    pair_open(p);
    assert_int_equal(apply_state(p->a, &state), 0);
    note_in_journal(j, &state, false);
    assert_int_equal(apply_close(p->a, false), 0);
    /* Again, and with more time, where a sanitizer makes it slow. */
    for (unsigned i = 0; i < 30 || (i < 600 && j->done <= 30); i++) {
        run_and_kill(p, j, txns, count, (1500 + i * 397 % 5000) * (1 + i / 30));
        if (held) {
            assert_other_process(p->follower, "PRAGMA integrity_check", "ok");
        }
    }
    pair_open(p);
    assert_int_equal(apply_state(p->a, &state), 0);
    j->done = find_done(j, &state);
    assert_true(j->done > 30);
    while (j->done < count) {
        apply_txn(p->a, &txns[j->done++], 1024);
    }
    if (held) {
        kill(holder, SIGKILL);
        assert_int_equal(waitpid(holder, NULL, 0), holder);
    }
    munmap(j, sizeof *j);
}

static void a_node_killed_at_any_moment_goes_on_where_it_was(void **state)
{
    enum { TXNS = 1500 };
    static struct txn txns[TXNS];

    (void)state;
    for (int held = 0; held < 2; held++) {
        struct pair p;
        pair_start(&p, 1024, 0);
        memset(txns, 0, sizeof txns);
        for (int i = 0; i < TXNS; i++) {
            run(p.source.db, i % 4 == 3 ? "DELETE FROM t WHERE id%5=2"
                                        : "INSERT INTO t(v) VALUES"
                                          "(randomblob(15000))");
            assert_true(source_next(&p.source, &txns[i]));
        }
        kill_again_and_again(&p, txns, TXNS, held);
        assert_identical(&p);
        for (int i = 0; i < TXNS; i++) {
            txn_close(&txns[i]);
        }
        pair_end(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_killed_before_its_commit_leaves_nothing),
        cmocka_unit_test(a_full_disk_leaves_the_old_state),
        cmocka_unit_test(an_aborted_transaction_leaves_nothing),
        cmocka_unit_test(a_torn_header_is_recovered),
        cmocka_unit_test(a_torn_header_over_an_empty_log_is_no_foreign_write),
        cmocka_unit_test(a_foreign_write_is_noticed),
        cmocka_unit_test(each_state_is_recorded_before_it_comes_to_be),
        cmocka_unit_test(replaced_and_unlinked_files_are_noticed),
        cmocka_unit_test(a_node_killed_at_any_moment_goes_on_where_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
