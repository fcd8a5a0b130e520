/* raft_io over the store and the transport: one implementation for all groups.
 *
 * Meant to stand under filters.h. Nothing fails (a failing store stops the
 * node) and no callback comes from inside a call. */
#ifndef CONSENSUS_RAFT_IO_H
#define CONSENSUS_RAFT_IO_H

#include <raft.h>
#include <uv.h>

#include "base/limits.h"
#include "base/list.h"
#include "consensus/store.h"

struct raft_io_put;

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
    struct list sent, gets; /* sends, snapshot_gets to be completed */
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
    /* A snapshot is to be stored in place of the log before it: call
     * raft_io_group_put once nothing else needs those entries. */
    void (*put)(void *data);
    void *data;
    uint64_t bytes;   /* payload of the entries in memory */
    uint64_t written; /* sequence number of this group's last write */
    /* private */
    const struct raft *raft;
    struct store_group loaded;      /* until the core takes it */
    struct store_snapshot snapshot; /* the last one stored */
    struct raft_io_put *putting;    /* the next one; NULL: none */
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

/* `raft` is the core above; not used before it is started. The callbacks and
 * their data are the caller's to fill afterwards. */
void raft_io_group_init(struct raft_io_group *g, unsigned group,
                        const struct raft *raft, struct raft_io_host *host);

/* After the core is closed, or was never started. */
void raft_io_group_close(struct raft_io_group *g);

/* Read the group from the store, for raft_start. See store_load. */
int raft_io_group_load(struct raft_io_group *g, char *why, size_t why_size);

/* Store the snapshot that `put` announced. */
void raft_io_group_put(struct raft_io_group *g);

#endif
