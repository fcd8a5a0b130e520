/* Shared by filters.c (input, appends, life), filters_send.c (output),
 * filters_members.c (W12), filters_known.c (W13), filters_vote.c (W14) and
 * filters_alone.c (W15); nobody else includes this.
 */
#ifndef CONSENSUS_FILTERS_IN_H
#define CONSENSUS_FILTERS_IN_H

#include "consensus/filters.h"

/* An append that the disk has. */
struct filters_append {
    struct list link; /* in `gated` */
    struct filters *f;
    struct raft_io_append req;   /* ours, for the raw raft_io */
    struct raft_io_append *orig; /* the core's */
    raft_io_append_cb cb;
    raft_index last; /* entry */
    raft_term term;  /* of the core when it was made */
};

int filters_send(struct raft_io *io, struct raft_io_send *req,
                 const struct raft_message *message, raft_io_send_cb cb);

/* Fire the completions that are due. */
void filters_complete_late(struct filters *f);

/* Cancel the output that waits. */
void filters_cancel_held(struct filters *f);

/* Before the message is delivered: it may cut a configuration off. */
void filters_take_back_members(struct filters *f,
                               const struct raft_append_entries *ae);

/* What the log has forgotten is taken out of the message. */
void filters_skip_known(struct filters *f, struct raft_append_entries *ae);

/* A request for our vote, to the core. */
void filters_deliver_vote(struct filters *f, struct raft_message *m);

/* Is `id` the only voter by what was loaded? */
bool filters_votes_alone(raft_id id, const struct raft_snapshot *snapshot,
                         const struct raft_entry *entries, size_t n);

static inline struct filters *filters_of(struct raft_io *io)
{
    return io->impl;
}

#endif
