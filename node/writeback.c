/* Writing the WAL back into the database, and starting it over.
 *
 *   at 3000 frames         written back, beside sessions that go on writing;
 *                          then the slot is claimed, the rest is written back,
 *                          and the WAL starts over
 *   at 1000 frames, after  all of that at once
 *   a quiet moment
 *
 * Seldom, since a page that was changed ten times is written back once. A WAL
 * can only start over while no reader uses it. A session that waits for the
 * slot holds a read mark for its first milliseconds, so it is tried for a
 * while; against a reader that stays, again a second later. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "node/job.h"

#define QUIET_FRAMES 1000u /* as SQLite's own wal_autocheckpoint */
#define FULL_FRAMES 3000u
#define QUIET_US 100000u
#define RESET_TRIES 25
#define RESET_WAIT_US 2000
#define RETRY_US 1000000u /* a reader was in the way */

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void run_backfill(struct job *job)
{
    job->rv = apply_checkpoint(job->db->apply, false);
}

static void run_reset(struct job *job)
{
    struct apply *a = job->db->apply;
    uint32_t frames = 1, backfilled;

    for (int i = 0; i < RESET_TRIES && job->rv == 0 && frames > 0; i++) {
        if (i > 0) {
            usleep(RESET_WAIT_US);
        }
        job->rv = apply_checkpoint(a, true);
        apply_frames(a, &frames, &backfilled);
    }
}

void writeback_lost(struct node *n, const struct database *db)
{
    char why[PATH_MAX + 128];

    snprintf(why, sizeof why,
             "the database %s cannot be written to its disk; look at the "
             "disk, then start again",
             db->path);
    node_fatal(n, why);
}

static void note_failure(const struct job *job)
{
    if (job->rv == 0 || job->rv == ERR_BUSY) {
        return;
    }
    log_warn("checkpoint_failed", "db=%s path=%s why=\"%s\"", job->db->name,
             job->db->path, err_str(job->rv));
    if (job->rv == ERR_IO) {
        writeback_lost(job->node, job->db);
    }
}

static void backfill_done(struct job *job)
{
    struct database *db = job->db;

    note_failure(job);
    db->checkpoints += job->rv == 0;
    db->wal.written_back = true;
    if (job->rv != 0) {
        db->checkpoint_not_before_us = now(db) + RETRY_US;
    }
    free(job);
}

static void reset_done(struct job *job)
{
    struct database *db = job->db;
    uint32_t frames, backfilled;

    if (job->rv == ERR_FOREIGN) {
        db->look_again = true;
    } else {
        note_failure(job);
        db->checkpoints += job->rv == 0;
    }
    db->wal.written_back = false;
    apply_frames(db->apply, &frames, &backfilled);
    if (frames > 0) {
        db->checkpoint_not_before_us = now(db) + RETRY_US;
    }
    free(job);
}

/* Nobody would have to wait for the slot. */
static bool nobody_writes(const struct database *db)
{
    return slot_is_free(db) && list_empty(&db->waiters);
}

/* Has nothing been written for a while? */
static bool is_quiet(struct database *db, uint32_t frames)
{
    uint64_t quiet;

    if (frames != db->wal.frames) {
        db->wal.frames = frames;
        db->wal.grown_us = now(db);
    }
    quiet = now(db) - db->wal.grown_us;
    if (quiet < QUIET_US) {
        db->env->wake_after(db->env->data, db, QUIET_US - quiet);
    }
    return quiet >= QUIET_US && nobody_writes(db);
}

enum writeback writeback_due(struct database *db)
{
    uint32_t frames, backfilled;

    if (db->apply == NULL) {
        return WRITEBACK_NOTHING;
    }
    apply_frames(db->apply, &frames, &backfilled);
    if (frames < QUIET_FRAMES) {
        return WRITEBACK_NOTHING;
    }
    if (now(db) < db->checkpoint_not_before_us) {
        db->env->wake_after(db->env->data, db,
                            db->checkpoint_not_before_us - now(db));
        return WRITEBACK_NOTHING;
    }
    if (frames < FULL_FRAMES) {
        return is_quiet(db, frames) ? WRITEBACK_RESET : WRITEBACK_NOTHING;
    }
    return nobody_writes(db) || db->wal.written_back ? WRITEBACK_RESET
                                                     : WRITEBACK_BACKFILL;
}

void writeback_start(struct node *n, struct database *db, enum writeback what)
{
    struct job *job = calloc(1, sizeof *job);

    if (job == NULL) {
        return; /* later */
    }
    if (what == WRITEBACK_BACKFILL) {
        job_start(n, db, job, run_backfill, backfill_done);
        db->job_beside = true;
    } else {
        job_start(n, db, job, run_reset, reset_done);
    }
}
