/* Jobs on the local file: open and scan it, append what was accepted, and when
 * to write the WAL back (writeback.c). One at a time per database, on the pool;
 * never while a session has the slot, but for writing back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/batch.h"
#include "node/job.h"
#include "vfs/image.h"

#define BATCH_BYTES (16u << 20) /* encoded, per job */
#define BATCH_COUNT 4096u       /* transactions per job */
#define HERE_BYTES (64u << 10)  /* so few are written by the loop itself */
#define SLOW_US 20000u          /* but not after one took so long: */
#define SLOW_FOR_US 1000000u
#define RETRY_US 100000u       /* a lock was held */
#define RETRY_FULL_US 1000000u /* no room on the disk */

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void retry_after(struct database *db, uint64_t us)
{
    db->job_not_before_us = now(db) + us;
    db->env->wake_after(db->env->data, db, us);
}

/* Said once until something works again. */
static void say_full(struct database *db, const char *for_what)
{
    if (!db->full_said) {
        db->full_said = true;
        log_error("disk_full",
                  "db=%s path=%s why=\"no room %s; free some, it goes on by "
                  "itself\"",
                  db->name, db->path, for_what);
    }
    retry_after(db, RETRY_FULL_US);
}

/* ---- open and scan ------------------------------------------------------- */

struct open_job {
    struct job job;
    bool convert;
    enum file_kind kind;
    uint32_t page_size;
    struct apply *apply; /* found open, or opened by the job */
    struct checksum checksum;
};

static int open_file(struct open_job *o)
{
    const char *path = o->job.db->path;
    int rv = file_classify(path, &o->kind, &o->page_size);

    if (rv == 0 && o->kind == FILE_ROLLBACK && o->convert) {
        rv = file_convert_to_wal(path);
        if (rv == 0) {
            rv = file_classify(path, &o->kind, &o->page_size);
        }
    }
    if (rv == 0 && o->kind == FILE_WAL) {
        rv = apply_open(path, &o->apply);
    }
    return rv;
}

static void run_open(struct job *job)
{
    struct open_job *o = LIST_ENTRY(job, struct open_job, job);
    struct wal_state state;

    FAILPOINT("file.open");
    if (o->apply == NULL) {
        job->rv = open_file(o);
    } else {
        job->rv = apply_state(o->apply, &state);
        if (job->rv == 0) {
            apply_expect(o->apply, &state);
        }
    }
    FAILPOINT("file.opened");
    if (job->rv == 0 && o->apply != NULL) {
        job->rv = checksum_scan(&o->checksum, o->apply);
    }
}

static void open_failed(struct open_job *o)
{
    struct database *db = o->job.db;

    checksum_close(&o->checksum);
    if (db->apply == NULL && o->apply != NULL) {
        apply_close(o->apply, false);
    }
    if (o->job.rv == ERR_BUSY) {
        if (!db->waiting_said) {
            db->waiting_said = true;
            log_info("waiting",
                     "db=%s path=%s why=\"a program still holds a lock "
                     "on the database; it is opened when that ends\"",
                     db->name, db->path);
        }
        retry_after(db, RETRY_US);
        return;
    }
    if (o->job.rv == ERR_FULL || o->job.rv == -ENOSPC) {
        say_full(db, "to open it");
        return;
    }
    snprintf(db->why, sizeof db->why, "cannot open %s: %s", db->path,
             err_str(o->job.rv));
    db->state = DB_REFUSED;
    catalog_cannot_keep(o->job.node, db);
}

static bool not_a_database(struct open_job *o)
{
    struct database *db = o->job.db;

    if (o->kind != FILE_NOT_SQLITE) {
        return false;
    }
    snprintf(db->why, sizeof db->why,
             "%s is not an SQLite database (or its header is damaged): name "
             "another -db-path, or move the file away to fetch the cluster's "
             "copy",
             db->path);
    db->state = DB_REFUSED;
    catalog_cannot_keep(o->job.node, db);
    return true;
}

static void open_done(struct job *job)
{
    struct open_job *o = LIST_ENTRY(job, struct open_job, job);
    struct database *db = job->db;

    if (job->rv != 0) {
        open_failed(o);
    } else if (not_a_database(o)) {
        checksum_close(&o->checksum);
    } else {
        FAILPOINT("file.scanned");
        db->kind = o->kind;
        db->apply = o->apply;
        db->page_size =
            o->apply != NULL ? apply_page_size(o->apply) : o->page_size;
        checksum_close(&db->checksum);
        db->checksum = o->checksum;
        /* A rollback-mode file differs in its header from any copy in the
         * group: its checksum matches nothing. */
        if (o->kind == FILE_ROLLBACK) {
            db->checksum.sum = ~0ull;
        }
        db->scanned = true;
        db->look_again = false;
        placing_scanned(db);
        if (db->state == DB_OPENING || db->state == DB_READY) {
            db->state = DB_PLACING;
        }
    }
    free(o);
}

void applier_open(struct node *n, struct database *db, bool convert)
{
    struct open_job *o = calloc(1, sizeof *o);

    if (o == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    o->convert = convert;
    o->apply = db->apply;
    o->kind = db->kind;
    checksum_init(&o->checksum);
    job_start(n, db, &o->job, run_open, open_done);
}

/* ---- append -------------------------------------------------------------- */

struct batch_job {
    struct job job;
    struct list pending;
    bool created;         /* the file is new and now needs to be opened */
    uint32_t damaged;     /* a page of the file; 0: none */
    char aside[PATH_MAX]; /* a copy of what was replaced; "": none */
};

static bool is_ordered(const struct list *l)
{
    return LIST_ENTRY(l, struct pending, link)->ordered;
}

static void run_batch(struct job *job)
{
    struct batch_job *b = LIST_ENTRY(job, struct batch_job, job);
    struct database *db = job->db;

    if (!batch_has_pages(&b->pending)) {
        return;
    }
    if (db->apply == NULL) {
        b->created = true;
        job->rv = batch_create(db->path, &b->pending);
        return;
    }
    job->rv = apply_check_identity_lately(db->apply);
    if (job->rv == 0 && is_ordered(b->pending.next)) {
        job->rv = image_keep_aside(db->path, db->apply, b->aside);
        if (job->rv != 0) {
            b->aside[0] = '\0'; /* the name may be that of another one */
        }
        FAILPOINT("file.aside");
    }
    if (job->rv == 0) {
        job->rv =
            batch_apply(db->apply, &db->checksum, &b->pending, &b->damaged);
    }
}

/* Back to the front of the queue, in order. */
static void put_back(struct database *db, struct list *pending)
{
    while (!list_empty(pending)) {
        struct list *l = pending->prev;
        list_remove(l);
        list_push_front(&db->pending, l);
    }
}

static void batch_failed(struct batch_job *b)
{
    struct database *db = b->job.db;
    int rv = b->job.rv;

    put_back(db, &b->pending);
    if (b->aside[0] != '\0') {
        unlink(b->aside); /* it is made again */
    }
    if (rv == ERR_BUSY) {
        retry_after(db, RETRY_US);
    } else if (rv == ERR_FULL || rv == -ENOSPC) {
        say_full(db, "to apply what the cluster committed");
    } else if (b->damaged != 0 && b->job.node->n_members > 1) {
        scrub_repair(b->job.node, db, &b->damaged, 1);
    } else {
        log_error("apply_failed",
                  "db=%s path=%s txid=%" PRIu64
                  " why=\"%s\": the file is "
                  "read again and compared with the log",
                  db->name, db->path, db->applied.txid, err_str(rv));
        db->look_again = true;
        retry_after(db, RETRY_US);
    }
}

static void batch_done(struct job *job)
{
    struct batch_job *b = LIST_ENTRY(job, struct batch_job, job);
    struct database *db = job->db;
    struct list *l;

    if (job->rv != 0) {
        batch_failed(b);
        free(b);
        return;
    }
    while ((l = list_pop(&b->pending)) != NULL) {
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        placing_applied(db, &p->position, p->checksum, p->db_pages);
        db->applied_count++;
        pending_free(db, p);
    }
    db->full_said = false;
    if (b->aside[0] != '\0') {
        log_info("kept_aside",
                 "db=%s path=%s why=\"marmot recover -from has put another "
                 "content in its place\"",
                 db->name, b->aside);
    }
    /* A new file is opened and scanned as any other. */
    db->look_again = b->created;
    free(b);
}

/* One that puts another content in place is alone. */
static bool may_come_along(const struct batch_job *b, const struct list *l)
{
    return list_empty(&b->pending) ||
           (!is_ordered(b->pending.next) && !is_ordered(l));
}

static void start_batch(struct node *n, struct database *db)
{
    struct batch_job *b = calloc(1, sizeof *b);
    uint64_t started;
    size_t bytes = 0;
    unsigned count = 0;

    if (b == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    list_init(&b->pending);
    while (count < BATCH_COUNT && bytes < BATCH_BYTES &&
           !list_empty(&db->pending) &&
           may_come_along(b, list_first(&db->pending))) {
        struct list *l = list_pop(&db->pending);
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        for (unsigned i = 0; i < p->n_entries; i++) {
            bytes += p->entries[i].len;
        }
        list_push(&b->pending, l);
        count++;
    }
    /* A few pages in the page cache take less than a change of threads. What
     * they change may have to come from the disk, though. */
    started = now(db);
    if (db->apply != NULL && bytes <= HERE_BYTES &&
        !is_ordered(b->pending.next) && started >= db->slow_until_us) {
        job_run_here(n, db, &b->job, run_batch, batch_done);
        if (now(db) - started > SLOW_US) {
            db->slow_until_us = now(db) + SLOW_FOR_US;
        }
    } else {
        job_start(n, db, &b->job, run_batch, batch_done);
    }
}

bool applier_page(void *data, struct database *db, uint32_t number,
                  uint8_t *image)
{
    (void)data;
    return db->apply != NULL && db->job == NULL && !db->look_again &&
           apply_read(db->apply, number, image) == 0;
}

/* ---- what is due ----------------------------------------------------------
 */

/* Is there anything but the one that its session is publishing itself? */
static bool must_append(const struct database *db)
{
    const struct proposal *p = db->proposal;
    const struct list *last = db->pending.prev;

    if (list_empty(&db->pending) || placing_behind(db)) {
        return false;
    }
    return p == NULL || !p->accepted ||
           LIST_ENTRY(last, struct pending, link)->position.txid !=
               p->position.txid;
}

static bool wants_slot(const struct database *db, enum writeback back)
{
    return db->look_again || must_append(db) || back == WRITEBACK_RESET;
}

/* What needs the slot; it has been claimed. */
static void start_alone(struct node *n, struct database *db)
{
    if (db->look_again) {
        applier_open(n, db, false);
    } else if (!list_empty(&db->pending) && node_will_sync(n)) {
        node_wake_after_sync(n, db);
    } else if (!list_empty(&db->pending)) {
        start_batch(n, db);
    } else {
        writeback_start(n, db, WRITEBACK_RESET);
    }
}

void applier_step(struct node *n, struct database *db)
{
    enum writeback back;

    db->node_waits = placing_behind(db);
    if (db->job != NULL) {
        return;
    }
    back = writeback_due(db);
    if (!wants_slot(db, back)) {
        if (back == WRITEBACK_BACKFILL) {
            writeback_start(n, db, back);
        }
        return;
    }
    if (now(db) < db->job_not_before_us) {
        db->env->wake_after(db->env->data, db, db->job_not_before_us - now(db));
    } else if (slot_claim(db)) {
        start_alone(n, db);
    } else {
        db->node_waits = true;
    }
}

void applier_close_all(struct node *n)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        int rv = db->apply == NULL ? 0 : apply_close(db->apply, true);
        if (rv != 0) {
            log_warn("checkpoint_left",
                     "db=%s path=%s why=\"%s\": the -wal "
                     "stays, nothing is lost",
                     db->name, db->path, err_str(rv));
        }
        db->apply = NULL;
    }
}
