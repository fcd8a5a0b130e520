/* Databases on their way from one group to another, as one group knows of
 * them: the part of its state that is not about the databases that it has. */
#ifndef WIRE_MOVES_H
#define WIRE_MOVES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "wire/ids.h"
#include "wire/unpack.h"

/* Databases that went elsewhere and are remembered; the oldest goes first. */
#define MOVES_LEFT_MAX 256u

/* The last move out of another group that was decided here. */
struct move_decided {
    uint32_t from;
    uint64_t number;
    bool adopted;
};

struct move_left {
    struct uuid db;
    uint32_t to;
    uint64_t number;
};

struct moves {
    uint64_t number; /* of the last one that began here; 0: none yet */
    bool active;     /* it has not ended: `db` is frozen */
    struct uuid db;
    uint32_t to;                /* its new group */
    char name[DB_NAME_MAX + 1]; /* and its new name */
    uint64_t held[NODES_MAX];   /* nodes whose file has its last position */
    unsigned n_held;
    struct move_decided decided[SHARDS_MAX]; /* one a group at most */
    unsigned n_decided;
    struct move_left left[MOVES_LEFT_MAX]; /* oldest first */
    unsigned n_left;
    /* New names must be at home here by both; 0: nobody has said. */
    uint32_t rule_from, rule_to;
    /* Group 0: there were so many groups before more were added, and these of
     * them have nothing any more that must leave; 0: all are through. */
    uint32_t growing_from;
    uint8_t done[SHARDS_MAX / 8];
};

/* Was anything moved yet? Otherwise there is nothing to write. */
bool moves_any(const struct moves *m);
void moves_pack(struct buf *out, const struct moves *m);
void moves_unpack(struct unpack *u, struct moves *m);

/* NULL: none was decided here. */
const struct move_decided *moves_decided(const struct moves *m, uint32_t from);
/* The last time that it left; NULL: never, or long ago. */
const struct move_left *moves_left(const struct moves *m,
                                   const struct uuid *db);

#endif
