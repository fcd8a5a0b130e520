/* Log entries by which a database gets another name or another group. What
 * they do is in node/machine_move.c; layouts in docs/FORMATS.md. */
#ifndef WIRE_ENTRY_MOVE_H
#define WIRE_ENTRY_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "wire/ids.h"
#include "wire/unpack.h"

struct snapshot_db;

/* Fields that a kind does not have are 0. */
struct entry_move {
    struct uuid db;
    uint64_t number; /* of the move, counted by the group that it leaves */
    uint32_t group;  /* MOVE: where it is to go; ADOPT: where it comes from */
    uint64_t node;   /* HELD */
    bool adopted;    /* ADOPT: false: refuse this move; MOVED: how it ended */
    bool renamed;    /* ADOPT: the name is not that of before */
    char name[DB_NAME_MAX + 1]; /* MOVE: from now on */
    struct unpack state;        /* ADOPT, decoder: for snapshot_next */
};

enum shards_action {
    SHARDS_BEGIN = 1, /* in group 0: there are `to` groups from now on */
    SHARDS_DONE,      /* in group 0: what must leave `group` has left it */
    SHARDS_RULE /* in any: new names must be at home in it, whether there are
                   `from` groups or `to` */
};

struct entry_shards {
    enum shards_action action;
    uint32_t group; /* SHARDS_DONE */
    uint32_t from, to;
};

/* Append to `out`. Return 0, out->err, or what entry_decode would say of such
 * an entry, which then stays in out->err too. */
int entry_encode_move(const struct entry_move *e, struct buf *out);
int entry_encode_held(const struct entry_move *e, struct buf *out);
/* `state` is the database as its new group is to have it; e->db is not used. */
int entry_encode_adopt(const struct entry_move *e,
                       const struct snapshot_db *state, struct buf *out);
int entry_encode_moved(const struct entry_move *e, struct buf *out);
int entry_encode_shards(const struct entry_shards *e, struct buf *out);

/* For entry_decode: the fields behind kind and version, of which there are
 * `fields` with these two. Returns 0 or ERR_*. */
int entry_decode_move(struct unpack *u, unsigned kind, uint32_t fields,
                      struct entry_move *e);
int entry_decode_shards(struct unpack *u, uint32_t fields,
                        struct entry_shards *e);

#endif
