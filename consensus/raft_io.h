/* raft_io over the store and the transport: one implementation for all groups.
 *
 * Meant to stand under filters.h. Nothing fails (a failing store stops the
 * node) and no callback comes from inside a call. Snapshots are neither taken
 * nor sent, so one that arrives is an error that stops the node. */
#ifndef CONSENSUS_RAFT_IO_H
#define CONSENSUS_RAFT_IO_H

#include <raft.h>
#include <uv.h>

#include "base/limits.h"
#include "base/list.h"
#include "consensus/store.h"

/* Shared by the groups of a node. */
struct raft_io_host {
    uv_loop_t *loop;
    struct store *store;
    void *data;
    /* Queue a message for a peer; it is encoded during the call. It may be
     * lost. */
    void (*send)(void *data, uint64_t peer, unsigned group,
                 const struct raft_message *message);
    void (*fatal)(void *data, const char *why);
    /* private */
    struct list sent; /* sends to be completed */
    uint64_t random;
};

struct raft_io_group {
    struct raft_io raw; /* for filters_init */
    unsigned group;
    struct raft_io_host *host;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    /* A write of this group became durable; after its callbacks. */
    void (*durable)(void *data);
    void *data;
    uint64_t bytes;   /* payload of the entries in memory */
    uint64_t written; /* sequence number of this group's last write */
    /* private */
    const struct raft *raft;
    struct store_group loaded; /* until the core takes it */
    raft_index last;
    raft_term term;
    raft_id vote;
    unsigned in_flight;
    raft_io_close_cb close;
};

/* The two functions and the data of `host` are the caller's to fill before. */
void raft_io_host_init(struct raft_io_host *host, uv_loop_t *loop,
                       struct store *store, uint64_t node_id);

/* Complete the sends of this turn. Call once or more per turn of the loop,
 * while no core is on the stack. */
void raft_io_host_complete(struct raft_io_host *host);

/* `raft` is the core above; not used before it is started. */
void raft_io_group_init(struct raft_io_group *g, unsigned group,
                        const struct raft *raft, struct raft_io_host *host,
                        void (*durable)(void *data), void *data);

/* Read the group from the store, for raft_start. See store_load. Undone by
 * raft_io_group_unload when the core is not started after all. */
int raft_io_group_load(struct raft_io_group *g, char *why, size_t why_size);
void raft_io_group_unload(struct raft_io_group *g);

#endif
