/* marmot recover -from FILE: writes down, beside the store of a node that does
 * not run, that FILE is to become the content of a database (order.h). The
 * cluster's history is not touched: the node, once it runs, makes a transaction
 * of it, upon whatever position the database has then. */
#include "node/recover_from.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "node/order.h"
#include "vfs/apply.h"
#include "wire/page.h"

#define MEMBER_SUFFIX ".member"
#define NAMES_BYTES 2048

struct source {
    const struct recover_from *given;
    char name[DB_NAME_MAX + 1];
    sqlite3 *db;
    uint32_t page_size, pages;
    uint64_t wal_bytes;
    char content[ORDER_PATH_BYTES], temp[ORDER_PATH_BYTES + 8];
};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "marmot: %s: %s; nothing was changed\n", what, why);
    return 1;
}

/* ---- which database ------------------------------------------------------ */

static bool is_member_file(const char *file, char name[DB_NAME_MAX + 1])
{
    size_t len = strlen(file), suffix = strlen(MEMBER_SUFFIX);

    if (len <= suffix || len - suffix > DB_NAME_MAX ||
        strcmp(file + len - suffix, MEMBER_SUFFIX) != 0) {
        return false;
    }
    snprintf(name, DB_NAME_MAX + 1, "%.*s", (int)(len - suffix), file);
    return true;
}

/* Names of all that the node has kept, and how many; the last one in `one`. */
static unsigned list_names(const char *folder, char *names, size_t size,
                           char one[DB_NAME_MAX + 1])
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    unsigned found = 0;
    size_t len = 0;

    names[0] = '\0';
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (is_member_file(e->d_name, one)) {
            found++;
            if (len + DB_NAME_MAX + 2 < size) {
                len += (size_t)snprintf(names + len, size - len, "%s%s",
                                        len > 0 ? " " : "", one);
            }
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

static bool knows(const char *folder, const char *name)
{
    char path[ORDER_PATH_BYTES];

    snprintf(path, sizeof path, "%s/%.*s" MEMBER_SUFFIX, folder, DB_NAME_MAX,
             name);
    return db_name_valid(name) && strlen(name) <= DB_NAME_MAX &&
           access(path, F_OK) == 0;
}

static int choose(struct source *s)
{
    const struct recover_from *g = s->given;
    char names[NAMES_BYTES], one[DB_NAME_MAX + 1];
    unsigned n = list_names(g->raft_path, names, sizeof names, one);

    if (n == 0) {
        return fail(g->raft_path, "this node has no database of the cluster");
    }
    if (g->name == NULL && n > 1) {
        fprintf(stderr,
                "marmot: this node has several databases: add -db NAME,"
                " one of %s\n",
                names);
        return 2;
    }
    if (g->name != NULL && !knows(g->raft_path, g->name)) {
        fprintf(stderr, "marmot: -db %s: this node has %s\n", g->name, names);
        return 1;
    }
    snprintf(s->name, sizeof s->name, "%s", g->name != NULL ? g->name : one);
    return 0;
}

/* As the node wrote it down; 0: it did not. */
static uint32_t page_size_of(const struct source *s)
{
    char path[ORDER_PATH_BYTES], line[160];
    uint32_t size = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s" MEMBER_SUFFIX, s->given->raft_path,
             s->name);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        (void)sscanf(line, "page_size %" SCNu32, &size);
    }
    if (f != NULL) {
        fclose(f);
    }
    return size;
}

/* ---- looking at FILE ----------------------------------------------------- */

/* One number, or 0. */
static uint32_t pragma(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t v = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        v = sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static int check_integrity(struct source *s)
{
    sqlite3_stmt *st = NULL;
    char why[512] = "";

    if (sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(1)", -1, &st, NULL) !=
            SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW) {
        snprintf(why, sizeof why, "%s", sqlite3_errmsg(s->db));
    } else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0) {
        snprintf(why, sizeof why, "it is damaged: %s",
                 (const char *)sqlite3_column_text(st, 0));
    }
    sqlite3_finalize(st);
    return why[0] != '\0' ? fail(s->given->file, why) : 0;
}

static int check_size(struct source *s)
{
    uint32_t want = page_size_of(s);
    char why[512];

    s->page_size = pragma(s->db, "PRAGMA page_size");
    s->pages = pragma(s->db, "PRAGMA page_count");
    if (s->pages == 0 || !page_size_valid(s->page_size)) {
        return fail(s->given->file, "it is an empty database");
    }
    if ((uint64_t)s->pages * s->page_size > TXN_BYTES_MAX) {
        snprintf(why, sizeof why,
                 "it has %" PRIu64
                 " MiB, and one transaction at most %llu; make it smaller with "
                 "VACUUM in a copy, or begin a new cluster with it",
                 (uint64_t)s->pages * s->page_size >> 20, TXN_BYTES_MAX >> 20);
        return fail(s->given->file, why);
    }
    if (want != 0 && want != s->page_size) {
        snprintf(why, sizeof why,
                 "it has pages of %u bytes, the database %s of %u: rewrite it "
                 "first, by `PRAGMA journal_mode=DELETE; PRAGMA page_size=%u; "
                 "VACUUM` in a copy",
                 s->page_size, s->name, want, want);
        return fail(s->given->file, why);
    }
    return 0;
}

static int look_at_file(struct source *s)
{
    const char *file = s->given->file;
    char wal[PATH_MAX + 8];
    struct stat st;

    if (stat(file, &st) != 0) {
        return fail(file, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(file, "it is not a file");
    }
    if (strlen(file) >= PATH_MAX) {
        return fail(file, strerror(ENAMETOOLONG));
    }
    snprintf(wal, sizeof wal, "%s-wal", file);
    s->wal_bytes = stat(wal, &st) == 0 ? (uint64_t)st.st_size : 0;
    if (sqlite3_open_v2(file, &s->db, SQLITE_OPEN_READONLY, NULL) !=
        SQLITE_OK) {
        return fail(file, sqlite3_errmsg(s->db));
    }
    sqlite3_busy_timeout(s->db, 10000);
    return check_integrity(s) != 0 ? 1 : check_size(s);
}

/* ---- asking -------------------------------------------------------------- */

static void explain(const struct source *s)
{
    const struct recover_from *g = s->given;
    struct order before;

    printf("Database %s of node %" PRIu64 ", in %s\n", s->name, g->node_id,
           g->raft_path);
    printf("FILE %s: %u pages of %u bytes, whole\n\n", g->file, s->pages,
           s->page_size);
    if (s->wal_bytes > 0) {
        printf("There is %s-wal, of %" PRIu64
               " bytes: what it holds is part of the content. If it\n"
               "belongs to another database than FILE, which was copied "
               "without it, do not go on:\nmove it away first.\n\n",
               g->file, s->wal_bytes);
    }
    printf(
        "When this node is started and the cluster has a majority, FILE as it "
        "is now becomes\nthe content of %s on all nodes, as one change after "
        "all those that the cluster has\nseen. What the others have written "
        "is replaced, also what they write until then.\nWhat each node had "
        "before stays there, as PATH.before-marmot-<time>.\n\n",
        s->name);
    if (order_read(g->raft_path, s->name, &before) == 0) {
        printf(
            "An earlier such order is still pending here; this one takes "
            "its place.\n\n");
    }
}

static bool confirmed(const struct source *s)
{
    char line[DB_NAME_MAX + 8];

    if (s->given->yes) {
        return true;
    }
    printf("Type the name of the database to go on: ");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        return false;
    }
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, s->name) == 0;
}

/* ---- writing it down ----------------------------------------------------- */

static int copy_into(struct source *s, sqlite3 *to)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", s->db, "main");
    int rv;

    if (b == NULL) {
        return sqlite3_errcode(to);
    }
    rv = sqlite3_backup_step(b, -1);
    sqlite3_backup_finish(b);
    return rv == SQLITE_DONE ? SQLITE_OK : rv == SQLITE_OK ? SQLITE_BUSY : rv;
}

/* A database of its own, WAL included, in the mode that managed ones have. */
static int copy(struct source *s)
{
    sqlite3 *to = NULL;
    char why[512] = "";
    int rv;

    unlink(s->temp);
    rv = sqlite3_open(s->temp, &to);
    if (rv == SQLITE_OK) {
        rv = copy_into(s, to);
    }
    if (rv != SQLITE_OK) {
        snprintf(why, sizeof why, "%s", sqlite3_errstr(rv));
    }
    sqlite3_close(to);
    if (rv == SQLITE_OK && (rv = file_convert_to_wal(s->temp)) != 0) {
        snprintf(why, sizeof why, "%s", err_str(rv));
    }
    return rv == 0 ? 0 : fail(s->temp, why);
}

static int sum_pages(struct source *s, int fd, struct order *o)
{
    uint8_t page[PAGE_SIZE_MAX];
    struct stat st;

    if (fstat(fd, &st) != 0 ||
        st.st_size != (off_t)s->pages * (off_t)s->page_size) {
        return ERR_CORRUPT; /* FILE changed meanwhile */
    }
    for (uint32_t n = 1; n <= s->pages; n++) {
        if (pread(fd, page, s->page_size, (off_t)(n - 1) * s->page_size) !=
            (ssize_t)s->page_size) {
            return ERR_IO;
        }
        o->checksum ^= page_hash(n, page, s->page_size);
    }
    return fsync(fd) != 0 ? -errno : 0;
}

/* The order that was there before goes first: it must not get this content. */
static int put_down(struct source *s)
{
    const char *folder = s->given->raft_path;
    struct order o = {.page_size = s->page_size, .pages = s->pages};
    int fd = open(s->temp, O_RDONLY | O_CLOEXEC), rv;
    struct uuid random;

    rv = fd < 0 ? -errno : sum_pages(s, fd, &o);
    if (fd >= 0) {
        close(fd);
    }
    if (rv == 0 && uuid_random(&random) != 0) {
        rv = ERR_IO;
    }
    if (rv != 0) {
        return fail(s->temp, err_str(rv));
    }
    memcpy(&o.number, random.b, sizeof o.number);
    order_remove(folder, s->name);
    if (rename(s->temp, s->content) != 0) {
        return fail(s->content, strerror(errno));
    }
    rv = order_write(folder, s->name, &o);
    return rv != 0 ? fail(folder, err_str(rv)) : 0;
}

static int write_down(struct source *s)
{
    int status;

    order_content(s->given->raft_path, s->name, s->content);
    snprintf(s->temp, sizeof s->temp, "%s.new", s->content);
    status = copy(s);
    if (status == 0) {
        status = put_down(s);
    }
    if (status != 0) {
        unlink(s->temp);
    }
    return status;
}

static int order(struct source *s)
{
    int status;

    explain(s);
    if (!confirmed(s)) {
        printf("Nothing was changed.\n");
        return 1;
    }
    status = write_down(s);
    if (status == 0) {
        printf("Start node %" PRIu64
               " with its usual flags, and the others. Its log says "
               "`order_done` when\nit is done. Until then giving the command "
               "again replaces this order.\n",
               s->given->node_id);
    }
    return status;
}

int recover_from(const struct recover_from *given)
{
    struct source s = {.given = given};
    int status = choose(&s);

    if (status == 0) {
        status = look_at_file(&s);
    }
    if (status == 0) {
        status = order(&s);
    }
    sqlite3_close(s.db);
    return status;
}
