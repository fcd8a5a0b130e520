/* Nodes as members of a cluster: one, a list in a log entry, the whole registry
 * in a snapshot, and the question and answer of a node that wants to join.
 *
 * msgpack; docs/FORMATS.md has the layouts. Pure. */
#ifndef WIRE_MEMBER_H
#define WIRE_MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "wire/ids.h"
#include "wire/unpack.h"

struct member_info {
    uint64_t id;
    struct uuid store; /* none: not known yet */
    char address[ADDRESS_MAX];
    bool replica;
};

/* A member as the cluster's registry has it. */
struct registered {
    struct member_info info;
    bool leaving;                 /* being taken out of the groups */
    uint8_t left[SHARDS_MAX / 8]; /* bit g: group g has taken it out */
};

/* Somebody who was a member. */
struct departed {
    uint64_t id;
    struct uuid store;
};

struct registry {
    unsigned n;
    struct registered members[NODES_MAX];
    unsigned n_departed;
    struct departed departed[NODES_MAX]; /* the last ones, oldest first */
};

/* Is it one that may be written? Address: "host:port", printable. */
bool member_valid(const struct member_info *m);

/* One member, as one array. The decoder sets u->err. */
void member_pack(struct buf *out, const struct member_info *m);
void member_unpack(struct unpack *u, struct member_info *m);

void registry_pack(struct buf *out, const struct registry *r);
void registry_unpack(struct unpack *u, struct registry *r);

/* What a node that wants to join asks, and what it needs to know to start. */
struct join_answer {
    struct uuid cluster;
    uint32_t shards;
    unsigned n;
    struct member_info members[NODES_MAX]; /* the asker among them */
};

/* Return 0 or out->err; 0, ERR_CORRUPT, ERR_TOO_BIG or ERR_VERSION. */
int join_ask_encode(const struct member_info *m, struct buf *out);
int join_ask_decode(const void *bytes, size_t len, struct member_info *m);
int join_answer_encode(const struct join_answer *a, struct buf *out);
int join_answer_decode(const void *bytes, size_t len, struct join_answer *a);

#endif
