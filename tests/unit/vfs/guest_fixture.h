/* A managed database with a fake node, for tests of the guest part. */
#ifndef TESTS_UNIT_VFS_GUEST_FIXTURE_H
#define TESTS_UNIT_VFS_GUEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/vfs/fake_node.h"
#include "vfs/guest_file.h"
#include "vfs/marmot.h"

struct fixture {
    char dir[64];
    char path[80];
    struct fake_node node;
    bool serving;
};

static inline void must(sqlite3 *db, const char *sql)
{
    char *message = NULL;
    int rc = sqlite3_exec(db, sql, NULL, NULL, &message);

    if (rc != SQLITE_OK) {
        fail_msg("%s: %s (%d)", sql, message, sqlite3_extended_errcode(db));
    }
}

/* Returns the extended error code. */
static inline int try_sql(sqlite3 *db, const char *sql)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? rc : sqlite3_extended_errcode(db);
}

/* The first column of the first row, in static memory. */
static inline const char *text_of(sqlite3 *db, const char *sql)
{
    static char text[8192];
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(s);
    }
    snprintf(text, sizeof text, "%s",
             rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0)
                              : sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return text;
}

static inline long long number_of(sqlite3 *db, const char *sql)
{
    return atoll(text_of(db, sql));
}

static inline sqlite3 *open_with(const char *path, const char *vfs)
{
    sqlite3 *db;
    int rc = sqlite3_open_v2(
        path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
        vfs);

    if (rc != SQLITE_OK) {
        fail_msg("open %s: %d", path, rc);
    }
    sqlite3_extended_result_codes(db, 1);
    return db;
}

static inline sqlite3 *open_managed(const struct fixture *f)
{
    return open_with(f->path, "marmot");
}

/* A commit of this connection waits only so long for its answer. */
static inline void be_hasty(sqlite3 *db, uint32_t answer_ms)
{
    sqlite3_file *file;

    assert_int_equal(
        sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file),
        SQLITE_OK);
    guest_file_db(file)->client.answer_ms = answer_ms;
}

static inline size_t file_bytes(const char *path, uint8_t **bytes)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    size_t n;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    *bytes = malloc((size_t)st.st_size + 1);
    n = fread(*bytes, 1, (size_t)st.st_size, file);
    fclose(file);
    return n;
}

/* Everything that this connection has sent to the node has been seen. */
static inline void settle(sqlite3 *db)
{
    text_of(db, "PRAGMA marmot_status");
}

/* A folder and a path in it; no file. */
static inline struct fixture *fixture_empty(void)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_int_equal(marmot_register(0), SQLITE_OK);
    strcpy(f->dir, "/tmp/marmot-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/app.db", f->dir);
    return f;
}

static inline void serve(struct fixture *f)
{
    fake_node_start(&f->node, f->path);
    f->serving = true;
}

static inline void stop_serving(struct fixture *f)
{
    fake_node_stop(&f->node);
    f->serving = false;
}

/* A WAL database made by plain SQLite with `sql`; not yet served. */
static inline struct fixture *fixture_plain(const char *sql)
{
    struct fixture *f = fixture_empty();
    sqlite3 *db = open_with(f->path, "unix");
    size_t len;

    must(db, sql);
    must(db, "PRAGMA journal_mode = wal");
    f->node.page_size = (uint32_t)number_of(db, "PRAGMA page_size");
    sqlite3_close(db);
    len = file_bytes(f->path, &f->node.bytes);
    f->node.pages = (uint32_t)(len / f->node.page_size);
    return f;
}

static inline struct fixture *fixture_new(const char *sql)
{
    struct fixture *f = fixture_plain(sql);

    serve(f);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    char command[128];

    if (f->serving) {
        stop_serving(f);
    }
    free(f->node.bytes);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
}

/* What a recovery would find on disk now: a copy of database and WAL without
 * the wal-index, checkpointed. */
static inline size_t recovered(const struct fixture *f, uint8_t **bytes)
{
    char command[512];
    char copy[96];
    sqlite3 *db;

    /* by another process: closing a file here would drop SQLite's locks */
    snprintf(command, sizeof command,
             "cd '%s' && rm -f copy.db* && cp app.db copy.db && "
             "{ test ! -e app.db-wal || cp app.db-wal copy.db-wal; }",
             f->dir);
    assert_int_equal(system(command), 0);
    snprintf(copy, sizeof copy, "%s/copy.db", f->dir);
    db = open_with(copy, "unix");
    assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
    must(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(db);
    return file_bytes(copy, bytes);
}

/* Are the follower and the recovered local copy the same, byte for byte? */
static inline void assert_same_bytes(const struct fixture *f)
{
    const struct fake_node *n = &f->node;
    uint8_t *bytes;
    size_t len = recovered(f, &bytes);

    assert_int_equal(len, (size_t)n->pages * n->page_size);
    for (uint32_t i = 0; i < n->pages; i++) {
        if (memcmp(bytes + (size_t)i * n->page_size,
                   n->bytes + (size_t)i * n->page_size, n->page_size) != 0) {
            fail_msg("page %u of %u differs", i + 1, n->pages);
        }
    }
    free(bytes);
}

#endif
