#include "wire/entry_move.h"

#include "base/err.h"
#include "wire/entry.h"
#include "wire/pack.h"
#include "wire/snapshot.h"

/* Elements of the outer array, kind and version included. */
enum {
    MOVE_FIELDS = 6,
    HELD_FIELDS = 5,
    ADOPT_FIELDS = 7,
    MOVED_FIELDS = 5,
    SHARDS_FIELDS = 6
};

/* ---- rules --------------------------------------------------------------- */

static int valid(unsigned kind, const struct entry_move *e)
{
    bool ok = e->number > 0 && e->group < SHARDS_MAX;

    ok = ok && (kind == ENTRY_ADOPT || !uuid_is_none(&e->db));
    ok = ok && (kind != ENTRY_MOVE || db_name_valid(e->name));
    ok = ok && (kind != ENTRY_HELD || e->node > 0);
    return ok ? 0 : ERR_CORRUPT;
}

static int valid_shards(const struct entry_shards *e)
{
    bool ok = e->action >= SHARDS_BEGIN && e->action <= SHARDS_RULE &&
              e->from > 0 && e->from <= e->to && e->to <= SHARDS_MAX &&
              e->group < SHARDS_MAX;

    return ok ? 0 : ERR_CORRUPT;
}

/* ---- encoding ------------------------------------------------------------ */

static bool begin(unsigned kind, const struct entry_move *e, uint32_t fields,
                  struct buf *out)
{
    if (out->err == 0) {
        out->err = valid(kind, e);
    }
    if (out->err != 0) {
        return false;
    }
    pack_array(out, fields);
    pack_uint(out, kind);
    pack_uint(out, ENTRY_VERSION);
    return true;
}

static void pack_head(struct buf *out, const struct entry_move *e)
{
    pack_bin(out, e->db.b, sizeof e->db.b);
    pack_uint(out, e->number);
}

int entry_encode_move(const struct entry_move *e, struct buf *out)
{
    if (begin(ENTRY_MOVE, e, MOVE_FIELDS, out)) {
        pack_head(out, e);
        pack_uint(out, e->group);
        pack_str(out, e->name);
    }
    return out->err;
}

int entry_encode_held(const struct entry_move *e, struct buf *out)
{
    if (begin(ENTRY_HELD, e, HELD_FIELDS, out)) {
        pack_head(out, e);
        pack_uint(out, e->node);
    }
    return out->err;
}

int entry_encode_adopt(const struct entry_move *e,
                       const struct snapshot_db *state, struct buf *out)
{
    if (begin(ENTRY_ADOPT, e, ADOPT_FIELDS, out)) {
        pack_uint(out, e->number);
        pack_uint(out, e->group);
        pack_bool(out, e->adopted);
        pack_bool(out, e->renamed);
        snapshot_encode_db(state, out);
    }
    return out->err;
}

int entry_encode_moved(const struct entry_move *e, struct buf *out)
{
    if (begin(ENTRY_MOVED, e, MOVED_FIELDS, out)) {
        pack_head(out, e);
        pack_bool(out, e->adopted);
    }
    return out->err;
}

int entry_encode_shards(const struct entry_shards *e, struct buf *out)
{
    if (out->err == 0) {
        out->err = valid_shards(e);
    }
    if (out->err == 0) {
        pack_array(out, SHARDS_FIELDS);
        pack_uint(out, ENTRY_SHARDS);
        pack_uint(out, ENTRY_VERSION);
        pack_uint(out, e->action);
        pack_uint(out, e->group);
        pack_uint(out, e->from);
        pack_uint(out, e->to);
    }
    return out->err;
}

/* ---- decoding ------------------------------------------------------------ */

static void unpack_head(struct unpack *u, struct entry_move *e)
{
    unpack_bin_exact(u, e->db.b, sizeof e->db.b);
    e->number = unpack_uint(u, UINT64_MAX);
}

static void unpack_adopt(struct unpack *u, struct entry_move *e)
{
    struct snapshot_db state;

    e->number = unpack_uint(u, UINT64_MAX);
    e->group = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
    e->adopted = unpack_bool(u);
    e->renamed = unpack_bool(u);
    e->state = *u;
    snapshot_next(u, &state);
    e->db = state.db;
}

int entry_decode_move(struct unpack *u, unsigned kind, uint32_t fields,
                      struct entry_move *e)
{
    static const uint32_t expected[] = {[ENTRY_MOVE] = MOVE_FIELDS,
                                        [ENTRY_HELD] = HELD_FIELDS,
                                        [ENTRY_ADOPT] = ADOPT_FIELDS,
                                        [ENTRY_MOVED] = MOVED_FIELDS};

    if (fields != expected[kind]) {
        return ERR_CORRUPT;
    }
    if (kind == ENTRY_ADOPT) {
        unpack_adopt(u, e);
    } else {
        unpack_head(u, e);
    }
    if (kind == ENTRY_MOVE) {
        e->group = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
        unpack_str(u, e->name, sizeof e->name);
    } else if (kind == ENTRY_HELD) {
        e->node = unpack_uint(u, UINT64_MAX);
    } else if (kind == ENTRY_MOVED) {
        e->adopted = unpack_bool(u);
    }
    return u->err ? u->err : valid(kind, e);
}

int entry_decode_shards(struct unpack *u, uint32_t fields,
                        struct entry_shards *e)
{
    if (fields != SHARDS_FIELDS) {
        return ERR_CORRUPT;
    }
    e->action = (enum shards_action)unpack_uint(u, SHARDS_RULE);
    e->group = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
    e->from = (uint32_t)unpack_uint(u, SHARDS_MAX);
    e->to = (uint32_t)unpack_uint(u, SHARDS_MAX);
    return u->err ? u->err : valid_shards(e);
}
