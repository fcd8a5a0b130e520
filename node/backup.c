/* Backups over the control pane: one consistent read of a database under live
 * writers, as images are sent (image_send.c), but to a file of the asker's
 * choice and at the pace of its connection.
 *
 *   WAITING --the state stands still (still.c)--> OPEN --> READING --> OPEN ...
 *
 * A failure is kept until it is asked for. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "node/node.h"

#define BACKUPS_MAX 4u /* per node: each holds a read mark */
#define CHUNK_BYTES 1048576u

struct pane_backup {
    struct list link; /* in node->backups */
    struct node *node;
    struct database *db;        /* NULL: failed, and it may go */
    struct page_reader *reader; /* NULL: WAITING, or failed */
    struct pane_backup_head head;
    void (*wake)(void *arg);
    void *arg;
    struct still still;
    bool closed; /* by the pane; a worker still has it */
    int rv;
    /* the chunk at hand */
    uv_work_t work;
    bool working;
    uint32_t next, count; /* pages */
    uint8_t *bytes;
    size_t len, at;
};

static void drop_reader(struct pane_backup *b)
{
    if (b->reader != NULL) {
        page_reader_close(b->reader);
        b->reader = NULL;
    }
}

/* Its database, which may wait for this to let go, is not used any more. */
static void let_go(struct pane_backup *b)
{
    list_remove(&b->still.link);
    drop_reader(b);
    node_wake(b->node, b->db);
    b->db = NULL;
}

static void backup_free(struct pane_backup *b)
{
    list_remove(&b->link);
    let_go(b);
    free(b->bytes);
    free(b);
}

static void fail(struct pane_backup *b, int rv)
{
    b->rv = rv;
    let_go(b);
    b->wake(b->arg);
}

static void on_opened(struct still *s, int rv, struct page_reader *reader)
{
    struct pane_backup *b = LIST_ENTRY(s, struct pane_backup, still);
    const struct database *db = b->db;

    if (rv != 0) {
        fail(b, rv);
        return;
    }
    b->reader = reader;
    b->head = (struct pane_backup_head){.page_size = apply_page_size(db->apply),
                                        .pages = page_reader_count(reader),
                                        .txid = db->applied.txid,
                                        .hash = db->applied.hash,
                                        .checksum = db->applied_sum};
    log_info("backup", "db=%s txid=%" PRIu64 " pages=%u", db->name,
             b->head.txid, b->head.pages);
    b->wake(b->arg);
}

/* ---- what the pane calls ------------------------------------------------- */

static unsigned count(const struct node *n)
{
    unsigned found = 0;

    for (struct list *l = n->backups.next; l != &n->backups; l = l->next) {
        found++;
    }
    return found;
}

static int check(struct node *n, const char *name, char *why, size_t size)
{
    const struct database *db = catalog_find(n, name);

    if (db == NULL) {
        snprintf(why, size, "this node has no database %s", name);
        return ERR_NOT_FOUND;
    }
    if (n->stopping || db->state != DB_READY ||
        (db->job == NULL && db->apply == NULL)) {
        snprintf(why, size, "database %s is %s: try again later", name,
                 n->stopping             ? "being closed"
                 : db->state == DB_READY ? "empty"
                                         : database_state(db));
        return ERR_BUSY;
    }
    if (count(n) >= BACKUPS_MAX) {
        snprintf(why, size, "%u backups are under way already", BACKUPS_MAX);
        return ERR_BUSY;
    }
    return 0;
}

int backup_open(void *data, const char *name, void (*wake)(void *arg),
                void *arg, struct pane_backup **out, char *why, size_t size)
{
    struct node *n = data;
    int rv = check(n, name, why, size);
    struct pane_backup *b;

    if (rv != 0) {
        return rv;
    }
    b = calloc(1, sizeof *b);
    if (b == NULL || (b->bytes = malloc(CHUNK_BYTES)) == NULL) {
        free(b);
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    b->node = n;
    b->db = catalog_find(n, name);
    b->wake = wake;
    b->arg = arg;
    b->work.data = b;
    b->next = 1;
    b->still.opened = on_opened;
    list_push(&n->backups, &b->link);
    still_wait(n, b->db, &b->still);
    *out = b;
    return 0;
}

int backup_head(struct pane_backup *b, struct pane_backup_head *out)
{
    if (b->rv != 0) {
        return b->rv;
    }
    if (b->reader == NULL) {
        return ERR_BUSY;
    }
    *out = b->head;
    return 0;
}

static void on_work(uv_work_t *w)
{
    struct pane_backup *b = w->data;

    b->rv = page_reader_run(b->reader, b->next, b->count, b->bytes);
}

static void on_done(uv_work_t *w, int status)
{
    struct pane_backup *b = w->data;

    (void)status;
    b->working = false;
    if (b->closed) {
        backup_free(b);
        return;
    }
    b->next += b->count;
    b->len = (size_t)b->count * b->head.page_size;
    b->at = 0;
    if (b->node->sessions_closed || b->db->detaching) {
        fail(b, ERR_CLOSED);
        return;
    }
    if (b->rv != 0) {
        log_warn("backup_failed", "db=%s why=\"%s\"", b->db->name,
                 err_str(b->rv));
    }
    b->wake(b->arg);
}

static int read_more(struct pane_backup *b)
{
    uint32_t left = b->head.pages - b->next + 1;

    if (b->working) {
        return 0;
    }
    if (left == 0) {
        return ERR_NOT_FOUND;
    }
    b->count = CHUNK_BYTES / b->head.page_size;
    b->count = b->count < left ? b->count : left;
    b->working = true;
    if (uv_queue_work(b->node->loop, &b->work, on_work, on_done) != 0) {
        b->working = false;
        return ERR_IO;
    }
    return 0;
}

long backup_read(struct pane_backup *b, void *out, size_t max)
{
    size_t len = b->len - b->at;

    if (b->working) {
        return 0;
    }
    if (b->rv != 0 || b->reader == NULL) {
        return b->rv != 0 ? b->rv : ERR_CLOSED;
    }
    if (len == 0) {
        return read_more(b);
    }
    len = len < max ? len : max;
    memcpy(out, b->bytes + b->at, len);
    b->at += len;
    return (long)len;
}

void backup_close(struct pane_backup *b)
{
    b->closed = true;
    if (!b->working) {
        backup_free(b);
    }
}

/* ---- what the node calls ------------------------------------------------- */

bool backup_is_of(const struct list *link, const struct database *db)
{
    return LIST_ENTRY(link, struct pane_backup, link)->db == db;
}

void backup_drop(struct node *n, const struct database *db)
{
    for (struct list *l = n->backups.next, *next; l != &n->backups; l = next) {
        struct pane_backup *b = LIST_ENTRY(l, struct pane_backup, link);
        next = l->next;
        if (!b->working && (db == NULL || b->db == db)) {
            fail(b, ERR_CLOSED);
        }
    }
}

bool backup_any_working(const struct node *n)
{
    for (struct list *l = n->backups.next; l != &n->backups; l = l->next) {
        if (LIST_ENTRY(l, struct pane_backup, link)->working) {
            return true;
        }
    }
    return false;
}
