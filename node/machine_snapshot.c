/* The state of a group as a snapshot, and back. */
#include <string.h>

#include "base/err.h"
#include "node/machine_internal.h"
#include "wire/snapshot.h"

void machine_describe(const struct machine_db *db, struct snapshot_db *out)
{
    uint64_t last = db->position.txid;
    uint64_t n = last < TOKEN_RING ? last : TOKEN_RING;

    memset(out, 0, sizeof *out);
    memcpy(out->name, db->name, sizeof out->name);
    out->db = db->uuid;
    out->position = db->position;
    out->page_size = db->page_size;
    out->pages = db->pages;
    out->checksum = db->checksum;
    out->enrolled_by = db->enrolled_by;
    out->born_empty = db->born_empty;
    memcpy(out->holders, db->holders, sizeof out->holders);
    out->n_holders = db->n_holders;
    for (uint64_t txid = last - n + 1; txid <= last; txid++) {
        /* After a restore the oldest ones may be unknown. */
        if (machine_token(db, txid, &out->ring[out->n_ring].token,
                          &out->ring[out->n_ring].hash)) {
            out->n_ring++;
        }
    }
}

int machine_snapshot(const struct machine *m, struct buf *out)
{
    struct snapshot_head h = {.cluster = m->cluster,
                              .shards = m->shards,
                              .registry = m->registry,
                              .moves = m->moves};
    struct snapshot_db d;
    const struct list *l;

    for (l = m->dbs.next; l != &m->dbs; l = l->next) {
        if (!list_empty(&LIST_ENTRY(l, struct machine_db, link)->parts)) {
            return ERR_BUSY;
        }
        h.n_dbs++;
    }
    snapshot_encode_head(&h, out);
    for (l = m->dbs.next; l != &m->dbs; l = l->next) {
        machine_describe(LIST_ENTRY(l, struct machine_db, link), &d);
        snapshot_encode_db(&d, out);
    }
    return out->err;
}

void machine_become(struct machine_db *db, const struct snapshot_db *s)
{
    uint64_t first = s->position.txid - s->n_ring + 1;

    machine_drop_parts(&db->parts);
    memcpy(db->name, s->name, sizeof db->name);
    db->uuid = s->db;
    db->position = s->position;
    db->page_size = s->page_size;
    db->pages = s->pages;
    db->checksum = s->checksum;
    db->enrolled_by = s->enrolled_by;
    db->born_empty = s->born_empty;
    memcpy(db->holders, s->holders, sizeof db->holders);
    db->n_holders = s->n_holders;
    memset(db->ring, 0, sizeof db->ring);
    for (unsigned i = 0; i < s->n_ring; i++) {
        unsigned at = (unsigned)((first + i) % TOKEN_RING);
        db->ring[at].txid = first + i;
        db->ring[at].hash = s->ring[i].hash;
        db->ring[at].token = s->ring[i].token;
    }
}

static void restore_db(struct machine *m, const struct snapshot_db *s)
{
    struct machine_db *db = machine_find_uuid(m, &s->db);
    bool known = db != NULL;
    bool renamed = known && strcmp(db->name, s->name) != 0;

    if (!known) {
        db = machine_new_db(m);
    }
    machine_become(db, s);
    db->restored = true;
    db->frozen = m->moves.active && uuid_equal(&m->moves.db, &db->uuid);
    if (renamed) {
        m->events->renamed(m->events->data, db);
    }
    if (known) {
        m->events->jumped(m->events->data, db);
    } else {
        m->events->enrolled(m->events->data, db);
    }
}

/* What the snapshot does not have was dropped on the way to it, or left. */
static void sweep(struct machine *m)
{
    struct list *next;

    for (struct list *l = m->dbs.next; l != &m->dbs; l = next) {
        struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        next = l->next;
        if (!db->restored) {
            machine_gone(m, db);
        }
    }
}

static void mark_old(struct machine *m)
{
    for (struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
        LIST_ENTRY(l, struct machine_db, link)->restored = false;
    }
}

int machine_restore(struct machine *m, const void *bytes, size_t len)
{
    int rv = snapshot_check(bytes, len);
    struct entry_cluster cluster;
    struct snapshot_head h;
    struct snapshot_db s;
    struct unpack u;

    if (rv != 0) {
        return rv;
    }
    snapshot_begin(&u, bytes, len, &h);
    if (!uuid_is_none(&h.cluster)) {
        cluster = (struct entry_cluster){h.cluster, h.shards};
        machine_apply_cluster(m, &cluster);
        m->shards = h.shards;
        m->events->shards(m->events->data, m->shards, false);
    }
    if (h.registry.n > 0) {
        m->registry = h.registry;
        m->events->members(m->events->data);
    }
    m->moves = h.moves;
    mark_old(m);
    for (uint32_t i = 0; i < h.n_dbs; i++) {
        snapshot_next(&u, &s);
        restore_db(m, &s);
    }
    sweep(m);
    if (moves_any(&m->moves)) {
        m->events->moving(m->events->data);
    }
    return 0;
}
