/* The state machine of one group: what the log says about its databases.
 *
 * Deterministic: every node that reads the same entries reaches the same state.
 * It accepts in log order and never waits for a file; who keeps local files is
 * told by events. Pure: no clock, no loop, no SQLite.
 *
 * Acceptance is one compare-and-swap: a transaction is accepted iff its base is
 * the database's position. That alone is the safety; leases only make it
 * rarely fail. */
#ifndef NODE_MACHINE_H
#define NODE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/list.h"
#include "wire/entry.h"
#include "wire/ids.h"
#include "wire/moves.h"

/* One part of a large transaction that waits for its ENTRY_TXN. */
struct machine_part {
    struct list link;
    struct token token;
    uint32_t number;
    uint32_t pages, page_size; /* in it */
    size_t len;
    uint8_t bytes[]; /* the encoded entry */
};

struct machine_db {
    struct list link;
    char name[DB_NAME_MAX + 1];
    struct uuid uuid;
    struct position position;
    uint32_t page_size; /* 0 until the first transaction of an empty one */
    uint32_t pages;
    uint64_t checksum;
    uint64_t enrolled_by;        /* node id */
    bool born_empty;             /* enrolled without content */
    uint64_t holders[NODES_MAX]; /* node ids that hold the content */
    unsigned n_holders;
    struct {
        uint64_t txid, hash;
        struct token token;
    } ring[TOKEN_RING]; /* at txid % TOKEN_RING */
    struct list parts;
    uint64_t parts_seen; /* here, in all, also those that came again */
    bool restored;       /* while a snapshot is taken over */
    bool frozen;         /* it is on its way to another group */
    void *local;         /* for the receiver of the events */
    struct {
        uint64_t seen, since_us;
    } watch; /* fence.c */
};

/* An accepted transaction. Everything is borrowed for the call. */
struct machine_accept {
    const struct entry_txn *txn;
    const void *bytes; /* the encoded ENTRY_TXN */
    size_t len;
    const struct list *parts; /* struct machine_part of this token, in order */
    struct position position; /* afterwards */
};

enum machine_verdict {
    VERDICT_REPEATED,   /* this token had been accepted before */
    VERDICT_CONFLICT,   /* never happens: another transaction came first, or its
                           size does not follow from its pages */
    VERDICT_INCOMPLETE, /* parts are missing: propose all again */
    VERDICT_FORGOTTEN,  /* older than the ring: may have been accepted */
    VERDICT_FROZEN      /* not now: to be proposed again where it goes, or here
                           when it stays */
};

struct machine_events {
    void *data;
    void (*cluster)(void *data, const struct entry_cluster *e);
    /* The registry has changed. */
    void (*members)(void *data);
    /* A new one: by an entry, or by a snapshot at any position. */
    void (*enrolled)(void *data, struct machine_db *db);
    /* A snapshot brought it from an older position to this one. */
    void (*jumped)(void *data, struct machine_db *db);
    /* It is no longer part of the cluster; freed afterwards. */
    void (*dropped)(void *data, struct machine_db *db);
    void (*holds)(void *data, struct machine_db *db, uint64_t node);
    void (*accepted)(void *data, struct machine_db *db,
                     const struct machine_accept *accept);
    /* An ENTRY_TXN that was not accepted now. */
    void (*decided)(void *data, struct machine_db *db,
                    const struct token *token, enum machine_verdict verdict);
    /* It has another name. */
    void (*renamed)(void *data, struct machine_db *db);
    /* From another group; otherwise as `enrolled`. */
    void (*adopted)(void *data, struct machine_db *db);
    /* It is in group `to` now, or was; freed afterwards. */
    void (*left)(void *data, struct machine_db *db, uint32_t to);
    /* There are so many groups now. `exact`: the registry is as it was when
     * that was decided. */
    void (*shards)(void *data, uint32_t shards, bool exact);
    /* `moves` has changed in any way. */
    void (*moving)(void *data);
};

struct machine {
    struct list dbs;
    unsigned n_dbs;
    struct uuid cluster; /* none: not named here */
    uint32_t shards;
    struct registry registry; /* group 0 only */
    uint32_t group;           /* its own number */
    struct moves moves;
    const struct machine_events *events;
    uint64_t ignored; /* entries that were no-ops: unknown, malformed */
};

void machine_init(struct machine *m, const struct machine_events *events);
void machine_close(struct machine *m);

/* The next committed entry. A malformed or unknown entry is a no-op (it is one
 * on every node); a newer version of the format is ERR_VERSION: the node must
 * stop, since it can't know what it would miss. Returns 0 otherwise. */
int machine_apply(struct machine *m, const void *bytes, size_t len);

/* The state as a snapshot (wire/snapshot.h), appended to `out`. Returns 0,
 * ERR_BUSY while parts of a transaction wait for the rest, or out->err. */
int machine_snapshot(const struct machine *m, struct buf *out);

/* Take the state from a snapshot, which is never older than the own one.
 * Returns 0 or what snapshot_check says; then nothing has changed. */
int machine_restore(struct machine *m, const void *bytes, size_t len);

struct machine_db *machine_find(struct machine *m, const char *name);
struct machine_db *machine_find_uuid(struct machine *m, const struct uuid *u);

/* Who took the database to `txid`, and the position's hash there. False when
 * that is too long ago, or not yet. */
bool machine_token(const struct machine_db *db, uint64_t txid,
                   struct token *token, uint64_t *hash);

/* The entry by which another group decides about what is frozen here: takes it,
 * or, not `adopt`, refuses it. Appended to `out`; returns 0 or out->err. */
int machine_encode_adopt(const struct machine *m, bool adopt, struct buf *out);

/* Group 0, while groups are added: has this one nothing more to give away? */
bool machine_is_done(const struct machine *m, uint32_t group);

bool machine_holds(const struct machine_db *db, uint64_t node);

#endif
