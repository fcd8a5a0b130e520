/* Damage: pages whose bytes on the disk are not what was written.
 *
 * The hash of every page is in memory. A start reads the whole file and finds
 * damage as a state that the log does not know; a node that runs for months
 * looks here. In small steps, so that neither a read mark nor the file is held
 * for long: at a moment at which nobody writes the snapshot of a few pages is
 * opened, and then read by a job, beside sessions that write. What an image is
 * sent from is checked on the way, too (vfs/image_source.h).
 *
 * Damaged pages are fetched from another node, and put in place as a
 * transaction. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/job.h"
#include "vfs/image_source.h"

#define HOUR_US 3600000000u
#define STEP_BYTES (4u << 20)
#define STEP_US 250000u      /* between two steps: 16 MiB/s at most */
#define RETRY_US 20000u      /* somebody writes */
#define PUT_OFF_US 60000000u /* nobody could help */

struct scrub_job {
    struct job job;
    struct image_source *source;
    struct image_found found;
    uint32_t numbers[DAMAGED_MAX];
};

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void next_at(struct database *db, uint64_t us)
{
    db->scrub.due_us = now(db) + us;
    db->env->wake_after(db->env->data, db, us);
}

void scrub_put_off(struct database *db)
{
    /* Two nodes that wait for each other must not do so for ever. */
    db->scrub.next = 1;
    next_at(db, FAILPOINT_ERROR("scrub.put_off", STEP_US, PUT_OFF_US) +
                    db->env->node_id % 16 * 1000000u);
}

void scrub_repair(struct node *n, struct database *db, const uint32_t *pages,
                  unsigned count)
{
    FAILPOINT("scrub.found");
    if (db->state != DB_READY) {
        return; /* it is being seen to */
    }
    db->scrub.found += count;
    for (unsigned i = 0; i < count; i++) {
        log_warn("damaged",
                 "db=%s path=%s page=%u: it is not what was written; %s",
                 db->name, db->path, pages[i],
                 n->n_members > 1 ? "it is fetched again from another node"
                                  : "there is no other node to fetch it from");
    }
    if (n->n_members < 2) {
        return;
    }
    memcpy(db->damaged, pages, count * sizeof *pages);
    db->n_damaged = count;
    db->in_place = true;
    db->state = DB_FETCHING;
    image_fetch_start(n, db);
}

bool scrub_suspect(void *data, struct database *db, uint32_t number)
{
    struct node *n = data;

    if (n->n_members < 2) {
        scrub_repair(n, db, &number, 1); /* says that nobody can */
        return false;
    }
    db->suspect = number;
    node_wake(n, db);
    return true;
}

static void run_step(struct job *job)
{
    struct scrub_job *s = LIST_ENTRY(job, struct scrub_job, job);

    job->rv =
        image_source_verify(s->source, DAMAGED_MAX, s->numbers, &s->found);
    image_source_close(s->source);
}

static void end_round(struct node *n, struct database *db)
{
    db->scrub.next = 0;
    db->scrub.rounds++;
    next_at(db, n->options->scrub_hours * HOUR_US);
    log_info("scrubbed", "db=%s pages=%u damaged=%u", db->name,
             db->checksum.pages, db->scrub.found);
    db->scrub.found = 0;
}

static void step_done(struct job *job)
{
    struct scrub_job *s = LIST_ENTRY(job, struct scrub_job, job);
    struct node *n = job->node;
    struct database *db = job->db;

    if (job->rv != 0) {
        log_warn("scrub_failed", "db=%s path=%s why=\"%s\"", db->name, db->path,
                 err_str(job->rv));
        next_at(db, PUT_OFF_US);
        free(s);
        return;
    }
    db->scrub.next += s->found.covered;
    next_at(db, STEP_US);
    if (s->found.count > 0) {
        scrub_repair(n, db, s->numbers, s->found.count);
    }
    free(s);
}

/* Does the table tell what the file holds, and nobody writes right now? */
static bool stands_still(struct database *db)
{
    return db->apply != NULL && list_empty(&db->pending) && !db->look_again &&
           db->placed && slot_claim(db) &&
           db->checksum.sum == db->applied_sum && db->checksum.pages > 0;
}

static void start_step(struct node *n, struct database *db)
{
    struct scrub_job *s = calloc(1, sizeof *s);
    uint32_t count = STEP_BYTES / db->page_size;

    if (db->scrub.next == 0) {
        db->scrub.next = 1;
    }
    if (s == NULL || image_source_open(db->apply, &db->checksum, db->scrub.next,
                                       count, &s->source) != 0) {
        free(s);
        next_at(db, STEP_US);
        return;
    }
    job_start(n, db, &s->job, run_step, step_done);
    db->job_beside = true;
}

void scrub_step(struct node *n, struct database *db)
{
    uint64_t t = now(db);
    uint32_t suspect = db->suspect;

    if (suspect != 0 && db->state == DB_READY && db->job == NULL) {
        db->suspect = 0;
        scrub_repair(n, db, &suspect, 1);
        return;
    }
    if (n->options->scrub_hours == 0 || n->stopping || db->apply == NULL) {
        return;
    }
    if (db->scrub.due_us == 0) { /* the start has read it all */
        db->scrub.due_us = t + n->options->scrub_hours * HOUR_US;
    }
    if (db->scrub.next == 0 && FAILPOINT_ERROR("scrub.due", true, false)) {
        db->scrub.due_us = t;
    }
    if (t < db->scrub.due_us) {
        db->env->wake_after(db->env->data, db, db->scrub.due_us - t);
    } else if (db->job != NULL || db->state != DB_READY) {
        db->env->wake_after(db->env->data, db, RETRY_US);
    } else if (!stands_still(db)) {
        db->node_waits = db->owner != NULL || db->keeper != NULL;
        db->env->wake_after(db->env->data, db, RETRY_US);
    } else if (db->scrub.next > db->checksum.pages) {
        end_round(n, db);
    } else {
        start_step(n, db);
    }
}
