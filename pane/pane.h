/* The control pane: what a node shows and lets be done, over HTTP.
 *
 * It runs on the node's loop and knows nothing of what it shows: node/ fills a
 * struct of function pointers, and plain values pass through it. Routes,
 * documents and who is served: docs/PANE.md.
 *
 * All calls and callbacks are on the loop's thread. Texts in the structs are
 * borrowed for the call that brings them; NULL means that there is none. */
#ifndef PANE_PANE_H
#define PANE_PANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/histogram.h"
#include "base/limits.h"

struct pane;

enum pane_health {
    PANE_LEADER, /* leads at least one group; all is well */
    PANE_OK,     /* a voter that leads none */
    PANE_REPLICA,
    PANE_STARTING, /* from here on: not to be used now */
    PANE_LAGGING,
    PANE_NO_QUORUM,
    PANE_DISK_FULL,
    PANE_STOPPING
};

struct pane_node {
    uint64_t id;
    bool replica;
    enum pane_health health;
    char why[TEXT_MAX];          /* of the health; "" when all is well */
    char cluster[64], store[64]; /* cluster: "" until it is known */
    uint64_t uptime_us;
    const char *bind, *advertise;
    unsigned shards, sessions;
    bool growing;     /* shards are being added, */
    unsigned to_move; /* and so many databases have to go to others */
    uint64_t log_bytes, log_bytes_max;
};

/* A member of the cluster, this node included. */
struct pane_peer {
    uint64_t id;
    const char *address;
    bool self, replica, connected;
    bool leaving; /* being taken out of the cluster */
    bool heard;   /* ever */
    uint64_t silent_ms;
    const char *refused; /* why it refuses this node */
    uint64_t sent_bytes, received_bytes;
};

struct pane_group {
    unsigned number;
    uint64_t leader;    /* 0: none known */
    uint64_t preferred; /* where leadership belongs */
    bool by_hand;       /* it was moved there */
    const char *role;   /* of this node in it */
    bool quorum;        /* it can commit now, as far as is seen from here */
    uint64_t term, commit, applied, last;
    uint64_t log_entries, log_bytes;
    uint64_t leader_changes, lease_handovers;
};

struct pane_database {
    const char *name, *path, *state;
    unsigned group;
    bool known;          /* to the cluster; else what follows is the file's */
    char uuid[64];       /* "" while it is not known */
    uint64_t txid, hash; /* accepted by the group */
    uint64_t applied_txid, applied_hash; /* the local file */
    uint64_t checksum;                   /* of the local file */
    uint32_t page_size, pages;
    uint64_t waiting_txns; /* accepted, not in the file yet */
    bool lease_here;
    uint64_t lease_holder; /* as leader; 0: none, or not known here */
    const char *slot;
    uint32_t slot_pid; /* 0: no application has it */
    unsigned sessions, waiters;
    uint32_t wal_frames, wal_written_back;
    uint64_t commits, conflicts;
    uint64_t images_sent, images_received, checkpoints;
    int image_percent; /* of one that arrives; -1: none does */
    const char *why;   /* why it cannot be written now, or "" */
    /* Of a verification that was asked here, on all nodes; 0: none goes on. */
    uint64_t verify_pages, verify_read;
};

struct pane_counters {
    struct histogram commits, store_syncs;
};

struct pane_verify; /* the node's, as the next */

/* What one node says of its copy. */
struct pane_verified {
    uint64_t id;
    enum {
        PANE_VERIFY_WORKING,
        PANE_VERIFY_DONE,
        PANE_VERIFY_ABSENT, /* it does not have the database */
        PANE_VERIFY_BUSY,   /* not now */
        PANE_VERIFY_FAILED, /* it could not read the file */
        PANE_VERIFY_SILENT  /* it was not reached, or answers no more */
    } state;
    uint64_t txid, hash;      /* of what it read */
    uint64_t expected, found; /* checksums: by the log, of its pages */
    uint32_t pages, done, damaged;
    const uint32_t *listed; /* some of the damaged pages */
    uint32_t n_listed;
};

struct pane_backup;

/* One state of a database: its pages follow, 1 to `pages`. */
struct pane_backup_head {
    uint32_t page_size, pages;
    uint64_t txid, hash, checksum;
};

/* What the node is asked for. */
struct pane_source {
    void *data;
    void (*node)(void *data, struct pane_node *out);
    void (*counters)(void *data, struct pane_counters *out);
    void (*peers)(void *data,
                  void (*each)(void *arg, const struct pane_peer *peer),
                  void *arg);
    void (*groups)(void *data,
                   void (*each)(void *arg, const struct pane_group *group),
                   void *arg);
    void (*databases)(void *data,
                      void (*each)(void *arg, const struct pane_database *db),
                      void *arg);
    /* Hand a group to a node. 0: under way, or done when it leads already;
     * ERR_NOT_FOUND (no such group or node), ERR_READONLY (a replica),
     * ERR_NO_LEADER or ERR_CLOSED (not reachable now), with a line in `why`.
     * `from` is who leads now. */
    int (*move)(void *data, uint64_t group, uint64_t node, uint64_t *from,
                char *why, size_t size);
    /* Spread the leaders evenly over the reachable voters; what was moved by
     * hand is forgotten. How many groups are to change hands. */
    unsigned (*shuffle)(void *data);
    /* Take a node out of the cluster. 0: that has begun; ERR_NOT_FOUND,
     * ERR_READONLY (it must not go) or ERR_NO_LEADER, with a line in `why`. */
    int (*remove)(void *data, uint64_t node, char *why, size_t size);
    /* Keep a database at `path` here; let one go here; or everywhere. 0: done,
     * or begun; < 0 with a line in `why`. */
    int (*attach)(void *data, const char *name, const char *path, char *why,
                  size_t size);
    int (*detach)(void *data, const char *name, char *why, size_t size);
    int (*drop)(void *data, const char *name, char *why, size_t size);
    /* Add shards until there are so many. 0: begun; -EINVAL, ERR_MISMATCH,
     * ERR_BUSY or ERR_NO_LEADER. */
    int (*shards)(void *data, uint64_t shards, char *why, size_t size);
    /* Give it another name, everywhere. 0: begun; -EINVAL, ERR_NOT_FOUND,
     * ERR_MISMATCH (the name is taken), ERR_BUSY or ERR_NO_LEADER. */
    int (*rename)(void *data, const char *name, const char *to, char *why,
                  size_t size);
    /* Let every node read its copy and compare. `wake` as below. ERR_NOT_FOUND
     * or ERR_BUSY with a line in `why`. */
    int (*verify_open)(void *data, const char *name, void (*wake)(void *arg),
                       void *arg, struct pane_verify **out, char *why,
                       size_t size);
    /* All nodes so far; true when nothing more will come. */
    bool (*verify_look)(struct pane_verify *v,
                        void (*each)(void *arg,
                                     const struct pane_verified *one),
                        void *arg);
    void (*verify_close)(struct pane_verify *v);
    /* A consistent copy of a live database. `wake` is called from the loop, not
     * from inside a call, when head or read may have more to say. ERR_NOT_FOUND
     * or ERR_BUSY, with a line in `why`, when there is none to be had. */
    int (*backup_open)(void *data, const char *name, void (*wake)(void *arg),
                       void *arg, struct pane_backup **out, char *why,
                       size_t size);
    /* 0; ERR_BUSY: not yet; or why it failed. */
    int (*backup_head)(struct pane_backup *b, struct pane_backup_head *out);
    /* The next bytes, at most `max`; 0: none yet; < 0: failed. */
    long (*backup_read)(struct pane_backup *b, void *out, size_t max);
    void (*backup_close)(struct pane_backup *b);
};

struct pane_options {
    uv_loop_t *loop;
    const char *bind;                 /* host:port */
    const char *auth_key;             /* NULL or "": only loopback is served */
    bool compat;                      /* changes by GET as well */
    const struct pane_source *source; /* kept */
};

/* Listen. On failure returns < 0 (-EADDRINUSE, -EINVAL, ...) with a line in
 * `why`, and leaves nothing behind. */
int pane_start(const struct pane_options *options, struct pane **out, char *why,
               size_t size);

/* Close all connections. The loop must run once more before it is closed; frees
 * `p`. */
void pane_stop(struct pane *p);

#endif
