/* Leases on the leader of a group: which node may write which database.
 *
 * A performance hint, in memory only, never evidence: a new leader starts with
 * an empty table, two holders are then possible for a moment, and the
 * compare-and-swap in the log decides. FIFO between nodes. Sticky: a holder
 * keeps the lease until somebody else asks; it then has the time it needs to
 * end its transaction (and its own quantum) before it releases.
 *
 *   FREE --ask--> HELD --ask by another--> HELD, recalled
 *    ^             |                          |
 *    +--release----+--- release / peer down --+--> next in the queue: HELD
 *
 * Pure: messages leave through `send`, which may not call back in. */
#ifndef NODE_LEASE_TABLE_H
#define NODE_LEASE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/list.h"
#include "wire/ids.h"

enum lease_word { LEASE_GRANT, LEASE_RECALL };

struct lease_table {
    struct list leases;
    uint64_t epoch;     /* counts grants */
    uint64_t handovers; /* of which from one node to another */
    void *data;
    void (*send)(void *data, uint64_t node, enum lease_word word,
                 const struct uuid *db, uint64_t epoch);
};

void lease_table_init(struct lease_table *t, void *data,
                      void (*send)(void *data, uint64_t node,
                                   enum lease_word word, const struct uuid *db,
                                   uint64_t epoch));

/* No longer, or newly, the leader: forget everything. Also frees. */
void lease_table_clear(struct lease_table *t);

/* A node that asks again while it holds is granted again (the first grant may
 * have been lost with a connection). Returns 0 or -ENOMEM. */
int lease_table_ask(struct lease_table *t, uint64_t node,
                    const struct uuid *db);

/* Ignored unless `node` holds that epoch. */
void lease_table_release(struct lease_table *t, uint64_t node,
                         const struct uuid *db, uint64_t epoch);

/* The link to a node is gone, and with it its leases and its place in line. */
void lease_table_drop(struct lease_table *t, uint64_t node);

/* 0 = nobody. */
uint64_t lease_table_holder(const struct lease_table *t, const struct uuid *db);

#endif
