/* The log store: entries, snapshots, terms and votes of all groups of a node,
 * and who the node is, in one SQLite file (docs/FORMATS.md).
 *
 * The loop's thread queues writes; store_submit makes one transaction with one
 * sync of all that is queued: at once, or, when that is large or the disk slow,
 * on the store's own thread. Writes complete strictly in the order in which
 * they were queued, from store_submit or from the loop. A full disk is waited
 * for: the writes stay queued. Any other failure completes nothing more: the
 * store says why, once, and the node must stop. */
#ifndef CONSENSUS_STORE_H
#define CONSENSUS_STORE_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/histogram.h"
#include "base/limits.h"
#include "base/list.h"
#include "wire/ids.h"

#define STORE_MEMBERS_MAX 1024

struct store;

struct store_identity {
    struct uuid store;   /* random, made with the file */
    struct uuid cluster; /* none until it is learned */
    bool joined;         /* its groups began empty */
    uint64_t starts;     /* how often the file was opened, this time included:
                            store_start_count; below it a number of this start
                            that an old copy of the file cannot hit upon */
    uint64_t node_id;
    uint32_t shards;
    char members[STORE_MEMBERS_MAX];
};

#define STORE_START_BITS 31
static inline uint64_t store_start_count(uint64_t starts)
{
    return starts >> STORE_START_BITS;
}

/* What we know of a peer's store. */
struct store_peer {
    uint64_t node_id;
    struct uuid store;
    uint64_t starts; /* the highest that we have met */
};

struct store_options {
    uv_loop_t *loop;
    const char *folder; /* created when missing; copied */
    uint64_t node_id;
    uint32_t shards;
    const char *members; /* canonical text, must stay the same until the members
                            are `registered` */
    bool registered;
    /* The configuration that every group starts with: entry 1, of term 1. Not
     * so on a node that `joined`: its groups start empty. */
    const void *conf;
    size_t conf_len;
    bool joined;
    struct uuid new_store, cluster; /* of a new store; none: random, unknown */
    void *data;
    void (*fatal)(void *data, const char *why);
};

enum store_write_kind {
    STORE_APPEND,
    STORE_TRUNCATE,
    STORE_SNAPSHOT,
    STORE_META,
    STORE_PEER,
    STORE_CLUSTER,
    STORE_GROUPS
};

/* What a group's log said up to `index`, as bytes of somebody else. */
struct store_snapshot {
    uint64_t index, term; /* index 0: there is none */
    uint64_t conf_index;
    void *conf, *data; /* the configuration, encoded; the state */
    size_t conf_len, data_len;
};

/* One write. Embedded in the caller's memory and kept until `done`. */
struct store_write {
    enum store_write_kind kind;
    uint32_t group;
    uint64_t index;                   /* APPEND: of the first entry;
                                         TRUNCATE: first one to go;
                                         SNAPSHOT: first one that stays */
    const struct raft_entry *entries; /* kept until done, not copied */
    unsigned n;
    const struct store_snapshot *snapshot; /* kept until done */
    bool replaces;       /* SNAPSHOT: no entry behind it stays */
    uint64_t term, vote; /* META */
    struct store_peer peer;
    struct uuid cluster;
    /* GROUPS: `group` and those behind it are new, up to here; `entries` has
     * the one that each begins with, if n is 1. */
    uint32_t shards;
    void (*done)(struct store_write *write);
    void *data;
    /* private */
    struct list link;
    uint64_t sequence;
};

/* What a group had on disk. */
struct store_group {
    uint64_t term, vote;
    struct store_snapshot snapshot; /* conf and data malloc'ed */
    uint64_t first;                 /* index of the first entry */
    struct raft_entry *entries;     /* raft_malloc'ed, as each payload is; batch
                                       NULL */
    size_t n, capacity;
};

/* Open or create. The start counter has been raised durably when this returns.
 * On failure returns < 0 with one line in `why`; nothing is left behind but
 * perhaps a new folder and an empty file. Blocks: call before the loop runs. */
int store_open(const struct store_options *options, struct store **out,
               char *why, size_t why_size);

/* Close again; instead of store_start. */
void store_discard(struct store *s);

/* Start the thread: from here on writes are taken. Returns 0 or -errno. */
int store_start(struct store *s);

const struct store_identity *store_identity(const struct store *s);

/* The recorded store of a peer; false when it was never met. */
bool store_peer(const struct store *s, uint64_t node_id,
                struct store_peer *out);

/* Take what a group had on disk: the memory is the caller's, once. Blocks; only
 * before store_start. Returns 0, ERR_CORRUPT, ERR_IO or -ENOMEM with a line in
 * `why`. */
int store_load(struct store *s, uint32_t group, struct store_group *out,
               char *why, size_t why_size);

/* Free what store_load brought. */
void store_group_free(struct store_group *g);

/* Queue a write. Returns its sequence number: 1, 2, ... */
uint64_t store_push(struct store *s, struct store_write *write);

/* Write what is queued, or hand it to the thread; while the thread is busy it
 * waits for the next call. Returns true when writes were completed. */
bool store_submit(struct store *s);
/* Would it write and sync now, and return after that? */
bool store_submits_here(const struct store *s);

/* Sequence number of the last write pushed, and of the last that is durable. */
uint64_t store_pushed(const struct store *s);
uint64_t store_durable(const struct store *s);

/* Transactions made since the store was opened. */
uint64_t store_syncs(const struct store *s);

/* How long they took, from the call or the hand-over to the thread on. */
const struct histogram *store_times(const struct store *s);

/* Is the disk full, or was it, and the reserve is not there again? Then `why`
 * (size bytes, may be NULL) says what to do. */
bool store_full(const struct store *s, char *why, size_t size);

bool store_failed(const struct store *s);

/* A full disk is waited for no longer: the store counts as failed, unless the
 * thread is writing at this moment. */
void store_give_up(struct store *s);

/* After a failure: call `done` of everything that is queued, so that its
 * owners can free it. Only when they no longer take it for durable. */
void store_abandon(struct store *s);

/* Nothing may be queued unless the store failed. Calls back once the thread is
 * gone and the file is closed; frees s. */
void store_close(struct store *s, void (*closed)(void *data), void *data);

#endif
