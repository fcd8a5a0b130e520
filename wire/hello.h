/* The first packet of either side of a connection between nodes. */
#ifndef WIRE_HELLO_H
#define WIRE_HELLO_H

#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "wire/ids.h"

#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define HELLO_MAGIC "MARMOT-PEER"

struct hello {
    uint32_t version_min, version_max; /* of everything inside packets */
    struct uuid cluster; /* none: this node has not learned it yet */
    struct uuid store;   /* of this node's store.db */
    uint64_t starts;     /* how often that store was opened */
    uint64_t node_id;
    uint32_t shards;
    uint8_t role;      /* enum node_role */
    uint64_t features; /* bits, none defined */
    char advertise[ADDRESS_MAX];
    /* The initial members as the flags name them, sorted by id, as text
     * "1,2,3/replica": nodes compare and refuse a difference. */
    char members[1024];
};

enum node_role { ROLE_VOTER = 1, ROLE_REPLICA = 2 };

/* Append it. Texts must be printable ASCII, node_id and shards set, the role
 * one of the above: otherwise ERR_CORRUPT or ERR_TOO_BIG, which stays in
 * out->err. Whether the ids are the right ones is for the reader to judge. */
int hello_encode(const struct hello *h, struct buf *out);

/* Returns 0; ERR_VERSION when no version is known to both sides; ERR_CORRUPT or
 * ERR_TOO_BIG. *h is untouched on failure. */
int hello_decode(const void *bytes, size_t len, struct hello *h);

#endif
