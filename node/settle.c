/* Before the log forgets entries, the files must be able to do without them.
 *
 *   a snapshot is to be stored --> every local file of the group: has it all
 *   that the snapshot stands for, and would it after a power loss? --> the WAL
 *   is synced --> groups_settled()
 *
 * At the next start the file is looked for in the log from the snapshot on
 * (placing.c), so it must not be older. And whoever forgets the entries must be
 * able to give others the pages: while an own file is fetched, or its place is
 * not known yet, no snapshot is taken.
 *
 * A snapshot that a peer sent is newer than the file: then it is written down
 * where the file stands, or it could not be told from a file that somebody else
 * wrote to. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "node/job.h"

#define LOOK_US 50000u
#define RETRY_US 1000000u
#define DRAIN_US 1000000u
/* A file that cannot be written to for so long is worth a word. */
#define PATIENCE_US 30000000u

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

/* ---- one file ------------------------------------------------------------ */

struct sync_job {
    struct job job;
    struct position upto;
};

static void run_sync(struct job *job)
{
    job->rv = apply_sync(job->db->apply);
}

static void sync_done(struct job *job)
{
    struct sync_job *s = LIST_ENTRY(job, struct sync_job, job);
    struct database *db = job->db;

    if (job->rv == 0) {
        db->durable = s->upto;
    } else {
        log_error("sync_failed", "db=%s path=%s why=\"%s\": the log is kept",
                  db->name, db->path, err_str(job->rv));
        db->job_not_before_us = now(db) + RETRY_US;
        writeback_lost(job->node, db);
    }
    free(s);
}

static void start_sync(struct node *n, struct database *db)
{
    struct sync_job *s = calloc(1, sizeof *s);

    if (s == NULL) {
        return; /* later */
    }
    s->upto = db->applied;
    job_start(n, db, &s->job, run_sync, sync_done);
    db->job_beside = true;
}

/* Is the file one that the next start must find in the log? Others are fetched
 * then as they would be now. */
static bool follows(const struct database *db)
{
    return db->m != NULL && (db->state == DB_OPENING || db->placed) &&
           db->state != DB_REFUSED && db->state != DB_FETCHING;
}

/* What is pending will be appended soon, unless somebody writes: then what was
 * noted is no longer where the file stands. */
static bool may_still_move(const struct database *db)
{
    return db->state == DB_READY && !list_empty(&db->pending) &&
           !placing_behind(db) && now(db) - db->settle.since_us < DRAIN_US;
}

/* As far as the next start must find it again. */
static bool is_noteworthy(const struct database *db)
{
    return !follows(db) || (db->state != DB_OPENING && !may_still_move(db) &&
                            db->durable.txid == db->applied.txid);
}

/* Does the file have all that the log says? Only then may this node be one of
 * those that others can fetch it from: a majority may be all that ever had the
 * entries. */
static bool is_complete(const struct database *db)
{
    const struct machine_db *m = db->m;

    return m == NULL || (m->position.txid == 0 && m->pages == 0) ||
           (db->state == DB_READY && db->placed && !placing_behind(db));
}

static bool is_durable(const struct database *db)
{
    return db->settle.note
               ? is_noteworthy(db)
               : is_complete(db) && db->durable.txid >= db->settle.upto.txid;
}

static void look_at(struct node *n, struct database *db)
{
    if (!follows(db) || db->job != NULL || db->state == DB_OPENING ||
        now(db) < db->job_not_before_us) {
        return;
    }
    if (db->apply == NULL) {
        /* Nothing was written yet, or a session has made the file, which will
         * be opened. */
        if (db->applied_pages == 0) {
            db->durable = db->applied;
        }
    } else if (db->applied.txid >= db->settle.upto.txid || placing_behind(db)) {
        start_sync(n, db);
    }
}

/* Entries that the file lacks are never forgotten here: this node may be the
 * last that has them. So the log grows, and the node stops before the memory of
 * its host is used up; the others go on without it. */
static void complain(struct node *n, struct database *db)
{
    uint32_t pid = db->owner != NULL ? db->owner->pid : db->orphan;
    char why[PATH_MAX + 256];

    if (db->state != DB_READY || list_empty(&db->pending) ||
        now(db) - db->settle.since_us < PATIENCE_US ||
        now(db) - db->settle.said_us < PATIENCE_US) {
        return;
    }
    db->settle.said_us = now(db);
    snprintf(why, sizeof why,
             "%s cannot be written to: pid %u holds its write lock, stop it; "
             "meanwhile the log grows (%llu MiB)",
             db->path, pid,
             (unsigned long long)(groups_log_bytes(n->groups) >> 20));
    if (groups_log_bytes(n->groups) >= LOG_BYTES_MAX) {
        node_fatal(n, why);
    } else {
        log_warn("log_grows", "db=%s why=\"%s\"", db->name, why);
    }
}

/* ---- the group ----------------------------------------------------------- */

static bool any_wanted(const struct node *n, unsigned group)
{
    for (const struct list *l = n->databases.next; l != &n->databases;
         l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->group == group && db->settle.wanted) {
            return true;
        }
    }
    return false;
}

static void finish_group(struct node *n, unsigned group)
{
    if (n->group[group].settling && !any_wanted(n, group)) {
        n->group[group].settling = false;
        groups_settled(n->groups, group);
    }
}

void settle_step(struct node *n, struct database *db)
{
    if (!db->settle.wanted) {
        return;
    }
    complain(n, db);
    if (!is_durable(db)) {
        look_at(n, db);
    }
    if (!is_durable(db)) {
        db->env->wake_after(db->env->data, db, LOOK_US);
        return;
    }
    if (db->settle.note && db->placed) {
        contact_note(n, db);
        if (db->note_failed) { /* no room: the log is kept */
            db->env->wake_after(db->env->data, db, RETRY_US);
            return;
        }
    }
    db->settle.wanted = false;
    finish_group(n, db->group);
}

void settle_begin(struct node *n, unsigned group, bool received)
{
    n->group[group].settling = true;
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->group != group || db->m == NULL) {
            continue;
        }
        if (received) {
            placing_noted(db);
            found_place(&n->group[group], db, &db->base.position);
        }
        db->settle.wanted = true;
        db->settle.note = received;
        db->settle.upto = received ? db->applied : db->m->position;
        db->settle.since_us = now(db);
        node_wake(n, db);
    }
    finish_group(n, group);
}

void settle_gone(struct node *n, struct database *db)
{
    db->settle.wanted = false;
    if (n->groups != NULL) {
        finish_group(n, db->group);
    }
}

void settle_note(struct node *n, struct database *db)
{
    if (!db->settle.wanted) {
        db->settle.wanted = db->settle.note = true;
        db->settle.upto = db->applied;
        db->settle.since_us = now(db);
        node_wake(n, db);
    }
}

bool settle_may_take(struct node *n, unsigned group)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->group == group && !is_complete(db)) {
            return false;
        }
    }
    return n->group[group].caught_up;
}

bool settle_may_restore(struct node *n, unsigned group)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->group == group && (db->state == DB_OPENING || !db->scanned)) {
            return false;
        }
    }
    return true;
}
