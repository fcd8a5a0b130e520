/* The applier against SQLite: what it wrote must read, check and checkpoint as
 * if SQLite had written it, byte for byte. */
#include "tests/unit/vfs/pair.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/err.h"
#include "vfs/apply_internal.h"

static void follow_workload(uint32_t page_size, int auto_vacuum)
{
    struct pair p;
    int count = 0;

    pair_start(&p, page_size, auto_vacuum);
    pair_open(&p);
    assert_int_equal(apply_page_size(p.a), page_size);
    for (size_t i = 0; i < sizeof workload / sizeof *workload; i++) {
        run(p.source.db, workload[i]);
        count += follow(&p);
        if (i % 4 == 3) {
            assert_int_equal(apply_checkpoint(p.a, i % 8 == 7), 0);
        }
        assert_other_process(p.follower, "PRAGMA integrity_check", "ok");
    }
    assert_true(count > 10);
    assert_identical(&p);
    pair_end(&p);
}

static void small_pages_end_up_identical(void **state)
{
    (void)state;
    follow_workload(512, 1);
}

static void common_pages_end_up_identical(void **state)
{
    (void)state;
    follow_workload(4096, 2);
    follow_workload(4096, 0);
}

static void the_largest_pages_end_up_identical(void **state)
{
    (void)state;
    follow_workload(65536, 1);
}

static void others_may_read_but_not_write_nor_checkpoint(void **state)
{
    struct pair p;
    char path[PATH_MAX + 64];

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    run(p.source.db, "INSERT INTO t(v) VALUES('x')");
    assert_int_equal(follow(&p), 1);
    assert_other_process(p.follower, "SELECT count(*) FROM t", "2");
    assert_other_process(p.follower, "INSERT INTO t(v) VALUES(1)",
                         "Error: stepping, database is locked (5)");
    assert_other_process(p.follower, "PRAGMA wal_checkpoint", "1|-1|-1");
    assert_other_process(p.follower, "PRAGMA wal_checkpoint(TRUNCATE)",
                         "1|-1|-1");
    snprintf(path, sizeof path, "VACUUM INTO '%s/copy.db'", p.folder);
    assert_other_process(p.follower, path, "");
    assert_identical(&p);
    assert_other_process(p.follower, "INSERT INTO t(v) VALUES(1)", "");
    pair_end(&p);
}

/* In a child: open, exit 0 if the answer is `want`. */
static int open_in_child(const char *path, int want)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct apply *a;
        _exit(apply_open(path, &a) == want ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_second_node_is_refused(void **state)
{
    struct pair p;
    int ready[2], done[2], status;
    char c = 0;
    pid_t child;

    (void)state;
    pair_start(&p, 4096, 0);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    child = fork();
    if (child == 0) {
        struct apply *a;
        c = (char)(apply_open(p.follower, &a) == 0);
        (void)!write(ready[1], &c, 1);
        (void)!read(done[0], &c, 1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 1);
    assert_int_equal(open_in_child(p.follower, ERR_BUSY), 0);
    assert_int_equal(apply_open(p.follower, &p.a), ERR_BUSY);
    assert_int_equal(write(done[1], &c, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    pair_open(&p);
    assert_int_equal(apply_close(p.a, false), 0);
    pair_end(&p);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(done[i]);
    }
}

/* In a process of its own, until killed: lock bytes `first`.. of the -shm as
 * fcntl's `type`, with the database open. */
static pid_t start_locker(const char *path, short type, int slot)
{
    int ready[2];
    char c = 0;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        char name[PATH_MAX + 8];
        struct flock lock = {.l_type = type,
                             .l_whence = SEEK_SET,
                             .l_start = 120 + slot,
                             .l_len = 1};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(open_sql(path), "SELECT count(*) FROM t");
        snprintf(name, sizeof name, "%s-shm", path);
        c = (char)(fcntl(open(name, O_RDWR), F_SETLK, &lock) == 0);
        (void)!write(ready[1], &c, 1);
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void a_session_writer_or_checkpointer_keeps_the_node_out(void **state)
{
    static const struct {
        short type;
        int slot;
    } locks[] = {
        {F_RDLCK, 0}, /* a session of an earlier node */
        {F_WRLCK, 0}, /* a program that writes */
        {F_RDLCK, 1}, /* another node */
        {F_WRLCK, 1}, /* a program that checkpoints */
    };
    struct pair p;

    (void)state;
    pair_start(&p, 4096, 0);
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        pid_t child = start_locker(p.follower, locks[i].type, locks[i].slot);
        assert_int_equal(apply_open(p.follower, &p.a), ERR_BUSY);
        /* The attempt has left no lock behind. */
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_other_process(p.follower, "INSERT INTO t(v) VALUES(1)", "");
        pair_open(&p);
        assert_int_equal(apply_close(p.a, false), 0);
    }
    pair_end(&p);
}

static int count_bad_checks(sqlite3 *db)
{
    char answer[256];

    ask(db, "PRAGMA integrity_check(1)", answer);
    return strcmp(answer, "ok") != 0;
}

/* Two counts inside one snapshot must agree, and the index with the table. */
static int count_moving_snapshots(sqlite3 *db)
{
    char first[256], second[256], index[256];

    run(db, "BEGIN");
    ask(db, "SELECT count(*)||sum(length(v)) FROM t NOT INDEXED", first);
    ask(db, "SELECT count(*) FROM t INDEXED BY i WHERE v>=0", index);
    usleep(2000);
    ask(db, "SELECT count(*)||sum(length(v)) FROM t NOT INDEXED", second);
    run(db, "COMMIT");
    return strcmp(first, second) != 0 ||
           strncmp(first, index, strlen(index)) != 0;
}

/* Read until `stop` has something to read; the exit status tells. */
static void read_until(const char *path, int stop)
{
    sqlite3 *db = open_sql(path);
    int bad = 0, rounds = 0;
    char c;

    sqlite3_busy_timeout(db, 5000);
    fcntl(stop, F_SETFL, O_NONBLOCK);
    while (bad == 0 && read(stop, &c, 1) < 0) {
        bad += count_moving_snapshots(db);
        bad += count_bad_checks(db);
        rounds++;
    }
    sqlite3_close(db);
    _exit(bad != 0 ? 1 : rounds > 3 ? 0 : 2);
}

/* Once all is written back, new readers need the file alone, and a reset
 * becomes possible beside readers that never pause. */
static bool reset_soon(struct apply *a)
{
    uint32_t frames = 1, backfilled;

    for (int i = 0; i < 200 && frames > 0; i++) {
        assert_int_equal(apply_checkpoint(a, true), 0);
        apply_frames(a, &frames, &backfilled);
        usleep(500);
    }
    return frames == 0;
}

static void readers_elsewhere_never_see_a_partial_state(void **state)
{
    struct pair p;
    pid_t readers[2];
    int stop[2], status, resets = 0;

    (void)state;
    pair_start(&p, 1024, 0);
    assert_int_equal(pipe(stop), 0);
    for (int i = 0; i < 2; i++) {
        readers[i] = fork();
        if (readers[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            read_until(p.follower, stop[0]);
        }
    }
    pair_open(&p);
    for (int i = 0; i < 600; i++) {
        run(p.source.db, i % 7 == 3
                             ? "DELETE FROM t WHERE id%4=1"
                             : "INSERT INTO t(v) SELECT randomblob(700) FROM "
                               "(VALUES(1),(2),(3),(4))");
        assert_int_equal(follow(&p), 1);
        if (i % 30 == 29) {
            resets += reset_soon(p.a);
        } else {
            assert_int_equal(apply_checkpoint(p.a, i % 3 == 0), 0);
        }
    }
    assert_true(resets > 0);
    assert_int_equal(write(stop[1], "xx", 2), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
        assert_int_equal(status, 0);
    }
    assert_identical(&p);
    close(stop[0]);
    close(stop[1]);
    pair_end(&p);
}

static void a_reader_holds_back_the_reset_but_not_the_applier(void **state)
{
    struct pair p;
    sqlite3 *reader;
    char before[256], after[256];
    uint32_t frames, backfilled;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    follow(&p);
    reader = open_sql(p.follower);
    run(reader, "BEGIN");
    ask(reader, "SELECT count(*)||sum(length(v)) FROM t", before);
    for (int i = 0; i < 20; i++) {
        run(p.source.db, "UPDATE t SET v=randomblob(100) WHERE id%7=1");
        assert_int_equal(follow(&p), 1);
        assert_int_equal(apply_checkpoint(p.a, true), 0);
        apply_frames(p.a, &frames, &backfilled);
        assert_true(frames > backfilled);
    }
    ask(reader, "SELECT count(*)||sum(length(v)) FROM t", after);
    assert_string_equal(before, after);
    assert_int_equal(count_bad_checks(reader), 0);
    run(reader, "COMMIT");
    assert_int_equal(apply_checkpoint(p.a, true), 0);
    apply_frames(p.a, &frames, &backfilled);
    assert_int_equal(frames, 0);
    sqlite3_close(reader);
    run(p.source.db, workload[1]);
    follow(&p);
    assert_identical(&p);
    pair_end(&p);
}

/* Closing while another process has the file open: the content is in the file,
 * the WAL stays. */
/* What a stock program leaves that dies while it starts the WAL over. */
static void more_written_back_than_there_is_is_mended_at_the_start(void **state)
{
    uint32_t frames, backfilled;
    sqlite3 *reader;
    struct pair p;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    run(p.source.db, "INSERT INTO t(v) VALUES('x')");
    assert_int_equal(follow(&p), 1);
    assert_int_equal(sqlite3_open(p.follower, &reader), SQLITE_OK);
    run(reader, "SELECT count(*) FROM t"); /* keeps the -shm */
    apply_frames(p.a, &frames, &backfilled);
    wal_index_info(&p.a->index)->backfilled = frames + 100;
    assert_int_equal(apply_close(p.a, false), 0);
    pair_open(&p);
    apply_frames(p.a, &frames, &backfilled);
    assert_true(frames > 0 && backfilled <= frames);
    assert_other_process(p.follower, "SELECT count(*) FROM t", "2");
    sqlite3_close(reader);
    assert_int_equal(apply_close(p.a, true), 0);
    pair_end(&p);
}

static void closing_beside_another_opener_leaves_the_wal(void **state)
{
    struct pair p;
    FILE *other;
    char command[2 * PATH_MAX + 128], line[64];

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    follow(&p);
    assert_int_equal(apply_checkpoint(p.a, true), 0);
    run(p.source.db, "DELETE FROM t WHERE id>101; VACUUM");
    follow(&p);
    snprintf(command, sizeof command,
             "(echo 'SELECT count(*) FROM t;'; read x; ) <'%s/fifo' | sqlite3 "
             "-batch '%s'",
             p.folder, p.follower);
    snprintf(line, sizeof line, "mkfifo '%.40s/fifo'", p.folder);
    assert_int_equal(system(line), 0);
    other = popen(command, "r");
    assert_non_null(other);
    {
        char fifo[PATH_MAX + 8];
        FILE *in;
        snprintf(fifo, sizeof fifo, "%s/fifo", p.folder);
        in = fopen(fifo, "w");
        assert_non_null(fgets(line, sizeof line, other));
        assert_string_equal(line, "101\n");
        assert_int_equal(apply_close(p.a, true), 0);
        assert_true(file_exists(p.follower, "-wal"));
        run(p.source.db, "PRAGMA wal_checkpoint(TRUNCATE)");
        assert_same_bytes(p.source.path, p.follower);
        fclose(in);
    }
    pclose(other);
    pair_end(&p);
}

static void bad_pages_are_refused(void **state)
{
    struct pair p;
    uint8_t image[4096] = {0};
    struct wal_state s, before;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    assert_int_equal(apply_state(p.a, &before), 0);
    assert_int_equal(apply_begin(p.a, 0), ERR_CORRUPT);
    assert_int_equal(apply_begin(p.a, 3), 0);
    assert_int_equal(apply_page(p.a, 0, image), ERR_CORRUPT);
    image[18] = 2;
    image[19] = 1;
    assert_int_equal(apply_page(p.a, 1, image), ERR_CORRUPT);
    apply_abort(p.a);
    /* Nothing but dropped pages, and yet another size. */
    assert_int_equal(apply_begin(p.a, 2), 0);
    assert_int_equal(apply_page(p.a, 3, image), 0);
    assert_int_equal(apply_commit(p.a, &s), ERR_CORRUPT);
    apply_abort(p.a);
    /* The lock page is never written. */
    assert_int_equal(apply_begin(p.a, apply_pages(p.a)), 0);
    assert_int_equal(apply_page(p.a, wal_lock_page(4096), image), 0);
    assert_int_equal(apply_commit(p.a, &s), 0);
    assert_memory_equal(&s, &before, sizeof s);
    assert_int_equal(apply_close(p.a, false), 0);
    pair_end(&p);
}

/* With 64 KiB pages the lock page has number 16385. */
static void pages_around_the_lock_page_are_written(void **state)
{
    struct pair p;
    uint8_t *image = malloc(65536), *page1 = malloc(65536);
    struct page_reader *r;
    struct wal_state s;
    uint32_t lock = wal_lock_page(65536), frames, backfilled;

    (void)state;
    assert_int_equal(lock, 16385);
    assert_true(image != NULL && page1 != NULL);
    pair_start(&p, 65536, 0);
    /* As if it had grown to there. */
    assert_int_equal(truncate(p.follower, (off_t)(lock - 2) * 65536), 0);
    pair_open(&p);
    assert_int_equal(page_reader_open(p.a, &r), 0);
    assert_int_equal(page_reader_get(r, 1, page1), 0);
    page_reader_close(r);
    assert_int_equal(apply_begin(p.a, lock + 1), 0);
    for (uint32_t n = lock - 1; n <= lock + 2; n++) {
        memset(image, (int)(n - lock) + 10, 65536);
        assert_int_equal(apply_page(p.a, n, image), 0);
    }
    assert_int_equal(apply_page(p.a, 1, page1), 0);
    assert_int_equal(apply_commit(p.a, &s), 0);
    apply_frames(p.a, &frames, &backfilled);
    assert_int_equal(frames, 3);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(page_reader_open(p.a, &r), 0);
        assert_int_equal(page_reader_count(r), lock + 1);
        assert_int_equal(page_reader_get(r, lock, image), 0);
        assert_int_equal(image[100], 0);
        assert_int_equal(page_reader_get(r, lock - 1, image), 0);
        assert_int_equal(image[100], 9);
        assert_int_equal(page_reader_get(r, lock + 1, image), 0);
        assert_int_equal(image[100], 11);
        page_reader_close(r);
        assert_int_equal(apply_checkpoint(p.a, true), 0);
    }
    assert_int_equal(apply_close(p.a, false), 0);
    free(image);
    free(page1);
    pair_end(&p);
}

static void a_snapshot_stays_while_transactions_follow(void **state)
{
    struct pair p;
    struct page_reader *r;
    uint8_t *frozen;
    size_t len;
    uint8_t image[1024];

    (void)state;
    for (int from_wal = 0; from_wal < 2; from_wal++) {
        pair_start(&p, 1024, 0);
        pair_open(&p);
        run(p.source.db, workload[1]);
        follow(&p);
        if (!from_wal) {
            assert_int_equal(apply_checkpoint(p.a, true), 0);
        }
        /* The same state as one file, by SQLite. */
        run(p.source.db, "PRAGMA wal_checkpoint(PASSIVE)");
        frozen = slurp(p.source.path, &len);
        assert_int_equal(page_reader_open(p.a, &r), 0);
        assert_int_equal(page_reader_count(r), len / 1024);
        for (uint32_t n = 1; n <= len / 1024; n++) {
            assert_int_equal(page_reader_get(r, n, image), 0);
            assert_memory_equal(image, frozen + (n - 1) * 1024, 1024);
            if (n % 30 == 0) {
                run(p.source.db,
                    "BEGIN; UPDATE t SET v=randomblob(210);"
                    "DELETE FROM t WHERE id=(SELECT max(id) FROM t); COMMIT");
                assert_int_equal(follow(&p), 1);
                assert_int_equal(apply_checkpoint(p.a, true), 0);
            }
        }
        assert_int_equal(page_reader_get(r, 0, image), ERR_NOT_FOUND);
        assert_int_equal(page_reader_get(r, (uint32_t)(len / 1024) + 1, image),
                         ERR_NOT_FOUND);
        page_reader_close(r);
        free(frozen);
        assert_int_equal(apply_close(p.a, true), 0);
        pair_end(&p);
    }
}

/* SQLite puts off closing descriptors while locks are held, and must use them
 * again. */
static void snapshots_do_not_pile_up_descriptors(void **state)
{
    struct pair p;
    struct page_reader *r;
    int before, after;

    (void)state;
    pair_start(&p, 4096, 0);
    pair_open(&p);
    assert_int_equal(page_reader_open(p.a, &r), 0);
    page_reader_close(r);
    before = dup(0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(page_reader_open(p.a, &r), 0);
        page_reader_close(r);
    }
    after = dup(0);
    assert_int_equal(after, before + 1);
    close(before);
    close(after);
    assert_other_process(p.follower, "INSERT INTO t(v) VALUES(1)",
                         "Error: stepping, database is locked (5)");
    assert_int_equal(apply_close(p.a, false), 0);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages_end_up_identical),
        cmocka_unit_test(common_pages_end_up_identical),
        cmocka_unit_test(the_largest_pages_end_up_identical),
        cmocka_unit_test(others_may_read_but_not_write_nor_checkpoint),
        cmocka_unit_test(a_second_node_is_refused),
        cmocka_unit_test(a_session_writer_or_checkpointer_keeps_the_node_out),
        cmocka_unit_test(readers_elsewhere_never_see_a_partial_state),
        cmocka_unit_test(a_reader_holds_back_the_reset_but_not_the_applier),
        cmocka_unit_test(
            more_written_back_than_there_is_is_mended_at_the_start),
        cmocka_unit_test(closing_beside_another_opener_leaves_the_wal),
        cmocka_unit_test(bad_pages_are_refused),
        cmocka_unit_test(pages_around_the_lock_page_are_written),
        cmocka_unit_test(a_snapshot_stays_while_transactions_follow),
        cmocka_unit_test(snapshots_do_not_pile_up_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
