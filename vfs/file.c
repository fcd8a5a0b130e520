/* What lies at a path, before the node takes charge of it. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "vfs/apply.h"
#include "vfs/base_files.h"
#include "vfs/image_internal.h"
#include "vfs/sqlite_code.h"

#define DB_HEADER_BYTES 100

static const char magic[16] = "SQLite format 3";

/* Up to DB_HEADER_BYTES from the start of the file. Returns how many, or
 * -errno. */
static int read_start(const char *path, uint8_t header[DB_HEADER_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t got;

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) != 0) {
        got = -errno;
    } else if (!S_ISREG(st.st_mode)) {
        got = -EINVAL;
    } else {
        got = pread(fd, header, DB_HEADER_BYTES, 0);
        if (got < 0) {
            got = -errno;
        }
    }
    close(fd);
    return (int)got;
}

/* Is there a first byte in `path` + `suffix`, and is it `nonzero`? The latter
 * is how SQLite knows a journal that may be hot: one that is done with is cut
 * or begins with 0. */
static bool begins(const char *path, const char *suffix, bool nonzero)
{
    char *name = sqlite3_mprintf("%s%s", path, suffix);
    uint8_t start[DB_HEADER_BYTES] = {0};
    int got = name == NULL ? -ENOMEM : read_start(name, start);

    sqlite3_free(name);
    return got > 0 && (!nonzero || start[0] != 0);
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0) {
        len--;
    }
    return len == 0;
}

int file_classify(const char *path, enum file_kind *kind, uint32_t *page_size)
{
    uint8_t header[DB_HEADER_BYTES] = {0};
    int got = read_start(path, header);
    uint32_t size;

    if (got == -ENOENT) {
        *kind = FILE_MISSING;
        return 0;
    }
    if (got < 0 && got != -EINVAL) {
        return got;
    }
    if (got == 0) {
        *kind = FILE_EMPTY;
        return 0;
    }
    /* An install in place that was cut short: page 1 comes last. */
    if (got == DB_HEADER_BYTES && all_zero(header, sizeof header) &&
        begins(path, IMAGE_SUFFIX, false)) {
        *kind = FILE_EMPTY;
        return 0;
    }
    size = got == DB_HEADER_BYTES ? base_header_page_size(header) : 0;
    if (size == 0 || memcmp(header, magic, sizeof magic) != 0) {
        *kind = FILE_NOT_SQLITE;
        return 0;
    }
    *page_size = size;
    *kind = FILE_ROLLBACK;
    if (header[18] == 2 && header[19] == 2 && !begins(path, "-journal", true)) {
        *kind = FILE_WAL;
    }
    return 0;
}

int file_expect_answer(sqlite3 *db, const char *sql, const char *want)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), err;

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    err = sqlite_code_err(rc);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        err = text != NULL && strcmp(text, want) == 0 ? 0 : ERR_BUSY;
    }
    sqlite3_finalize(stmt);
    return err;
}

int file_convert_to_wal(const char *path)
{
    sqlite3 *db = NULL;
    int err = sqlite_code_err(
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, base_vfs()->zName));

    if (err == 0) {
        err = file_expect_answer(db, "PRAGMA journal_mode=WAL", "wal");
    }
    sqlite3_close(db);
    return err;
}
