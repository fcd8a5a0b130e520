/* consensus/membership.c with switches that are off: MUTANT_EARLY_VOTER makes a
 * voter of whoever is there, MUTANT_HASTY_CHANGE does not wait for an entry of
 * the leader's own term. Takes the place of the product's own object at the
 * link, so that there is no second copy of its text. */
#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "tests/cluster/sim.h"

static bool is(enum sim_mutant mutant)
{
    return sim_now->plan.mutant == mutant;
}

static bool lags(const struct group *g, uint64_t id, uint64_t entries)
{
    return !is(MUTANT_EARLY_VOTER) && leadership_lags(g, id, entries);
}

static raft_index own_first(const struct filters *f)
{
    return is(MUTANT_HASTY_CHANGE) ? 0 : filters_own_first(f);
}

static bool quorum_fresh(const struct groups *g, unsigned group)
{
    return is(MUTANT_OLD_LIST) || groups_quorum_fresh(g, group);
}

static raft_index commit_heard(const struct filters *f)
{
    return is(MUTANT_OLD_LIST) ? 0 : filters_commit_heard(f);
}

/* How far the leader believes a server to be. */
static raft_index *match_of(struct raft *r, raft_id id)
{
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].id == id) {
            return &r->leader_state.progress[i].match_index;
        }
    }
    return NULL;
}

/* The core lets a voter catch up first, unless it seems to have. */
static int assign(struct raft *r, struct raft_change *req, raft_id id, int role,
                  raft_change_cb cb)
{
    raft_index *match = match_of(r, id), before;
    int rv;

    if (match == NULL || role != RAFT_VOTER || !is(MUTANT_EARLY_VOTER)) {
        return raft_assign(r, req, id, role, cb);
    }
    before = *match;
    *match = peek_last(r);
    rv = raft_assign(r, req, id, role, cb);
    *match = before;
    return rv;
}

#define leadership_lags(g, id, entries) lags(g, id, entries)
#define groups_quorum_fresh(g, group) quorum_fresh(g, group)
#define filters_commit_heard(f) commit_heard(f)
#define filters_own_first(f) own_first(f)
#define raft_assign(r, req, id, role, cb) assign(r, req, id, role, cb)
#include "consensus/membership.c" /* NOLINT(bugprone-suspicious-include) */
