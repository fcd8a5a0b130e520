/* Where leaders should be.
 *
 * Group g prefers the voter number g mod n. Whoever leads a group that prefers
 * another node hands it over once that node has kept up for a second: a few at
 * a time, later and later again after failures. A node that was given a group
 * on purpose keeps it until the preferred one has gone and come back. A node
 * without room for its log leads nothing, if anybody else can.
 *
 * A move by hand makes another node the preferred one. That is known to whoever
 * was told, in memory only, and ends when that node is lost from sight: nodes
 * that differ in it hand a group over once too often, and nothing else. */
#include <inttypes.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_code.h"
#include "consensus/raft_peek.h"

#define TRANSFERS_MAX 2u       /* at once, to balance */
#define DRAIN_TRANSFERS_MAX 8u /* at once, when stopping */
#define NEAR_MS 1000u          /* kept up for so long */
#define NEAR_ENTRIES 64u       /* kept up: not further behind */
#define BACKOFF_MS 5000u
#define BACKOFF_MS_MAX 60000u

static unsigned transfers(const struct groups *g)
{
    unsigned n = 0;

    for (unsigned i = 0; i < g->options.shards; i++) {
        n += g->groups[i]->transferring;
    }
    return n;
}

bool leadership_lags(const struct group *g, uint64_t id, uint64_t entries)
{
    struct peek_progress p;
    raft_index last = peek_last(&g->raft);

    /* Whoever was sent a snapshot is probed until there is another entry. */
    return !peek_progress(&g->raft, id, &p) || p.snapshot ||
           (p.probing && p.match < last) || p.match + entries < last;
}

/* Possibly called by the core in the middle of something: only take note. */
static void transfer_done(struct raft_transfer *req)
{
    struct group *g = req->data;

    g->transfer_over = true;
}

static int transfer(struct group *g, uint64_t to)
{
    int rv;

    if (g->transferring) {
        return ERR_BUSY;
    }
    g->transfer.data = g;
    rv = raft_transfer(&g->raft, &g->transfer, to, transfer_done);
    if (rv != 0) {
        return raft_code(rv);
    }
    g->transferring = true;
    g->transfer_over = false;
    g->transfer_to = to;
    filters_settle(&g->filters);
    return 0;
}

/* A transfer has ended: did it work? */
static void judge(struct group *g)
{
    uint64_t now = groups_now(g->all);

    if (!g->transferring || !g->transfer_over) {
        return;
    }
    g->transferring = g->transfer_over = false;
    if (!group_leads(g)) {
        g->backoff_ms = 0;
        return;
    }
    g->backoff_ms = g->backoff_ms == 0 ? BACKOFF_MS : g->backoff_ms * 2;
    if (g->backoff_ms > BACKOFF_MS_MAX) {
        g->backoff_ms = BACKOFF_MS_MAX;
    }
    g->retry_ms = now + g->backoff_ms;
    log_info("transfer_failed", "shard=%u node=%" PRIu64 " retry_ms=%u",
             g->number, g->transfer_to, g->backoff_ms);
}

static uint64_t usual_leader(const struct group *g)
{
    return g->all->n_voters == 0
               ? 0
               : placement_leader(g->number, g->all->voters, g->all->n_voters);
}

static void prefer(struct group *g, uint64_t id)
{
    uint64_t usual = usual_leader(g);

    g->preferred = id == 0 ? usual : id;
    g->by_hand = g->preferred != usual;
    g->stand_in = false;
}

void leadership_prefer_again(struct groups *g)
{
    for (unsigned i = 0; i < g->options.shards; i++) {
        struct group *group = g->groups[i];
        const struct member *m = groups_member(g, group->preferred);
        if (!group->by_hand || m == NULL || m->leaving || m->replica) {
            prefer(group, 0);
        }
    }
}

static void end_stand_in(struct group *g)
{
    const struct member *usual;

    if (g->stand_in) {
        usual = groups_member(g->all, usual_leader(g));
        if (usual == NULL || usual->self || usual->ready) {
            prefer(g, 0);
        }
    }
}

/* Who gets it keeps it, as from any other transfer. */
static bool follow_writer(struct group *g)
{
    const struct member *to = group_leads(g) ? follow_writer_next(g) : NULL;

    if (to == NULL || !to->ready || peek_role(&g->raft, to->id) != RAFT_VOTER ||
        leadership_lags(g, to->id, NEAR_ENTRIES) ||
        transfers(g->all) >= TRANSFERS_MAX) {
        return false;
    }
    g->followed_ms = groups_now(g->all);
    log_info("following_writer", "shard=%u node=%" PRIu64, g->number, to->id);
    return transfer(g, to->id) == 0;
}

static void balance(struct group *g)
{
    uint64_t now = groups_now(g->all);
    const struct member *to = groups_member(g->all, g->preferred);

    if (follow_writer(g)) {
        return;
    }

    if (!group_leads(g) || to == NULL || to->self ||
        peek_role(&g->raft, to->id) != RAFT_VOTER || g->stay || !to->ready ||
        leadership_lags(g, to->id, NEAR_ENTRIES)) {
        g->near_ms = 0;
        return;
    }
    if (g->near_ms == 0) {
        g->near_ms = now;
    }
    if (now - g->near_ms >= NEAR_MS && now >= g->retry_ms &&
        transfers(g->all) < TRANSFERS_MAX) {
        (void)transfer(g, to->id);
    }
}

/* Prefers the node that is to lead the group anyway. */
static uint64_t heir(const struct group *g)
{
    const struct groups *all = g->all;
    uint64_t found = 0;

    for (unsigned i = 0; i < all->n_members; i++) {
        const struct member *m = &all->members[i];
        if (!m->self && !m->leaving && m->ready &&
            peek_role(&g->raft, m->id) == RAFT_VOTER &&
            !leadership_lags(g, m->id, NEAR_ENTRIES) &&
            (found == 0 || m->id == g->preferred)) {
            found = m->id;
        }
    }
    return found;
}

/* A leader that leaves, or cannot store what it is asked to commit, is in
 * everybody's way. What the reserve of a full disk gave back is enough to hand
 * its groups over. */
void leadership_hand_over(struct group *g)
{
    uint64_t to = group_leads(g) ? heir(g) : 0;

    if (to != 0 && groups_now(g->all) >= g->retry_ms &&
        transfers(g->all) < DRAIN_TRANSFERS_MAX) {
        (void)transfer(g, to);
    }
}

void leadership_tick(struct groups *g)
{
    bool full = store_full(g->store, NULL, 0);

    for (unsigned i = 0; i < g->options.shards; i++) {
        judge(g->groups[i]);
        end_stand_in(g->groups[i]);
        if (full) {
            leadership_hand_over(g->groups[i]);
        } else {
            balance(g->groups[i]);
        }
    }
}

bool leadership_wanted(const struct groups *g)
{
    return !store_full(g->store, NULL, 0);
}

void leadership_gained(struct group *g)
{
    const struct member *preferred = groups_member(g->all, g->preferred);
    uint64_t now = groups_now(g->all);

    /* The preferred one may have handed over because it stops. */
    g->stay = g->invited_ms != 0 && preferred != NULL && preferred->ready &&
              now - g->invited_ms <= 2 * (uint64_t)g->all->options.election_ms;
    g->invited_ms = 0;
    g->near_ms = 0;
    g->changing = false;
    g->windows = 0;
    g->followed_ms = g->stay ? now : g->followed_ms;
}

void leadership_peer_down(struct groups *g, uint64_t peer)
{
    for (unsigned i = 0; i < g->options.shards; i++) {
        struct group *group = g->groups[i];
        if (group->preferred != peer) {
            continue;
        }
        group->stay = false;
        if (group->by_hand) {
            prefer(group, 0);
        }
    }
}

int groups_transfer(struct groups *g, unsigned group, uint64_t peer)
{
    if (group >= g->options.shards) {
        return ERR_NOT_FOUND;
    }
    if (!group_leads(g->groups[group])) {
        return ERR_NOT_LEADER;
    }
    return transfer(g->groups[group], peer);
}

int groups_prefer(struct groups *g, unsigned group, uint64_t peer,
                  bool stand_in)
{
    const struct member *m = groups_member(g, peer);
    struct group *to;

    if (group >= g->options.shards || (peer != 0 && m == NULL)) {
        return ERR_NOT_FOUND;
    }
    if (m != NULL && m->replica) {
        return ERR_READONLY;
    }
    to = g->groups[group];
    prefer(to, peer);
    to->stand_in = stand_in && to->by_hand;
    to->stay = false;
    to->near_ms = to->retry_ms = 0;
    to->backoff_ms = 0;
    m = groups_member(g, to->preferred);
    if (m != NULL && group_leads(to) && !m->self && m->ready) {
        (void)transfer(to, m->id); /* if it fails: balance() tries again */
    }
    return 0;
}

/* ---- handing over at stop ----------------------------------------------- */

bool leadership_drain(struct groups *g)
{
    bool all_gone = true;

    if (members_ready_voters(g) <= (g->members[g->self].replica ? 0u : 1u)) {
        return true;
    }
    for (unsigned i = 0; i < g->options.shards; i++) {
        struct group *group = g->groups[i];
        uint64_t to;
        judge(group);
        if (!group_leads(group)) {
            /* Not before the new leader is known: it may have failed. */
            all_gone =
                all_gone && (group->transfer_to == 0 || group->leader != 0);
            continue;
        }
        /* Handed over once and given back: the others stop as well. */
        if (group->drained && group->transfer_to == 0) {
            continue;
        }
        all_gone = false;
        to = heir(group);
        if (to == 0 || group->drained) {
            continue;
        }
        if (transfers(g) < DRAIN_TRANSFERS_MAX) {
            group->drained = transfer(group, to) == 0;
        }
    }
    return all_gone;
}
