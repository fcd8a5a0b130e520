/* What we read and set inside struct raft, and nothing else does.
 *
 * libraft 0.15.0 publishes its structs but no functions for these; the layout
 * is checked at build time in raft_peek.c. */
#ifndef CONSENSUS_RAFT_PEEK_H
#define CONSENSUS_RAFT_PEEK_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

struct peek_progress {
    raft_index match, next;
    bool probing;  /* at most one message per heartbeat */
    bool snapshot; /* being sent a snapshot */
};

raft_term peek_term(const struct raft *r);
raft_index peek_commit(const struct raft *r);
raft_index peek_applied(const struct raft *r);
raft_index peek_first(const struct raft *r); /* in memory; may be last + 1 */
raft_index peek_last(const struct raft *r);
/* Is there a command in the log, or was there, as far as is seen at once? */
bool peek_has_command(const struct raft *r);
raft_index peek_last_stored(const struct raft *r);
bool peek_transferring(const struct raft *r);

/* A snapshot is being installed: the log is empty until it is done. */
bool peek_installing(const struct raft *r);

/* The term of an entry in memory; 0 when there is none at `index`. */
raft_term peek_term_of(const struct raft *r, raft_index index);

/* Payload bytes of the entries in memory from `index` on. */
uint64_t peek_bytes_from(const struct raft *r, raft_index index);

/* How many entries that end with `last` have at most so many bytes together. */
unsigned peek_entries_within(const struct raft *r, raft_index last,
                             uint64_t bytes);

/* Do more than half of the voters, this one included, have `index`? Only as
 * leader. */
bool peek_quorum_has(const struct raft *r, raft_index index);

/* Only as leader; false when `id` is no member. */
bool peek_progress(const struct raft *r, raft_id id, struct peek_progress *p);

/* Let the running election timeout begin now. */
void peek_restart_timer(struct raft *r, raft_time now);

/* Replace the timeout drawn for the next election; not as leader. */
void peek_set_timeout(struct raft *r, unsigned ms);
unsigned peek_timeout(const struct raft *r);

/* The servers of the configuration in effect; how many there are is returned.
 */
unsigned peek_servers(const struct raft *r, uint64_t *ids, unsigned max);
/* RAFT_VOTER, ...; -1 when it is not in the configuration. */
int peek_role(const struct raft *r, raft_id id);
unsigned peek_voters(const struct raft *r);
/* Their ids, `max` at most. Returns how many. */
unsigned peek_voter_ids(const struct raft *r, uint64_t *ids, unsigned max);
/* As leader: somebody catches up to become a voter. */
bool peek_promoting(const struct raft *r);

/* The last configuration in the log before `below`; NULL: none in memory. */
const struct raft_entry *peek_change_before(const struct raft *r,
                                            raft_index below,
                                            raft_index *index);
/* Let this one be in effect; takes it. */
void peek_set_configuration(struct raft *r, struct raft_configuration *conf,
                            raft_index index);

/* A change of the members that may still be taken back. */
bool peek_changing_members(const struct raft *r);

/* A snapshot is being made or stored. */
bool peek_snapshotting(const struct raft *r);

/* Index of the last snapshot; 0: none. */
raft_index peek_snapshot(const struct raft *r);

/* After an installed snapshot a configuration index of the replaced log is left
 * behind. */
void peek_forget_uncommitted(struct raft *r);

#endif
