/* A source database and a follower that the applier writes: helpers of the
 * tests of vfs/apply.h. Header only. */
#ifndef TESTS_VFS_PAIR_H
#define TESTS_VFS_PAIR_H

#include "tests/unit/vfs/databases.h"
#include "vfs/apply.h"

struct pair {
    char folder[PATH_MAX];
    char follower[PATH_MAX];
    struct source source;
    struct apply *a;
};

UNUSED static void pair_start(struct pair *p, uint32_t page_size,
                              int auto_vacuum)
{
    char path[PATH_MAX];

    p->a = NULL;
    make_folder(p->folder);
    join(path, p->folder, "source.db");
    join(p->follower, p->folder, "follower.db");
    source_open(&p->source, path, page_size, auto_vacuum);
    source_seed(&p->source, p->follower);
}

UNUSED static void pair_open(struct pair *p)
{
    assert_int_equal(apply_open(p->follower, &p->a), 0);
}

UNUSED static void put_txn(struct apply *a, const struct txn *t,
                           uint32_t page_size)
{
    assert_int_equal(apply_begin(a, t->db_pages), 0);
    for (uint32_t i = 0; i < t->count; i++) {
        assert_int_equal(
            apply_page(a, t->numbers[i], t->images + (size_t)i * page_size), 0);
    }
}

UNUSED static void apply_txn(struct apply *a, const struct txn *t,
                             uint32_t page_size)
{
    struct wal_state state;

    put_txn(a, t, page_size);
    assert_int_equal(apply_commit(a, &state), 0);
    assert_int_equal(apply_pages(a), t->db_pages);
}

/* Apply what the source has committed; returns how many transactions. */
UNUSED static int follow(struct pair *p)
{
    struct txn t = {.count = 0};
    int count = 0;

    while (source_next(&p->source, &t)) {
        apply_txn(p->a, &t, p->source.page_size);
        count++;
    }
    txn_close(&t);
    return count;
}

UNUSED static void pair_end(struct pair *p)
{
    source_close(&p->source);
    drop_folder(p->folder);
}

/* Close both sides in order and compare the files. */
UNUSED static void assert_identical(struct pair *p)
{
    run(p->source.db, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(apply_close(p->a, true), 0);
    assert_false(file_exists(p->follower, "-wal"));
    assert_false(file_exists(p->follower, "-shm"));
    assert_same_bytes(p->source.path, p->follower);
}

UNUSED static const char *const workload[] = {
    "INSERT INTO t(v) VALUES(randomblob(300))",
    "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<400)"
    " INSERT INTO t(v) SELECT randomblob(200) FROM n",
    "UPDATE t SET v=randomblob(150) WHERE id%3=0",
    "BEGIN; INSERT INTO t(v) VALUES('kept'); SAVEPOINT a;"
    " UPDATE t SET v=randomblob(500); ROLLBACK TO a;"
    " DELETE FROM t WHERE id%5=0; RELEASE a; COMMIT",
    "BEGIN; UPDATE t SET v=randomblob(900); ROLLBACK",
    /* From here on transactions spill. (Spilling together with savepoints
     * breaks the chain of SQLite 3.40.1's own WAL.) */
    "PRAGMA cache_size=10",
    "CREATE TABLE big(b)",
    "INSERT INTO big VALUES(randomblob(300000))",
    "DELETE FROM t WHERE id%2=0",
    "DROP TABLE big",
    "VACUUM",
    "PRAGMA incremental_vacuum",
    "INSERT INTO t(v) VALUES(randomblob(3000))",
    "DELETE FROM t",
    "INSERT INTO t(v) VALUES('end')",
};

#endif
