/* marmot backup DB FILE: the pages as the node reads them, in one consistent
 * view. They are compared with the checksum that the node keeps of them, and
 * the file with what SQLite thinks of it, before it gets its name. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/internal.h"
#include "wire/entry.h"
#include "wire/page.h"

struct backup {
    const char *name;
    char part[PATH_MAX]; /* what is written to */
    int fd;
    char position[64];
    uint64_t checksum, found;
    uint32_t page_size;
    uint64_t size, done;
    /* the page at hand */
    uint8_t page[PAGE_SIZE_MAX];
    uint32_t held;
    struct progress progress;
};

static void on_header(void *arg, const char *name, const char *value)
{
    struct backup *b = arg;

    if (strcasecmp(name, "X-Marmot-Position") == 0) {
        snprintf(b->position, sizeof b->position, "%s", value);
    } else if (strcasecmp(name, "X-Marmot-Checksum") == 0) {
        b->checksum = strtoull(value, NULL, 16);
    } else if (strcasecmp(name, "X-Marmot-Page-Size") == 0) {
        b->page_size = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcasecmp(name, "Content-Length") == 0) {
        b->size = strtoull(value, NULL, 10);
    }
}

static int write_page(struct backup *b)
{
    size_t at = 0;

    b->held = 0;
    b->found ^= page_hash((uint32_t)(b->done / b->page_size) + 1, b->page,
                          b->page_size);
    while (at < b->page_size) {
        ssize_t n = write(b->fd, b->page + at, b->page_size - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return cli_fail("%s: %s", b->part, strerror(errno));
        }
        at += (size_t)n;
    }
    b->done += b->page_size;
    progress_show(&b->progress, b->done, b->size);
    return 0;
}

static int on_bytes(void *arg, const void *bytes, size_t len)
{
    struct backup *b = arg;
    const uint8_t *from = bytes;

    if (!page_size_valid(b->page_size)) {
        return cli_fail("the answer is no backup: is it the pane of a node?");
    }
    while (len > 0) {
        size_t n = b->page_size - b->held;
        n = n < len ? n : len;
        memcpy(b->page + b->held, from, n);
        b->held += (uint32_t)n;
        from += n;
        len -= n;
        if (b->held == b->page_size && write_page(b) != 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- is it whole? -------------------------------------------------------- */

/* Nothing uses the file yet. */
static int check_file(const char *path)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    char *uri = sqlite3_mprintf("file:%s?immutable=1", path);
    int failed = 1;

    if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                        NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL) !=
            SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW) {
        cli_fail("%s: %s", path, sqlite3_errmsg(db));
    } else if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0) {
        cli_fail("%s is damaged: %s", path, sqlite3_column_text(s, 0));
    } else {
        failed = 0;
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    sqlite3_free(uri);
    return failed;
}

static int verify(const struct backup *b)
{
    if (b->held != 0 || b->done != b->size || b->found != b->checksum) {
        return cli_fail(
            "%s: what arrived is not what the node keeps: checksum "
            "%016" PRIx64 ", not %016" PRIx64
            "; nothing was written to the file that you named",
            b->name, b->found, b->checksum);
    }
    return check_file(b->part);
}

/* ---- the command --------------------------------------------------------- */

static int take(const struct call *c, struct backup *b)
{
    struct http_sink sink = {b, on_header, on_bytes};
    char path[64 + DB_NAME_MAX];
    int rv;

    snprintf(path, sizeof path, "/backup/%s", b->name);
    rv = http_stream(c, path, &sink);
    progress_end(&b->progress);
    if (rv == 0 && fsync(b->fd) != 0) {
        rv = cli_fail("%s: %s", b->part, strerror(errno));
    }
    return rv == 0 ? verify(b) : rv;
}

static int print_done(const struct call *c, const struct backup *b,
                      const char *file)
{
    char room[32];
    json_t *said;

    if (!c->json) {
        printf("%s: %s at position %s, verified, in %s\n", b->name,
               progress_bytes(b->size, room), b->position, file);
        return 0;
    }
    said = json_pack("{s:s, s:s, s:I, s:s?}", "database", b->name, "position",
                     b->position, "bytes", (json_int_t)b->size, "file", file);
    show_json(said);
    json_decref(said);
    return 0;
}

static bool name_is_good(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    return name[0] != '\0' && strlen(name) <= DB_NAME_MAX &&
           strspn(name, allowed) == strlen(name);
}

int backup_command(const struct call *c)
{
    struct backup *b;
    const char *file;
    int rv;

    if (c->argc != 2 || !name_is_good(c->argv[0])) {
        cli_fail("usage: marmot backup DB FILE (marmot list shows the names)");
        return 2;
    }
    file = c->argv[1];
    if (access(file, F_OK) == 0) {
        return cli_fail("%s exists: name another file, or remove it", file);
    }
    b = calloc(1, sizeof *b);
    if (b == NULL) {
        return cli_fail("out of memory");
    }
    b->name = c->argv[0];
    b->progress = (struct progress){.what = "backup", .name = b->name};
    snprintf(b->part, sizeof b->part, "%s.part", file);
    b->fd = open(b->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (b->fd < 0) {
        rv = cli_fail("%s: %s", b->part, strerror(errno));
        free(b);
        return rv;
    }
    rv = take(c, b);
    close(b->fd);
    if (rv == 0 && link(b->part, file) != 0) {
        rv = cli_fail("%s: %s", file, strerror(errno));
    }
    unlink(b->part);
    rv = rv == 0 ? print_done(c, b, file) : rv;
    free(b);
    return rv;
}
