/* Random workloads with SQLite as the oracle: after each transaction that was
 * accepted, the follower and what a recovery of the local files would find are
 * the same, byte for byte. */
#include "tests/unit/vfs/guest_fixture.h"

struct work {
    sqlite3 *db;
    uint64_t random;
    int savepoints;
    bool open;
};

/* xorshift: the same on every machine. */
static unsigned dice(struct work *w, unsigned n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (unsigned)(w->random >> 32) % n;
}

static void run(struct work *w, const char *format, ...)
{
    va_list ap;
    char *sql;

    va_start(ap, format);
    sql = sqlite3_vmprintf(format, ap);
    va_end(ap);
    must(w->db, sql);
    sqlite3_free(sql);
}

static void change_rows(struct work *w)
{
    switch (dice(w, 6)) {
    case 0:
        run(w, "DELETE FROM t WHERE id %% %u = 0", 2 + dice(w, 8));
        break;
    case 1:
    case 2:
        run(w, "UPDATE t SET v = randomblob(%u) WHERE id %% %u = 0",
            1 + dice(w, 3000), 1 + dice(w, 9));
        break;
    default:
        run(w, "INSERT INTO t(v) VALUES (randomblob(%u))", 1 + dice(w, 9000));
    }
}

static void change_savepoints(struct work *w)
{
    switch (dice(w, 3)) {
    case 0:
        run(w, "SAVEPOINT s%d", w->savepoints++);
        break;
    case 1:
        if (w->savepoints > 0) {
            w->savepoints -= w->savepoints > 1 ? (int)dice(w, 2) : 0;
            run(w, "ROLLBACK TO s%d", w->savepoints - 1);
        }
        break;
    default:
        if (w->savepoints > 0) {
            run(w, "RELEASE s%d", --w->savepoints);
        }
    }
}

static void long_transaction(struct work *w)
{
    unsigned steps = 1 + dice(w, 25);

    run(w, "BEGIN");
    w->savepoints = 0;
    for (unsigned i = 0; i < steps; i++) {
        if (dice(w, 3) == 0) {
            change_savepoints(w);
        } else {
            change_rows(w);
        }
    }
    run(w, dice(w, 4) == 0 ? "ROLLBACK" : "COMMIT");
}

static void one_step(struct work *w)
{
    switch (dice(w, 16)) {
    case 0:
        run(w, "VACUUM");
        break;
    case 1:
        run(w, "PRAGMA incremental_vacuum(%u)", 1 + dice(w, 9));
        break;
    case 2:
        run(w, "CREATE TABLE IF NOT EXISTS x%u(a, b UNIQUE)", dice(w, 6));
        break;
    case 3:
        run(w, "DROP TABLE IF EXISTS x%u", dice(w, 6));
        break;
    case 4:
    case 5:
    case 6:
        change_rows(w);
        break;
    default:
        long_transaction(w);
    }
}

static void work_on(unsigned seed, unsigned page_size, unsigned steps)
{
    static const char *const levels[] = {"OFF", "NORMAL", "FULL", "EXTRA"};
    static const unsigned caches[] = {3, 5, 10, 50, 2000};
    struct work w = {.random = seed * 2654435761u + 88172645463325252u};
    struct fixture *f;
    char sql[256];

    snprintf(sql, sizeof sql,
             "PRAGMA page_size = %u; PRAGMA auto_vacuum = %u;"
             "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);"
             "CREATE INDEX ti ON t(substr(v, 1, 8))",
             page_size, dice(&w, 3));
    f = fixture_new(sql);
    w.db = open_managed(f);
    run(&w, "PRAGMA cache_size = %u", caches[dice(&w, 5)]);
    run(&w, "PRAGMA secure_delete = %u", dice(&w, 2));
    run(&w, "PRAGMA synchronous = %s", levels[dice(&w, 4)]);
    for (unsigned i = 0; i < steps; i++) {
        one_step(&w);
        if (i % 8 == 7) {
            assert_same_bytes(f);
        }
    }
    assert_string_equal(text_of(w.db, "PRAGMA integrity_check"), "ok");
    sqlite3_close(w.db);
    assert_same_bytes(f);
    fixture_free(f);
}

static void a_follower_stays_the_same_through(unsigned page_size,
                                              unsigned seeds, unsigned steps)
{
    const char *more = getenv("MARMOT_TEST_SEEDS");
    unsigned first = 1;

    if (more != NULL) {
        first = (unsigned)atoi(more);
        seeds = 20;
    }
    for (unsigned seed = first; seed < first + seeds; seed++) {
        print_message("seed %u page size %u\n", seed, page_size);
        work_on(seed, page_size, steps);
    }
}

static void random_work_with_small_pages_is_copied_exactly(void **state)
{
    (void)state;
    a_follower_stays_the_same_through(512, 4, 40);
}

static void random_work_with_ordinary_pages_is_copied_exactly(void **state)
{
    (void)state;
    a_follower_stays_the_same_through(4096, 4, 40);
    a_follower_stays_the_same_through(1024, 3, 40);
}

static void random_work_with_the_largest_pages_is_copied_exactly(void **state)
{
    (void)state;
    a_follower_stays_the_same_through(65536, 1, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_work_with_small_pages_is_copied_exactly),
        cmocka_unit_test(random_work_with_ordinary_pages_is_copied_exactly),
        cmocka_unit_test(random_work_with_the_largest_pages_is_copied_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
