/* What can be seen of the groups and peers, for people and their tools.
 *
 * Plain values of this moment; nothing is decided by them. */
#ifndef CONSENSUS_VIEW_H
#define CONSENSUS_VIEW_H

#include "base/histogram.h"
#include "consensus/groups.h"

struct groups_peer_view {
    bool ready; /* connected, and not refused */
    bool heard; /* ever */
    uint64_t silent_ms;
    const char *refused; /* why it refuses us, or "" */
    uint64_t sent_bytes, received_bytes;
};

struct groups_group_view {
    uint64_t leader, term, commit, applied, last;
    uint64_t entries, bytes; /* of the log in memory */
    uint64_t preferred;      /* leader */
    bool by_hand;            /* it is the choice of groups_prefer */
    const char *role;        /* of this node in it: "voter", ..., "none" */
};

/* All zero for this node itself and for one that is no member. */
void groups_view_peer(struct groups *g, uint64_t id,
                      struct groups_peer_view *out);

void groups_view_group(const struct groups *g, unsigned group,
                       struct groups_group_view *out);

/* How long the writes of the log store took. */
const struct histogram *groups_view_syncs(const struct groups *g);

#endif
