/* The incremental checksum against one that is computed from all pages. */
#include "tests/unit/vfs/databases.h"

#include "base/err.h"
#include "vfs/apply_internal.h"
#include "vfs/checksum.h"
#include "wire/entry.h"
#include "wire/page.h"

static uint64_t sum_of_file(const char *path, uint32_t page_size)
{
    size_t len;
    uint8_t *bytes = slurp(path, &len);
    uint64_t sum = 0;

    for (uint32_t n = 1; n <= len / page_size; n++) {
        sum ^= page_hash(n, bytes + (size_t)(n - 1) * page_size, page_size);
    }
    free(bytes);
    return sum;
}

static void setting_and_cutting_pages_keeps_the_sum(void **state)
{
    struct checksum c;

    (void)state;
    checksum_init(&c);
    assert_int_equal(checksum_set(&c, 3, 0x30), 0);
    assert_int_equal(c.pages, 3);
    assert_int_equal(c.sum, 0x30);
    assert_int_equal(checksum_set(&c, 1, 0x1), 0);
    assert_int_equal(checksum_set(&c, 3, 0x70), 0);
    assert_int_equal(c.sum, 0x71);
    assert_int_equal(checksum_set(&c, 1000, 0x1000), 0);
    assert_int_equal(c.sum, 0x1071);
    assert_int_equal(checksum_resize(&c, 2), 0);
    assert_int_equal(c.sum, 0x1);
    /* What was cut does not come back. */
    assert_int_equal(checksum_resize(&c, 5), 0);
    assert_int_equal(c.sum, 0x1);
    assert_int_equal(checksum_set(&c, 3, 0x2), 0);
    assert_int_equal(c.sum, 0x3);
    assert_int_equal(checksum_set(&c, 0, 1), ERR_CORRUPT);
    checksum_close(&c);
}

static void a_preview_changes_nothing(void **state)
{
    const uint32_t numbers[] = {2, 9, 4, 7};
    const uint64_t hashes[] = {0x22, 0x99, 0x44, 0x77};
    struct checksum c;

    (void)state;
    checksum_init(&c);
    for (uint32_t n = 1; n <= 5; n++) {
        assert_int_equal(checksum_set(&c, n, 1ull << (8 + n)), 0);
    }
    for (uint32_t pages = 1; pages <= 10; pages++) {
        struct checksum after;
        uint64_t sum = checksum_preview(&c, numbers, hashes, 4, pages);
        checksum_init(&after);
        for (uint32_t n = 1; n <= 5; n++) {
            assert_int_equal(checksum_set(&after, n, c.hashes[n - 1]), 0);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(checksum_set(&after, numbers[i], hashes[i]), 0);
        }
        assert_int_equal(checksum_resize(&after, pages), 0);
        assert_int_equal(sum, after.sum);
        assert_int_equal(c.pages, 5);
        checksum_close(&after);
    }
    checksum_close(&c);
}

/* What a node does with each transaction. */
static void change(struct checksum *c, const struct txn *t, uint32_t page_size)
{
    uint64_t *hashes = malloc(t->count * sizeof *hashes), preview;

    assert_non_null(hashes);
    for (uint32_t i = 0; i < t->count; i++) {
        hashes[i] = page_hash(t->numbers[i], t->images + (size_t)i * page_size,
                              page_size);
    }
    preview = checksum_preview(c, t->numbers, hashes, t->count, t->db_pages);
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->numbers[i] <= t->db_pages) {
            assert_int_equal(checksum_set(c, t->numbers[i], hashes[i]), 0);
        }
    }
    assert_int_equal(checksum_resize(c, t->db_pages), 0);
    assert_int_equal(c->sum, preview);
    free(hashes);
}

static void put(struct apply *a, const struct txn *t, uint32_t page_size)
{
    struct wal_state s;

    assert_int_equal(apply_begin(a, t->db_pages), 0);
    for (uint32_t i = 0; i < t->count; i++) {
        assert_int_equal(
            apply_page(a, t->numbers[i], t->images + (size_t)i * page_size), 0);
    }
    assert_int_equal(apply_commit(a, &s), 0);
}

static const char *const workload[] = {
    "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<300)"
    " INSERT INTO t(v) SELECT randomblob(500) FROM n",
    "DELETE FROM t WHERE id%2=0",
    "PRAGMA incremental_vacuum(20)",
    "INSERT INTO t(v) VALUES(randomblob(40000))",
    "VACUUM",
    "DELETE FROM t WHERE id%3=0; PRAGMA incremental_vacuum",
    "UPDATE t SET v=randomblob(600) WHERE id%4=1",
    "PRAGMA cache_size=5",
    "BEGIN; INSERT INTO t(v) VALUES(randomblob(90000)); SAVEPOINT s;"
    " INSERT INTO t(v) VALUES(randomblob(200000)); ROLLBACK TO s;"
    " CREATE TABLE x AS SELECT * FROM t; DELETE FROM x WHERE id%2=1; COMMIT",
    "BEGIN; DROP TABLE x; INSERT INTO t(v) VALUES(randomblob(300000));"
    " DELETE FROM t WHERE length(v)=300000; COMMIT",
    "BEGIN; INSERT INTO t(v) VALUES(randomblob(400000)); ROLLBACK",
};

static void the_sum_follows_transactions(void **state)
{
    char folder[PATH_MAX], source[PATH_MAX], path[PATH_MAX];
    struct source s;
    struct apply *a;
    struct txn t = {.count = 0};
    struct checksum kept, scanned;

    (void)state;
    make_folder(folder);
    join(source, folder, "s.db");
    join(path, folder, "f.db");
    source_open(&s, source, 1024, 2);
    source_seed(&s, path);
    checksum_init(&kept);
    checksum_init(&scanned);
    assert_int_equal(apply_open(path, &a), 0);
    assert_int_equal(checksum_scan(&kept, a), 0);
    assert_int_equal(kept.sum, sum_of_file(path, 1024));
    for (size_t i = 0; i < 3 * sizeof workload / sizeof *workload; i++) {
        run(s.db, workload[i % (sizeof workload / sizeof *workload)]);
        while (source_next(&s, &t)) {
            /* What no legitimate transaction may break. */
            assert_true(page_growth_valid(kept.pages, t.count, t.db_pages));
            change(&kept, &t, 1024);
            put(a, &t, 1024);
        }
        if (i % 3 == 0) {
            assert_int_equal(apply_checkpoint(a, i % 2 == 0), 0);
        }
        assert_int_equal(checksum_scan(&scanned, a), 0);
        assert_int_equal(scanned.pages, kept.pages);
        assert_int_equal(scanned.sum, kept.sum);
    }
    assert_int_equal(apply_close(a, true), 0);
    assert_int_equal(kept.sum, sum_of_file(path, 1024));
    checksum_close(&kept);
    checksum_close(&scanned);
    txn_close(&t);
    source_close(&s);
    drop_folder(folder);
}

/* The shared memory belongs to every program that has the database open. */
static void a_size_that_file_and_wal_cannot_hold_is_refused(void **state)
{
    char folder[PATH_MAX], source[PATH_MAX], path[PATH_MAX];
    struct wal_index_header h;
    struct source s;
    struct apply *a;
    struct checksum c;
    uint32_t most;

    (void)state;
    make_folder(folder);
    join(source, folder, "s.db");
    join(path, folder, "f.db");
    source_open(&s, source, 1024, 0);
    source_seed(&s, path);
    checksum_init(&c);
    assert_int_equal(apply_open(path, &a), 0);
    assert_int_equal(wal_index_read(&a->index, &h), 0);
    most = apply_pages(a) + h.frames + TXN_UNWRITTEN_PAGES_MAX;
    h.db_pages = 0xfffffffe;
    wal_index_publish(&a->index, &h);
    assert_int_equal(checksum_scan(&c, a), ERR_CORRUPT);
    h.db_pages = most + 1;
    wal_index_publish(&a->index, &h);
    assert_int_equal(checksum_scan(&c, a), ERR_CORRUPT);
    assert_int_equal(c.pages, 0);
    h.db_pages = most;
    wal_index_publish(&a->index, &h);
    assert_int_equal(checksum_scan(&c, a), 0);
    assert_int_equal(c.pages, most);
    assert_int_equal(apply_close(a, false), 0);
    checksum_close(&c);
    source_close(&s);
    drop_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_and_cutting_pages_keeps_the_sum),
        cmocka_unit_test(a_preview_changes_nothing),
        cmocka_unit_test(the_sum_follows_transactions),
        cmocka_unit_test(a_size_that_file_and_wal_cannot_hold_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
