/* marmot restore DB FILE: an ordinary transaction, which any application could
 * have made. SQLite's backup writes the pages of FILE over the database through
 * the library that applications use, so the node sees one large commit. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/internal.h"

#define STEP_PAGES 256
#define BUSY_MS 30000

struct restore {
    const char *name, *file;
    char path[PATH_MAX];
    uint64_t node;
    sqlite3 *door, *from, *to;
    struct progress progress;
};

/* ---- where the database is ----------------------------------------------- */

static const json_t *find(const json_t *databases, const char *name)
{
    json_t *d;
    size_t i;

    json_array_foreach(databases, i, d)
    {
        const char *is = json_string_value(json_object_get(d, "name"));
        if (is != NULL && strcmp(is, name) == 0) {
            return d;
        }
    }
    return NULL;
}

/* The path on this host, which must be that of the node. */
static int locate(const struct call *c, struct restore *r)
{
    json_t *document = http_get(c, "/status", false);
    const json_t *d = find(json_object_get(document, "databases"), r->name);
    const char *path = json_string_value(json_object_get(d, "path"));
    char marker[PATH_MAX + 16];
    int rv = 0;

    if (document == NULL) {
        return 1;
    }
    if (path == NULL || strlen(path) >= sizeof r->path) {
        rv = cli_fail("the node at %s has no database %s", c->pane, r->name);
    } else {
        r->node = show_number(json_object_get(document, "node"), "id");
        snprintf(r->path, sizeof r->path, "%s", path);
        snprintf(marker, sizeof marker, "%s-marmot", path);
        if (access(marker, F_OK) != 0) {
            rv = cli_fail(
                "%s: %s; restore runs on the host of the node whose "
                "pane is asked",
                marker, strerror(errno));
        }
    }
    json_decref(document);
    return rv;
}

/* ---- the library --------------------------------------------------------- */

static int find_library(char *out, size_t size)
{
    const char *given = getenv("MARMOT_LIBRARY");

    if (given != NULL) {
        snprintf(out, size, "%s", given);
        return 0;
    }
    return library_find("libmarmot.so", out, size) == 0
               ? 0
               : cli_fail(
                     "libmarmot.so is not beside this program: name it in "
                     "MARMOT_LIBRARY");
}

static int open_door(struct restore *r)
{
    char library[PATH_MAX + 64];
    char *why = NULL;

    if (find_library(library, sizeof library) != 0) {
        return 1;
    }
    if (sqlite3_open(":memory:", &r->door) != SQLITE_OK ||
        sqlite3_db_config(r->door, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1,
                          NULL) != SQLITE_OK ||
        sqlite3_load_extension(r->door, library, NULL, &why) != SQLITE_OK) {
        cli_fail("%s: %s", library,
                 why != NULL ? why : sqlite3_errmsg(r->door));
        sqlite3_free(why);
        return 1;
    }
    return 0;
}

/* ---- copying ------------------------------------------------------------- */

static int64_t pragma(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t v = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        v = sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return v;
}

static int open_both(struct restore *r)
{
    char *uri = sqlite3_mprintf("file:%s?vfs=marmot", r->path);
    int rv = 0;

    if (sqlite3_open_v2(r->file, &r->from, SQLITE_OPEN_READONLY, NULL) !=
        SQLITE_OK) {
        rv = cli_fail("%s: %s", r->file, sqlite3_errmsg(r->from));
    } else if (sqlite3_open_v2(
                   uri, &r->to,
                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                   NULL) != SQLITE_OK) {
        rv = cli_fail("%s: %s", r->path, sqlite3_errmsg(r->to));
    } else {
        sqlite3_busy_timeout(r->from, BUSY_MS);
        sqlite3_busy_timeout(r->to, BUSY_MS);
    }
    sqlite3_free(uri);
    return rv;
}

/* The path may mean another node's database here than where the pane is. */
static int check_node(struct restore *r)
{
    sqlite3_stmt *s = NULL;
    const char *said = NULL;
    char start[64], name[DB_NAME_MAX + 16];
    int rv = 0;

    snprintf(start, sizeof start, "node=%" PRIu64 " ", r->node);
    snprintf(name, sizeof name, " db=%s ", r->name);
    if (sqlite3_prepare_v2(r->to, "PRAGMA marmot_status", -1, &s, NULL) ==
            SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        said = (const char *)sqlite3_column_text(s, 0);
    }
    if (said == NULL || strncmp(said, start, strlen(start)) != 0 ||
        strstr(said, name) == NULL) {
        rv = cli_fail(
            "%s on this host does not belong to the node whose pane "
            "is asked (%s); nothing was changed",
            r->path, said == NULL ? sqlite3_errmsg(r->to) : said);
    }
    sqlite3_finalize(s);
    return rv;
}

static int failed(struct restore *r, int rv)
{
    int64_t here = pragma(r->to, "PRAGMA page_size");
    int64_t there = pragma(r->from, "PRAGMA page_size");

    if (rv == SQLITE_READONLY && here != there) {
        return cli_fail("%s has pages of %" PRId64
                        " bytes, the database of "
                        "%" PRId64
                        ": rewrite it first, by `PRAGMA "
                        "journal_mode=DELETE; PRAGMA page_size=%" PRId64
                        "; VACUUM` in a copy; nothing was changed",
                        r->file, there, here, here);
    }
    return cli_fail("%s: %s; nothing was changed", r->name, sqlite3_errstr(rv));
}

static int copy(struct restore *r)
{
    sqlite3_backup *b = sqlite3_backup_init(r->to, "main", r->from, "main");
    uint64_t page = (uint64_t)pragma(r->from, "PRAGMA page_size");
    int rv;

    if (b == NULL) {
        return failed(r, sqlite3_errcode(r->to));
    }
    while ((rv = sqlite3_backup_step(b, STEP_PAGES)) == SQLITE_OK) {
        uint64_t all = (uint64_t)sqlite3_backup_pagecount(b);
        uint64_t left = (uint64_t)sqlite3_backup_remaining(b);
        progress_show(&r->progress, (all - left) * page, all * page);
    }
    progress_end(&r->progress);
    (void)sqlite3_backup_finish(b);
    return rv == SQLITE_DONE ? 0 : failed(r, rv);
}

static void print_done(const struct call *c, struct restore *r)
{
    sqlite3_stmt *s = NULL;
    const char *position = "?";
    json_t *said;

    if (sqlite3_prepare_v2(r->to, "PRAGMA marmot_position", -1, &s, NULL) ==
            SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        position = (const char *)sqlite3_column_text(s, 0);
    }
    if (c->json) {
        said = json_pack("{s:s, s:s, s:s}", "database", r->name, "position",
                         position, "file", r->file);
        show_json(said);
        json_decref(said);
    } else {
        printf("%s: has the content of %s, at position %s\n", r->name, r->file,
               position);
    }
    sqlite3_finalize(s);
}

/* The file may be in use, with a WAL: SQLite looks at it, not only we. */
static int check_source(struct restore *r)
{
    sqlite3_stmt *s = NULL;
    int rv = 1;

    if (sqlite3_prepare_v2(r->from, "PRAGMA integrity_check(1)", -1, &s,
                           NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW) {
        cli_fail("%s: %s", r->file, sqlite3_errmsg(r->from));
    } else if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0) {
        cli_fail("%s is damaged: %s; nothing was changed", r->file,
                 sqlite3_column_text(s, 0));
    } else if (pragma(r->from, "PRAGMA page_count") == 0) {
        cli_fail("%s is empty; nothing was changed", r->file);
    } else {
        rv = 0;
    }
    sqlite3_finalize(s);
    return rv;
}

int restore_command(const struct call *c)
{
    struct restore r = {.name = NULL};
    int rv;

    if (c->argc != 2) {
        cli_fail("usage: marmot restore DB FILE (marmot list shows the names)");
        return 2;
    }
    r.name = c->argv[0];
    r.file = c->argv[1];
    r.progress = (struct progress){.what = "restore", .name = r.name};
    rv = locate(c, &r);
    rv = rv == 0 ? open_door(&r) : rv;
    rv = rv == 0 ? open_both(&r) : rv;
    rv = rv == 0 ? check_node(&r) : rv;
    rv = rv == 0 ? check_source(&r) : rv;
    rv = rv == 0 ? copy(&r) : rv;
    if (rv == 0) {
        print_done(c, &r);
    }
    sqlite3_close(r.to);
    sqlite3_close(r.from);
    sqlite3_close(r.door);
    return rv;
}
