/* Commits of a managed database, seen by the application and by a follower. */
#include "tests/unit/vfs/guest_fixture.h"

static void a_commit_reaches_the_follower_byte_for_byte(void **state)
{
    struct fixture *f = fixture_new("CREATE TABLE t(a)");
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "INSERT INTO t VALUES (1)");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    assert_int_equal(f->node.unlocks[UNLOCK_PUBLISHED], 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    must(db, "INSERT INTO t VALUES (2)");
    assert_int_equal(f->node.txid, 2);
    assert_int_equal(f->node.hellos, 1);
    assert_same_bytes(f);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

static void every_sync_level_commits(void **state)
{
    static const char *const levels[] = {"OFF", "NORMAL", "FULL", "EXTRA"};
    struct fixture *f = fixture_new("CREATE TABLE t(a)");
    char sql[64];

    (void)state;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        sqlite3 *db = open_managed(f);
        snprintf(sql, sizeof sql, "PRAGMA synchronous = %s", levels[i]);
        must(db, sql);
        must(db, "INSERT INTO t VALUES (1)");
        must(db, "BEGIN; INSERT INTO t VALUES (2); DELETE FROM t; COMMIT");
        sqlite3_close(db);
        assert_same_bytes(f);
    }
    assert_int_equal(f->node.txid, 8);
    fixture_free(f);
}

static void what_the_node_is_told_is_the_state_of_the_wal(void **state)
{
    struct fixture *f = fixture_new("CREATE TABLE t(a)");
    sqlite3 *db = open_managed(f);
    char wal[128];
    uint8_t *bytes;
    size_t len;
    const uint8_t *frame;

    (void)state;
    for (int i = 0; i < 3; i++) {
        must(db, "INSERT INTO t VALUES (zeroblob(10000))");
        settle(db);
    }
    sqlite3_close(db);
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    len = file_bytes(wal, &bytes);
    assert_int_equal(len, 32 + f->node.state.frame * (24 + 4096));
    frame = bytes + 32 + (f->node.state.frame - 1) * (24 + 4096);
    assert_int_equal(get_be32(frame + 16), f->node.state.cksum[0]);
    assert_int_equal(get_be32(frame + 20), f->node.state.cksum[1]);
    assert_memory_equal(frame + 8, f->node.state.salt, 8);
    free(bytes);
    fixture_free(f);
}

/* Above 4 MiB the images are read back from the WAL. */
static void a_large_transaction_is_sent_in_parts(void **state)
{
    struct fixture *f = fixture_new(
        "PRAGMA page_size = 1024; CREATE TABLE t(a, v BLOB);"
        "CREATE INDEX ti ON t(v)");
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA cache_size = 20; BEGIN");
    must(db,
         "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
         "WHERE i < 12000) INSERT INTO t SELECT i, randomblob(600) FROM n");
    must(db, "SAVEPOINT s; UPDATE t SET v = randomblob(500) WHERE a % 3 = 0");
    must(db, "ROLLBACK TO s; DELETE FROM t WHERE a % 7 = 0; COMMIT");
    assert_int_equal(f->node.proposals, 1);
    assert_true(f->node.parts > 10);
    assert_same_bytes(f);
    must(db, "UPDATE t SET a = a + 1");
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

/* The block of the wal-index that a transaction needs is mapped before it is
 * proposed: more than 4062 frames in one and over several transactions. */
static void a_wal_of_many_thousand_frames_works(void **state)
{
    struct fixture *f =
        fixture_new("PRAGMA page_size = 512; CREATE TABLE t(a, v BLOB)");
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA synchronous = OFF");
    for (int i = 0; i < 5; i++) {
        must(db,
             "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
             "WHERE i < 2000) INSERT INTO t SELECT i, randomblob(450) FROM n");
    }
    settle(db);
    assert_true(f->node.state.frame > 2 * 4096);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

#define UPDATE "UPDATE t SET v = randomblob(300) WHERE "

/* SQLite 3.40 forgets checksums here (vfs/guest_resum.c): without help a
 * recovery finds neither this commit nor the next. */
static void recovers_after(const char *transaction)
{
    struct fixture *f = fixture_new(
        "PRAGMA page_size = 512; CREATE TABLE t(a INTEGER PRIMARY KEY, v)");
    sqlite3 *db = open_managed(f);

    must(db, "PRAGMA cache_size = 3");
    must(db,
         "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
         "WHERE i < 60) INSERT INTO t SELECT i, randomblob(300) FROM n");
    must(db, transaction);
    assert_same_bytes(f);
    must(db, UPDATE "a = 1");
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_rollback_to_below_an_overwritten_frame_survives_recovery(
    void **state)
{
    (void)state;
    recovers_after("BEGIN; " UPDATE "a <= 10; SAVEPOINT s; " UPDATE
                   "a > 10; " UPDATE "a > 40; " UPDATE
                   "a > 40; ROLLBACK TO s; " UPDATE "a > 55; COMMIT");
    /* the overwritten frame is beyond the last one */
    recovers_after(
        "BEGIN; SAVEPOINT s; INSERT INTO t(v) "
        "SELECT randomblob(300) FROM t; " UPDATE "a > 100; " UPDATE
        "a > 100; ROLLBACK TO s; " UPDATE "a > 55; COMMIT");
}

static void backup_and_vacuum_into_read_what_was_committed(void **state)
{
    struct fixture *f = fixture_new("CREATE TABLE t(a)");
    sqlite3 *db = open_managed(f);
    sqlite3 *copy = open_with(":memory:", "unix");
    sqlite3_backup *b;
    char sql[160];

    (void)state;
    must(db, "INSERT INTO t VALUES (1), (2)");
    b = sqlite3_backup_init(copy, "main", db, "main");
    assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
    sqlite3_backup_finish(b);
    assert_int_equal(number_of(copy, "SELECT count(*) FROM t"), 2);
    sqlite3_close(copy);
    snprintf(sql, sizeof sql, "VACUUM INTO 'file:%s/out.db?vfs=unix'", f->dir);
    must(db, sql);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_backup_into_a_managed_database_is_replicated(void **state)
{
    struct fixture *f = fixture_new("CREATE TABLE t(a)");
    sqlite3 *db = open_managed(f);
    sqlite3 *from = open_with(":memory:", "unix");
    sqlite3_backup *b;

    (void)state;
    must(from, "CREATE TABLE other(a); INSERT INTO other VALUES (7)");
    b = sqlite3_backup_init(db, "main", from, "main");
    assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
    assert_int_equal(sqlite3_backup_finish(b), SQLITE_OK);
    assert_int_equal(number_of(db, "SELECT a FROM other"), 7);
    assert_int_equal(f->node.proposals, 1);
    must(db, "INSERT INTO other VALUES (8)");
    assert_same_bytes(f);
    sqlite3_close(from);
    sqlite3_close(db);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_reaches_the_follower_byte_for_byte),
        cmocka_unit_test(every_sync_level_commits),
        cmocka_unit_test(what_the_node_is_told_is_the_state_of_the_wal),
        cmocka_unit_test(a_large_transaction_is_sent_in_parts),
        cmocka_unit_test(a_wal_of_many_thousand_frames_works),
        cmocka_unit_test(
            a_rollback_to_below_an_overwritten_frame_survives_recovery),
        cmocka_unit_test(backup_and_vacuum_into_read_what_was_committed),
        cmocka_unit_test(a_backup_into_a_managed_database_is_replicated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
