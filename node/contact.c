/* First contact and return: what a database that is not READY needs next.
 *
 * The decision is placing_next; here it is carried out. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "node/node.h"
#include "node/order.h"
#include "vfs/image.h"

#define AGAIN_US 1000000u         /* an ENROLL or HOLDS that is not seen yet */
#define REPAIR_AGAIN_US 10000000u /* an image that did not do */

/* ---- entries ------------------------------------------------------------- */

static bool due(struct database *db)
{
    uint64_t t = db->env->now_us(db->env->data);
    uint64_t leader = db->env->leader(db->env->data, db->group);

    if (db->entry_sent_us != 0 && leader == db->entry_leader &&
        t - db->entry_sent_us < AGAIN_US) {
        db->env->wake_after(db->env->data, db,
                            AGAIN_US - (t - db->entry_sent_us));
        return false;
    }
    db->entry_sent_us = t;
    db->entry_leader = leader; /* one that leads no more may have dropped it */
    db->env->wake_after(db->env->data, db, AGAIN_US);
    return true;
}

static void propose(struct database *db, struct buf *out)
{
    size_t len = 0;
    uint8_t *bytes = buf_take(out, &len);

    if (bytes == NULL) {
        return;
    }
    /* Not accepted for whatever reason: proposed again when due. */
    if (db->env->propose(db->env->data, db->group, bytes, len) != 0) {
        db->entry_sent_us = 0;
        db->env->wake_after(db->env->data, db, AGAIN_US / 10);
    }
}

static void enroll_at_home(struct node *n, struct database *db)
{
    struct entry_enroll e = {.node = db->env->node_id,
                             .page_size = db->page_size,
                             .pages = db->checksum.pages,
                             .checksum = db->checksum.sum};
    struct buf out;

    if (!due(db)) {
        return;
    }
    if (uuid_is_none(&db->enroll_uuid) && uuid_random(&db->enroll_uuid) != 0) {
        node_fatal(n, "the kernel gives no random numbers");
        return;
    }
    memcpy(e.name, db->name, sizeof e.name);
    e.db = db->enroll_uuid;
    db->state = DB_ENROLLING;
    db->why[0] = '\0';
    buf_init(&out, PACKET_BYTES_MAX);
    if (entry_encode_enroll(&e, &out) == 0) {
        log_info("enrolling", "db=%s pages=%u page_size=%u", db->name, e.pages,
                 e.page_size);
        propose(db, &out);
    }
    buf_close(&out);
}

static void enroll(struct node *n, struct database *db)
{
    /* While groups are added, not every name has a home. */
    if (!shards_may_enroll(n, db->name)) {
        db->env->wake_after(db->env->data, db, AGAIN_US / 5);
        return;
    }
    enroll_at_home(n, db);
}

static void say_holds(struct database *db)
{
    struct entry_holds e = {.db = db->m->uuid, .node = db->env->node_id};
    struct buf out;

    if (machine_holds(db->m, e.node) || !due(db)) {
        return;
    }
    buf_init(&out, PACKET_BYTES_MAX);
    if (entry_encode_holds(&e, &out) == 0) {
        propose(db, &out);
    }
    buf_close(&out);
}

/* ---- what is next -------------------------------------------------------- */

static void become_ready(struct node *n, struct database *db)
{
    db->state = DB_READY;
    db->why[0] = '\0';
    db->entry_sent_us = 0;
    if (db->repaired_us != 0) {
        contact_note(n, db); /* the image may be ahead of our log */
    } else if (!db->member) {
        contact_remember(n, db);
    }
    db->repaired_us = 0;
    image_forget(db->path);
    log_info("ready", "db=%s shard=%u txid=%" PRIu64 " pages=%u to_apply=%s",
             db->name, db->group, db->applied.txid, db->checksum.pages,
             list_empty(&db->pending) ? "none" : "some");
}

/* An image replaces or makes the file: it must not be open here. */
static void start_fetch(struct node *n, struct database *db, bool compare)
{
    if (db->kind == FILE_MISSING && db->member) {
        log_warn("missing",
                 "db=%s path=%s: a managed file that is gone; the "
                 "cluster's copy is fetched",
                 db->name, db->path);
    }
    db->compare = compare;
    db->state = DB_FETCHING;
    image_send_drop(n, db, 0); /* nobody else shall get what is replaced */
    image_fetch_start(n, db);
}

static void repair(struct node *n, struct database *db)
{
    uint64_t since = db->env->now_us(db->env->data) - db->repaired_us;

    if (db->repaired_us != 0 && since < REPAIR_AGAIN_US) {
        db->env->wake_after(db->env->data, db, REPAIR_AGAIN_US - since);
        return;
    }
    log_warn("unknown_state",
             "db=%s path=%s: the file holds what the cluster never had (a "
             "write while no node ran, or damage); it is kept aside and the "
             "cluster's copy takes its place",
             db->name, db->path);
    start_fetch(n, db, false);
}

/* `why`, in the log once and in the status until it changes. */
static void cannot_enroll(struct database *db, const char *why)
{
    if (strcmp(db->why, why) != 0) {
        snprintf(db->why, sizeof db->why, "%s", why);
        log_error("not_enrolled", "db=%s path=%s shard=%u why=\"%s\"", db->name,
                  db->path, db->group, why);
    }
    db->env->wake_after(db->env->data, db, REPAIR_AGAIN_US);
}

static bool group_is_full(const struct node *n, const struct database *db)
{
    return n->group[db->group].machine.n_dbs >= GROUP_DATABASES_MAX;
}

static void say_group_full(struct database *db)
{
    char why[512];

    snprintf(why, sizeof why,
             "shard %u has %u databases, which is the most, and the name of "
             "this one decides that it belongs there: drop others of that "
             "shard (marmot status shows them), give this one another name, "
             "or begin a cluster with more -shards",
             db->group, GROUP_DATABASES_MAX);
    cannot_enroll(db, why);
}

/* A voter may be about to bring it. */
static void say_stranger(struct database *db)
{
    uint64_t t = db->env->now_us(db->env->data);

    if (db->entry_sent_us == 0) {
        db->entry_sent_us = t;
    }
    if (t - db->entry_sent_us >= REPAIR_AGAIN_US) {
        cannot_enroll(db,
                      "the cluster does not know this database, and this node "
                      "is a replica, which only follows: bring it on a voter");
    } else {
        db->env->wake_after(db->env->data, db, REPAIR_AGAIN_US);
    }
}

/* There is nothing to compare with, and nobody to say what is meant. */
static void say_other_is_empty(struct database *db)
{
    if (db->waiting_said) {
        return;
    }
    db->waiting_said = true;
    log_warn("waiting",
             "db=%s path=%s why=\"the cluster knows this name as an empty "
             "database, and this file has content; move the file away, or "
             "write to the database on another node: the copies are compared "
             "then\"",
             db->name, db->path);
}

/* The log has nothing between where the file stands and what comes next. */
static void catch_up(struct node *n, struct database *db)
{
    assert(db->m != NULL);
    log_warn("behind",
             "db=%s path=%s txid=%" PRIu64 " cluster_txid=%" PRIu64
             " why=\"the log no longer has what is missing here; it is fetched "
             "from another node\"",
             db->name, db->path, db->applied.txid, db->m->position.txid);
    db->in_place = true;
    start_fetch(n, db, false);
}

static void step_ready(struct database *db)
{
    if (!placing_behind(db)) {
        say_holds(db);
    } else if (db->job == NULL && slot_claim(db)) {
        db->state = DB_PLACING;
    } else {
        db->node_waits = true; /* nobody else is granted the slot */
    }
}

void contact_step(struct node *n, struct database *db)
{
    if (order_step(n, db)) {
        return;
    }
    if (db->state == DB_READY) {
        step_ready(db);
        if (db->state == DB_READY) {
            return;
        }
    }
    if (db->state == DB_FETCHING) {
        image_fetch_step(n, db);
        return;
    }
    if (db->state == DB_OPENING || db->state == DB_REFUSED) {
        return;
    }
    if (move_waits(n, db)) {
        return; /* it is no stranger */
    }
    if (db->m != NULL && !db->member) {
        db->member = contact_is_member(n, db);
    }
    if (db->caught_up && db->scanned && db->m != NULL) {
        placing_noted(db);
        move_place(n, db);
    }
    switch (placing_next(db)) {
    case PLACING_WAIT:
        break;
    case PLACING_STRANGER:
        say_stranger(db);
        break;
    case PLACING_CONVERT:
        applier_open(n, db, true);
        break;
    case PLACING_ENROLL:
        if (group_is_full(n, db)) {
            say_group_full(db);
        } else {
            enroll(n, db);
        }
        break;
    case PLACING_READY:
        become_ready(n, db);
        break;
    case PLACING_FETCH_REPAIR:
        repair(n, db);
        break;
    case PLACING_CATCH_UP:
        catch_up(n, db);
        break;
    case PLACING_FETCH:
        start_fetch(n, db, false);
        break;
    case PLACING_COMPARE:
        assert(db->m != NULL);
        if (db->m->page_size == 0) {
            say_other_is_empty(db);
        } else {
            start_fetch(n, db, true);
        }
        break;
    }
}
