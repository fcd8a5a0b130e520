/* The applier and a session of this host taking turns on one file.
 *
 * The session is SQLite itself under a VFS whose WRITE lock is virtual, as a
 * guest's is: the node has the real one shared. The same SQL runs on a source
 * database, so that both have to end up the same. */
#include "tests/unit/vfs/front_vfs.h"

#include "base/err.h"
#include "vfs/apply.h"

#define RESET_LOCKS 4 /* READ1 to READ4, all at once */

struct turns {
    char folder[PATH_MAX];
    char follower[PATH_MAX];
    struct source source;
    struct txn txn;
    struct apply *a;
    sqlite3 *session;
    sqlite3_vfs vfs;
};

/* WRITE is granted by the node; nobody but the node resets or checkpoints. */
static int guest_lock(sqlite3_file *file, int slot, int n, int flags)
{
    bool take = (flags & SQLITE_SHM_LOCK) != 0;

    (void)file;
    if (slot == 0 && n == 1) {
        return SQLITE_OK;
    }
    if (take && (slot == 1 || (slot == 4 && n == RESET_LOCKS))) {
        return SQLITE_BUSY;
    }
    return -1;
}

static void turns_start(struct turns *t, uint32_t page_size)
{
    char path[PATH_MAX];

    make_folder(t->folder);
    join(path, t->folder, "source.db");
    join(t->follower, t->folder, "follower.db");
    source_open(&t->source, path, page_size, 0);
    source_seed(&t->source, t->follower);
    t->txn = (struct txn){.count = 0};
    assert_int_equal(apply_open(t->follower, &t->a), 0);
    front.shm_lock = guest_lock;
    stand_in_front(&t->vfs, "guest");
    assert_int_equal(
        sqlite3_open_v2(t->follower, &t->session,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "guest"),
        SQLITE_OK);
    run(t->session, "PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=10");
    run(t->source.db, "PRAGMA cache_size=10");
}

/* Everything but the change counter: each connection continues the one that it
 * read last from a file. */
static void assert_same_but_counter(const char *one, const char *other)
{
    static const size_t counters[] = {24, 92};
    size_t len, other_len;
    uint8_t *bytes = slurp(one, &len), *others = slurp(other, &other_len);

    assert_int_equal(len, other_len);
    for (int i = 0; i < 2; i++) {
        memset(bytes + counters[i], 0, 4);
        memset(others + counters[i], 0, 4);
    }
    assert_memory_equal(bytes, others, len);
    free(bytes);
    free(others);
}

static void turns_end(struct turns *t)
{
    sqlite3_close(t->session);
    run(t->source.db, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(apply_close(t->a, true), 0);
    assert_same_but_counter(t->source.path, t->follower);
    txn_close(&t->txn);
    source_close(&t->source);
    sqlite3_vfs_unregister(&t->vfs);
    drop_folder(t->folder);
}

/* The change comes from another node. */
static void from_afar(struct turns *t, const char *sql)
{
    struct wal_state state;

    run(t->source.db, sql);
    assert_true(source_next(&t->source, &t->txn));
    assert_int_equal(apply_begin(t->a, t->txn.db_pages), 0);
    for (uint32_t i = 0; i < t->txn.count; i++) {
        assert_int_equal(
            apply_page(t->a, t->txn.numbers[i],
                       t->txn.images + (size_t)i * t->source.page_size),
            0);
    }
    assert_int_equal(apply_commit(t->a, &state), 0);
}

/* The change is made here. */
static void from_session(struct turns *t, const char *sql)
{
    struct wal_state state;

    run(t->source.db, sql);
    assert_true(source_next(&t->source, &t->txn));
    run(t->session, sql);
    assert_int_equal(apply_begin(t->a, 5), ERR_FOREIGN); /* not reported yet */
    assert_int_equal(apply_state(t->a, &state), 0);
    apply_expect(t->a, &state);
    assert_int_equal(apply_pages(t->a), t->txn.db_pages);
}

#define MANY "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<90) "

static void sessions_and_the_applier_take_turns(void **state)
{
    static const char *const changes[] = {
        MANY "INSERT INTO t(v) SELECT hex(zeroblob(100+x)) FROM n",
        "UPDATE t SET v=v||id WHERE id%3=0",
        "INSERT INTO t(v) VALUES('one more')",
        "DELETE FROM t WHERE id%5=1",
        "INSERT INTO t(v) VALUES(zeroblob(40000))",
        "DELETE FROM t WHERE length(v)>30000",
    };
    struct turns t;

    (void)state;
    turns_start(&t, 1024);
    for (unsigned i = 0; i < 90; i++) {
        const char *sql = changes[i % 6];
        char answer[256];
        if (i % 7 < 3) {
            from_session(&t, sql);
        } else {
            from_afar(&t, sql);
        }
        assert_int_equal(apply_checkpoint(t.a, i % 4 == 0), 0);
        ask(t.session, "PRAGMA integrity_check", answer);
        assert_string_equal(answer, "ok");
    }
    turns_end(&t);
}

/* Spilled frames and index entries of a transaction that came to nothing. */
static void what_a_session_rolled_back_is_overwritten(void **state)
{
    struct turns t;

    (void)state;
    turns_start(&t, 512);
    for (int i = 0; i < 10; i++) {
        struct wal_state before, after;
        assert_int_equal(apply_state(t.a, &before), 0);
        run(t.session, "BEGIN IMMEDIATE;" MANY
                       "INSERT INTO t(v) SELECT randomblob(600) FROM n");
        if (i % 2 == 0) {
            run(t.session, "ROLLBACK");
        } else {
            /* It dies: its leftovers stay. */
            sqlite3_close(t.session);
            assert_int_equal(sqlite3_open_v2(t.follower, &t.session,
                                             SQLITE_OPEN_READWRITE, "guest"),
                             SQLITE_OK);
            run(t.session, "PRAGMA cache_size=10");
        }
        assert_int_equal(apply_state(t.a, &after), 0);
        assert_memory_equal(&before, &after, sizeof before);
        from_afar(&t, MANY "INSERT INTO t(v) SELECT x FROM n");
        from_session(&t, "UPDATE t SET v=id WHERE id%2=0");
        assert_other_process(t.follower, "PRAGMA integrity_check", "ok");
        assert_int_equal(apply_checkpoint(t.a, i % 3 == 2), 0);
    }
    turns_end(&t);
}

/* A session that faces an empty WAL begins it itself, with salts of its own. */
static void either_side_may_start_the_log_over(void **state)
{
    struct turns t;

    (void)state;
    turns_start(&t, 4096);
    for (int i = 0; i < 12; i++) {
        uint32_t frames, backfilled;
        assert_int_equal(apply_checkpoint(t.a, true), 0);
        apply_frames(t.a, &frames, &backfilled);
        assert_int_equal(frames, 0);
        if (i % 2 == 0) {
            from_session(&t, "INSERT INTO t(v) VALUES('mine')");
            from_afar(&t, "INSERT INTO t(v) VALUES('theirs')");
        } else {
            from_afar(&t, "INSERT INTO t(v) VALUES('theirs')");
            from_session(&t, "INSERT INTO t(v) VALUES('mine')");
        }
    }
    turns_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_and_the_applier_take_turns),
        cmocka_unit_test(what_a_session_rolled_back_is_overwritten),
        cmocka_unit_test(either_side_may_start_the_log_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
