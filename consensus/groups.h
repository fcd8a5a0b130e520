/* All Raft groups of a node: the log as node/ sees it.
 *
 * node/ fills a struct of function pointers; entries are opaque bytes here. All
 * calls and callbacks are on the loop's thread. */
#ifndef CONSENSUS_GROUPS_H
#define CONSENSUS_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/limits.h"
#include "consensus/placement.h"
#include "wire/ids.h"
#include "wire/member.h"

struct groups;

struct groups_member {
    uint64_t id;
    char address[ADDRESS_MAX];
    struct uuid store; /* none: whichever it comes with first */
    bool replica;
    bool leaving; /* to be taken out of all groups */
    bool last;    /* all but group 0 have done so, which is to be the last: in
                     it the node learns that it leaves, and hands over what it
                     leads */
    bool told;    /* a peer says that it is one, with this store; not known here
                     otherwise: connect to it, and no more */
};

struct groups_options {
    uv_loop_t *loop;
    const char *path; /* folder of store.db; created when missing */
    uint64_t node_id;
    const char *bind, *advertise;
    unsigned shards;
    /* All members, this node among them: the initial ones, or, `registered`,
     * as a registry had them when this node last ran. */
    const struct groups_member *members;
    unsigned n_members;
    bool registered;
    /* This node came later: its groups begin empty, with what the others send.
     * A new store gets this id and cluster (none: its own, not yet). */
    bool joined;
    struct uuid new_store, cluster;
    /* Of the logs of all groups together, in memory: above, proposals are
     * refused; and what a log is shortened to, with its entries per group. */
    uint64_t log_bytes_max, log_bytes_keep;
    unsigned log_entries_keep;
    unsigned heartbeat_ms, election_ms; /* 0: 100 and 1000 */

    void *data;
    /* At the start, before anything else of the group: an entry of the own log,
     * committed or not, in order. The bytes are borrowed. May be NULL. */
    void (*found)(void *data, unsigned group, const void *bytes, size_t len);
    /* A committed entry, in log order. After every start from index 1, or from
     * behind what `restore` brought. The bytes are borrowed for the call. */
    void (*apply)(void *data, unsigned group, uint64_t index, const void *bytes,
                  size_t len);
    /* The state after what was applied, appended to `out`. ERR_BUSY: not now.
     * NULL: logs are never shortened, and the next three are not called. */
    int (*snapshot)(void *data, unsigned group, struct buf *out);
    /* Take this state, which replaces the log up to it: at the start, or when a
     * peer has no longer what is missing here. Returns < 0: the node must stop.
     */
    int (*restore)(void *data, unsigned group, const void *bytes, size_t len);
    /* A snapshot (`received` from a peer, or the last that was asked for) is
     * about to take the place of the entries before it. Call groups_settled
     * once they are not needed any more. */
    void (*settle)(void *data, unsigned group, bool received);
    /* Can a snapshot be received now? */
    bool (*may_restore)(void *data, unsigned group);
    /* `leader` is 0 when there is none. Called on every change. */
    void (*leader)(void *data, unsigned group, uint64_t leader, uint64_t term);
    /* Once after start, when everything that was committed before has been
     * applied (an entry of the current leader's own term is). */
    void (*caught_up)(void *data, unsigned group);
    /* A packet of a kind >= PACKET_HOST. Borrowed. */
    void (*packet)(void *data, uint64_t peer, uint8_t kind, unsigned group,
                   const void *payload, size_t len);
    void (*peer)(void *data, uint64_t peer, bool up);
    /* This node leads `group`, which no longer has the leaving member. Said
     * again until the member is gone. May be NULL. */
    void (*left)(void *data, unsigned group, uint64_t id);
    /* This node leads `group`, which is to let a member go: may it, as far as
     * what the log has forgotten is concerned? Asked again until it may. May be
     * NULL: always. */
    bool (*may_go)(void *data, unsigned group, uint64_t id);
    /* Somebody asks to join: see transport_options.join. May be NULL. */
    bool (*join)(void *data, const struct member_info *who, struct buf *out,
                 char *why, size_t size);
    /* At the end of each turn of the loop, before what was proposed and sent in
     * it leaves; again after writes were completed. May be NULL. */
    void (*turn)(void *data);
    /* The store or a group failed: the node must stop. `why` is one line that
     * says what to do. Once; not for a peer that refuses us: such a node can
     * neither vote nor commit, and groups_why_no_quorum has the peer's text. */
    void (*fatal)(void *data, const char *why);
};

/* Opens the store, starts the transport and all groups. The options are
 * copied. On failure returns < 0, writes one line that says what is wrong and
 * what to do to `why`, and leaves nothing behind. */
int groups_start(const struct groups_options *options, struct groups **out,
                 char *why, size_t why_size);

/* Append an entry: here when this node leads the group, else at the leader.
 * Fire and forget: it may be lost or be appended late, so the caller proposes
 * again on a change of leader; the state machine makes that harmless.
 * `bytes` is malloc'ed and taken in any case.
 * Returns 0 when it left this node's hands; ERR_NO_LEADER, ERR_FULL (log bound
 * reached) or ERR_TOO_BIG (above what a packet holds) when surely not. */
int groups_propose(struct groups *g, unsigned group, void *bytes, size_t len);

/* See groups_options.settle. */
void groups_settled(struct groups *g, unsigned group);

/* 0 = none known. */
uint64_t groups_leader(const struct groups *g, unsigned group);
/* Last index applied here; last index in the leader's own log. */
uint64_t groups_applied(const struct groups *g, unsigned group);
uint64_t groups_last_index(const struct groups *g, unsigned group);
/* Has nobody ever proposed anything, as far as this node's log tells? Of a node
 * that was elected that is the truth, whatever has been committed: it has all
 * of that. False when it cannot be told at once. */
bool groups_is_new(const struct groups *g, unsigned group);
/* The newest term this node has heard of; it votes in no older one. */
uint64_t groups_term(const struct groups *g, unsigned group);
/* The voters by the newest configuration in this node's log, NODES_MAX at most:
 * who leads needs a majority of these. Returns how many. */
unsigned groups_voters(const struct groups *g, unsigned group, uint64_t *ids);
/* May this node believe that the group can commit now? As leader: a majority
 * of voters was heard within two heartbeats (and a grace for a busy machine);
 * as follower: the link to the leader is up and it was heard lately. */
bool groups_quorum_fresh(const struct groups *g, unsigned group);
/* "no quorum: 1 of 3 reachable, node 2 silent for 41 s" */
void groups_why_no_quorum(const struct groups *g, unsigned group, char *out,
                          size_t size);
/* Would every group have a majority of its voters in reach, seen from here,
 * without `id`, which may be one of them or none? Otherwise `why` says who is
 * missing. */
bool groups_may_lose(const struct groups *g, uint64_t id, char *why,
                     size_t size);
/* Must new transactions be refused because the disk of the log is full? Then
 * `why` says what to do. */
bool groups_disk_full(const struct groups *g, char *why, size_t size);
/* Is something in the log that this turn of the loop is going to sync? What
 * nobody waits for comes after it. */
bool groups_will_sync(const struct groups *g);
uint64_t groups_log_bytes(const struct groups *g);

int groups_send(struct groups *g, uint64_t peer, uint8_t kind, unsigned group,
                const void *payload, size_t len);

/* The cluster's id was decided (ENTRY_CLUSTER): persist it, use it in hellos.
 * ERR_MISMATCH when the store already has another. */
int groups_set_cluster(struct groups *g, const struct uuid *cluster);
struct uuid groups_cluster(const struct groups *g);
struct uuid groups_store(const struct groups *g);

/* The members as the registry has them now, and those that it has no longer:
 * connections, and the members of the groups that this node leads, follow. */
void groups_set_members(struct groups *g, const struct groups_member *members,
                        unsigned n, const struct departed *departed,
                        unsigned n_departed);

/* One more, which is only connected to: see groups_member.told. */
void groups_add_member(struct groups *g, const struct groups_member *member);

/* Ask that leadership moves to `peer`; best effort. It stays there until the
 * preferred leader of the group has gone and come back.
 * Returns 0, ERR_NOT_LEADER, ERR_NOT_FOUND (no such group or voter) or ERR_BUSY
 * (a transfer is under way). */
int groups_transfer(struct groups *g, unsigned group, uint64_t peer);

/* Let `peer` be the preferred leader of the group, here and until it dies, or,
 * as a stand-in, until the usual one (placement_leader) is back; 0: the usual
 * one. Every member is to be told, since each may come to lead. As leader, hand
 * over at once.
 * Returns 0, ERR_NOT_FOUND (no such group or member) or ERR_READONLY (it is a
 * replica); then nothing has changed. */
int groups_prefer(struct groups *g, unsigned group, uint64_t peer,
                  bool stand_in);

/* Hand leadership over where this node leads, for at most drain_ms, then close
 * everything and call back; frees g. */
void groups_stop(struct groups *g, unsigned drain_ms,
                 void (*stopped)(void *data), void *data);

/* From now on there are so many groups. Their first members are these, of whom
 * all nodes have the same list; none (n is 0): they begin empty, with what the
 * others send. Once that is durable a start has them as well. Not from inside a
 * callback but `turn`. */
void groups_grow(struct groups *g, unsigned shards,
                 const struct groups_member *members, unsigned n);

/* How many groups the store in this folder has; 0: there is none. And how many
 * it began with. */
unsigned groups_stored(const char *folder, unsigned *first);

#endif
