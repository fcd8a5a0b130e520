#include "tests/bench/plain_frames.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/process.h"

#define WAL_HEADER_BYTES 32
#define FRAME_HEADER_BYTES 24
#define ROWS 1000

static int64_t frames_in(const char *wal)
{
    struct stat st;

    return stat(wal, &st) != 0 ? 0
                               : ((int64_t)st.st_size - WAL_HEADER_BYTES) /
                                     (FRAME_HEADER_BYTES + PAGE_BYTES);
}

static int run_all(sqlite3 *db, const char *wal, enum op op, int64_t *n,
                   int64_t *frames)
{
    char text[TEXT_BYTES + 1];
    sqlite3_stmt *st = NULL;
    int64_t i = 0;
    int rc;

    rc =
        sqlite3_exec(db, "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF;",
                     NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(db, statements[op].sql, -1, &st, NULL);
    }
    while (rc == SQLITE_OK && i < *n && frames_in(wal) < *frames) {
        sqlite3_bind_int64(st, 1, op == OP_FILL ? ROWS : random() % 1000000000);
        if (statements[op].text) {
            snprintf(text, sizeof text, "%0*ld", TEXT_BYTES, random());
            sqlite3_bind_text(st, 2, text, TEXT_BYTES, SQLITE_STATIC);
        }
        rc = sqlite3_step(st) == SQLITE_DONE ? SQLITE_OK : SQLITE_ERROR;
        sqlite3_reset(st);
        i++;
    }
    sqlite3_finalize(st);
    *n = i;
    *frames = frames_in(wal);
    return rc == SQLITE_OK ? 0 : -EIO;
}

int plain_frames(const struct options *o, enum op op, int64_t *transactions,
                 int64_t *frames)
{
    char seed[400], path[400], wal[410];
    sqlite3 *db = NULL;
    int err;

    snprintf(seed, sizeof seed, "%s/seed.db", o->folder);
    snprintf(path, sizeof path, "%s/frames.db", o->folder);
    snprintf(wal, sizeof wal, "%s-wal", path);
    err = copy_file(seed, path);
    if (err == 0 && sqlite3_open(path, &db) != SQLITE_OK) {
        err = -EIO;
    }
    if (err == 0) {
        err = run_all(db, wal, op, transactions, frames);
    }
    sqlite3_close(db);
    (void)unlink(path);
    return err;
}

static int64_t one_number(const char *path, const char *sql)
{
    sqlite3_stmt *st = NULL;
    sqlite3 *db = NULL;
    int64_t number = -1;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW) {
        number = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return number;
}

int64_t plain_last_row(const char *path)
{
    return one_number(path, statements[OP_LAST].sql);
}

int64_t plain_pages(const char *path)
{
    return one_number(path, "PRAGMA page_count");
}
