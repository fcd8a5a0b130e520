/* The first transaction of an empty managed database. */
#include "tests/unit/vfs/guest_fixture.h"

static struct fixture *brand_new(void)
{
    struct fixture *f = fixture_empty();

    serve(f);
    return f;
}

/* It is a WAL database that further transactions are written to. */
static void assert_lives(struct fixture *f, sqlite3 *db)
{
    sqlite3 *other;

    settle(db);
    assert_true(f->node.txid > 0);
    assert_int_equal(f->node.state.frame == 0, f->node.txid == 1);
    assert_int_equal(f->node.unlocks[UNLOCK_PUBLISHED], f->node.txid);
    assert_same_bytes(f);
    must(db, "INSERT INTO t VALUES (2)");
    settle(db);
    assert_true(f->node.state.frame > 0);
    other = open_managed(f);
    assert_int_equal(number_of(other, "SELECT count(*) FROM t"), 2);
    must(other, "INSERT INTO t VALUES (3)");
    sqlite3_close(other);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 3);
    assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
    assert_same_bytes(f);
    assert_int_equal(f->node.bytes[18], 2);
    assert_int_equal(f->node.bytes[19], 2);
}

static void a_new_database_is_wal_from_its_first_transaction(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
    assert_int_equal(f->node.page_size, 4096);
    assert_true(f->node.hello.empty);
    assert_lives(f, db);
    sqlite3_close(db);
    fixture_free(f);
}

static void it_keeps_what_the_application_chose(void **state)
{
    static const unsigned sizes[] = {512, 1024, 8192, 65536};
    char sql[256];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fixture *f = brand_new();
        sqlite3 *db = open_managed(f);
        snprintf(sql, sizeof sql,
                 "PRAGMA page_size = %u; PRAGMA encoding = 'UTF-16le';"
                 /* this one writes page 1 already */
                 "PRAGMA auto_vacuum = incremental; PRAGMA journal_mode = wal",
                 sizes[i]);
        must(db, sql);
        must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
        assert_lives(f, db);
        assert_int_equal(f->node.page_size, sizes[i]);
        assert_int_equal(number_of(db, "PRAGMA page_size"), sizes[i]);
        assert_int_equal(number_of(db, "PRAGMA auto_vacuum"), 2);
        assert_string_equal(text_of(db, "PRAGMA encoding"), "UTF-16le");
        sqlite3_close(db);
        fixture_free(f);
    }
}

static void every_journal_mode_and_sync_level_will_do(void **state)
{
    static const char *const modes[] = {"delete", "truncate", "persist",
                                        "memory", "off",      "wal"};
    static const char *const levels[] = {"OFF", "NORMAL", "FULL"};
    char sql[128];

    (void)state;
    for (size_t i = 0; i < 18; i++) {
        struct fixture *f = brand_new();
        sqlite3 *db = open_managed(f);
        snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s", modes[i % 6]);
        assert_string_equal(text_of(db, sql), "wal");
        snprintf(sql, sizeof sql, "PRAGMA synchronous = %s", levels[i / 6]);
        must(db, sql);
        must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
        assert_lives(f, db);
        sqlite3_close(db);
        fixture_free(f);
    }
}

static long long local_size(const struct fixture *f)
{
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    return st.st_size;
}

static void creation_told(enum fake_answer answer, uint8_t reason,
                          uint8_t resume, int expected)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    f->node.resume = resume;
    FAKE(&f->node, f->node.answer = answer; f->node.reason = reason);
    assert_int_equal(try_sql(db, "CREATE TABLE t(a)"), expected);
    assert_int_equal(local_size(f), 0);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    assert_int_equal(try_sql(db, "COMMIT"), expected);
    assert_int_equal(sqlite3_get_autocommit(db), 1);
    assert_int_equal(local_size(f), 0);
    assert_int_equal(number_of(db, "SELECT count(*) FROM sqlite_schema"), 0);

    FAKE(&f->node, f->node.answer = FAKE_COMMIT);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
    assert_lives(f, db);
    sqlite3_close(db);
    fixture_free(f);
}

static void creation_fails(enum fake_answer answer, uint8_t reason,
                           int expected)
{
    creation_told(answer, reason, 0, expected);
}

static void a_creation_that_fails_leaves_an_empty_file(void **state)
{
    (void)state;
    creation_fails(FAKE_CONFLICT, 0, SQLITE_BUSY_SNAPSHOT);
    creation_fails(FAKE_FAIL, REASON_BUSY, SQLITE_BUSY_SNAPSHOT);
    creation_fails(FAKE_FAIL, REASON_FULL, SQLITE_FULL);
    creation_fails(FAKE_FAIL, REASON_READONLY, SQLITE_READONLY);
    creation_fails(FAKE_FAIL, REASON_IO, SQLITE_IOERR_WRITE);
    creation_fails(FAKE_UNKNOWN, 0, MARMOT_IOERR_UNKNOWN);
    creation_told(FAKE_HANG_UP, 0, SESSION_UNKNOWN, MARMOT_IOERR_UNKNOWN);
    creation_told(FAKE_HANG_UP, 0, SESSION_CONFLICT, SQLITE_BUSY_SNAPSHOT);
}

static void a_creation_whose_answer_was_lost_is_asked_for_again(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    (void)state;
    FAKE(&f->node, f->node.answer = FAKE_COMMIT_HANG_UP;
         f->node.resume = SESSION_COMMITTED);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
    assert_int_equal(f->node.resumes, 1);
    assert_int_equal(f->node.resumed.base.txid, 0);
    assert_int_equal(f->node.txid, 1);
    assert_same_bytes(f);
    FAKE(&f->node, f->node.answer = FAKE_COMMIT);
    must(db, "INSERT INTO t VALUES (2)");
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 2);
    assert_string_equal(text_of(db, "PRAGMA journal_mode"), "wal");
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_refused_creation_is_an_error_of_the_first_write(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    (void)state;
    sqlite3_busy_timeout(db, 0);
    FAKE(&f->node, f->node.lock_reason = REASON_BUSY);
    assert_int_equal(try_sql(db, "CREATE TABLE t(a)"), SQLITE_BUSY);
    FAKE(&f->node, f->node.lock_reason = REASON_READONLY);
    assert_int_equal(try_sql(db, "CREATE TABLE t(a)"), SQLITE_READONLY);
    FAKE(&f->node, f->node.lock_reason = 0);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
    assert_lives(f, db);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_rolled_back_creation_leaves_an_empty_file(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); ROLLBACK");
    settle(db);
    assert_int_equal(f->node.unlocks[UNLOCK_NOTHING], 1);
    assert_int_equal(f->node.proposals, 0);
    assert_int_equal(local_size(f), 0);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
    assert_lives(f, db);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_large_first_transaction_spills_into_memory(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA cache_size = 5; PRAGMA page_size = 1024");
    must(db,
         "BEGIN; CREATE TABLE t(a); CREATE TABLE u(v BLOB);"
         "CREATE INDEX ui ON u(v)");
    must(db,
         "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
         "WHERE i < 2000) INSERT INTO u SELECT randomblob(600) FROM n");
    assert_int_equal(local_size(f), 0);
    must(db,
         "SAVEPOINT s; DELETE FROM u WHERE rowid % 3 = 0;"
         "INSERT INTO u SELECT randomblob(2000) FROM u; ROLLBACK TO s");
    must(db, "DELETE FROM u WHERE rowid % 5 = 0; RELEASE s");
    must(db, "INSERT INTO t VALUES (1); COMMIT");
    assert_true(f->node.parts > 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM u"), 1600);
    assert_lives(f, db);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_spilled_creation_can_be_rolled_back(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA cache_size = 5");
    must(db, "BEGIN; CREATE TABLE t(a)");
    must(db,
         "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
         "WHERE i < 2000) INSERT INTO t SELECT randomblob(600) FROM n");
    must(db, "ROLLBACK");
    assert_int_equal(f->node.proposals, 0);
    assert_int_equal(local_size(f), 0);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1); COMMIT");
    assert_lives(f, db);
    sqlite3_close(db);
    fixture_free(f);
}

static void two_that_create_at_once_end_in_one_database(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *a = open_managed(f);
    sqlite3 *b = open_managed(f);

    (void)state;
    sqlite3_busy_timeout(b, 0);
    assert_int_equal(number_of(b, "SELECT count(*) FROM sqlite_schema"), 0);
    must(a, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    assert_int_equal(try_sql(b, "CREATE TABLE t(a)"), SQLITE_BUSY);
    must(a, "COMMIT");
    settle(a);
    assert_string_equal(text_of(b, "SELECT a FROM t"), "1");
    assert_int_equal(try_sql(b, "CREATE TABLE t(a)"), SQLITE_ERROR);
    assert_lives(f, a);
    must(b, "INSERT INTO t VALUES (4)");
    assert_same_bytes(f);
    sqlite3_close(a);
    sqlite3_close(b);
    fixture_free(f);
}

static void a_statement_open_across_the_creation_cannot_spoil_it(void **state)
{
    struct fixture *f = brand_new();
    sqlite3 *db = open_managed(f);
    sqlite3_stmt *s;

    (void)state;
    sqlite3_busy_timeout(db, 0);
    must(db, "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)");
    sqlite3_prepare_v2(db, "SELECT a FROM t", -1, &s, NULL);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    must(db, "COMMIT");
    assert_int_equal(try_sql(db, "INSERT INTO t VALUES (3)"), SQLITE_BUSY);
    sqlite3_finalize(s);
    must(db, "INSERT INTO t VALUES (3)");
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 3);
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_database_is_wal_from_its_first_transaction),
        cmocka_unit_test(it_keeps_what_the_application_chose),
        cmocka_unit_test(every_journal_mode_and_sync_level_will_do),
        cmocka_unit_test(a_creation_that_fails_leaves_an_empty_file),
        cmocka_unit_test(a_creation_whose_answer_was_lost_is_asked_for_again),
        cmocka_unit_test(a_refused_creation_is_an_error_of_the_first_write),
        cmocka_unit_test(a_rolled_back_creation_leaves_an_empty_file),
        cmocka_unit_test(a_large_first_transaction_spills_into_memory),
        cmocka_unit_test(a_spilled_creation_can_be_rolled_back),
        cmocka_unit_test(two_that_create_at_once_end_in_one_database),
        cmocka_unit_test(a_statement_open_across_the_creation_cannot_spoil_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
