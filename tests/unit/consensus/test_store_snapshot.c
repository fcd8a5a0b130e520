/* Snapshots in the log store: what they take the place of, and that it goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/consensus/store_fixture.h"

static void snapshot_done(struct store_write *write)
{
    struct store_snapshot *s = (void *)(uintptr_t)write->snapshot;

    free(s->data);
    free(s);
    on_done(write);
}

/* The state up to `index`; entries from `first` on stay. */
static void push_snapshot(struct fixture *f, uint32_t group, uint64_t index,
                          uint64_t first, bool replaces)
{
    struct item *item = new_item(f, STORE_SNAPSHOT, group);
    struct store_snapshot *s = calloc(1, sizeof *s);

    s->index = index;
    s->term = 3;
    s->conf_index = 1;
    s->conf = (void *)(uintptr_t) "members";
    s->conf_len = 7;
    s->data_len = 1000 + index % 100;
    s->data = malloc(s->data_len);
    memset(s->data, (int)(index & 0xff), s->data_len);
    item->write.index = first;
    item->write.snapshot = s;
    item->write.replaces = replaces;
    item->write.done = snapshot_done;
    store_push(f->store, &item->write);
}

static void append_many(struct fixture *f, uint32_t group, uint64_t first,
                        uint64_t last, size_t len)
{
    for (uint64_t i = first; i <= last; i++) {
        push_append(f, group, i, 3, len);
        if (i % 50 == 0) {
            sync_all(f);
        }
    }
    sync_all(f);
}

static void expire(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Until everything has been swept: nothing happens for a while. */
static void let_it_sweep(struct fixture *f)
{
    bool expired = false;
    uv_timer_t timer;

    uv_timer_init(&f->loop, &timer);
    timer.data = &expired;
    uv_timer_start(&timer, expire, 300, 0);
    while (!expired) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static int64_t ask(const struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3_stmt *st;
    sqlite3 *db;
    int64_t n;

    snprintf(path, sizeof path, "%s/store.db", f->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_not_equal(sqlite3_step(st), SQLITE_ERROR);
    n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static void assert_log(struct fixture *f, uint32_t group, uint64_t snapshot,
                       uint64_t first, uint64_t last)
{
    struct store_group g = load(f, group);

    assert_int_equal(g.snapshot.index, snapshot);
    assert_int_equal(g.first, first);
    assert_int_equal(g.first + g.n - 1, last);
    for (size_t i = 0; i < g.n; i++) {
        const struct raft_entry *e = &g.entries[i];
        if (g.first + i > 1 && e->buf.len > 0) {
            assert_int_equal(((uint8_t *)e->buf.base)[0], (g.first + i) & 0xff);
        }
    }
    if (snapshot > 0) {
        const uint8_t *data = g.snapshot.data;
        assert_int_equal(g.snapshot.term, 3);
        assert_int_equal(g.snapshot.conf_index, 1);
        assert_int_equal(g.snapshot.conf_len, 7);
        assert_memory_equal(g.snapshot.conf, "members", 7);
        assert_int_equal(g.snapshot.data_len, 1000 + snapshot % 100);
        assert_int_equal(data[0], snapshot & 0xff);
        assert_int_equal(data[g.snapshot.data_len - 1], snapshot & 0xff);
    }
    store_group_free(&g);
}

/* ---- tests --------------------------------------------------------------- */

static void a_snapshot_takes_the_place_of_the_entries_before_it(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 100, 500);
    append_many(f, 2, 2, 100, 500);
    push_snapshot(f, 1, 90, 81, false);
    sync_all(f);
    let_it_sweep(f);
    close_store(f);
    assert_log(f, 1, 90, 81, 100);
    assert_log(f, 2, 0, 1, 100);
    assert_log(f, 0, 0, 1, 1);
    assert_int_equal(ask(f, "SELECT count(*) FROM log"), 1 + 20 + 100);
}

static void it_counts_before_anything_is_swept(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 100, 500);
    push_snapshot(f, 1, 90, 81, false);
    sync_all(f);
    close_store(f);
    assert_log(f, 1, 90, 81, 100);
}

/* As a node starts. */
static void open_loaded(struct fixture *f)
{
    struct store_group g;
    char why[256];

    f->last_done = 0;
    assert_int_equal(store_open(&f->options, &f->store, why, sizeof why), 0);
    assert_int_equal(store_load(f->store, 1, &g, why, sizeof why), 0);
    store_group_free(&g);
    assert_int_equal(store_start(f->store), 0);
}

/* What a start finds unswept is swept then. */
static void an_interrupted_sweep_goes_on_after_a_start(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 3000, 10);
    push_snapshot(f, 1, 3000, 3001, false);
    sync_all(f);
    close_store(f);
    assert_true(ask(f, "SELECT count(*) FROM log WHERE grp = 1") > 0);
    open_store(f);
    close_store(f);
    assert_log(f, 1, 3000, 3001, 3000);
    open_loaded(f);
    push_append(f, 1, 3001, 3, 10);
    sync_all(f);
    let_it_sweep(f);
    close_store(f);
    assert_int_equal(ask(f, "SELECT count(*) FROM log WHERE grp = 1"), 1);
    assert_log(f, 1, 3000, 3001, 3001);
}

static void one_from_a_peer_replaces_the_whole_log(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 60, 100);
    append_many(f, 2, 2, 60, 100);
    push_snapshot(f, 1, 500, 501, true);
    push_append(f, 1, 501, 4, 10);
    sync_all(f);
    close_store(f);
    assert_log(f, 1, 500, 501, 501);
    assert_log(f, 2, 0, 1, 60);
}

/* The own log may be longer: what a former leader wrote and nobody else has. */
static void one_from_a_peer_takes_longer_logs_back(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 60, 100);
    push_snapshot(f, 1, 40, 41, true);
    push_append(f, 1, 41, 4, 10);
    sync_all(f);
    let_it_sweep(f);
    close_store(f);
    assert_log(f, 1, 40, 41, 41);
    assert_int_equal(ask(f, "SELECT count(*) FROM log WHERE grp = 1"), 1);
}

static void the_next_one_replaces_the_last(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 60, 100);
    push_snapshot(f, 1, 20, 11, false);
    push_snapshot(f, 1, 50, 46, false);
    sync_all(f);
    let_it_sweep(f);
    close_store(f);
    assert_log(f, 1, 50, 46, 60);
    assert_int_equal(ask(f, "SELECT count(*) FROM snapshots"), 1);
    open_store(f);
    push_truncate(f, 1, 55);
    push_append(f, 1, 55, 5, 10);
    sync_all(f);
    close_store(f);
    assert_log(f, 1, 50, 46, 55);
}

static void expect_damage(struct fixture *f, const char *sql)
{
    struct store_group g;
    char why[256] = "";

    (void)ask(f, sql);
    assert_int_equal(store_open(&f->options, &f->store, why, sizeof why), 0);
    assert_int_equal(store_load(f->store, 1, &g, why, sizeof why), ERR_CORRUPT);
    store_discard(f->store);
    f->store = NULL;
}

static void a_gap_behind_a_snapshot_is_damage(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 60, 100);
    push_snapshot(f, 1, 50, 46, false);
    sync_all(f);
    close_store(f);
    expect_damage(f, "DELETE FROM log WHERE grp = 1 AND idx = 46");
}

static void a_log_that_ends_before_its_snapshot_is_damage(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 60, 100);
    push_snapshot(f, 1, 50, 46, false);
    sync_all(f);
    close_store(f);
    expect_damage(f, "DELETE FROM log WHERE grp = 1 AND idx > 48");
}

static void a_snapshot_that_cannot_be_is_damage(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    append_many(f, 1, 2, 60, 100);
    push_snapshot(f, 1, 50, 46, false);
    sync_all(f);
    close_store(f);
    expect_damage(f, "UPDATE snapshots SET first = 52");
    (void)ask(f, "UPDATE snapshots SET first = 46");
    expect_damage(f, "UPDATE snapshots SET idx = 0");
    (void)ask(f, "UPDATE snapshots SET idx = 50");
    expect_damage(f, "UPDATE snapshots SET grp = 77");
}

static off_t store_size(const struct fixture *f)
{
    struct stat st;
    char path[128];

    snprintf(path, sizeof path, "%s/store.db", f->folder);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void space_is_used_again(void **s)
{
    struct fixture *f = *s;
    uint64_t next = 2;

    open_store(f);
    for (unsigned round = 0; round < 30; round++) {
        append_many(f, 1, next, next + 99, 20000); /* 2 MB */
        next += 100;
        push_snapshot(f, 1, next - 1, next - 10, false);
        sync_all(f);
        let_it_sweep(f);
    }
    close_store(f);
    print_message("60 MB went through %lld KiB\n",
                  (long long)store_size(f) >> 10);
    assert_true(store_size(f) < 8 << 20);
    assert_log(f, 1, next - 1, next - 10, next - 1);
}

/* Is it still there, where it was? */
static void what_is_swept_is_not_overwritten(void **s)
{
    struct fixture *f = *s;
    static uint8_t page[8192], same[8192];
    char path[128];
    unsigned found = 0;
    FILE *file;

    open_store(f);
    for (uint64_t i = 2; i < 50; i++) {
        push_append(f, 1, 0x100 * i + 0x77, 3, 100000);
    }
    sync_all(f);
    push_snapshot(f, 1, 0x100 * 60, 0x100 * 60 + 1, true);
    sync_all(f);
    let_it_sweep(f);
    close_store(f);
    assert_int_equal(ask(f, "SELECT count(*) FROM log WHERE grp = 1"), 0);
    snprintf(path, sizeof path, "%s/store.db", f->folder);
    file = fopen(path, "r");
    assert_non_null(file);
    memset(same, 0x77, sizeof same);
    while (fread(page, sizeof page, 1, file) == 1) {
        found += memcmp(page + 8, same, 8000) == 0;
    }
    fclose(file);
    assert_true(found > 200);
}

/* Appends, snapshots and sweeps until it is killed. */
static void write_until_killed(struct fixture *f, int out)
{
    open_store(f);
    for (uint64_t i = 2;; i++) {
        push_append(f, 0, i, 3, 3000);
        push_append(f, 1, i, 3, 30);
        if (i % 40 == 0) {
            push_snapshot(f, 0, i - 5, i - 15, false);
        }
        if (i % 7 == 0) {
            sync_all(f);
            uv_run(&f->loop, UV_RUN_NOWAIT);
            if (write(out, &i, sizeof i) != sizeof i) {
                _exit(1);
            }
        }
    }
}

static void a_kill_leaves_a_log_without_gaps(void **s)
{
    struct fixture *f = *s;
    struct store_group g;
    uint64_t last = 0;
    int fds[2];
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        write_until_killed(f, fds[1]);
    }
    close(fds[1]);
    while (last < 1500) {
        assert_int_equal(read(fds[0], &last, sizeof last), sizeof last);
    }
    kill(child, SIGKILL);
    while (read(fds[0], &last, sizeof last) > 0) {
    }
    close(fds[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    g = load(f, 0);
    assert_true(g.first + g.n - 1 >= last);
    assert_true(g.snapshot.index + 5 + 40 >= last);
    assert_int_equal(g.first, g.snapshot.index - 10);
    store_group_free(&g);
    g = load(f, 1);
    assert_int_equal(g.first, 1);
    assert_true(g.n >= last);
    store_group_free(&g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_snapshot_takes_the_place_of_the_entries_before_it),
        TEST(it_counts_before_anything_is_swept),
        TEST(an_interrupted_sweep_goes_on_after_a_start),
        TEST(one_from_a_peer_replaces_the_whole_log),
        TEST(one_from_a_peer_takes_longer_logs_back),
        TEST(the_next_one_replaces_the_last),
        TEST(a_gap_behind_a_snapshot_is_damage),
        TEST(a_log_that_ends_before_its_snapshot_is_damage),
        TEST(a_snapshot_that_cannot_be_is_damage),
        TEST(space_is_used_again),
        TEST(what_is_swept_is_not_overwritten),
        TEST(a_kill_leaves_a_log_without_gaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
