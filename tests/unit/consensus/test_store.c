#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/consensus/store_fixture.h"

/* ---- tests -------------------------------------------------------------- */

static void every_group_of_a_new_store_begins_with_the_configuration(void **s)
{
    struct fixture *f = *s;

    for (uint32_t i = 0; i < SHARDS; i++) {
        struct store_group g = load(f, i);
        assert_int_equal(g.n, 1);
        assert_int_equal(g.term, 1);
        assert_int_equal(g.vote, 0);
        assert_int_equal(g.entries[0].type, RAFT_CHANGE);
        assert_int_equal(g.entries[0].term, 1);
        assert_int_equal(g.entries[0].buf.len, 13);
        assert_memory_equal(g.entries[0].buf.base, "configuration", 13);
        store_group_free(&g);
    }
}

static void entries_terms_and_votes_survive_a_restart(void **s)
{
    struct fixture *f = *s;
    struct store_group g;

    open_store(f);
    push_append(f, 1, 2, 4, 100);
    push_append(f, 1, 3, 4, 0);
    push_append(f, 1, 4, 5, 70000);
    push_append(f, 2, 2, 9, 1);
    push_meta(f, 1, 5, 3);
    sync_all(f);
    close_store(f);

    g = load(f, 1);
    assert_int_equal(g.n, 4);
    assert_int_equal(g.term, 5);
    assert_int_equal(g.vote, 3);
    assert_int_equal(g.entries[1].term, 4);
    assert_int_equal(g.entries[1].buf.len, 100);
    assert_int_equal(g.entries[2].buf.len, 0);
    assert_int_equal(g.entries[3].buf.len, 70000);
    assert_int_equal(((uint8_t *)g.entries[3].buf.base)[69999], 4);
    store_group_free(&g);
    g = load(f, 0);
    assert_int_equal(g.n, 1);
    store_group_free(&g);
    g = load(f, 2);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.entries[1].term, 9);
    store_group_free(&g);
}

static void a_truncation_cuts_its_own_group_only(void **s)
{
    struct fixture *f = *s;
    struct store_group g;

    open_store(f);
    for (uint64_t i = 2; i < 10; i++) {
        push_append(f, 0, i, 1, 10);
        push_append(f, 1, i, 1, 10);
    }
    push_truncate(f, 0, 5);
    push_append(f, 0, 5, 2, 20); /* overlaps what is in flight: one queue */
    sync_all(f);
    close_store(f);

    g = load(f, 0);
    assert_int_equal(g.n, 5);
    assert_int_equal(g.entries[4].term, 2);
    assert_int_equal(g.entries[4].buf.len, 20);
    store_group_free(&g);
    g = load(f, 1);
    assert_int_equal(g.n, 9);
    store_group_free(&g);
}

static void all_writes_of_a_turn_share_one_sync(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    for (uint64_t i = 2; i < 34; i++) {
        push_append(f, (uint32_t)i % SHARDS, 1 + i, 1, 4096);
    }
    push_meta(f, 0, 2, 1);
    assert_int_equal(f->done, 0); /* never from inside store_push */
    sync_all(f);
    assert_int_equal(f->done, 33);
    assert_int_equal(store_syncs(f->store), 1);
}

static void what_is_queued_meanwhile_is_the_next_batch(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    push_append(f, 0, 2, 1, LARGE); /* for the thread */
    assert_false(store_submit(f->store));
    push_append(f, 0, 3, 1, 10);
    push_append(f, 0, 4, 1, 10);
    assert_false(store_submit(f->store)); /* busy: waits */
    assert_int_equal(f->done, 0);
    sync_all(f);
    assert_int_equal(f->done, 3);
    assert_int_equal(store_syncs(f->store), 2);
}

static void small_writes_are_made_at_once(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    assert_false(store_submit(f->store)); /* nothing is queued */
    push_append(f, 0, 2, 1, 10);
    push_append(f, 1, 2, 1, 10);
    assert_true(store_submit(f->store));
    assert_int_equal(f->done, 2);
    assert_int_equal(store_durable(f->store), store_pushed(f->store));
    assert_int_equal(store_syncs(f->store), 1);
}

static void peers_and_the_cluster_are_remembered(void **s)
{
    struct fixture *f = *s;
    struct item *item;
    struct store_peer peer;

    open_store(f);
    assert_false(store_peer(f->store, 2, &peer));
    for (uint64_t starts = 7; starts < 9; starts++) {
        item = new_item(f, STORE_PEER, 0);
        item->write.peer.node_id = 2;
        item->write.peer.starts = starts;
        memset(item->write.peer.store.b, 0xab, 16);
        store_push(f->store, &item->write);
    }
    item = new_item(f, STORE_CLUSTER, 0);
    memset(item->write.cluster.b, 0xcd, 16);
    store_push(f->store, &item->write);
    sync_all(f);
    close_store(f);

    open_store(f);
    assert_true(store_peer(f->store, 2, &peer));
    assert_int_equal(peer.starts, 8);
    assert_int_equal(peer.store.b[15], 0xab);
    assert_int_equal(store_identity(f->store)->cluster.b[0], 0xcd);
}

static void every_open_raises_the_start_counter(void **s)
{
    struct fixture *f = *s;
    struct uuid store;

    open_store(f);
    assert_int_equal(store_start_count(store_identity(f->store)->starts), 1);
    store = store_identity(f->store)->store;
    assert_false(uuid_is_none(&store));
    close_store(f);
    open_store(f);
    assert_int_equal(store_start_count(store_identity(f->store)->starts), 2);
    assert_true(uuid_equal(&store, &store_identity(f->store)->store));
}

static void a_second_node_on_the_folder_is_told_so(void **s)
{
    struct fixture *f = *s;
    struct store *second;
    char why[256] = "";

    open_store(f);
    assert_int_equal(store_open(&f->options, &second, why, sizeof why),
                     ERR_BUSY);
    assert_non_null(strstr(why, "in use by another running node"));
}

static void other_flags_than_at_the_first_start_are_refused(void **s)
{
    struct fixture *f = *s;
    struct store_options first = f->options;
    struct store *store;
    char why[256] = "";

    open_store(f);
    close_store(f);
    f->options.node_id = 2;
    assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                     ERR_MISMATCH);
    assert_non_null(strstr(why, "belongs to node 1"));
    f->options = first;
    f->options.shards = 4;
    assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                     ERR_MISMATCH);
    assert_non_null(strstr(why, "-shards 3"));
    f->options = first;
    f->options.members = "1,2";
    assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                     ERR_MISMATCH);
    assert_non_null(strstr(why, "1,2,3"));
}

static void run_sql(const struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/store.db", f->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_newer_format_is_refused(void **s)
{
    struct fixture *f = *s;
    struct store *store;
    char why[256] = "";

    open_store(f);
    close_store(f);
    run_sql(f, "PRAGMA user_version = 3");
    assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                     ERR_VERSION);
    assert_non_null(strstr(why, "format 3"));
}

static void a_foreign_database_is_left_as_it_is(void **s)
{
    struct fixture *f = *s;
    struct store *store;
    char why[256] = "";

    run_sql(f, "CREATE TABLE mine(x)");
    assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                     ERR_CORRUPT);
    assert_non_null(strstr(why, "not a store of marmot"));
    run_sql(f, "INSERT INTO mine VALUES(1)");
}

static void a_file_that_is_no_database_is_refused(void **s)
{
    struct fixture *f = *s;
    struct store *store;
    char path[128], why[256] = "";
    FILE *file;

    snprintf(path, sizeof path, "%s/store.db", f->folder);
    file = fopen(path, "w");
    for (int i = 0; i < 2000; i++) {
        fputs("this is a text ", file);
    }
    fclose(file);
    assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                     ERR_CORRUPT);
    assert_non_null(strstr(why, "not a store of marmot"));
}

/* A cluster lives for years, and its nodes come and go. */
static void more_peers_than_a_cluster_has_are_remembered(void **s)
{
    struct fixture *f = *s;
    struct store_peer peer;

    open_store(f);
    close_store(f);
    run_sql(f,
            "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1"
            " FROM n WHERE i < 300)"
            "INSERT INTO peers SELECT i, CAST(zeroblob(15) || x'07' AS BLOB), "
            "i FROM n");
    open_store(f);
    assert_true(store_peer(f->store, 300, &peer));
    assert_int_equal(peer.starts, 300);
    assert_int_equal(peer.store.b[15], 7);
    assert_false(store_peer(f->store, 301, &peer));
}

/* Also a row that a damaged page shows without a key. */
static void a_store_without_its_id_is_refused(void **s)
{
    static const char *const damages[] = {
        "DELETE FROM node WHERE key = 'store'",
        "ALTER TABLE node RENAME TO old;"
        "CREATE TABLE node(key TEXT UNIQUE, value);"
        "INSERT INTO node VALUES(NULL, 1)"};
    struct fixture *f = *s;
    struct store *store;
    char why[256] = "";

    open_store(f);
    close_store(f);
    for (int i = 0; i < 2; i++) {
        run_sql(f, damages[i]);
        assert_int_equal(store_open(&f->options, &store, why, sizeof why),
                         ERR_CORRUPT);
        assert_non_null(strstr(why, "damaged"));
    }
}

static void a_gap_in_a_log_is_found_at_the_start(void **s)
{
    struct fixture *f = *s;
    struct store_group g;
    char why[256] = "";

    open_store(f);
    push_append(f, 1, 2, 1, 10);
    push_append(f, 1, 4, 1, 10);
    sync_all(f);
    close_store(f);
    assert_int_equal(store_open(&f->options, &f->store, why, sizeof why), 0);
    assert_int_equal(store_load(f->store, 1, &g, why, sizeof why), ERR_CORRUPT);
    assert_non_null(strstr(why, "shard 1"));
    store_discard(f->store);
    f->store = NULL;
}

static void push_more_than_sqlite_takes(struct fixture *f)
{
    struct item *item = new_item(f, STORE_APPEND, 0);

    item->entry = (struct raft_entry){
        .term = 1,
        .type = RAFT_COMMAND,
        .buf = {.base = item, .len = (size_t)3 << 30}}; /* it looks first */
    item->write.index = 3;
    item->write.entries = &item->entry;
    item->write.n = 1;
    store_push(f->store, &item->write);
}

static void a_write_that_fails_stops_the_store_and_completes_nothing(void **s)
{
    struct fixture *f = *s;

    open_store(f);
    push_append(f, 0, 2, 1, 10);
    sync_all(f);
    push_more_than_sqlite_takes(f);
    store_submit(f->store);
    while (f->fatal[0] == '\0') {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    push_append(f, 0, 4, 1, 10);
    store_submit(f->store);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_non_null(strstr(f->fatal, "the log store cannot write"));
    assert_true(store_failed(f->store));
    assert_int_equal(f->done, 1);
    assert_int_equal(store_durable(f->store), 1);
    store_abandon(f->store);
    assert_int_equal(f->done, 3);
}

static off_t wal_size(const struct fixture *f)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/store.db-wal", f->folder);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void the_wal_is_grown_once_and_reused(void **s)
{
    struct fixture *f = *s;
    off_t grown;

    open_store(f);
    grown = wal_size(f);
    assert_true(grown >= 16 << 20);
    for (uint64_t i = 0; i < 2000; i++) {
        push_append(f, 0, 2 + i, 1, 8000);
        sync_all(f);
    }
    assert_int_equal(wal_size(f), grown);
    close_store(f);
    assert_int_equal(wal_size(f), grown);
    open_store(f);
    assert_int_equal(wal_size(f), grown);
}

/* The child tells through a pipe what was completed; it is killed while it
 * writes. */
static void append_until_killed(struct fixture *f, int out)
{
    open_store(f);
    for (uint64_t i = 2;; i++) {
        push_append(f, 0, i, 1, 3000);
        if (i % 7 == 0) {
            sync_all(f);
            if (write(out, &i, sizeof i) != sizeof i) {
                _exit(1);
            }
        }
    }
}

static void what_was_completed_survives_a_kill(void **s)
{
    struct fixture *f = *s;
    struct store_group g;
    uint64_t last = 0;
    int fds[2];
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        append_until_killed(f, fds[1]);
    }
    close(fds[1]);
    while (last < 700) { /* through a checkpoint or two */
        assert_int_equal(read(fds[0], &last, sizeof last), sizeof last);
    }
    kill(child, SIGKILL);
    while (read(fds[0], &last, sizeof last) > 0) {
    }
    close(fds[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);

    g = load(f, 0);
    assert_true(g.n >= last);
    for (uint64_t i = 2; i <= g.n; i++) {
        const uint8_t *bytes = g.entries[i - 1].buf.base;
        assert_int_equal(g.entries[i - 1].buf.len, 3000);
        assert_int_equal(bytes[0], i & 0xff);
        assert_int_equal(bytes[2999], i & 0xff);
    }
    store_group_free(&g);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* No verdict: a number to look at. */
static void report_times(void **s)
{
    enum { N = 1000 };
    static uint64_t us[N];
    struct fixture *f = *s;
    uint64_t begin = clock_us();

    open_store(f);
    print_message("first start %llu us\n",
                  (unsigned long long)(clock_us() - begin));
    for (uint64_t i = 0; i < N; i++) {
        begin = clock_us();
        push_append(f, 0, 2 + i, 1, 4096);
        sync_all(f);
        us[i] = clock_us() - begin;
    }
    qsort(us, N, sizeof *us, by_value);
    print_message(
        "append of 4 KiB, loop to loop: p50 %llu us, p99 %llu us, "
        "max %llu us\n",
        (unsigned long long)us[N / 2], (unsigned long long)us[N * 99 / 100],
        (unsigned long long)us[N - 1]);
    close_store(f);
    begin = clock_us();
    open_store(f);
    print_message("second start %llu us\n",
                  (unsigned long long)(clock_us() - begin));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_group_of_a_new_store_begins_with_the_configuration),
        TEST(entries_terms_and_votes_survive_a_restart),
        TEST(a_truncation_cuts_its_own_group_only),
        TEST(all_writes_of_a_turn_share_one_sync),
        TEST(small_writes_are_made_at_once),
        TEST(what_is_queued_meanwhile_is_the_next_batch),
        TEST(peers_and_the_cluster_are_remembered),
        TEST(every_open_raises_the_start_counter),
        TEST(a_second_node_on_the_folder_is_told_so),
        TEST(other_flags_than_at_the_first_start_are_refused),
        TEST(a_newer_format_is_refused),
        TEST(a_foreign_database_is_left_as_it_is),
        TEST(a_file_that_is_no_database_is_refused),
        TEST(more_peers_than_a_cluster_has_are_remembered),
        TEST(a_store_without_its_id_is_refused),
        TEST(a_gap_in_a_log_is_found_at_the_start),
        TEST(a_write_that_fails_stops_the_store_and_completes_nothing),
        TEST(the_wal_is_grown_once_and_reused),
        TEST(what_was_completed_survives_a_kill),
        TEST(report_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
