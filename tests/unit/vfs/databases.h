/* Databases for the tests of vfs/: a folder of their own, SQL in this process
 * and in another one, and the committed transactions of a source database.
 *
 * Header only, so that the tests of the layers below need not link vfs/. */
#ifndef TESTS_VFS_DATABASES_H
#define TESTS_VFS_DATABASES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the ones above first. */
#include <setjmp.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfs/wal_format.h"

#define UNUSED __attribute__((unused))

/* A new folder; removed by drop_folder. */
UNUSED static void make_folder(char folder[PATH_MAX])
{
    const char *root = getenv("TMPDIR");

    snprintf(folder, PATH_MAX, "%s/marmot-vfs-XXXXXX",
             root != NULL ? root : "/tmp");
    assert_non_null(mkdtemp(folder));
}

UNUSED static void drop_folder(const char *folder)
{
    char command[PATH_MAX + 16];

    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

UNUSED static void join(char out[PATH_MAX], const char *folder,
                        const char *name)
{
    assert_true((size_t)snprintf(out, PATH_MAX, "%s/%s", folder, name) <
                PATH_MAX);
}

UNUSED static void run(sqlite3 *db, const char *sql)
{
    char *message = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", sql, message);
    }
}

UNUSED static sqlite3 *open_sql(const char *path)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

/* The first column of the first row, as text, into `answer`. */
UNUSED static void ask(sqlite3 *db, const char *sql, char answer[256])
{
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(answer, 256, "%s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
}

/* What the sqlite3 program, another process, answers; without the last line
 * end. */
UNUSED static void ask_other_process(const char *path, const char *sql,
                                     char answer[256])
{
    char command[2 * PATH_MAX];
    size_t got;
    FILE *pipe;

    snprintf(command, sizeof command, "sqlite3 -batch '%s' \"%s\" 2>&1", path,
             sql);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    got = fread(answer, 1, 255, pipe);
    answer[got] = '\0';
    if (got > 0 && answer[got - 1] == '\n') {
        answer[got - 1] = '\0';
    }
    pclose(pipe);
}

UNUSED static void assert_other_process(const char *path, const char *sql,
                                        const char *want)
{
    char answer[256];

    ask_other_process(path, sql, answer);
    assert_string_equal(answer, want);
}

/* Whole file; freed by the caller. */
UNUSED static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    uint8_t *bytes;

    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    *len = (size_t)st.st_size;
    bytes = malloc(*len + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    fclose(f);
    return bytes;
}

UNUSED static void spill(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    if (len > 0) {
        assert_int_equal(fwrite(bytes, 1, len, f), len);
    }
    assert_int_equal(fclose(f), 0);
}

UNUSED static void copy_file(const char *from, const char *to)
{
    size_t len;
    uint8_t *bytes = slurp(from, &len);

    spill(to, bytes, len);
    free(bytes);
}

UNUSED static void assert_same_bytes(const char *one, const char *other)
{
    size_t len, other_len;
    uint8_t *bytes = slurp(one, &len), *others = slurp(other, &other_len);

    assert_int_equal(len, other_len);
    assert_memory_equal(bytes, others, len);
    free(bytes);
    free(others);
}

UNUSED static bool file_exists(const char *path, const char *suffix)
{
    char name[PATH_MAX + 32];

    snprintf(name, sizeof name, "%s%s", path, suffix);
    return access(name, F_OK) == 0;
}

/* A WAL-mode database without -wal. */
UNUSED static void make_database(const char *path, uint32_t page_size,
                                 const char *sql)
{
    char start[128];
    sqlite3 *db = open_sql(path);

    snprintf(start, sizeof start,
             "PRAGMA page_size=%u; PRAGMA journal_mode=WAL;", page_size);
    run(db, start);
    run(db, sql);
    sqlite3_close(db);
}

/* Files in the folder whose names contain `part`. */
UNUSED static int count_files(const char *folder, const char *part)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    int count = 0;

    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        count += strstr(e->d_name, part) != NULL;
    }
    closedir(d);
    return count;
}

/* A committed transaction: the last image of each page. */
struct txn {
    uint32_t count, room, db_pages;
    uint32_t *numbers;
    uint8_t *images;
};

UNUSED static void txn_close(struct txn *t)
{
    free(t->numbers);
    free(t->images);
    *t = (struct txn){.count = 0};
}

UNUSED static void txn_put(struct txn *t, uint32_t page_size, uint32_t number,
                           const uint8_t *image)
{
    uint32_t i = 0;

    while (i < t->count && t->numbers[i] != number) {
        i++;
    }
    if (i == t->room) {
        t->room = t->room == 0 ? 16 : 2 * t->room;
        t->numbers = realloc(t->numbers, t->room * sizeof *t->numbers);
        t->images = realloc(t->images, (size_t)t->room * page_size);
        assert_true(t->numbers != NULL && t->images != NULL);
    }
    if (i == t->count) {
        t->numbers[t->count++] = number;
    }
    memcpy(t->images + (size_t)i * page_size, image, page_size);
}

/* A database written by SQLite in this process, whose WAL we follow. It must
 * not be checkpointed before all transactions were taken. */
struct source {
    sqlite3 *db;
    char path[PATH_MAX];
    uint32_t page_size;
    int wal; /* descriptor; SQLite takes no locks on this file */
    struct wal_cursor at;
    bool begun;
};

UNUSED static void source_open(struct source *s, const char *path,
                               uint32_t page_size, int auto_vacuum)
{
    char sql[256];

    *s = (struct source){.page_size = page_size, .wal = -1};
    snprintf(s->path, sizeof s->path, "%s", path);
    s->db = open_sql(path);
    snprintf(sql, sizeof sql,
             "PRAGMA page_size=%u; PRAGMA auto_vacuum=%d;"
             "PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL;"
             "PRAGMA wal_autocheckpoint=0;",
             page_size, auto_vacuum);
    run(s->db, sql);
    run(s->db,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);"
        "CREATE INDEX i ON t(v);"
        "INSERT INTO t(v) VALUES(randomblob(100));"
        "PRAGMA wal_checkpoint(TRUNCATE)");
}

/* A copy of the database as it is without its WAL. */
UNUSED static void source_seed(const struct source *s, const char *path)
{
    copy_file(s->path, path);
}

/* Take the next committed transaction; false if there is none yet. */
UNUSED static bool source_next(struct source *s, struct txn *t)
{
    size_t bytes = WAL_FRAME_HEADER_BYTES + (size_t)s->page_size;
    uint8_t header[WAL_HEADER_BYTES], *frame = malloc(bytes);
    struct wal_cursor at;
    struct wal_frame f = {.db_pages = 0};

    if (s->wal < 0) {
        char name[PATH_MAX + 8];
        snprintf(name, sizeof name, "%s-wal", s->path);
        s->wal = open(name, O_RDONLY | O_CLOEXEC);
        assert_true(s->wal >= 0);
    }
    if (pread(s->wal, header, sizeof header, 0) == sizeof header) {
        assert_int_equal(wal_cursor_begin(&at, header), 0);
        if (!s->begun || memcmp(at.salt, s->at.salt, sizeof at.salt) != 0) {
            s->at = at;
        }
        s->begun = true;
    }
    at = s->at;
    t->count = 0;
    while (s->begun && f.db_pages == 0 &&
           pread(s->wal, frame, bytes,
                 (off_t)wal_frame_offset(s->page_size, at.frame + 1)) ==
               (ssize_t)bytes &&
           wal_cursor_next(&at, frame, bytes, &f) == 0) {
        txn_put(t, s->page_size, f.page, f.image);
    }
    free(frame);
    if (f.db_pages == 0) {
        return false;
    }
    t->db_pages = f.db_pages;
    s->at = at;
    return true;
}

UNUSED static void source_close(struct source *s)
{
    sqlite3_close(s->db);
    if (s->wal >= 0) {
        close(s->wal);
    }
}

#endif
