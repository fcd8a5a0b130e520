/* Images, what becomes of the pages: jobs on the pool. A new file is written
 * beside the database and put in its place; or the pages that differ become one
 * transaction in the live WAL (vfs/image.h, vfs/image_patch.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/image_fetch.h"
#include "node/job.h"

const struct checksum *image_load_sum(const struct image_fetch *f)
{
    return f->patch != NULL ? image_patch_sum(f->patch)
                            : image_writer_sum(f->writer);
}

void image_load_drop(struct image_fetch *f)
{
    if (f->patch != NULL) {
        image_patch_cancel(f->patch);
        f->patch = NULL;
    }
    if (f->writer != NULL) {
        image_writer_keep(f->writer);
        f->writer = NULL;
    }
}

/* ---- prepare ------------------------------------------------------------- */

static int prepare_patch(struct database *db)
{
    struct image_fetch *f = db->fetch;
    int rv;

    if (f->patch != NULL) {
        return image_patch_resize(f->patch, f->pages);
    }
    rv = image_patch_open(db->apply, &db->checksum, f->pages, &f->patch);
    for (unsigned i = 0; i < db->n_damaged && rv == 0; i++) {
        image_patch_distrust(f->patch, db->damaged[i]);
    }
    return rv;
}

static int prepare_writer(struct database *db)
{
    struct image_fetch *f = db->fetch;

    if (f->writer != NULL &&
        image_writer_page_size(f->writer) == f->page_size) {
        return image_writer_resize(f->writer, f->pages);
    }
    image_load_drop(f);
    return image_writer_resume(db->path, f->page_size, f->pages, db->apply,
                               &f->writer);
}

static void run_prepare(struct job *job)
{
    struct database *db = job->db;
    struct image_fetch *f = db->fetch;

    FAILPOINT("image.begin");
    if (f->in_place != (f->patch != NULL)) {
        image_load_drop(f);
    }
    job->rv = f->in_place ? prepare_patch(db) : prepare_writer(db);
}

static void prepare_done(struct job *job)
{
    struct node *n = job->node;
    struct database *db = job->db;
    int rv = job->rv;

    free(job);
    image_fetch_prepared(n, db, rv);
}

void image_load_prepare(struct node *n, struct database *db)
{
    struct job *job = calloc(1, sizeof *job);

    if (job == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    job_start(n, db, job, run_prepare, prepare_done);
}

/* ---- write --------------------------------------------------------------- */

struct write_job {
    struct job job;
    struct list answers;
    uint32_t written; /* pages */
};

static int write_page(struct image_fetch *f, uint32_t number,
                      const uint8_t *image)
{
    return f->patch != NULL ? image_patch_page(f->patch, number, image)
                            : image_writer_page(f->writer, number, image);
}

static int write_pages(struct image_fetch *f, const struct image_answer *a,
                       uint32_t *written)
{
    struct entry_page_cursor c;
    struct entry e;
    uint8_t *image;
    uint32_t number;
    int rv = entry_decode(a->part, a->len, &e);

    if (rv != 0 || e.kind != ENTRY_PART ||
        e.txn.pages.page_size != f->page_size) {
        return rv != 0 ? rv : ERR_CORRUPT;
    }
    image = malloc(f->page_size);
    if (image == NULL) {
        return ERR_FULL;
    }
    entry_pages_begin(&e.txn.pages, &c);
    while ((rv = entry_pages_next_whole(&c, &number, image)) == 0) {
        /* No others: the loop reads their hashes meanwhile. */
        rv = number < a->first || number - a->first >= a->count
                 ? ERR_CORRUPT
                 : write_page(f, number, image);
        if (rv != 0) {
            break;
        }
        ++*written;
    }
    free(image);
    return rv == ERR_NOT_FOUND ? 0 : rv;
}

static void run_write(struct job *job)
{
    struct write_job *w = LIST_ENTRY(job, struct write_job, job);

    for (struct list *l = w->answers.next; l != &w->answers && job->rv == 0;
         l = l->next) {
        job->rv =
            write_pages(job->db->fetch,
                        LIST_ENTRY(l, struct image_answer, link), &w->written);
        FAILPOINT("image.pages");
    }
}

static void write_done(struct job *job)
{
    struct write_job *w = LIST_ENTRY(job, struct write_job, job);
    struct node *n = job->node;
    struct database *db = job->db;
    uint32_t written = w->written;
    int rv = job->rv;

    image_answers_free(&w->answers);
    free(w);
    image_fetch_written(n, db, rv, written);
}

void image_answers_free(struct list *answers)
{
    struct list *l;

    while ((l = list_pop(answers)) != NULL) {
        free(LIST_ENTRY(l, struct image_answer, link));
    }
}

void image_load_write(struct node *n, struct database *db)
{
    struct write_job *w = calloc(1, sizeof *w);
    struct list *l;

    if (w == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    list_init(&w->answers);
    while ((l = list_pop(&db->fetch->held)) != NULL) {
        list_push(&w->answers, l);
    }
    job_start(n, db, &w->job, run_write, write_done);
}

/* ---- install ------------------------------------------------------------- */

struct install_job {
    struct job job;
    char aside[PATH_MAX];
    char other[PATH_MAX + 16];
    bool differs;
};

static int commit_patch(struct database *db)
{
    struct image_fetch *f = db->fetch;
    struct checksum sum;
    int rv = image_patch_commit(f->patch, f->checksum, &sum);

    if (rv == 0) {
        f->patch = NULL;
        checksum_close(&db->checksum);
        db->checksum = sum;
    }
    return rv;
}

static void run_install(struct job *job)
{
    struct install_job *i = LIST_ENTRY(job, struct install_job, job);
    struct database *db = job->db;
    struct image_fetch *f = db->fetch;
    /* Once: should an image not do, there is no more to be kept. */
    bool keep = (db->kind == FILE_WAL || db->kind == FILE_ROLLBACK) &&
                db->repaired_us == 0;

    if (f->patch != NULL) {
        job->rv = commit_patch(db);
        return;
    }
    if (image_load_sum(f)->sum != f->checksum) {
        job->rv = ERR_MISMATCH;
        return;
    }
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
    if (db->fetch->writer != NULL) {
        image_writer_cancel(db->fetch->writer);
        db->fetch->writer = NULL;
    }
    catalog_cannot_keep(n, db);
}

static void say_installed(const struct database *db, const char *aside)
{
    const struct image_fetch *f = db->fetch;
    uint64_t us = db->env->now_us(db->env->data) - f->progress.begun_us + 1;

    log_info("image_installed",
             "db=%s txid=%" PRIu64
             " pages=%u aside=%s in_place=%s "
             "received=%u seconds=%.1f",
             db->name, f->position.txid, f->pages, aside[0] ? aside : "none",
             f->in_place ? "yes" : "no", db->image.received, (double)us / 1e6);
    if (f->in_place && db->n_damaged > 0) {
        log_info("repaired",
                 "db=%s pages=%u: what was damaged is as the cluster has it",
                 db->name, db->n_damaged);
    }
}

static void installed(struct node *n, struct database *db, const char *aside)
{
    struct image_fetch *f = db->fetch;

    placing_applied(db, &f->position, f->checksum, f->pages);
    pending_drop(db, f->position.txid);
    db->images_received++;
    say_installed(db, aside);
    if (f->in_place) {
        db->state = DB_PLACING; /* the table is that of the file */
        contact_note(n, db);    /* which may be ahead of our log */
    } else {
        db->kind = FILE_WAL;
        db->scanned = false;
        db->repaired_us = db->env->now_us(db->env->data);
        db->state = DB_OPENING;
    }
    db->in_place = false;
    db->n_damaged = 0;
    image_fetch_cancel(db);
}

static void install_done(struct job *job)
{
    struct install_job *i = LIST_ENTRY(job, struct install_job, job);

    if (job->rv == 0) {
        installed(job->node, job->db, i->aside);
    } else if (i->differs) {
        refuse(job->node, job->db, job->text);
    } else {
        image_fetch_failed(job->node, job->db, job->rv, job->text);
    }
    free(i);
}

void image_load_install(struct node *n, struct database *db)
{
    struct install_job *i = calloc(1, sizeof *i);

    if (i == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    job_start(n, db, &i->job, run_install, install_done);
}
