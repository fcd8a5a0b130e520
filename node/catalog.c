/* Which databases this node keeps, and how that changes while it runs.
 *
 *   flags, -db-dir, attach, the cluster (-db-dir) --> in n->databases
 *   detach, drop --> sessions end --> jobs and transfers end --> written back
 *   and let go
 *
 * What was attached by hand is kept in a file beside the store, so that a
 * restart finds it: a line NAME PATH each. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/node.h"
#include "node/order.h"
#include "vfs/image.h"
#include "vfs/slot_word.h"

#define LIST_PATH_BYTES (PATH_MAX + 32)

/* ---- names and paths ----------------------------------------------------- */

struct database *catalog_find(const struct node *n, const char *name)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (strcmp(db->name, name) == 0) {
            return db;
        }
    }
    return NULL;
}

static const struct database *at_path(const struct node *n, const char *path)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (strcmp(db->path, path) == 0) {
            return db;
        }
    }
    return NULL;
}

unsigned catalog_count(const struct node *n)
{
    unsigned found = 0;

    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        found++;
    }
    return found;
}

/* Symbolic links resolved; the file itself need not exist. */
static int resolve(const char *path, char *out)
{
    char folder[PATH_MAX], real[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    int n;

    if (realpath(path, out) != NULL) {
        return 0;
    }
    if (slash == path) {
        snprintf(folder, sizeof folder, "/");
    } else {
        snprintf(folder, sizeof folder, "%.*s",
                 slash == NULL ? 1 : (int)(slash - path),
                 slash == NULL ? "." : path);
    }
    if (realpath(folder, real) == NULL) {
        return -errno;
    }
    n = snprintf(out, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                 name);
    return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* ---- adding -------------------------------------------------------------- */

static int look_at_file(struct database *db, const char *path, char *why,
                        size_t size)
{
    int rv = resolve(path, db->path);

    if (rv == 0) {
        rv = file_classify(db->path, &db->kind, &db->page_size);
    }
    if (rv != 0) {
        snprintf(why, size, "%s: %s", path, err_str(rv));
        return rv;
    }
    if (db->kind == FILE_NOT_SQLITE) {
        snprintf(why, size,
                 "%s is not an SQLite database (or its header is damaged): "
                 "name another path, or move the file away to fetch the "
                 "cluster's copy",
                 db->path);
        return ERR_MISMATCH;
    }
    return 0;
}

/* Asked for while the node runs, or found by itself: a file that cannot be kept
 * is no reason to stop. */
void catalog_cannot_keep(struct node *n, struct database *db)
{
    if (db->optional) {
        log_error("refused", "db=%s why=\"%s\"", db->name, db->why);
    } else {
        node_fatal(n, db->why);
    }
}

void catalog_meet(struct node *n, struct database *db)
{
    db->caught_up = n->group[db->group].caught_up;
    for (unsigned i = 0; i < n->options->shards && db->m == NULL; i++) {
        struct group_state *g = &n->group[i];
        struct machine_db *m =
            uuid_is_none(&db->follows)
                ? machine_find(&g->machine, db->name)
                : machine_find_uuid(&g->machine, &db->follows);
        if (m != NULL && m->local == NULL) {
            move_attach(g, db, m);
        }
    }
    node_wake(n, db);
}

int catalog_add(struct node *n, const char *name, const char *path,
                struct database **out, char *why, size_t size)
{
    struct database *db = calloc(1, sizeof *db);
    int rv;

    if (db == NULL) {
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    database_init(db, &n->env, name, placement_group(name, n->options->shards));
    rv = look_at_file(db, path, why, size);
    if (rv == 0) {
        contact_look_up(n, db);
        db->group = placement_group(db->name, n->options->shards);
    }
    if (rv == 0 && catalog_find(n, db->name) != NULL) {
        snprintf(why, size, "%s is database %s, which is here already", path,
                 db->name);
        rv = ERR_MISMATCH;
    }
    if (rv == 0 && at_path(n, db->path) != NULL) {
        snprintf(why, size, "%s is database %s already", db->path,
                 at_path(n, db->path)->name);
        rv = ERR_MISMATCH;
    }
    if (rv == 0) {
        rv = server_start(n, db, why, size);
    }
    if (rv != 0) {
        server_stop(db);
        database_close(db);
        free(db);
        return rv;
    }
    list_push(&n->databases, &db->link);
    order_load(n, db);
    catalog_meet(n, db);
    if (out != NULL) {
        *out = db;
    }
    return 0;
}

/* ---- the list of what was attached --------------------------------------- */

static void list_path(const struct node *n, const char *suffix, char *out)
{
    snprintf(out, LIST_PATH_BYTES, "%s/databases%s", n->options->raft_path,
             suffix);
}

static int write_list(struct node *n)
{
    char path[LIST_PATH_BYTES], new[LIST_PATH_BYTES];
    bool ok;
    FILE *f;

    list_path(n, "", path);
    list_path(n, ".new", new);
    f = fopen(new, "we");
    if (f == NULL) {
        return -errno;
    }
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->attached) {
            fprintf(f, "%s %s\n", db->name, db->path);
        }
    }
    ok = fflush(f) == 0 && !ferror(f) && fsync(fileno(f)) == 0;
    ok = fclose(f) == 0 && ok;
    FAILPOINT("file.databases");
    if (!ok || rename(new, path) != 0) {
        unlink(new);
        return ERR_IO;
    }
    return 0;
}

static int add_listed(struct node *n, char *line, char *why, size_t size)
{
    char *path = strchr(line, ' ');
    struct database *db;
    int rv;

    line[strcspn(line, "\n")] = '\0';
    if (path == NULL) {
        return 0;
    }
    *path++ = '\0';
    if (catalog_find(n, line) != NULL) {
        return 0; /* a flag names it, too */
    }
    rv = catalog_add(n, line, path, &db, why, size);
    if (rv == 0) {
        db->attached = db->optional = true;
    }
    return rv;
}

int catalog_load(struct node *n, char *why, size_t size)
{
    char path[LIST_PATH_BYTES], line[PATH_MAX + DB_NAME_MAX + 8];
    int rv = 0;
    FILE *f;

    list_path(n, "", path);
    f = fopen(path, "re");
    while (f != NULL && rv == 0 && fgets(line, sizeof line, f) != NULL) {
        rv = add_listed(n, line, why, size);
    }
    if (f != NULL) {
        fclose(f);
    }
    return rv;
}

/* ---- by hand ------------------------------------------------------------- */

int catalog_attach(struct node *n, const char *name, const char *path,
                   char *why, size_t size)
{
    struct database *db = catalog_find(n, name);
    int rv;

    if (!db_name_valid(name) || strlen(name) > DB_NAME_MAX) {
        snprintf(why, size,
                 "a name has 1 to %d of the characters A-Z a-z 0-9 . _ -",
                 DB_NAME_MAX);
        return -EINVAL;
    }
    if (path[0] != '/' || strchr(path, '\n') != NULL) {
        snprintf(why, size, "%s: a path from the root is needed", path);
        return -EINVAL;
    }
    if (db != NULL) {
        snprintf(why, size, "there is a database %s here, at %s", name,
                 db->path);
        return ERR_MISMATCH;
    }
    if (catalog_count(n) >= DATABASES_MAX) {
        snprintf(why, size, "a node has at most %d databases", DATABASES_MAX);
        return ERR_FULL;
    }
    rv = catalog_add(n, name, path, &db, why, size);
    if (rv != 0) {
        return rv;
    }
    db->attached = db->optional = true;
    log_info("attached", "db=%s path=%s", name, db->path);
    if (write_list(n) != 0) {
        log_warn("databases_file",
                 "why=\"cannot be written: the next start needs -db-path "
                 "%s=%s\"",
                 name, db->path);
    }
    return 0;
}

static void begin_detach(struct node *n, struct database *db)
{
    db->detaching = true;
    server_stop(db);
    image_send_drop(n, db, 0);
    backup_drop(n, db);
    node_wake(n, db);
}

int catalog_detach(struct node *n, const char *name, char *why, size_t size)
{
    struct database *db = catalog_find(n, name);

    if (db == NULL) {
        snprintf(why, size, "this node has no database %s", name);
        return ERR_NOT_FOUND;
    }
    if (!db->detaching) {
        log_info("detaching", "db=%s path=%s", name, db->path);
        begin_detach(n, db);
    }
    return 0;
}

int catalog_drop(struct node *n, const char *name, char *why, size_t size)
{
    struct machine_db *m = NULL;
    unsigned group = 0;
    struct entry_holds e = {.node = n->env.node_id};
    struct buf out;
    size_t len;
    int rv;

    for (unsigned i = 0; i < n->options->shards && m == NULL; i++) {
        m = machine_find(&n->group[i].machine, name);
        group = i;
    }
    if (m == NULL) {
        snprintf(why, size, "the cluster has no database %s", name);
        return ERR_NOT_FOUND;
    }
    if (m->frozen) {
        snprintf(why, size, "%s is on its way to another shard; try again",
                 name);
        return ERR_BUSY;
    }
    e.db = m->uuid;
    buf_init(&out, PACKET_BYTES_MAX);
    rv = entry_encode_drop(&e, &out);
    if (rv == 0) {
        void *bytes = buf_take(&out, &len);
        rv = groups_propose(n->groups, group, bytes, len);
    }
    buf_close(&out);
    if (rv != 0) {
        snprintf(why, size, "%s", err_str(rv));
    }
    return rv;
}

/* The cluster has dropped it. */
void catalog_dropped(struct node *n, struct database *db)
{
    log_warn("dropped", "db=%s path=%s why=\"by the cluster\"", db->name,
             db->path);
    db->drop = true;
    begin_detach(n, db);
    db->m = NULL;
}

/* ---- another name ---------------------------------------------------------
 */

void catalog_rename_step(struct node *n, struct database *db)
{
    const struct database *other;

    /* An order is kept by the old name until it is done. */
    if (db->m == NULL || db->job != NULL || db->limbo != NULL ||
        db->order != NULL || strcmp(db->name, db->m->name) == 0) {
        return;
    }
    other = catalog_find(n, db->m->name);
    if (other != NULL) {
        if (!db->clash_said) {
            log_warn("name_taken",
                     "db=%s path=%s why=\"the cluster calls it %s, as a flag "
                     "of this node calls %s: detach that one\"",
                     db->name, db->path, db->m->name, other->path);
        }
        db->clash_said = true;
        return;
    }
    log_warn("renamed",
             "db=%s to=%s path=%s why=\"by the cluster; the file stays, a flag "
             "that names it should be changed\"",
             db->name, db->m->name, db->path);
    if (!contact_rename(n, db, db->m->name)) {
        db->env->wake_after(db->env->data, db, 1000000u);
    } else if (db->attached && write_list(n) != 0) {
        log_warn("databases_file", "why=\"cannot be written\"");
    }
}

/* ---- letting go ---------------------------------------------------------- */

static bool is_idle(const struct node *n, const struct database *db)
{
    for (struct list *l = n->backups.next; l != &n->backups; l = l->next) {
        if (backup_is_of(l, db)) {
            return false;
        }
    }
    return db->job == NULL && list_empty(&db->image_asks) &&
           !still_any(n, db) && !verify_reads(n, db);
}

/* Nobody opens it by mistake, and nothing is lost. */
static void put_aside(const struct database *db)
{
    char aside[PATH_MAX + 64];

    snprintf(aside, sizeof aside, "%s.dropped-%lld", db->path,
             (long long)time(NULL));
    if (rename(db->path, aside) == 0) {
        log_warn("put_aside",
                 "db=%s path=%s why=\"dropped; delete it when it is not needed "
                 "any more\"",
                 db->name, aside);
    }
}

static void forget_files(struct node *n, struct database *db)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof path, "%s-marmot", db->path);
    unlink(path);
    snprintf(path, sizeof path, "%s-marmot" SLOT_SUFFIX, db->path);
    unlink(path);
    image_forget(db->path);
    if (db->drop) {
        contact_forget(n->options, db->name);
    } else if (db->m != NULL && db->placed) {
        contact_note(n, db); /* should it be attached again */
    }
}

/* Returns true when it is gone, and freed. */
bool catalog_step(struct node *n, struct database *db)
{
    bool listed = db->attached;
    int rv;

    if (!db->detaching) {
        return false;
    }
    still_step(n, db); /* who waits for it gives up in the end */
    if (!is_idle(n, db)) {
        return false;
    }
    /* An application that is killed or ends lets its locks go. */
    if (db->orphan != 0 && !slot_claim(db)) {
        db->env->wake_after(db->env->data, db, 100000);
        return false;
    }
    image_fetch_cancel(db);
    rv = db->apply == NULL ? 0 : apply_close(db->apply, true);
    db->apply = NULL;
    if (rv != 0) {
        log_warn("checkpoint_left", "db=%s path=%s why=\"%s\": the -wal stays",
                 db->name, db->path, err_str(rv));
    }
    forget_files(n, db);
    if (db->drop) {
        put_aside(db);
    }
    log_info("detached", "db=%s path=%s", db->name, db->path);
    if (db->m != NULL) {
        db->m->local = NULL;
    }
    list_remove(&db->link);
    settle_gone(n, db);
    database_close(db);
    free(db);
    if (listed) {
        (void)write_list(n);
    }
    return true;
}
