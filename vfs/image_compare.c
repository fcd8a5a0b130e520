/* Do two databases say the same, though their bytes differ? Both are read by
 * SQLite: first the schemas side by side, then each table's rows in the order
 * in which they are stored (rowid or primary key). Statistics do not count, and
 * virtual tables not as such: the tables in which they keep their content do.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "vfs/base_files.h"
#include "vfs/image.h"
#include "vfs/sqlite_code.h"

/* Two results, row by row. */
struct sides {
    sqlite3 *here, *there;
    sqlite3_stmt *left, *right;
    char *difference;
    uint32_t size;
};

__attribute__((format(printf, 2, 3))) static int differ(struct sides *s,
                                                        const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->difference, s->size, format, args);
    va_end(args);
    return ERR_MISMATCH;
}

static void finish(struct sides *s)
{
    sqlite3_finalize(s->left);
    sqlite3_finalize(s->right);
    s->left = s->right = NULL;
}

static int prepare(struct sides *s, const char *sql)
{
    int rc;

    if (sql == NULL) {
        return -ENOMEM;
    }
    rc = sqlite3_prepare_v2(s->here, sql, -1, &s->left, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(s->there, sql, -1, &s->right, NULL);
    }
    if (rc != SQLITE_OK) {
        finish(s);
    }
    return sqlite_code_err(rc);
}

static bool values_equal(sqlite3_stmt *left, sqlite3_stmt *right, int column)
{
    int type = sqlite3_column_type(left, column);

    if (type != sqlite3_column_type(right, column)) {
        return false;
    }
    switch (type) {
    case SQLITE_NULL:
        return true;
    case SQLITE_INTEGER:
        return sqlite3_column_int64(left, column) ==
               sqlite3_column_int64(right, column);
    case SQLITE_FLOAT: {
        double l = sqlite3_column_double(left, column);
        double r = sqlite3_column_double(right, column);
        return memcmp(&l, &r, sizeof l) == 0;
    }
    default: {
        const void *l = sqlite3_column_blob(left, column);
        const void *r = sqlite3_column_blob(right, column);
        int bytes = sqlite3_column_bytes(left, column);
        return bytes == sqlite3_column_bytes(right, column) &&
               (bytes == 0 || memcmp(l, r, (size_t)bytes) == 0);
    }
    }
}

/* Step both sides. *more: there is a row on both and they are the same;
 * *equal: so far no difference. */
static int step_both(struct sides *s, bool *more, bool *equal)
{
    int left = sqlite3_step(s->left), right = sqlite3_step(s->right);

    if (left != SQLITE_ROW && left != SQLITE_DONE) {
        return sqlite_code_err(left);
    }
    if (right != SQLITE_ROW && right != SQLITE_DONE) {
        return sqlite_code_err(right);
    }
    *equal = left == right;
    *more = *equal && left == SQLITE_ROW;
    for (int i = 0; *more && *equal && i < sqlite3_column_count(s->left); i++) {
        *equal = values_equal(s->left, s->right, i);
    }
    *more = *more && *equal;
    return 0;
}

/* Text of column `i`, "" for none. */
static const char *text(sqlite3_stmt *stmt, int i)
{
    const char *t = (const char *)sqlite3_column_text(stmt, i);

    return t == NULL ? "" : t;
}

/* ---- the original Marmot ------------------------------------------------- */

static int check_original(struct sides *s)
{
    static const char sql[] =
        "SELECT type, name FROM sqlite_schema"
        " WHERE name LIKE '#_#_marmot#_#_%' ESCAPE '#' LIMIT 1";
    int err =
        sqlite_code_err(sqlite3_prepare_v2(s->here, sql, -1, &s->left, NULL));

    if (err == 0 && sqlite3_step(s->left) == SQLITE_ROW) {
        err = differ(s,
                     "%s %s belongs to the original Marmot: run that with "
                     "-cleanup on this file first",
                     text(s->left, 0), text(s->left, 1));
    }
    finish(s);
    return err;
}

/* ---- schema -------------------------------------------------------------- */

/* Where both sides stand now, the schemas part. */
static int name_schema_difference(struct sides *s)
{
    bool left = sqlite3_data_count(s->left) > 0;
    bool right = sqlite3_data_count(s->right) > 0;
    int order = !left    ? 1
                : !right ? -1
                         : strcmp(text(s->left, 0), text(s->right, 0));

    if (order == 0) {
        order = strcmp(text(s->left, 1), text(s->right, 1));
    }
    if (order < 0) {
        return differ(s, "%s %s exists only here", text(s->left, 0),
                      text(s->left, 1));
    }
    if (order > 0) {
        return differ(s, "%s %s exists only there", text(s->right, 0),
                      text(s->right, 1));
    }
    return differ(s, "%s %s is declared differently", text(s->left, 0),
                  text(s->left, 1));
}

static int compare_schema(struct sides *s)
{
    bool more = true, equal = true;
    int err = prepare(s,
                      "SELECT type, name, tbl_name, sql FROM sqlite_schema"
                      " WHERE name NOT LIKE 'sqlite#_stat%' ESCAPE '#'"
                      " ORDER BY type, name");

    while (err == 0 && more) {
        err = step_both(s, &more, &equal);
    }
    if (err == 0 && !equal) {
        err = name_schema_difference(s);
    }
    finish(s);
    return err;
}

static int compare_pragma(struct sides *s, const char *name)
{
    char sql[64];
    bool more, equal = true;
    int err;

    sqlite3_snprintf(sizeof sql, sql, "PRAGMA %s", name);
    err = prepare(s, sql);
    if (err == 0) {
        err = step_both(s, &more, &equal);
    }
    if (err == 0 && !equal) {
        err = differ(s, "%s is %s here, %s there", name, text(s->left, 0),
                     text(s->right, 0));
    }
    finish(s);
    return err;
}

/* ---- rows ---------------------------------------------------------------- */

static int count_rows(sqlite3 *db, const char *table, sqlite3_int64 *count)
{
    sqlite3_stmt *stmt = NULL;
    char *sql = sqlite3_mprintf("SELECT count(*) FROM main.\"%w\"", table);
    int err =
        sql == NULL
            ? -ENOMEM
            : sqlite_code_err(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL));

    if (err == 0 && sqlite3_step(stmt) == SQLITE_ROW) {
        *count = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    sqlite3_free(sql);
    return err;
}

static int name_row_difference(struct sides *s, const char *table,
                               unsigned long long row)
{
    sqlite3_int64 here = 0, there = 0;
    int err = count_rows(s->here, table, &here);

    if (err == 0) {
        err = count_rows(s->there, table, &there);
    }
    if (err != 0) {
        return err;
    }
    if (here != there) {
        return differ(s, "table %s: %lld rows here, %lld there", table,
                      (long long)here, (long long)there);
    }
    return differ(s, "table %s: row %llu of %lld differs", table, row,
                  (long long)here);
}

/* Without an index a scan is in stored order; sqlite_sequence has an order of
 * its own that means nothing. */
static int compare_table(struct sides *s, const char *table)
{
    bool sequence = strcmp(table, "sqlite_sequence") == 0;
    char *sql = sqlite3_mprintf("SELECT * FROM main.\"%w\" NOT INDEXED%s",
                                table, sequence ? " ORDER BY name, seq" : "");
    unsigned long long row = 0;
    bool more = true, equal = true;
    int err = prepare(s, sql);

    sqlite3_free(sql);
    if (err == ERR_IO) {
        err = differ(s, "table %s cannot be read: %s", table,
                     sqlite3_errmsg(s->here));
    }
    while (err == 0 && more) {
        err = step_both(s, &more, &equal);
        row++;
    }
    if (err == 0 && !equal) {
        finish(s);
        err = name_row_difference(s, table, row);
    }
    finish(s);
    return err;
}

static int compare_tables(struct sides *s)
{
    static const char sql[] =
        "SELECT name FROM sqlite_schema WHERE type='table'"
        " AND name NOT LIKE 'sqlite#_stat%' ESCAPE '#'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'"
        " ORDER BY name = 'sqlite_sequence', name";
    sqlite3_stmt *names = NULL;
    int rc,
        err =
            sqlite_code_err(sqlite3_prepare_v2(s->here, sql, -1, &names, NULL));

    if (err != 0) {
        return err;
    }
    while (err == 0 && (rc = sqlite3_step(names)) != SQLITE_DONE) {
        err = rc == SQLITE_ROW ? compare_table(s, text(names, 0))
                               : sqlite_code_err(rc);
    }
    sqlite3_finalize(names);
    return err;
}

/* ---- all together -------------------------------------------------------- */

/* Beside a -wal nothing is to change: closing would write it back. Without one
 * SQLite makes its own and removes it again. */
static int open_for_reading(const char *path, sqlite3 **db)
{
    char wal[PATH_MAX + 8];
    int rc =
        sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE, base_vfs()->zName);

    sqlite3_snprintf(sizeof wal, wal, "%s-wal", path);
    if (rc == SQLITE_OK && access(wal, F_OK) == 0) {
        rc = sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(*db,
                          "PRAGMA query_only=1; PRAGMA trusted_schema=0; BEGIN",
                          NULL, NULL, NULL);
    }
    return sqlite_code_err(rc);
}

static int compare(struct sides *s)
{
    int err = check_original(s);

    if (err == 0) {
        err = compare_schema(s);
    }
    if (err == 0) {
        err = compare_pragma(s, "user_version");
    }
    if (err == 0) {
        err = compare_pragma(s, "application_id");
    }
    if (err == 0) {
        err = compare_tables(s);
    }
    return err;
}

int image_same_content(const char *path, const char *other, char *difference,
                       uint32_t size)
{
    struct sides s = {.difference = difference, .size = size};
    int err = open_for_reading(path, &s.here);

    if (err == 0) {
        err = open_for_reading(other, &s.there);
    }
    if (err == 0) {
        err = compare(&s);
    }
    finish(&s);
    sqlite3_close(s.here);
    sqlite3_close(s.there);
    return err;
}
