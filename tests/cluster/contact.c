/* First contact, as node/contact.c, without its files: a local copy's
 * membership is a flag that survives. */
#include <string.h>

#include "tests/cluster/sim.h"

#define AGAIN_US (1 * SECOND)
#define REPAIR_AGAIN_US (10 * SECOND)

static bool due(struct database *db)
{
    uint64_t t = db->env->now_us(db->env->data);

    if (db->entry_sent_us != 0 && t - db->entry_sent_us < AGAIN_US) {
        db->env->wake_after(db->env->data, db,
                            AGAIN_US - (t - db->entry_sent_us));
        return false;
    }
    db->entry_sent_us = t;
    db->env->wake_after(db->env->data, db, AGAIN_US);
    return true;
}

static void propose(struct database *db, struct buf *out)
{
    size_t len = 0;
    uint8_t *bytes = buf_take(out, &len);

    if (db->env->propose(db->env->data, db->group, bytes, len) != 0) {
        db->entry_sent_us = 0;
        db->env->wake_after(db->env->data, db, AGAIN_US / 10);
    }
}

static void enroll(struct sim_node *n, struct database *db)
{
    struct entry_enroll e = {.node = db->env->node_id,
                             .page_size = db->page_size,
                             .pages = db->checksum.pages,
                             .checksum = db->checksum.sum};
    struct buf out;

    if (!due(db)) {
        return;
    }
    if (uuid_is_none(&db->enroll_uuid)) {
        draw_bytes(n->sim, db->enroll_uuid.b, sizeof db->enroll_uuid.b);
    }
    memcpy(e.name, db->name, sizeof e.name);
    e.db = db->enroll_uuid;
    db->state = DB_ENROLLING;
    buf_init(&out, PACKET_BYTES_MAX);
    if (entry_encode_enroll(&e, &out) == 0) {
        propose(db, &out);
    }
    buf_close(&out);
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

static void become_ready(struct sim_node *n, struct database *db)
{
    db->state = DB_READY;
    db->entry_sent_us = 0;
    db->member = n->files[db - n->dbs].member = true;
    if (db->repaired_us != 0) {
        contact_note(&n->node, db);
    }
    db->repaired_us = 0;
    trace(n->sim, n->number + 1, "ready", (uint64_t)(db - n->dbs),
          db->applied.txid, db->applied_sum);
}

void contact_note(struct node *node, struct database *db)
{
    struct sim_node *n = sim_node_of(node);
    struct file *f = &n->files[db - n->dbs];

    db->noted.valid = true;
    db->noted.position = db->applied;
    db->noted.checksum = db->applied_sum;
    db->noted.pages = db->applied_pages;
    if (n->sim->plan.mutant == MUTANT_NO_NOTE || n->mute) {
        return;
    }
    f->member = db->member = true;
    f->noted.valid = true;
    f->noted.position = db->noted.position;
    f->noted.checksum = db->noted.checksum;
    f->noted.pages = db->noted.pages;
    trace(n->sim, n->number + 1, "noted", (uint64_t)(db - n->dbs),
          db->applied.txid, db->applied_sum);
    faults_moment(n);
}

static void look_at_member(struct sim_node *n, struct database *db)
{
    const struct file *f = &n->files[db - n->dbs];

    if (db->m == NULL || db->member || !f->member) {
        return;
    }
    db->member = true;
    db->noted.valid = f->noted.valid;
    db->noted.position = f->noted.position;
    db->noted.checksum = f->noted.checksum;
    db->noted.pages = f->noted.pages;
}

static void repair(struct sim_node *n, struct database *db)
{
    uint64_t since = db->env->now_us(db->env->data) - db->repaired_us;

    if (db->repaired_us != 0 && since < REPAIR_AGAIN_US) {
        db->env->wake_after(db->env->data, db, REPAIR_AGAIN_US - since);
        return;
    }
    check_aside(n, (unsigned)(db - n->dbs));
    db->state = DB_FETCHING;
    image_fetch_start(&n->node, db);
}

static void step_ready(struct database *db)
{
    if (!placing_behind(db)) {
        say_holds(db);
    } else if (db->job == NULL && slot_claim(db)) {
        db->state = DB_PLACING;
    } else {
        db->node_waits = true;
    }
}

void contact_step(struct node *node, struct database *db)
{
    struct sim_node *n = sim_node_of(node);

    if (db->state == DB_READY) {
        step_ready(db);
        if (db->state == DB_READY) {
            return;
        }
    }
    if (db->state == DB_FETCHING) {
        image_fetch_step(node, db);
        return;
    }
    if (db->state == DB_OPENING || db->state == DB_REFUSED) {
        return;
    }
    look_at_member(n, db);
    if (db->caught_up && db->scanned && db->m != NULL) {
        placing_noted(db);
    }
    switch (placing_next(db)) {
    case PLACING_WAIT:
    case PLACING_STRANGER:
    case PLACING_CONVERT:
        break;
    case PLACING_ENROLL:
        enroll(n, db);
        break;
    case PLACING_READY:
        become_ready(n, db);
        break;
    case PLACING_FETCH_REPAIR:
        repair(n, db);
        break;
    case PLACING_FETCH:
    case PLACING_CATCH_UP:
    case PLACING_COMPARE:
        db->state = DB_FETCHING;
        image_fetch_start(node, db);
        break;
    }
}
