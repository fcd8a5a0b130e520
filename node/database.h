/* One managed database on this node: what is known about the local file, who
 * holds the write slot, what waits to be applied.
 *
 * The deciding parts (slot.c, proposals.c, placing.c) see the world only
 * through struct db_env, so that they run under a simulated clock and network.
 * Everything here is on the loop's thread; jobs on the pool own `apply` and
 * `checksum` while `job` is set, nobody else touches them then.
 *
 * The life of the local copy:
 *
 *   OPENING --scanned--> PLACING --checksum found in the log--> READY
 *      |                  |   |                                 ^  |
 *      |                  |   +--name unknown: ENROLLING -------+  |
 *      |                  |                                     |  |
 *      |                  +--not found--> FETCHING --installed--+  |
 *      |                                     ^                     |
 *      +--> REFUSED (the node stops)         +-- a difference -----+
 */
#ifndef NODE_DATABASE_H
#define NODE_DATABASE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/list.h"
#include "node/machine.h"
#include "vfs/apply.h"
#include "vfs/checksum.h"
#include "vfs/slot_word.h"
#include "wire/host.h"
#include "wire/session.h"

struct database;
struct session;

enum db_state {
    DB_OPENING,   /* the local file is being opened and scanned */
    DB_PLACING,   /* waiting for the group to say where it stands */
    DB_ENROLLING, /* our ENTRY_ENROLL is on its way */
    DB_FETCHING,  /* an image is on its way */
    DB_READY,     /* the local file follows the group */
    DB_REFUSED    /* must not be used; `why` says it */
};

/* Times, all in one place. Microseconds. */
struct db_times {
    uint64_t quantum_us;  /* a lease is kept at least so long */
    uint64_t offer_us;    /* an offered turn is reserved so long */
    uint64_t deadline_us; /* a proposal is waited for */
    uint64_t idle_us;     /* a holder may sit idle while others wait */
    uint64_t propose_again_us;
    uint64_t ask_again_us; /* a lease that was asked for in vain */
    uint64_t lease_us;     /* a lease is valid so long; the same on all nodes */
    uint64_t unused_us;    /* a lease is renewed so long after its last use */
    uint64_t keep_us;      /* an idle session keeps the slot so long */
};
extern const struct db_times db_times_default;

/* The world as the deciding parts see it. */
struct db_env {
    void *data;
    uint64_t node_id, start; /* `start` is random per start: tokens */
    bool replica;
    unsigned voters;
    const uint64_t *voter_ids;
    struct db_times times;
    uint64_t (*now_us)(void *data);
    /* groups_propose: `bytes` is taken. */
    int (*propose)(void *data, unsigned group, void *bytes, size_t len);
    uint64_t (*leader)(void *data, unsigned group);
    uint64_t (*term)(void *data, unsigned group); /* groups_term */
    uint64_t (*applied)(void *data, unsigned group);
    bool (*quorum_fresh)(void *data, unsigned group);
    void (*why_no_quorum)(void *data, unsigned group, char *out, size_t size);
    /* Is there no room for the log? NULL: there always is. */
    bool (*disk_full)(void *data, char *out, size_t size);
    /* HOST_LEASE_ASK or HOST_LEASE_RELEASE, to the group's leader. */
    void (*lease_send)(void *data, struct database *db, uint8_t kind,
                       const struct host_lease *l);
    /* A message to a session's socket; never fails (a broken one closes). */
    void (*session_send)(void *data, struct session *s,
                         const struct session_message *m);
    /* Page `number` as the local file has it, for who has the slot. False: it
     * can't be read now. NULL: never. */
    bool (*page_before)(void *data, struct database *db, uint32_t number,
                        uint8_t *image);
    /* That page is not what was written. True: it is going to be repaired. */
    bool (*page_damaged)(void *data, struct database *db, uint32_t number);
    /* Look at `db` again, soon and not from inside this call. */
    void (*wake)(void *data, struct database *db);
    /* The same, after so many microseconds at the latest. One time is kept per
     * database, the earliest: whoever still waits asks again at each step. */
    void (*wake_after)(void *data, struct database *db, uint64_t us);
};

/* A session's turn at the write slot:
 *
 *   NONE --LOCK--> WAITING --PARK--> PARKED --turn--> OFFERED --LOCK--+
 *     ^               |                                  |            |
 *     |               +--------------- turn -------------|--> OWNED <-+
 *     |                                                  |      |
 *     +--- offer over -----------------------------------+      | PROPOSE
 *     +--- UNLOCK -- COMMITTING <-- accepted -- PROPOSING <-----+
 *     ^                                                         |
 *     +--- the node takes the slot back --- KEEPING <-----------+
 *                                                                      */
enum turn {
    TURN_NONE,
    TURN_WAITING,
    TURN_PARKED,
    TURN_OFFERED,
    TURN_OWNED,      /* has the slot, may be writing frames */
    TURN_PROPOSING,  /* parts or all of its transaction are here */
    TURN_COMMITTING, /* told COMMITTED, is publishing */
    TURN_KEEPING     /* has left the slot and may take it again unasked */
};

/* A state of a database that is written down (contact.c). */
struct db_noted {
    bool valid;
    struct position position;
    uint64_t checksum;
    uint32_t pages;
};

/* One open database handle of an application. */
struct session {
    struct list link; /* in db->sessions */
    struct list wait; /* in db->waiters while WAITING, PARKED or OFFERED */
    struct database *db;
    uint64_t id;
    enum turn turn;
    bool welcomed;
    uint64_t dev, inode;
    uint32_t pid;
    uint64_t since_us;                 /* of the state */
    struct position base;              /* granted */
    uint64_t sequence;                 /* of its last proposal */
    uint64_t wait_txid, wait_until_us; /* PRAGMA marmot_wait; 0 = none */
    struct {
        bool wanted;
        struct token token;
        struct position base;
        uint64_t found_us; /* it was found to be committed; 0: not yet */
        uint64_t leader, fenced_us; /* of the last fence */
        uint64_t fences;            /* their tokens differ */
    } resume;                       /* resume.c */
};

/* In tokens no guest counts so far: from here on the numbers are the node's. */
#define FENCE_SEQUENCE (1ull << 63)
/* And from here on those of an order (order.h): every node keeps aside what
 * such a transaction replaces. */
#define ORDER_SEQUENCE (FENCE_SEQUENCE | 1ull << 62)

/* Is it one of the attempts of that order? */
static inline bool token_of_order(const struct token *t, uint64_t node,
                                  uint64_t number)
{
    return t->node == node && t->start == number &&
           t->sequence >= ORDER_SEQUENCE;
}

/* A transaction that this node is trying to have accepted. At most one per
 * database; it outlives its session when the outcome is not known yet. */
struct proposal {
    struct session *session; /* NULL: nobody waits any more */
    struct token token;
    struct position base;
    struct proposal_entry {
        uint8_t *bytes;
        size_t len;
    } * entries; /* parts, then the ENTRY_TXN; kept to propose again */
    uint32_t n_entries;
    uint32_t *numbers; /* of all pages */
    uint64_t *hashes;
    uint32_t n_pages, cap_pages;
    uint32_t db_pages, page_size;
    uint64_t raw_bytes;
    bool complete; /* the ENTRY_TXN is there */
    bool sent;     /* a copy of the ENTRY_TXN left this node */
    bool accepted;
    struct position position; /* once accepted, */
    uint64_t accepted_us;     /* as learned here */
    bool bad;                 /* refused half-way; the rest is swallowed */
    uint8_t bad_reason;
    bool on_damage; /* a page of it was damaged when the session read it */
    uint64_t since_us, sent_us;
    uint32_t n_sent;      /* entries proposed in the current round */
    uint64_t sent_leader; /* to whom */
};

/* Damaged pages that are repaired at once; more have to wait for the next
 * round. */
#define DAMAGED_MAX 64

/* An accepted transaction that the local file does not have yet. */
struct pending {
    struct list link;
    struct position position; /* after it */
    uint64_t checksum;
    uint32_t db_pages, page_size;
    bool brings_pages;
    bool ordered; /* what it replaces is kept aside */
    unsigned n_entries;
    struct {
        uint8_t *bytes;
        size_t len;
    } entries[]; /* parts, then the ENTRY_TXN */
};

struct image_fetch;
struct order;

struct database {
    struct list link; /* in the node's list */
    const struct db_env *env;
    char name[DB_NAME_MAX + 1];
    char path[PATH_MAX]; /* symbolic links resolved */
    unsigned group;
    enum db_state state;
    char why[TEXT_MAX + 512]; /* of DB_REFUSED, or what it waits for */
    bool full_said;           /* that there is no room for it */
    bool waiting_said;        /* that the file is locked */
    struct machine_db *m;     /* NULL: the group does not know the name */
    bool caught_up; /* the group's log has been read as far as it goes */

    /* The local file. */
    enum file_kind kind;
    struct apply *apply;      /* NULL: no file yet */
    struct checksum checksum; /* of the local state */
    bool scanned;             /* `checksum` is that of the file */
    bool placed;              /* `applied` is where it stands */
    struct position applied;
    uint64_t applied_sum; /* checksum and pages at `applied` */
    uint32_t applied_pages;
    uint32_t page_size;
    /* The oldest state of the database that this node's log still knows. */
    struct {
        struct position position;
        uint64_t checksum;
        uint32_t pages;
    } base;
    struct position
        durable; /* of `applied`, as far as a power loss spares it */
    struct position old_base; /* of the group before (move.c) */
    bool attached;            /* by hand: not named by a flag */
    bool optional;        /* the node lives on when this file cannot be kept */
    bool detaching, drop; /* on its way out; and the file is put aside */
    bool member;          /* the member file says it was part of this uuid */
    struct uuid follows;  /* as a member file said at the start; or none */
    bool clash_said;      /* another one here has its new name */
    struct machine_db *limbo; /* `m` between two groups, ours (move.c) */
    /* As the member file says: where the file stood, and what an image that was
     * about to be installed would make of it. */
    struct db_noted noted, coming;
    bool note_failed; /* the member file could not be written */
    struct {
        bool wanted;
        bool note; /* where the file stands is written down */
        struct position upto;
        uint64_t since_us, said_us;
    } settle;            /* settle.c: the file must be durable up to there */
    struct order *order; /* marmot recover -from; NULL: there is none */
    struct {
        bool wanted; /* not accepted yet: the file is in no state of the log */
        bool asks, builds; /* for the lease; the transaction */
        uint64_t number;
    } ordered;
    bool look_again; /* the file may hold more than we recorded: rescan */
    bool compare;    /* first contact: compare the image with the file */
    struct list pending;
    uint64_t pending_bytes;
    void *job;       /* a job on the pool uses the file */
    bool job_beside; /* and sessions may write meanwhile */
    uint64_t job_not_before_us;
    uint64_t slow_until_us; /* appending goes to the pool */
    struct image_fetch *fetch;
    bool in_place; /* the image goes into the file as a transaction: the file
                      is in a state that `checksum` tells, only too old, or
                      damaged in known pages */
    struct {
        uint32_t pages; /* of the database; 0: no image is on its way */
        uint32_t done;  /* looked at so far */
        uint32_t received;
        unsigned percent;
        uint64_t bytes_per_s; /* of pages received */
    } image;
    uint32_t suspect; /* a page that a session has found to be damaged */
    uint32_t damaged[DAMAGED_MAX]; /* being repaired */
    unsigned n_damaged;
    struct {
        uint32_t next; /* page; 0: between rounds */
        uint64_t due_us;
        unsigned rounds, found;
    } scrub;
    uint64_t repaired_us; /* an image was installed; 0: READY since */
    struct list image_asks;
    unsigned image_readers;
    struct {
        uint32_t frames;   /* when it was last looked at, */
        uint64_t grown_us; /* and since when it has so many */
        bool written_back; /* and now it may start over */
    } wal;                 /* writeback.c */
    uint64_t checkpoint_not_before_us;
    bool node_waits; /* for the slot: it is granted to nobody meanwhile */

    /* The write slot of this node. */
    struct list sessions, waiters;
    struct session *owner;
    struct session *keeper; /* TURN_KEEPING */
    uint32_t orphan;        /* a session that has the slot, but no connection;
                               0: none */
    struct slot_page *slot; /* shared with the sessions */
    int slot_fd;
    struct slot_page own_slot; /* `slot` where there is no file */
    struct proposal *proposal;
    struct {
        bool held; /* nobody took it from us; it counts while it is valid */
        bool recalled;
        uint64_t epoch, index, term;
        uint64_t since_us, until_us; /* held; valid */
        uint64_t released;           /* that epoch and all before it */
        uint64_t used_us;            /* last */
        bool asked;                  /* and not been answered */
        uint64_t asked_us, asked_leader;
    } lease;
    uint64_t next_session;

    uint64_t entry_sent_us; /* our last ENROLL or HOLDS, */
    uint64_t entry_leader;  /* and to whom */
    struct uuid enroll_uuid;
    bool wake_queued;
    struct list wake_link;
    uint64_t wake_at_us; /* 0 = not asked for */
    uint64_t sockets_closed;
    void *server; /* node/session.c */
    uint64_t commits, conflicts, applied_count;
    uint64_t images_sent, images_received, checkpoints;
    uint32_t wal_frames, wal_written_back; /* when last looked at (view.c) */
    struct histogram commit_times;         /* from the proposal to the answer */
};

/* ---- database.c ---- */
void database_init(struct database *db, const struct db_env *env,
                   const char *name, unsigned group);
/* Everything must be idle: no job, no session. */
void database_close(struct database *db);
/* One line for PRAGMA marmot_status. */
void database_status(struct database *db, char *out, size_t size);
/* The name of its state: "ready", ... */
const char *database_state(const struct database *db);
/* Is the disk of the log full? `out` then says what to do. */
bool database_disk_full(const struct database *db, char *out, size_t size);
/* Why a LOCK would not be granted now; "" when it would. */
void database_why_locked(struct database *db, char *out, size_t size);

/* ---- slot.c: who may write ---- */
void slot_lock(struct session *s);
void slot_park(struct session *s);
void slot_unlock(struct session *s, const struct session_unlock *u);
/* The session's socket is closed. */
void slot_gone(struct session *s);
/* Grant, offer, ask, release: whatever is due now. */
void slot_step(struct database *db);
/* Nobody has or keeps the write slot, and no proposal is undecided: the local
 * file may be appended to. */
bool slot_is_free(const struct database *db);
void session_turn(struct session *s, enum turn next);
void session_refuse(struct session *s, uint8_t reason, const char *text);

/* ---- lease.c: the node's side of a lease ---- */
void lease_granted(struct database *db, const struct host_lease *l);
void lease_recalled(struct database *db, uint64_t epoch);
/* What the old leader has granted stays good as long as it is valid. */
void lease_leader_changed(struct database *db);
/* Does this node hold the lease now, and has it read the log as far as that
 * demands? Then what its state machine shows is all that anybody was told. */
bool lease_is_good(struct database *db);
/* How long to wait before a session may be told that its transaction, known to
 * be accepted since `since_us`, has been: 0 = not at all. */
uint64_t lease_answer_wait(struct database *db, uint64_t since_us);
/* Ask, renew, release: whatever is due now. */
void lease_step(struct database *db);
/* Another node has waited for its quantum: its turn comes first. */
void lease_yield(struct database *db);
/* The database is in another group, which has granted nothing yet. */
void lease_moved(struct database *db);

/* ---- keeping.c: the slot word ---- */
/* Learn what sessions did without saying so. */
void slot_look(struct database *db);
/* The node needs the slot: true when nobody has it. Otherwise whoever has it
 * tells us when it leaves. */
bool slot_claim(struct database *db);
/* `s` has left the slot; what it published is noted. */
void slot_left(struct database *db, struct session *s);
/* The connection of the slot's owner is closed. */
void slot_owner_gone(struct database *db, struct session *s);
/* Take a kept slot back in time. */
void slot_keep_step(struct database *db);

/* ---- proposal_parts.c ---- */
void proposal_part(struct session *s, const struct session_propose *m);

/* ---- proposals.c ---- */
/* The session is told, and has to do with it no more. */
void proposal_fail(struct proposal *p, uint8_t reason, const char *text);
/* The state machine has decided about a token of ours. */
void proposal_accepted(struct database *db, const struct position *position);
void proposal_decided(struct database *db, const struct token *token,
                      enum machine_verdict verdict);
/* A snapshot has brought the state machine forward. */
void proposal_jumped(struct database *db);
/* The database is in another group, or goes on where it was: propose again. */
void proposal_moved(struct database *db);
/* Somebody else's transaction was accepted. */
void proposal_overtaken(struct database *db);
/* The session has published its transaction: the local file has it now. */
void proposal_published(struct database *db, const struct wal_state *state);
void proposal_leader_changed(struct database *db);
/* It is accepted, and its session has not been told. */
bool proposal_waits(const struct database *db);
void proposal_step(struct database *db);
void proposal_free(struct database *db);
bool proposal_is(const struct database *db, const struct token *token);

/* ---- resume.c: transactions whose answer was lost ---- */
void resume_begin(struct session *s, const struct session_resume *r);
/* Answer who can be answered; fence. */
void resume_step(struct database *db);

/* ---- placing.c: where the local file stands; first contact ---- */
void placing_enrolled(struct database *db, struct machine_db *m);
void placing_accepted(struct database *db, const struct machine_accept *a);
void placing_scanned(struct database *db);
/* The database goes on in another group, from the state of `m`. */
void placing_switched(struct database *db, struct machine_db *m);
/* A snapshot has brought the state machine forward. */
void placing_jumped(struct database *db);
/* Is something missing between the local file and what is pending? */
bool placing_behind(const struct database *db);
/* The file is found to be where the member file says. */
void placing_noted(struct database *db);
/* Returns what must be done now for a database that is not READY. */
enum placing_action {
    PLACING_WAIT,
    PLACING_ENROLL,   /* propose ENTRY_ENROLL for what is here */
    PLACING_STRANGER, /* content that a replica cannot bring */
    PLACING_CONVERT,  /* rollback mode: convert, then enroll */
    PLACING_READY,
    PLACING_FETCH,        /* nothing here: fetch an image */
    PLACING_CATCH_UP,     /* too old: fetch the pages that differ */
    PLACING_FETCH_REPAIR, /* was part of it: keep aside and fetch */
    PLACING_COMPARE       /* fetch an image and compare */
};
enum placing_action placing_next(const struct database *db);
/* Does a majority of voters hold the content? */
bool placing_majority_holds(const struct database *db);
/* The local file has the state after `p`. */
void placing_applied(struct database *db, const struct position *position,
                     uint64_t checksum, uint32_t pages);
void pending_free(struct database *db, struct pending *p);
/* Drop what the local file has: all up to and including `txid`. */
void pending_drop(struct database *db, uint64_t txid);

#endif
