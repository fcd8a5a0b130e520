/* Leases on the leader of a group: which node may write which database.
 *
 * Nobody else holds a lease as long as one is valid. The holder counts its
 * validity from when it asked, by its own clock; the table keeps the lease from
 * others a little longer by its own. What the table may promise ends where the
 * proof ends that this node still leads (reign.h), hence a new leader lets the
 * leases of all before it run out, or takes their table over, before it grants
 * its first one.
 *
 * FIFO between nodes. Sticky: a holder is granted again whenever it asks; when
 * another one asks it is told, and has the time it needs to end its transaction
 * (and its own quantum) before it releases. In memory only.
 *
 *   FREE --ask--> HELD --ask by another--> HELD, recalled
 *    ^             |                          |
 *    +--release----+----- release / run out --+--> next in the queue: HELD
 *
 * Pure: messages leave through `send`, which may not call back in. */
#ifndef NODE_LEASE_TABLE_H
#define NODE_LEASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "wire/host.h"

/* How long after a promise of `us`, made by another clock, it is over for sure:
 * clocks may differ by an eighth. */
static inline uint64_t lease_outlived_us(uint64_t us)
{
    return us + us / 8;
}

/* `kind` is HOST_LEASE_GRANT or HOST_LEASE_RECALL; of `l`, the database, epoch,
 * stamp and validity are filled in. */
typedef void (*lease_send)(void *data, uint64_t node, enum host_kind kind,
                           struct host_lease *l);

struct lease_table {
    struct list leases;
    uint64_t term;
    uint64_t opens_us;  /* nothing is granted before */
    bool closed;        /* nothing is granted any more in this term */
    uint64_t epoch;     /* of the last grant */
    uint64_t handovers; /* from one node to another */
    void *data;
    lease_send send;
};

void lease_table_init(struct lease_table *t, void *data, lease_send send);

/* Forget everything. Also frees. */
void lease_table_clear(struct lease_table *t);

/* Newly the leader: all before is forgotten, and nothing is granted before
 * `opens_us`. */
void lease_table_begin(struct lease_table *t, uint64_t term, uint64_t opens_us);

/* No longer the leader. What is held stays known, to be handed over. */
void lease_table_close(struct lease_table *t);

bool lease_table_is_open(const struct lease_table *t, uint64_t now_us);

/* A node wants the lease of l->db, or wants to keep it: l->epoch is that of its
 * lease, if it has one. Returns 0 or -ENOMEM. */
int lease_table_ask(struct lease_table *t, uint64_t node,
                    const struct host_lease *l, uint64_t now_us);

/* Ignored unless `node` holds that epoch. */
void lease_table_release(struct lease_table *t, uint64_t node,
                         const struct uuid *db, uint64_t epoch);

/* The link to a node is gone: it asks again. What it holds runs out. */
void lease_table_drop(struct lease_table *t, uint64_t node);

/* Could something be granted now? */
bool lease_table_waits(const struct lease_table *t, uint64_t now_us);

/* Grant what can be granted, for `valid_us` at most. */
void lease_table_step(struct lease_table *t, uint64_t now_us,
                      uint64_t valid_us);

/* To the leader of the next term: close, and write what is held to *out, as the
 * payload of a HOST_LEASE_TABLE. Returns 0, or < 0 when there is no room, or
 * ERR_NOT_LEADER when this table does not know of all leases itself. */
int lease_table_hand_over(struct lease_table *t, uint64_t term, uint64_t now_us,
                          struct buf *out);

/* From the leader of the term before: open at once, with what is held. Returns
 * 0, or < 0 when it is malformed or not for this term. */
int lease_table_take_over(struct lease_table *t, const void *bytes, size_t len,
                          uint64_t now_us);

/* 0 = nobody. */
uint64_t lease_table_holder(const struct lease_table *t, const struct uuid *db,
                            uint64_t now_us);

#endif
