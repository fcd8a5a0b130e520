/* First contact, as node/contact.c, without its files: a local copy's
 * membership is a flag that survives. */
#include <string.h>

#include "tests/cluster/sim.h"

#define AGAIN_US (1 * SECOND)

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
    trace(n->sim, n->number + 1, "ready", (uint64_t)(db - n->dbs),
          db->applied.txid, db->applied_sum);
}

void contact_note(struct node *node, struct database *db)
{
    (void)node;
    (void)db; /* only where logs are shortened */
}

void contact_step(struct node *node, struct database *db)
{
    struct sim_node *n = sim_node_of(node);

    if (db->state == DB_READY) {
        say_holds(db);
        return;
    }
    if (db->state == DB_FETCHING) {
        image_fetch_step(node, db);
        return;
    }
    if (db->state == DB_OPENING || db->state == DB_REFUSED) {
        return;
    }
    db->member = n->files[db - n->dbs].member;
    switch (placing_next(db)) {
    case PLACING_WAIT:
    case PLACING_CONVERT:
        break;
    case PLACING_ENROLL:
        enroll(n, db);
        break;
    case PLACING_READY:
        become_ready(n, db);
        break;
    case PLACING_FETCH:
    case PLACING_FETCH_REPAIR:
    case PLACING_CATCH_UP:
    case PLACING_COMPARE:
        db->state = DB_FETCHING;
        image_fetch_start(node, db);
        break;
    }
}
