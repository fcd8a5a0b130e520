#include <inttypes.h>
#include <stdio.h>

#include "consensus/groups_internal.h"

/* Of a busy machine, beyond two heartbeats. */
#define GRACE_MS 100u

static bool heard_lately(const struct groups *g, const struct member *m)
{
    return m->ready && transport_silent_ms(g->transport, m->id) <=
                           2 * (uint64_t)g->options.heartbeat_ms + GRACE_MS;
}

static unsigned voters_heard(const struct groups *g)
{
    unsigned n = 0;

    for (unsigned i = 0; i < g->n_members; i++) {
        const struct member *m = &g->members[i];
        n += !m->replica && (m->self || heard_lately(g, m));
    }
    return n;
}

bool groups_quorum_fresh(const struct groups *g, unsigned group)
{
    uint64_t leader = groups_leader(g, group);

    if (leader == 0) {
        return false;
    }
    if (leader == g->options.node_id) {
        return voters_heard(g) > g->n_voters / 2;
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
    unsigned heard = voters_heard(g);
    uint64_t leader = groups_leader(g, group);
    const char *what =
        heard <= g->n_voters / 2 ? "no quorum"
        : leader == 0            ? "no leader"
        : leader == g->options.node_id || groups_quorum_fresh(g, group)
            ? "quorum"
            : "leader out of reach";
    size_t used;
    int n =
        snprintf(out, size, "%s: %u of %u reachable", what, heard, g->n_voters);

    used = n < 0 ? 0 : (size_t)n;
    for (unsigned i = 0; i < g->n_members && used < size; i++) {
        const struct member *m = &g->members[i];
        if (!m->self && !m->replica && !heard_lately(g, m)) {
            used += describe(g, m, out + used, size - used);
        }
    }
}
