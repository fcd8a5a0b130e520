#include "wire/snapshot.h"

#include <string.h>

#include "base/err.h"
#include "wire/entry.h"
#include "wire/pack.h"
#include "wire/page.h"

enum { HEAD_FIELDS = 6, DB_FIELDS = 11, RING_FIELDS = 5 };

/* ---- encoding ------------------------------------------------------------ */

int snapshot_encode_head(const struct snapshot_head *h, struct buf *out)
{
    bool moves = moves_any(&h->moves);

    pack_array(out, moves ? HEAD_FIELDS + 1 : HEAD_FIELDS);
    pack_uint(out, moves ? SNAPSHOT_VERSION_MOVES : SNAPSHOT_VERSION);
    pack_bin(out, h->cluster.b,
             uuid_is_none(&h->cluster) ? 0 : sizeof h->cluster.b);
    pack_uint(out, h->shards);
    registry_pack(out, &h->registry);
    if (moves) {
        moves_pack(out, &h->moves);
    }
    pack_array(out, h->n_dbs);
    return out->err;
}

int snapshot_encode_db(const struct snapshot_db *db, struct buf *out)
{
    pack_array(out, DB_FIELDS);
    pack_str(out, db->name);
    pack_bin(out, db->db.b, sizeof db->db.b);
    pack_uint(out, db->position.txid);
    pack_uint(out, db->position.hash);
    pack_uint(out, db->page_size);
    pack_uint(out, db->pages);
    pack_uint(out, db->checksum);
    pack_uint(out, db->enrolled_by);
    pack_bool(out, db->born_empty);
    pack_array(out, db->n_holders);
    for (unsigned i = 0; i < db->n_holders; i++) {
        pack_uint(out, db->holders[i]);
    }
    pack_array(out, db->n_ring * RING_FIELDS);
    for (unsigned i = 0; i < db->n_ring; i++) {
        pack_uint(out, db->ring[i].hash);
        pack_uint(out, db->ring[i].token.node);
        pack_uint(out, db->ring[i].token.start);
        pack_uint(out, db->ring[i].token.session);
        pack_uint(out, db->ring[i].token.sequence);
    }
    return out->err;
}

/* ---- decoding ------------------------------------------------------------ */

static void fail(struct unpack *u, int err)
{
    if (u->err == 0) {
        u->err = err;
    }
}

/* Returns whether something is said about moves. */
static bool read_version(struct unpack *u)
{
    uint32_t fields = unpack_array(u);
    uint64_t version = unpack_uint(u, UINT32_MAX);
    bool moves = version == SNAPSHOT_VERSION_MOVES;

    if (version != SNAPSHOT_VERSION && !moves) {
        fail(u, ERR_VERSION);
    } else if (fields != (moves ? HEAD_FIELDS + 1 : HEAD_FIELDS)) {
        fail(u, ERR_CORRUPT);
    }
    return moves;
}

void snapshot_begin(struct unpack *u, const void *bytes, size_t len,
                    struct snapshot_head *h)
{
    const uint8_t *cluster;
    size_t cluster_len = 0;
    bool moves;

    memset(h, 0, sizeof *h);
    unpack_init(u, bytes, len);
    moves = read_version(u);
    cluster = unpack_bin(u, sizeof h->cluster.b, &cluster_len);
    if (cluster != NULL && cluster_len == sizeof h->cluster.b) {
        memcpy(h->cluster.b, cluster, cluster_len);
    } else if (cluster_len != 0) {
        fail(u, ERR_CORRUPT);
    }
    h->shards = (uint32_t)unpack_uint(u, SHARDS_MAX);
    if ((h->shards == 0) != uuid_is_none(&h->cluster)) {
        fail(u, ERR_CORRUPT);
    }
    registry_unpack(u, &h->registry);
    if (moves) {
        moves_unpack(u, &h->moves);
    }
    h->n_dbs = unpack_array(u);
    if (h->n_dbs > GROUP_DATABASES_MAX) {
        fail(u, ERR_TOO_BIG);
    }
}

static void read_holders(struct unpack *u, struct snapshot_db *db)
{
    uint32_t n = unpack_array(u);

    if (n > NODES_MAX) {
        fail(u, ERR_TOO_BIG);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        db->holders[i] = unpack_uint(u, UINT64_MAX);
    }
    db->n_holders = n;
    unpack_leave(u);
}

static void read_ring(struct unpack *u, struct snapshot_db *db)
{
    uint32_t count = unpack_array(u), n = count / RING_FIELDS;

    if (count % RING_FIELDS != 0 || n > TOKEN_RING || n > db->position.txid) {
        fail(u, ERR_CORRUPT);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        db->ring[i].hash = unpack_uint(u, UINT64_MAX);
        db->ring[i].token.node = unpack_uint(u, UINT64_MAX);
        db->ring[i].token.start = unpack_uint(u, UINT64_MAX);
        db->ring[i].token.session = unpack_uint(u, UINT64_MAX);
        db->ring[i].token.sequence = unpack_uint(u, UINT64_MAX);
    }
    db->n_ring = n;
    unpack_leave(u);
}

/* The last one of the ring is the position; a fresh database has neither. */
static bool consistent(const struct snapshot_db *db)
{
    bool known = db->n_ring > 0
                     ? db->ring[db->n_ring - 1].hash == db->position.hash
                     : db->position.txid == 0 && db->position.hash == 0;
    bool size = db->page_size == 0 || page_size_valid(db->page_size);

    return known && size && db_name_valid(db->name) && db->enrolled_by != 0 &&
           !uuid_is_none(&db->db);
}

void snapshot_next(struct unpack *u, struct snapshot_db *db)
{
    memset(db, 0, sizeof *db);
    unpack_array_of(u, DB_FIELDS);
    unpack_str(u, db->name, sizeof db->name);
    unpack_bin_exact(u, db->db.b, sizeof db->db.b);
    db->position.txid = unpack_uint(u, UINT64_MAX);
    db->position.hash = unpack_uint(u, UINT64_MAX);
    db->page_size = (uint32_t)unpack_uint(u, PAGE_SIZE_MAX);
    db->pages = (uint32_t)unpack_uint(u, PAGE_NUMBER_MAX);
    db->checksum = unpack_uint(u, UINT64_MAX);
    db->enrolled_by = unpack_uint(u, UINT64_MAX);
    db->born_empty = unpack_bool(u);
    read_holders(u, db);
    read_ring(u, db);
    unpack_leave(u);
    if (u->err == 0 && !consistent(db)) {
        fail(u, ERR_CORRUPT);
    }
}

int snapshot_check(const void *bytes, size_t len)
{
    struct snapshot_head h;
    struct snapshot_db db;
    struct unpack u;

    snapshot_begin(&u, bytes, len, &h);
    for (uint32_t i = 0; i < h.n_dbs && u.err == 0; i++) {
        snapshot_next(&u, &db);
    }
    if (u.err == 0) {
        unpack_leave(&u);
    }
    return unpack_end(&u);
}
