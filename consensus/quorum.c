#include <inttypes.h>
#include <stdio.h>

#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"

/* Of a busy machine, beyond two heartbeats. */
#define GRACE_MS 100u

static bool heard_lately(const struct groups *g, const struct member *m)
{
    return m->ready && transport_silent_ms(g->transport, m->id) <=
                           2 * (uint64_t)g->options.heartbeat_ms + GRACE_MS;
}

static bool votes(const struct groups *g, unsigned group,
                  const struct member *m)
{
    return m->id != 0 &&
           peek_role(&g->groups[group]->raft, m->id) == RAFT_VOTER;
}

static unsigned voters_heard(const struct groups *g, unsigned group)
{
    unsigned n = 0;

    for (unsigned i = 0; i < g->n_members; i++) {
        const struct member *m = &g->members[i];
        n += votes(g, group, m) && (m->self || heard_lately(g, m));
    }
    return n;
}

static unsigned voters(const struct groups *g, unsigned group)
{
    return peek_voters(&g->groups[group]->raft);
}

unsigned groups_voters(const struct groups *g, unsigned group, uint64_t *ids)
{
    return peek_voter_ids(&g->groups[group]->raft, ids, NODES_MAX);
}

bool quorum_is_connected(const struct group *g)
{
    const struct groups *all = g->all;
    unsigned n = 0;

    for (unsigned i = 0; i < all->n_members; i++) {
        const struct member *m = &all->members[i];
        n += votes(all, g->number, m) && (m->self || m->ready);
    }
    return n > voters(all, g->number) / 2;
}

bool groups_quorum_fresh(const struct groups *g, unsigned group)
{
    uint64_t leader = groups_leader(g, group);

    if (leader == 0) {
        return false;
    }
    if (leader == g->options.node_id) {
        return voters_heard(g, group) > voters(g, group) / 2;
    }
    for (unsigned i = 0; i < g->n_members; i++) {
        if (g->members[i].id == leader) {
            return heard_lately(g, &g->members[i]);
        }
    }
    return false;
}

static size_t describe(const struct groups *g, const struct member *m,
                       char *out, size_t size)
{
    uint64_t silent = transport_silent_ms(g->transport, m->id);
    int n;

    if (m->refused[0] != '\0' && !m->ready) {
        n = snprintf(out, size, ", node %" PRIu64 " refuses us: %s", m->id,
                     m->refused);
    } else if (silent == UINT64_MAX) {
        n = snprintf(out, size, ", node %" PRIu64 " was never heard", m->id);
    } else {
        n = snprintf(out, size,
                     ", node %" PRIu64 " silent for %" PRIu64 ".%" PRIu64 " s",
                     m->id, silent / 1000, silent % 1000 / 100);
    }
    return n < 0 ? 0 : (size_t)n;
}

void groups_why_no_quorum(const struct groups *g, unsigned group, char *out,
                          size_t size)
{
    unsigned heard = voters_heard(g, group), all = voters(g, group);
    uint64_t leader = groups_leader(g, group);
    const char *what =
        heard <= all / 2 ? "no quorum"
        : leader == 0    ? "no leader"
        : leader == g->options.node_id || groups_quorum_fresh(g, group)
            ? "quorum"
            : "leader out of reach";
    size_t used;
    int n = snprintf(out, size, "%s: %u of %u reachable", what, heard, all);

    used = n < 0 ? 0 : (size_t)n;
    for (unsigned i = 0; i < g->n_members && used < size; i++) {
        const struct member *m = &g->members[i];
        if (!m->self && votes(g, group, m) && !heard_lately(g, m)) {
            used += describe(g, m, out + used, size - used);
        }
    }
}

static void say_lost(const struct groups *g, unsigned group, uint64_t id,
                     unsigned heard, unsigned all, char *why, size_t size)
{
    size_t used;
    int n = snprintf(why, size,
                     "without node %" PRIu64
                     " there is no majority: %u of %u voters of shard %u "
                     "reachable",
                     id, heard, all, group);

    used = n < 0 ? 0 : (size_t)n;
    for (unsigned i = 0; i < g->n_members && used < size; i++) {
        const struct member *m = &g->members[i];
        if (!m->self && m->id != id && votes(g, group, m) &&
            !heard_lately(g, m)) {
            used += describe(g, m, why + used, size - used);
        }
    }
}

bool groups_may_lose(const struct groups *g, uint64_t id, char *why,
                     size_t size)
{
    for (unsigned i = 0; i < g->options.shards; i++) {
        bool member = peek_role(&g->groups[i]->raft, id) == RAFT_VOTER;
        unsigned all = voters(g, i) - member, heard = voters_heard(g, i);
        for (unsigned k = 0; member && k < g->n_members; k++) {
            const struct member *m = &g->members[k];
            heard -= m->id == id && (m->self || heard_lately(g, m));
        }
        if (all > 0 && heard <= all / 2) {
            say_lost(g, i, id, heard, all, why, size);
            return false;
        }
    }
    return true;
}
