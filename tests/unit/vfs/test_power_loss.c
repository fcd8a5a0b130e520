/* Cutting the power: whatever part of the unsynced writes survives, SQLite must
 * find a database that is some prefix of the transactions, no older than the
 * last sync of the WAL.
 *
 * A VFS in front of SQLite's own records what is done to the files; images of
 * them are then built for many moments and survivals. */
#include "tests/unit/vfs/front_vfs.h"

#include "base/err.h"
#include "vfs/apply.h"

enum op_kind { OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_COMMITTED };

struct op {
    enum op_kind kind;
    int file;
    uint64_t offset; /* or size, or how many transactions */
    size_t len;
    uint8_t *bytes;
};

static struct op ops[60000];
static int op_count;
static bool recording;

static void record(enum op_kind kind, int file, uint64_t offset,
                   const void *bytes, size_t len)
{
    struct op *op = &ops[op_count];

    if (!recording) {
        return;
    }
    assert_true(op_count < (int)(sizeof ops / sizeof *ops));
    *op = (struct op){kind, file, offset, len, NULL};
    if (len > 0) {
        op->bytes = malloc(len);
        assert_non_null(op->bytes);
        memcpy(op->bytes, bytes, len);
    }
    op_count++;
}

/* ---- what the VFS tells ------------------------------------------------- */

static void note_write(int which, const void *bytes, size_t len, uint64_t at)
{
    record(OP_WRITE, which, at, bytes, len);
}

static void note_truncate(int which, uint64_t size)
{
    record(OP_TRUNCATE, which, size, NULL, 0);
}

static void note_sync(int which)
{
    record(OP_SYNC, which, 0, NULL, 0);
}

/* At every barrier: what a header names has to be in the index already. */
static void check_index(sqlite3_file *file)
{
    void volatile *block;
    const uint32_t *words;

    assert_int_equal(file->pMethods->xShmMap(file, 0, 32768, 1, &block),
                     SQLITE_OK);
    words = (const uint32_t *)block;
    for (int copy = 0; copy < 2 && recording; copy++) {
        uint32_t frames = words[12 * copy + 4];
        assert_true(frames <= 4062);
        for (uint32_t i = 0; i < frames; i++) {
            assert_true(words[34 + i] != 0);
        }
    }
}

/* ---- images after a cut -------------------------------------------------- */

struct image {
    uint8_t *bytes;
    size_t len, room;
};

static void image_resize(struct image *m, size_t len)
{
    if (len > m->room) {
        m->room = 2 * len;
        m->bytes = realloc(m->bytes, m->room);
        assert_non_null(m->bytes);
    }
    if (len > m->len) {
        memset(m->bytes + m->len, 0, len - m->len);
    }
    m->len = len;
}

static uint32_t seed = 1;

static bool happens(double probability)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) < probability * (1 << 24);
}

/* Sectors survive one by one. */
static void image_do(struct image *m, const struct op *op, double survival)
{
    if (op->kind == OP_TRUNCATE) {
        if (happens(survival)) {
            image_resize(m, op->offset);
        }
        return;
    }
    for (size_t done = 0; done < op->len;) {
        size_t n = 512 - (op->offset + done) % 512;
        n = n < op->len - done ? n : op->len - done;
        if (happens(survival)) {
            if (op->offset + done + n > m->len) {
                image_resize(m, op->offset + done + n);
            }
            memcpy(m->bytes + op->offset + done, op->bytes + done, n);
        }
        done += n;
    }
}

/* The file after the power went before operation `cut`. */
static void cut_file(struct image *m, int file, const char *start, int cut,
                     double survival, const char *to)
{
    int synced = 0;
    size_t len = 0;
    uint8_t *bytes = start == NULL ? NULL : slurp(start, &len);

    m->len = 0;
    image_resize(m, len);
    if (len > 0) {
        memcpy(m->bytes, bytes, len);
    }
    free(bytes);
    for (int i = 0; i < cut; i++) {
        if (ops[i].kind == OP_SYNC && ops[i].file == file) {
            synced = i;
        }
    }
    for (int i = 0; i < cut; i++) {
        if (ops[i].file == file && ops[i].kind <= OP_TRUNCATE) {
            image_do(m, &ops[i], i < synced ? 1 : survival);
        }
    }
    spill(to, m->bytes, m->len);
}

/* Transactions before operation `cut`, and those that a WAL sync covers. */
static void count_committed(int cut, uint64_t *committed, uint64_t *safe)
{
    *committed = *safe = 0;
    for (int i = 0; i < cut; i++) {
        if (ops[i].kind == OP_COMMITTED) {
            *committed = ops[i].offset;
        } else if (ops[i].kind == OP_SYNC && ops[i].file == ON_WAL) {
            *safe = *committed;
        }
    }
}

static void check_image(const char *path, int cut)
{
    uint64_t committed, safe, found;
    char answer[256];
    sqlite3 *db = open_sql(path);

    run(db, "PRAGMA synchronous=OFF");
    count_committed(cut, &committed, &safe);
    ask(db, "PRAGMA integrity_check", answer);
    assert_string_equal(answer, "ok");
    ask(db, "SELECT n FROM counter", answer);
    found = strtoull(answer, NULL, 10);
    /* The one whose commit frame is being written may be there. */
    assert_in_range(found, safe, committed + 1);
    ask(db, "SELECT count(*) = (SELECT n FROM counter) FROM log", answer);
    assert_string_equal(answer, "1");
    sqlite3_close(db);
}

/* ---- the test ------------------------------------------------------------ */

static void apply_all(struct source *s, struct apply *a, int txns)
{
    struct txn t = {.count = 0};
    struct wal_state state;

    for (int n = 1; n <= txns; n++) {
        run(s->db,
            "BEGIN; INSERT INTO log(v) VALUES(randomblob(700));"
            "UPDATE counter SET n=n+1;"
            "UPDATE t SET v=randomblob(200) WHERE id%50=0; COMMIT");
        assert_true(source_next(s, &t));
        assert_int_equal(apply_begin(a, t.db_pages), 0);
        for (uint32_t i = 0; i < t.count; i++) {
            assert_int_equal(apply_page(a, t.numbers[i],
                                        t.images + (size_t)i * s->page_size),
                             0);
        }
        assert_int_equal(apply_commit(a, &state), 0);
        record(OP_COMMITTED, ON_NONE, (uint64_t)n, NULL, 0);
        if (n % 11 == 0) {
            assert_int_equal(apply_sync(a), 0);
        }
        if (n % 5 == 0) {
            assert_int_equal(apply_checkpoint(a, n % 15 != 0), 0);
        }
    }
    txn_close(&t);
}

static void any_cut_leaves_a_prefix(void **state)
{
    static const double survivals[] = {0, 0.03, 0.1, 0.5, 0.95};
    char folder[PATH_MAX], path[PATH_MAX], start[PATH_MAX], cut_db[PATH_MAX];
    char cut_wal[PATH_MAX + 8], follower[PATH_MAX];
    struct image m = {.bytes = NULL};
    struct source s;
    struct apply *a;
    sqlite3_vfs vfs;

    (void)state;
    make_folder(folder);
    join(path, folder, "s.db");
    join(start, folder, "start.db");
    join(follower, folder, "follower.db");
    join(cut_db, folder, "cut.db");
    snprintf(cut_wal, sizeof cut_wal, "%s-wal", cut_db);
    source_open(&s, path, 1024, 0);
    run(s.db,
        "CREATE TABLE counter(n); INSERT INTO counter VALUES(0);"
        "CREATE TABLE log(v);"
        "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<99)"
        " INSERT INTO t(v) SELECT randomblob(300) FROM n;"
        "PRAGMA wal_checkpoint(TRUNCATE)");
    source_seed(&s, follower);
    copy_file(follower, start);
    front.write = note_write;
    front.truncate = note_truncate;
    front.sync = note_sync;
    front.barrier = check_index;
    stand_in_front(&vfs, "unix");
    recording = true;
    assert_int_equal(apply_open(follower, &a), 0);
    apply_all(&s, a, 60);
    assert_int_equal(apply_close(a, false), 0);
    recording = false;
    sqlite3_vfs_unregister(&vfs);

    assert_true(op_count > 150);
    for (int cut = 0; cut <= op_count; cut++) {
        for (int i = cut % 2; i < 5; i += 2) {
            cut_file(&m, ON_DB, start, cut, survivals[i], cut_db);
            cut_file(&m, ON_WAL, NULL, cut, survivals[i], cut_wal);
            check_image(cut_db, cut);
        }
    }
    for (int i = 0; i < op_count; i++) {
        free(ops[i].bytes);
    }
    free(m.bytes);
    source_close(&s);
    drop_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_leaves_a_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
