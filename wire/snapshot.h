/* A snapshot of a group's state machine: what the log said up to some index,
 * without the pages. It takes the place of the log before that index.
 *
 * msgpack, docs/FORMATS.md has the layout. Pure. */
#ifndef WIRE_SNAPSHOT_H
#define WIRE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "wire/ids.h"
#include "wire/member.h"
#include "wire/moves.h"
#include "wire/unpack.h"

/* The second has what is on its way; where nothing ever was, the first one is
 * written. */
#define SNAPSHOT_VERSION 1
#define SNAPSHOT_VERSION_MOVES 2

struct snapshot_head {
    struct uuid cluster; /* none: not named yet, or not group 0 */
    uint32_t shards;     /* with a cluster */
    struct registry registry;
    struct moves moves;
    uint32_t n_dbs;
};

struct snapshot_db {
    char name[DB_NAME_MAX + 1];
    struct uuid db;
    struct position position;
    uint32_t page_size; /* bytes; 0: still without content */
    uint32_t pages;
    uint64_t checksum;
    uint64_t enrolled_by; /* node id */
    bool born_empty;
    uint64_t holders[NODES_MAX]; /* node ids */
    unsigned n_holders;
    /* Who took the database to the last `n_ring` positions, oldest first; the
     * last one is `position`. */
    struct {
        uint64_t hash;
        struct token token;
    } ring[TOKEN_RING];
    unsigned n_ring;
};

/* Append to `out`: one head, then n_dbs databases. Return 0 or out->err. */
int snapshot_encode_head(const struct snapshot_head *h, struct buf *out);
int snapshot_encode_db(const struct snapshot_db *db, struct buf *out);

/* Everything is checked: what decodes once does so again. Returns 0,
 * ERR_CORRUPT, ERR_TOO_BIG or ERR_VERSION. */
int snapshot_check(const void *bytes, size_t len);

/* Read what snapshot_check has accepted: the head, then head.n_dbs times a
 * database. */
void snapshot_begin(struct unpack *u, const void *bytes, size_t len,
                    struct snapshot_head *h);
void snapshot_next(struct unpack *u, struct snapshot_db *db);

#endif
