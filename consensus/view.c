#include "consensus/view.h"

#include <assert.h>

#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"

void groups_view_peer(struct groups *g, uint64_t id,
                      struct groups_peer_view *out)
{
    const struct member *m = groups_member(g, id);

    *out = (struct groups_peer_view){.refused = ""};
    if (m == NULL || m->self) {
        return;
    }
    out->ready = m->ready;
    out->silent_ms = transport_silent_ms(g->transport, id);
    out->heard = out->silent_ms != UINT64_MAX;
    out->refused = m->ready ? "" : m->refused;
    transport_traffic(g->transport, id, &out->sent_bytes, &out->received_bytes);
}

static const char *role_of(const struct group *g)
{
    switch (peek_role(&g->raft, g->all->options.node_id)) {
    case RAFT_VOTER:
        return "voter";
    case RAFT_STANDBY:
        return "standby";
    case RAFT_SPARE:
        return "spare";
    default:
        return "none";
    }
}

void groups_view_group(const struct groups *g, unsigned group,
                       struct groups_group_view *out)
{
    const struct group *one;

    assert(group < g->options.shards);
    one = g->groups[group];
    *out = (struct groups_group_view){
        .leader = one->leader,
        .term = peek_term(&one->raft),
        .commit = peek_commit(&one->raft),
        .applied = peek_applied(&one->raft),
        .last = peek_last(&one->raft),
        .entries = peek_last(&one->raft) + 1 - peek_first(&one->raft),
        .bytes = group_bytes(one),
        .preferred = one->preferred,
        .by_hand = one->by_hand,
        .role = role_of(one)};
}

const struct histogram *groups_view_syncs(const struct groups *g)
{
    return store_times(g->store);
}
