/* Who writes when: several connections, the queue in the node, stale reads. */
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/vfs/guest_fixture.h"

#define SETUP "CREATE TABLE t(a INTEGER); INSERT INTO t VALUES (0)"

static void a_read_that_grew_old_cannot_become_a_write(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *a = open_managed(f);
    sqlite3 *b = open_managed(f);

    (void)state;
    must(a, "BEGIN; SELECT * FROM t");
    must(b, "UPDATE t SET a = 1");
    assert_int_equal(try_sql(a, "UPDATE t SET a = 2"), SQLITE_BUSY_SNAPSHOT);
    must(a, "ROLLBACK");
    settle(a);
    assert_int_equal(f->node.unlocks[UNLOCK_STALE], 1);
    must(a, "UPDATE t SET a = a + 1");
    assert_int_equal(number_of(b, "SELECT a FROM t"), 2);
    assert_same_bytes(f);
    sqlite3_close(a);
    sqlite3_close(b);
    fixture_free(f);
}

static void a_rolled_back_transaction_proposes_nothing(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA cache_size = 3");
    must(db, "BEGIN; UPDATE t SET a = 5");
    must(db,
         "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n "
         "WHERE i < 3000) INSERT INTO t SELECT i FROM n; ROLLBACK");
    must(db, "BEGIN IMMEDIATE; COMMIT");
    settle(db);
    assert_int_equal(f->node.proposals, 0);
    assert_int_equal(f->node.unlocks[UNLOCK_NOTHING], 2);
    assert_int_equal(number_of(db, "SELECT a FROM t"), 0);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

static void a_writer_without_patience_is_busy_at_once(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *a = open_managed(f);
    sqlite3 *b = open_managed(f);
    uint64_t start;

    (void)state;
    must(a, "BEGIN IMMEDIATE");
    sqlite3_busy_timeout(b, 0);
    start = clock_ms();
    assert_int_equal(try_sql(b, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    assert_in_range(clock_ms() - start, 0, 500);
    must(a, "COMMIT");
    must(b, "UPDATE t SET a = 1");
    sqlite3_close(a);
    sqlite3_close(b);
    fixture_free(f);
}

struct holder {
    sqlite3 *db;
    unsigned hold_ms;
};

static void *commit_later(void *arg)
{
    struct holder *h = arg;

    usleep(h->hold_ms * 1000);
    must(h->db, "COMMIT");
    return NULL;
}

static void a_patient_writer_wakes_when_its_turn_is_offered(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    struct holder h = {open_managed(f), 400};
    sqlite3 *b = open_managed(f);
    pthread_t thread;
    uint64_t start = clock_ms();

    (void)state;
    must(h.db, "BEGIN IMMEDIATE; UPDATE t SET a = a + 1");
    pthread_create(&thread, NULL, commit_later, &h);
    sqlite3_busy_timeout(b, 20000);
    must(b, "UPDATE t SET a = a + 1");
    assert_in_range(clock_ms() - start, 390, 3000);
    pthread_join(thread, NULL);
    settle(b);
    assert_true(f->node.parks >= 1);
    assert_true(f->node.offers >= 1);
    assert_int_equal(number_of(b, "SELECT a FROM t"), 2);
    sqlite3_close(h.db);
    sqlite3_close(b);
    assert_same_bytes(f);
    fixture_free(f);
}

static void an_offer_that_nobody_waited_for_does_no_harm(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *a = open_managed(f);
    sqlite3 *b = open_managed(f);

    (void)state;
    must(a, "BEGIN IMMEDIATE");
    sqlite3_busy_timeout(b, 0);
    assert_int_equal(try_sql(b, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    must(a, "COMMIT");
    settle(a);
    assert_int_equal(f->node.offers, 1);
    assert_string_equal(text_of(b, "PRAGMA marmot_position"), "0:abc");
    must(b, "UPDATE t SET a = 1");
    must(a, "UPDATE t SET a = a + 1");
    assert_int_equal(number_of(b, "SELECT a FROM t"), 2);
    sqlite3_close(a);
    sqlite3_close(b);
    fixture_free(f);
}

#define THREADS 4
#define TURNS 25

static void *count_up(void *arg)
{
    sqlite3 *db = open_managed(arg);

    sqlite3_busy_timeout(db, 30000);
    for (int i = 0; i < TURNS; i++) {
        must(db, i % 2 == 0 ? "UPDATE t SET a = a + 1"
                            : "BEGIN IMMEDIATE; UPDATE t SET a = a + 1;"
                              "COMMIT");
    }
    sqlite3_close(db);
    return NULL;
}

static void concurrent_writers_lose_no_update(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    pthread_t threads[THREADS];
    sqlite3 *db;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, count_up, f);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    db = open_managed(f);
    assert_int_equal(number_of(db, "SELECT a FROM t"), THREADS * TURNS);
    assert_int_equal(f->node.txid, THREADS * TURNS);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_that_grew_old_cannot_become_a_write),
        cmocka_unit_test(a_rolled_back_transaction_proposes_nothing),
        cmocka_unit_test(a_writer_without_patience_is_busy_at_once),
        cmocka_unit_test(a_patient_writer_wakes_when_its_turn_is_offered),
        cmocka_unit_test(an_offer_that_nobody_waited_for_does_no_harm),
        cmocka_unit_test(concurrent_writers_lose_no_update),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
