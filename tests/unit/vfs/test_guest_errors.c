/* What the application is told when a commit or a lock fails, and that nothing
 * is harmed by it. */
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/vfs/guest_fixture.h"

#define SETUP                                        \
    "CREATE TABLE t(a INTEGER PRIMARY KEY, v BLOB);" \
    "INSERT INTO t VALUES (1, zeroblob(3000))"

/* The connection works, and local copy and follower have `rows` rows. */
static void assert_unharmed(struct fixture *f, sqlite3 *db, int rows)
{
    FAKE(&f->node, f->node.answer = FAKE_COMMIT; f->node.lock_reason = 0);
    assert_int_equal(sqlite3_get_autocommit(db), 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), rows);
    assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
    assert_same_bytes(f);
    must(db, "INSERT INTO t(v) VALUES (zeroblob(2000))");
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), rows + 1);
    assert_same_bytes(f);
}

/* A commit that the node answers so, alone and as a transaction. */
static void commit_told(enum fake_answer answer, uint8_t reason, uint8_t resume,
                        int expected)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    f->node.resume = resume;
    FAKE(&f->node, f->node.answer = answer; f->node.reason = reason);
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"), expected);
    assert_unharmed(f, db, 1);

    FAKE(&f->node, f->node.answer = answer; f->node.reason = reason);
    must(db, "BEGIN; INSERT INTO t(v) VALUES (zeroblob(9000))");
    must(db, "UPDATE t SET v = randomblob(5000)");
    assert_int_equal(try_sql(db, "COMMIT"), expected);
    assert_unharmed(f, db, 2);

    FAKE(&f->node, f->node.answer = answer; f->node.reason = reason);
    must(db, "PRAGMA cache_size = 4");
    must(db, "BEGIN IMMEDIATE");
    must(db,
         "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
         "WHERE i < 100) INSERT INTO t(v) SELECT randomblob(1000) FROM n");
    assert_int_equal(try_sql(db, "COMMIT"), expected);
    assert_unharmed(f, db, 3);
    sqlite3_close(db);
    fixture_free(f);
}

static void commit_answered(enum fake_answer answer, uint8_t reason,
                            int expected)
{
    commit_told(answer, reason, 0, expected);
}

static void a_lost_race_is_busy_snapshot(void **state)
{
    (void)state;
    commit_answered(FAKE_CONFLICT, 0, SQLITE_BUSY_SNAPSHOT);
}

static void a_commit_without_room_is_full(void **state)
{
    (void)state;
    commit_answered(FAKE_FAIL, REASON_FULL, SQLITE_FULL);
}

static void a_commit_that_surely_failed_may_be_repeated(void **state)
{
    (void)state;
    commit_answered(FAKE_FAIL, REASON_BUSY, SQLITE_BUSY_SNAPSHOT);
}

static void a_commit_on_a_replica_is_readonly(void **state)
{
    (void)state;
    commit_answered(FAKE_FAIL, REASON_READONLY, SQLITE_READONLY);
}

static void a_commit_that_broke_the_node_is_an_io_error(void **state)
{
    (void)state;
    commit_answered(FAKE_FAIL, REASON_IO, SQLITE_IOERR_WRITE);
}

static void an_unknown_outcome_has_its_own_code(void **state)
{
    (void)state;
    commit_answered(FAKE_UNKNOWN, 0, MARMOT_IOERR_UNKNOWN);
}

static void a_node_that_cannot_say_what_became_of_it_is_an_unknown_outcome(
    void **state)
{
    (void)state;
    commit_told(FAKE_HANG_UP, 0, SESSION_UNKNOWN, MARMOT_IOERR_UNKNOWN);
    commit_told(FAKE_HANG_UP, 0, SESSION_PARKED, MARMOT_IOERR_UNKNOWN);
}

/* It asks under the token and the base that the proposal had. */
static void a_commit_whose_answer_was_lost_is_asked_for_again(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "INSERT INTO t(v) VALUES (1)");
    FAKE(&f->node, f->node.answer = FAKE_COMMIT_HANG_UP;
         f->node.resume = SESSION_COMMITTED);
    must(db, "INSERT INTO t(v) VALUES (2)");
    assert_int_equal(f->node.resumes, 1);
    assert_int_equal(f->node.hellos, 2);
    assert_int_equal(f->node.resumed.token.start, FAKE_START);
    assert_int_equal(f->node.resumed.token.session, 1);
    assert_int_equal(f->node.resumed.token.sequence, f->node.sequence);
    assert_int_equal(f->node.resumed.token.node, 1);
    assert_int_equal(f->node.resumed.base.txid, 1);
    assert_int_equal(f->node.resumed.base.hash, ~1ull);
    assert_int_equal(f->node.txid, 2);
    assert_unharmed(f, db, 3);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_commit_that_lost_with_its_node_is_busy_snapshot(void **state)
{
    (void)state;
    commit_told(FAKE_HANG_UP, 0, SESSION_CONFLICT, SQLITE_BUSY_SNAPSHOT);
}

/* Readers see it, and the lock is free: others write at once. */
static void a_resumed_commit_is_published_as_any_other(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f), *other = open_managed(f);

    (void)state;
    f->node.resume = SESSION_COMMITTED;
    sqlite3_busy_timeout(other, 0);
    must(db, "PRAGMA cache_size = 4");
    for (int i = 0; i < 3; i++) {
        FAKE(&f->node, f->node.answer = FAKE_COMMIT_HANG_UP);
        must(db, "BEGIN IMMEDIATE");
        must(db,
             "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
             "WHERE i < 100) INSERT INTO t(v) SELECT randomblob(1000) FROM n");
        must(db, "COMMIT");
        assert_same_bytes(f);
        assert_int_equal(number_of(other, "SELECT count(*) FROM t"),
                         101 * (i + 1));
        FAKE(&f->node, f->node.answer = FAKE_COMMIT);
        must(other, "INSERT INTO t(v) VALUES (1)");
        assert_int_equal(f->node.txid, 2 * (i + 1));
    }
    assert_int_equal(f->node.resumes, 3);
    assert_unharmed(f, db, 304);
    sqlite3_close(other);
    sqlite3_close(db);
    fixture_free(f);
}

/* The node ends while it has the commit, and starts again (or not). */
struct restart {
    struct fixture *f;
    bool again;
};

static bool has_proposal(struct fixture *f)
{
    bool has;

    FAKE(&f->node, has = f->node.proposals > 0);
    return has;
}

static void *restart_in_the_middle(void *arg)
{
    struct restart *r = arg;

    for (int i = 0; i < 5000 && !has_proposal(r->f); i++) {
        usleep(1000);
    }
    stop_serving(r->f);
    if (r->again) {
        usleep(100000); /* a few questions in vain */
        r->f->node.answer = FAKE_COMMIT;
        serve(r->f);
    }
    return NULL;
}

static void a_node_that_starts_again_in_time_is_asked(void **state)
{
    struct restart r = {fixture_new(SETUP), true};
    sqlite3 *db = open_managed(r.f);
    pthread_t thread;

    (void)state;
    r.f->node.resume = SESSION_COMMITTED;
    r.f->node.answer = FAKE_COMMIT_SILENCE;
    pthread_create(&thread, NULL, restart_in_the_middle, &r);
    must(db, "INSERT INTO t(v) VALUES (1)");
    pthread_join(thread, NULL);
    assert_int_equal(r.f->node.resumes, 1);
    assert_int_equal(r.f->node.txid, 1);
    assert_unharmed(r.f, db, 2);
    sqlite3_close(db);
    fixture_free(r.f);
}

static void a_node_that_stays_away_is_an_unknown_outcome_at_the_deadline(
    void **state)
{
    struct restart r = {fixture_new(SETUP), false};
    sqlite3 *db = open_managed(r.f);
    pthread_t thread;
    uint64_t start;

    (void)state;
    be_hasty(db, 400);
    r.f->node.answer = FAKE_SILENCE;
    pthread_create(&thread, NULL, restart_in_the_middle, &r);
    start = clock_ms();
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"),
                     MARMOT_IOERR_UNKNOWN);
    assert_in_range(clock_ms() - start, 395, 5000);
    pthread_join(thread, NULL);
    assert_int_equal(r.f->node.proposals, 1);
    sqlite3_busy_timeout(db, 0);
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"), SQLITE_BUSY);
    serve(r.f);
    assert_unharmed(r.f, db, 1);
    sqlite3_close(db);
    fixture_free(r.f);
}

static void a_commit_that_nobody_heard_of_is_not_shown(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    FAKE(&f->node, f->node.answer = FAKE_COMMIT_HANG_UP);
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"),
                     MARMOT_IOERR_UNKNOWN);
    settle(db);
    assert_int_equal(f->node.txid, 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
    sqlite3_close(db);
    fixture_free(f);
}

/* LOCK refused for this reason. */
static void lock_refused(uint8_t reason, int expected)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    FAKE(&f->node, f->node.lock_reason = reason);
    sqlite3_busy_timeout(db, 0);
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"), expected);
    assert_int_equal(try_sql(db, "BEGIN IMMEDIATE"), expected);
    must(db, "BEGIN; SELECT * FROM t");
    assert_int_equal(try_sql(db, "DELETE FROM t"), expected);
    try_sql(db, "ROLLBACK"); /* SQLite has done it for some of the codes */
    assert_non_null(
        strstr(text_of(db, "PRAGMA marmot_status"), "the fake node says no"));
    assert_unharmed(f, db, 1);
    sqlite3_close(db);
    fixture_free(f);
}

static void every_refusal_of_a_lock_has_its_code(void **state)
{
    (void)state;
    lock_refused(REASON_BUSY, SQLITE_BUSY);
    lock_refused(REASON_READONLY, SQLITE_READONLY);
    lock_refused(REASON_FULL, SQLITE_FULL);
    lock_refused(REASON_MOVED, SQLITE_READONLY_DBMOVED);
    lock_refused(REASON_IO, SQLITE_IOERR_SHMLOCK);
    lock_refused(REASON_VERSION, SQLITE_CANTOPEN);
}

static void without_a_node_reads_work_and_writes_are_busy(void **state)
{
    struct fixture *f = fixture_plain(SETUP);
    uint64_t start;
    sqlite3 *db;

    (void)state;
    fake_node_bind(&f->node, f->path);
    close(f->node.listener);
    db = open_managed(f);
    sqlite3_busy_timeout(db, 200);
    start = clock_ms();
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"), SQLITE_BUSY);
    assert_in_range(clock_ms() - start, 150, 2000);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    assert_non_null(strstr(text_of(db, "PRAGMA marmot_status"), "no node"));
    serve(f);
    assert_unharmed(f, db, 1);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_node_that_was_restarted_is_found_again(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "INSERT INTO t(v) VALUES (1)");
    stop_serving(f);
    serve(f);
    must(db, "INSERT INTO t(v) VALUES (2)");
    assert_int_equal(f->node.hellos, 2);
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_commit_whose_node_went_away_before_it_may_be_repeated(
    void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "BEGIN IMMEDIATE; INSERT INTO t(v) VALUES (1)");
    stop_serving(f);
    serve(f);
    assert_int_equal(try_sql(db, "COMMIT"), SQLITE_BUSY_SNAPSHOT);
    assert_unharmed(f, db, 1);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_spilling_transaction_whose_node_went_away_is_an_io_error(
    void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA cache_size = 4");
    must(db, "BEGIN IMMEDIATE");
    stop_serving(f);
    serve(f);
    assert_int_equal(
        try_sql(db,
                "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 "
                "FROM n WHERE i < 300) INSERT INTO t(v) "
                "SELECT randomblob(2000) FROM n"),
        SQLITE_IOERR_WRITE);
    try_sql(db, "ROLLBACK");
    assert_unharmed(f, db, 1);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_write_on_a_silent_node_is_busy(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    sqlite3_busy_timeout(db, 0);
    FAKE(&f->node, f->node.silent = true);
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"), SQLITE_BUSY);
    FAKE(&f->node, f->node.silent = false);
    assert_unharmed(f, db, 1);
    sqlite3_close(db);
    fixture_free(f);
}

/* SQLite sleeps 200 ms in all; each attempt adds only a little to it. */
static void a_silent_node_does_not_stretch_a_busy_timeout(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    uint64_t began;

    (void)state;
    sqlite3_busy_timeout(db, 200);
    FAKE(&f->node, f->node.silent = true);
    began = clock_us();
    assert_int_equal(try_sql(db, "INSERT INTO t(v) VALUES (1)"), SQLITE_BUSY);
    assert_true(clock_us() - began < 2500000);
    FAKE(&f->node, f->node.silent = false);
    assert_unharmed(f, db, 1);
    sqlite3_close(db);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_race_is_busy_snapshot),
        cmocka_unit_test(a_commit_without_room_is_full),
        cmocka_unit_test(a_commit_that_surely_failed_may_be_repeated),
        cmocka_unit_test(a_commit_on_a_replica_is_readonly),
        cmocka_unit_test(a_commit_that_broke_the_node_is_an_io_error),
        cmocka_unit_test(an_unknown_outcome_has_its_own_code),
        cmocka_unit_test(
            a_node_that_cannot_say_what_became_of_it_is_an_unknown_outcome),
        cmocka_unit_test(a_commit_whose_answer_was_lost_is_asked_for_again),
        cmocka_unit_test(a_commit_that_lost_with_its_node_is_busy_snapshot),
        cmocka_unit_test(a_resumed_commit_is_published_as_any_other),
        cmocka_unit_test(a_node_that_starts_again_in_time_is_asked),
        cmocka_unit_test(
            a_node_that_stays_away_is_an_unknown_outcome_at_the_deadline),
        cmocka_unit_test(a_commit_that_nobody_heard_of_is_not_shown),
        cmocka_unit_test(every_refusal_of_a_lock_has_its_code),
        cmocka_unit_test(without_a_node_reads_work_and_writes_are_busy),
        cmocka_unit_test(a_node_that_was_restarted_is_found_again),
        cmocka_unit_test(
            a_commit_whose_node_went_away_before_it_may_be_repeated),
        cmocka_unit_test(
            a_spilling_transaction_whose_node_went_away_is_an_io_error),
        cmocka_unit_test(a_write_on_a_silent_node_is_busy),
        cmocka_unit_test(a_silent_node_does_not_stretch_a_busy_timeout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
