/* The parts of groups.h, for its own files.
 *
 *   groups.c      the contract, start, the turn of the loop
 *   stop.c        the way down
 *   packets.c     what goes to the peers and comes from them
 *   group.c       one group: core, filters, proposals, what it tells node/
 *   members.c     who may connect, and from which store
 *   membership.c  the members of the groups follow the registry
 *   follow_writer.c  leadership goes where a group is written
 *   leadership.c  where leaders should be, transfers, handing over at stop
 *   compaction.c  snapshots: when, and how much of the log stays
 *   quorum.c      may a group commit now, and if not, why */
#ifndef CONSENSUS_GROUPS_INTERNAL_H
#define CONSENSUS_GROUPS_INTERNAL_H

#include "base/list.h"
#include "consensus/filters.h"
#include "consensus/groups.h"
#include "consensus/raft_io.h"
#include "consensus/store.h"
#include "consensus/transport.h"

#define TICK_MS 22u
#define HEARTBEAT_MS 100u
#define ELECTION_MS 1000u
/* A peer to which nothing was sent for so long gets a ping, so that silence
 * means something. */
#define PING_MS 100u

/* While entries follow one another within this time, each brings the commit
 * index of those before it, and nothing is pushed. */
#define PUSH_MS 2u
#define PUSH_US (PUSH_MS * (uint64_t)1000)

/* A member of the cluster, this node included. */
struct member {
    struct groups *all;
    uint64_t id;
    bool self, replica, leaving, last, told; /* id 0: the slot is free */
    /* its store as we accept it from now on, and as it is recorded durably */
    struct store_peer store, recorded;
    bool known;
    /* the connection */
    bool up;               /* as the transport says */
    bool ready;            /* up, and its store is recorded: it counts */
    struct store_peer now; /* who is at the other end of it */
    uint64_t sent_ms;
    char refused[256]; /* why it refuses us, or empty */
    uint64_t refused_ms;
};

struct group {
    struct groups *all;
    unsigned number;
    uint64_t preferred; /* leader */
    bool by_hand;       /* and not by its number: groups_prefer */
    bool stand_in;      /* until the usual one is back */
    struct raft raft;
    struct raft_fsm fsm;
    struct filters filters;
    struct raft_io_group io;
    bool closed;

    /* proposals of this turn */
    struct raft_buffer *pending;
    unsigned n_pending, pending_cap;
    uint64_t pending_bytes;

    /* as last told to node/ */
    uint64_t leader;
    raft_term term;
    bool had_leader, caught_up, broken;

    /* commit index that each member has been sent, by slot */
    raft_index commit_sent[NODES_MAX];
    raft_index commit_pushed; /* all have it */
    /* last entry that each member proposed: its session waits for the commit */
    raft_index proposed[NODES_MAX];
    uint64_t proposers; /* of the pending proposals, a bit a slot */
    uint64_t appended_us;
    bool steady; /* the last two appends came one soon after the other */

    /* compaction.c */
    bool compact; /* a snapshot is wanted */
    uint64_t compact_ms;
    struct raft_barrier nudge;
    bool nudging;

    /* membership.c */
    struct raft_change change;
    bool changing;
    uint64_t change_ms; /* the last one that failed */
    uint64_t left_said_ms;
    uint64_t kept, kept_ms; /* a member that was not let go, and since when */

    /* follow_writer.c: proposals since `window_ms`, by slot */
    uint32_t written_by[NODES_MAX];
    uint64_t window_ms, followed_ms;
    unsigned writer, windows; /* it wrote nearly all for so many windows */

    /* leadership.c */
    struct raft_transfer transfer;
    bool transferring, transfer_over;
    uint64_t transfer_to;
    uint64_t near_ms;    /* since when the preferred one is near; 0: not */
    uint64_t retry_ms;   /* no transfer before */
    unsigned backoff_ms; /* after the last one failed; 0: it did not */
    uint64_t invited_ms; /* when somebody handed leadership to us */
    bool drained;        /* handed over once in this node's stop */
    bool stay;           /* it was handed over on purpose: keep it */
};

enum groups_state {
    GROUPS_RUNNING,
    GROUPS_DRAINING,          /* handing leadership over */
    GROUPS_CLOSING_CORES,     /* until all writes are done */
    GROUPS_CLOSING_TRANSPORT, /* until what is queued has left */
    GROUPS_CLOSING_STORE,
    GROUPS_CLOSING_HANDLES
};

struct groups {
    struct groups_options options;
    enum groups_state state;
    bool booted, fatal;
    struct member members[NODES_MAX]; /* at first sorted by id */
    unsigned n_members, self;
    bool registered;    /* the members were the registry's at the start */
    bool registry_read; /* and are as it is now */
    struct departed departed[NODES_MAX];
    unsigned n_departed;
    uint64_t voters[NODES_MAX]; /* sorted; that should be */
    unsigned n_voters;
    char members_text[STORE_MEMBERS_MAX];
    struct store_identity identity;
    struct store *store;
    struct transport *transport;
    struct raft_io_host host;
    struct group **groups; /* options.shards of them */
    unsigned open_groups;
    uv_timer_t timer, push;
    uv_prepare_t prepare;
    uv_check_t check;
    unsigned open_handles;
    uint64_t full_said_ms;
    uint64_t drain_until_ms;
    void (*stopped)(void *data);
    void *stopped_data;
};

uint64_t groups_now(const struct groups *g);
/* Tell node/ that it must stop, once. */
void groups_fatal(struct groups *g, const char *why);
/* NULL: no such member. */
struct member *groups_member(struct groups *g, uint64_t id);

/* Have a turn of the loop soon, to push a commit index. */
void groups_push_soon(struct groups *g);

void groups_free_all(struct groups *g);

/* ---- stop.c ---- */

/* At the end of every turn of the loop. */
void groups_step_closing(struct groups *g);

/* ---- group.c ---- */

struct group *group_new(struct groups *all, unsigned number);
void group_free(struct group *g);
void group_start(struct group *g);
void group_close(struct group *g);
void group_tick(struct group *g);
/* Append this turn's proposals, tell followers of a new commit index. */
void group_flush(struct group *g);
void group_recv(struct group *g, struct raft_message *m);
/* Takes `bytes`. `slot`: the member that proposes it. */
void group_propose(struct group *g, unsigned slot, void *bytes, size_t len);
bool group_leads(const struct group *g);
uint64_t group_bytes(const struct group *g);
/* The peer in `slot` may have lost messages. */
void group_peer_is_new(struct group *g, unsigned slot);
void group_note_sent(struct group *g, unsigned slot,
                     const struct raft_message *m);

/* ---- members.c ---- */

int members_init(struct groups *g, char *why, size_t why_size);
/* The configuration that every group begins with. */
int members_conf(const struct groups *g, struct raft_buffer *conf);
int members_conf_of(const struct groups_member *list, unsigned n,
                    struct raft_buffer *conf);
/* After the store was opened. */
void members_load(struct groups *g);
void members_ping(struct groups *g);
unsigned members_ready_voters(const struct groups *g);
/* For the transport; data is a struct groups. */
void members_hello(void *data, struct hello *out);
bool members_accept(void *data, const struct hello *peer, char *why,
                    size_t size);
void members_stranger(void *data, const struct hello *peer, char *why,
                      size_t size);
void members_refused(void *data, uint64_t peer, const char *why);
void members_up(void *data, uint64_t peer, const struct hello *hello);
void members_down(void *data, uint64_t peer);

/* ---- packets.c ---- */

/* For the transport and raft_io; data is a struct groups. */
void packets_send_raft(void *data, uint64_t peer, unsigned group,
                       const struct raft_message *message);
void packets_take(void *data, uint64_t peer, const struct packet *p);
/* Would so many bytes more be beyond the bound of the logs? */
bool groups_is_full(const struct groups *g, size_t more);

/* ---- quorum.c ---- */

/* Is a majority of the group's voters connected? */
bool quorum_is_connected(const struct group *g);

/* ---- membership.c ---- */

void membership_tick(struct groups *g);
bool membership_departed(const struct groups *g, uint64_t id,
                         const struct uuid *store);

/* ---- compaction.c ---- */

int compaction_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                        unsigned *n_bufs);
int compaction_restore(struct raft_fsm *fsm, struct raft_buffer *buf);
void compaction_put(void *data);
void compaction_want(struct group *g, bool want);
void compaction_tick(struct groups *g);

/* ---- follow_writer.c ---- */

/* The member to whom the group should go, since it writes steadily; NULL:
 * nobody does, or it leads already. */
const struct member *follow_writer_next(struct group *g);

/* ---- leadership.c ---- */

void leadership_tick(struct groups *g);
/* May this node be given a group to lead? */
bool leadership_wanted(const struct groups *g);
/* Returns true when there is nothing more to hand over, or nobody to take it.
 */
bool leadership_drain(struct groups *g);
void leadership_gained(struct group *g);
/* The voters have changed. */
void leadership_prefer_again(struct groups *g);
/* To whoever is fit for it. */
void leadership_hand_over(struct group *g);
/* Is it further behind? */
bool leadership_lags(const struct group *g, uint64_t id, uint64_t entries);
void leadership_peer_down(struct groups *g, uint64_t peer);

#endif
