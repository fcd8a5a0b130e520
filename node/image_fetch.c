/* Images, the side that needs one.
 *
 *   ASKING --BEGIN--> LOADING --all pages--> INSTALLING --> scanned, READY
 *      ^                |
 *      +--silent, NO----+   (the next node in turn is asked)
 *
 * First contact with a database that differs compares the two before anything
 * is replaced. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "node/job.h"
#include "vfs/image.h"

#define SILENT_US 3000000u
#define RETRY_US 200000u

enum fetch_state { FETCH_ASKING, FETCH_LOADING, FETCH_INSTALLING };

struct image_fetch {
    enum fetch_state state;
    uint64_t peer, id, heard_us;
    unsigned turn; /* which member is asked next */
    struct image_writer *writer;
    struct position position;
    uint64_t checksum;
    uint32_t page_size, pages, next;
    unsigned percent;
};

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void drop_writer(struct image_fetch *f)
{
    if (f->writer != NULL) {
        image_writer_cancel(f->writer);
        f->writer = NULL;
    }
}

void image_fetch_cancel(struct database *db)
{
    if (db->fetch != NULL) {
        drop_writer(db->fetch);
        free(db->fetch);
        db->fetch = NULL;
    }
}

/* Ask the next member in turn. */
static void ask(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    const struct options *o = n->options;
    struct host_image m = {.db = db->m->uuid};
    struct uuid random;

    drop_writer(f);
    f->state = FETCH_ASKING;
    f->heard_us = now(db);
    f->peer = o->members[f->turn++ % o->n_members].id;
    db->env->wake_after(db->env->data, db, RETRY_US);
    if (f->peer == db->env->node_id || uuid_random(&random) != 0) {
        f->peer = 0;
        return;
    }
    memcpy(&f->id, random.b, sizeof f->id);
    m.id = f->id;
    host_image_send(n, f->peer, HOST_IMAGE_ASK, db->group, &m);
}

void image_fetch_start(struct node *n, struct database *db)
{
    if (db->fetch == NULL) {
        db->fetch = calloc(1, sizeof *db->fetch);
    }
    if (db->fetch == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    ask(n, db);
}

void image_fetch_step(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    uint64_t patience;

    if (f == NULL || db->job != NULL || f->state == FETCH_INSTALLING) {
        return;
    }
    patience = f->state == FETCH_ASKING && f->peer == 0 ? RETRY_US : SILENT_US;
    if (now(db) - f->heard_us >= patience) {
        ask(n, db);
    } else {
        db->env->wake_after(db->env->data, db, RETRY_US);
    }
}

static bool is_ours(const struct database *db, uint64_t peer, uint64_t id)
{
    return db->fetch != NULL && db->fetch->peer == peer && db->fetch->id == id;
}

static void want_more(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    struct host_image m = {.db = db->m->uuid, .id = f->id, .first = f->next};

    m.count = PART_BYTES_MAX / f->page_size;
    host_image_send(n, f->peer, HOST_IMAGE_MORE, db->group, &m);
}

/* Everything accepted after the image must be in db->pending. */
static bool new_enough(const struct database *db, uint64_t txid)
{
    const struct list *first = list_first(&db->pending);

    return first == NULL
               ? txid >= db->m->position.txid
               : txid + 1 >=
                     LIST_ENTRY(first, struct pending, link)->position.txid;
}

void image_fetch_begin(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m)
{
    struct image_fetch *f = db->fetch;
    int rv;

    if (!is_ours(db, peer, m->id) || f->state != FETCH_ASKING) {
        return;
    }
    if (!new_enough(db, m->position.txid) || m->pages == 0 ||
        m->page_size < 512 || m->page_size > 65536) {
        f->peer = 0; /* another node, in a moment */
        return;
    }
    rv = image_writer_open(db->path, m->page_size, m->pages, &f->writer);
    if (rv != 0) {
        f->writer = NULL;
        f->peer = 0;
        log_error("image_no_room",
                  "db=%s pages=%u why=\"%s\": nothing was "
                  "touched; it is tried again",
                  db->name, m->pages, err_str(rv));
        return;
    }
    f->state = FETCH_LOADING;
    f->position = m->position;
    f->checksum = m->checksum;
    f->page_size = m->page_size;
    f->pages = m->pages;
    f->next = 1;
    f->percent = 0;
    f->heard_us = now(db);
    log_info("image_fetching", "db=%s node=%" PRIu64 " pages=%u", db->name,
             peer, f->pages);
    want_more(n, db);
}

void image_fetch_no(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    (void)n;
    if (is_ours(db, peer, m->id) && db->fetch->state != FETCH_INSTALLING) {
        db->fetch->state = FETCH_ASKING;
        db->fetch->peer = 0;
        db->fetch->heard_us = now(db);
        db->env->wake_after(db->env->data, db, RETRY_US);
    }
}

/* ---- install ------------------------------------------------------------- */

struct install_job {
    struct job job;
    char aside[PATH_MAX];
    char other[PATH_MAX + 16];
    bool differs;
};

static void run_install(struct job *job)
{
    struct install_job *i = LIST_ENTRY(job, struct install_job, job);
    struct database *db = job->db;
    struct image_fetch *f = db->fetch;
    /* Once: should an image not do, there is no more to be kept. */
    bool keep = (db->kind == FILE_WAL || db->kind == FILE_ROLLBACK) &&
                db->repaired_us == 0;

    if (db->compare && !db->member) {
        snprintf(i->other, sizeof i->other, "%s.marmot-image", db->path);
        job->rv =
            image_same_content(db->path, i->other, job->text, sizeof job->text);
        i->differs = job->rv == ERR_MISMATCH;
        if (job->rv != 0 &&
            !(i->differs && job->node->options->accept_cluster_copy)) {
            return;
        }
    }
    if (db->apply != NULL) {
        apply_close(db->apply, false);
        db->apply = NULL;
    }
    job->rv = image_writer_install(f->writer, f->checksum, keep, i->aside);
    if (job->rv == 0) {
        f->writer = NULL;
    }
}

static void refuse(struct node *n, struct database *db, const char *difference)
{
    snprintf(
        db->why, sizeof db->why,
        "%.4000s holds another database than the cluster's `%s` (%.200s; the "
        "cluster has %u pages at txid %" PRIu64
        "): nothing was touched. "
        "Move the file away, or start with -accept-cluster-copy to "
        "replace it and keep the old one aside",
        db->path, db->name, difference, db->fetch->pages,
        db->fetch->position.txid);
    db->state = DB_REFUSED;
    node_fatal(n, db->why);
}

static void installed(struct database *db, const char *aside)
{
    struct image_fetch *f = db->fetch;

    placing_applied(db, &f->position, f->checksum, f->pages);
    pending_drop(db, f->position.txid);
    db->kind = FILE_WAL;
    db->scanned = false;
    db->repaired_us = now(db);
    db->images_received++;
    log_info("image_installed", "db=%s txid=%" PRIu64 " pages=%u aside=%s",
             db->name, f->position.txid, f->pages, aside[0] ? aside : "none");
    image_fetch_cancel(db);
    db->state = DB_OPENING;
}

static void install_done(struct job *job)
{
    struct install_job *i = LIST_ENTRY(job, struct install_job, job);
    struct database *db = job->db;
    struct image_fetch *f = db->fetch;

    if (job->rv == 0) {
        installed(db, i->aside);
    } else if (i->differs) {
        refuse(job->node, db, job->text);
    } else {
        log_error("image_failed", "db=%s why=\"%s\" %s", db->name,
                  err_str(job->rv), job->text);
        drop_writer(f);
        f->state = FETCH_ASKING;
        f->peer = 0;
        f->heard_us = now(db);
    }
    free(i);
}

/* ---- pages --------------------------------------------------------------- */

static int write_pages(struct image_fetch *f, const struct host_image *m)
{
    struct entry_page_cursor c;
    struct entry e;
    uint8_t *image;
    uint32_t number;
    int rv = entry_decode(m->part, m->part_len, &e);

    if (rv != 0 || e.kind != ENTRY_PART ||
        e.txn.pages.page_size != f->page_size) {
        return rv != 0 ? rv : ERR_CORRUPT;
    }
    image = malloc(f->page_size);
    if (image == NULL) {
        return ERR_FULL;
    }
    entry_pages_begin(&e.txn.pages, &c);
    while ((rv = entry_pages_next(&c, &number, image)) == 0) {
        /* In order, so that memory for hashes follows what was received. */
        rv = number < m->first || number - m->first >= m->count
                 ? ERR_CORRUPT
                 : image_writer_page(f->writer, number, image);
        if (rv != 0) {
            break;
        }
    }
    free(image);
    return rv == ERR_NOT_FOUND ? 0 : rv;
}

int image_fetch_percent(const struct database *db)
{
    const struct image_fetch *f = db->fetch;

    if (f == NULL) {
        return -1;
    }
    return f->pages == 0 ? 0 : (int)(100ull * (f->next - 1) / f->pages);
}

static void progress(const struct database *db, struct image_fetch *f)
{
    unsigned percent = (unsigned)(100ull * (f->next - 1) / f->pages);

    if (percent >= f->percent + 10) {
        f->percent = percent;
        log_info("image_progress", "db=%s percent=%u", db->name, percent);
    }
}

void image_fetch_pages(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m)
{
    struct image_fetch *f = db->fetch;
    struct install_job *i;
    struct host_image end = {.db = db->m->uuid, .id = m->id};
    int rv;

    if (!is_ours(db, peer, m->id) || f->state != FETCH_LOADING ||
        m->first != f->next || m->count == 0 ||
        m->count > f->pages - f->next + 1) {
        return;
    }
    f->heard_us = now(db);
    rv = write_pages(f, m);
    if (rv != 0) {
        log_error("image_failed", "db=%s why=\"%s\"", db->name, err_str(rv));
        image_fetch_no(n, db, peer, m);
        return;
    }
    f->next += m->count;
    progress(db, f);
    if (f->next <= f->pages) {
        want_more(n, db);
        return;
    }
    host_image_send(n, peer, HOST_IMAGE_END, db->group, &end);
    i = calloc(1, sizeof *i);
    if (i == NULL || db->job != NULL) {
        free(i);
        image_fetch_no(n, db, peer, m);
        return;
    }
    f->state = FETCH_INSTALLING;
    job_start(n, db, &i->job, run_install, install_done);
}
