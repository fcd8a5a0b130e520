/* The members of each group follow the registry (node/registry.h).
 *
 *   not there --> spare --> standby --near the end of the log--> voter
 *   leaving, or departed --> taken out, and said so
 *
 * The leader of a group makes one change at a time, each an entry of the log,
 * and only after an entry of its own term was applied. Whoever is merely
 * unknown is left alone: the registry that this node has read may be old. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_code.h"
#include "consensus/raft_peek.h"

#define NEAR_ENTRIES 256u
#define SAY_AGAIN_MS 1000u
#define RETRY_MS 500u
#define KEPT_MS 20000u

/* ---- the list ------------------------------------------------------------ */

static struct member *free_slot(struct groups *g)
{
    for (unsigned i = 0; i < g->n_members; i++) {
        if (g->members[i].id == 0) {
            return &g->members[i];
        }
    }
    return g->n_members < NODES_MAX ? &g->members[g->n_members++] : NULL;
}

static void set_store(struct member *m, const struct uuid *store)
{
    if (uuid_is_none(store) ||
        (m->known && uuid_equal(&m->store.store, store))) {
        return;
    }
    m->store = (struct store_peer){.node_id = m->id, .store = *store};
    m->known = true;
}

static void dial(struct groups *g, const struct groups_member *from)
{
    struct transport_peer peer = {.id = from->id};

    memcpy(peer.address, from->address, sizeof peer.address);
    if (transport_add(g->transport, &peer) != 0) {
        log_error("bad_address", "node=%" PRIu64 " address=%s", from->id,
                  from->address);
    }
}

static void set_one(struct groups *g, const struct groups_member *from)
{
    struct member *m = groups_member(g, from->id);

    if (m == NULL) {
        m = free_slot(g);
        if (m == NULL) {
            return; /* the registry is bounded likewise */
        }
        memset(m, 0, sizeof *m);
        m->all = g;
        m->id = from->id;
        log_info("member", "node=%" PRIu64 " address=%s role=%s", from->id,
                 from->address, from->replica ? "replica" : "voter");
        for (unsigned i = 0; i < g->options.shards; i++) {
            group_peer_is_new(g->groups[i], (unsigned)(m - g->members));
        }
    }
    m->replica = from->replica;
    m->leaving = from->leaving;
    m->last = from->last;
    m->told = from->told;
    set_store(m, &from->store);
    if (!m->self) {
        dial(g, from);
    }
}

static bool is_listed(const struct groups_member *list, unsigned n, uint64_t id)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].id == id) {
            return true;
        }
    }
    return false;
}

static void drop(struct groups *g, struct member *m)
{
    log_info("member_gone", "node=%" PRIu64, m->id);
    transport_remove(g->transport, m->id);
    if (m->up) {
        members_down(g, m->id);
    }
    memset(m, 0, sizeof *m);
    m->all = g;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void prefer_leaders(struct groups *g)
{
    g->n_voters = 0;
    for (unsigned i = 0; i < g->n_members; i++) {
        const struct member *m = &g->members[i];
        if (m->id != 0 && !m->replica && !m->leaving && !m->told) {
            g->voters[g->n_voters++] = m->id;
        }
    }
    qsort(g->voters, g->n_voters, sizeof *g->voters, by_value);
    leadership_prefer_again(g);
}

void groups_set_members(struct groups *g, const struct groups_member *list,
                        unsigned n, const struct departed *departed,
                        unsigned n_departed)
{
    if (g->state > GROUPS_DRAINING) {
        return;
    }
    g->registry_read = true;
    for (unsigned i = 0; i < n; i++) {
        set_one(g, &list[i]);
    }
    for (unsigned i = 0; i < g->n_members; i++) {
        struct member *m = &g->members[i];
        if (m->id != 0 && !m->self && !is_listed(list, n, m->id)) {
            drop(g, m);
        }
    }
    if (n_departed > 0) {
        memcpy(g->departed, departed, n_departed * sizeof *departed);
    }
    g->n_departed = n_departed;
    prefer_leaders(g);
}

void groups_add_member(struct groups *g, const struct groups_member *member)
{
    if (g->state <= GROUPS_DRAINING) {
        set_one(g, member);
    }
}

bool membership_departed(const struct groups *g, uint64_t id,
                         const struct uuid *store)
{
    for (unsigned i = 0; i < g->n_departed; i++) {
        if (g->departed[i].id == id &&
            uuid_equal(&g->departed[i].store, store)) {
            return true;
        }
    }
    return false;
}

/* ---- one group ----------------------------------------------------------- */

static void changed(struct raft_change *req, int status)
{
    struct group *g = req->data;

    g->changing = false;
    if (status != 0) {
        g->change_ms = groups_now(g->all);
        log_debug("member_change_failed", "shard=%u why=\"%s\"", g->number,
                  raft_strerror(status));
    }
}

static bool is_departed(const struct groups *g, uint64_t id)
{
    for (unsigned i = 0; i < g->n_departed; i++) {
        if (g->departed[i].id == id) {
            return true;
        }
    }
    return false;
}

static bool must_go(const struct group *g, uint64_t id)
{
    const struct member *m = groups_member(g->all, id);

    if (m == NULL) {
        return is_departed(g->all, id);
    }
    return m->leaving && (g->number != 0 || m->last);
}

/* The first server of the group that should not be one; 0: none. */
static uint64_t to_remove(struct group *g)
{
    uint64_t ids[NODES_MAX];
    unsigned n = peek_servers(&g->raft, ids, NODES_MAX);

    for (unsigned i = 0; i < n; i++) {
        if (must_go(g, ids[i])) {
            return ids[i];
        }
    }
    return 0;
}

/* It may have what nobody else has, and give it. Who is away is waited for, but
 * not for ever: it may be lost, and what it had with it. */
static bool must_stay(struct group *g, uint64_t id)
{
    const struct groups_options *o = &g->all->options;
    const struct member *m = groups_member(g->all, id);
    uint64_t now = groups_now(g->all);

    if (o->may_go == NULL || o->may_go(o->data, g->number, id)) {
        return false;
    }
    if (g->kept != id || (m != NULL && m->ready)) {
        g->kept = id;
        g->kept_ms = now;
    }
    return now - g->kept_ms < KEPT_MS;
}

static int start_removal(struct group *g, uint64_t id)
{
    const struct groups_options *o = &g->all->options;

    if (id == o->node_id) {
        leadership_hand_over(g); /* who takes it does it */
        return 0;
    }
    if (must_stay(g, id)) {
        log_debug("member_kept", "shard=%u node=%" PRIu64, g->number, id);
        return 0;
    }
    FAILPOINT("member.remove");
    log_info("member_removing", "shard=%u node=%" PRIu64, g->number, id);
    g->changing = true;
    return raft_remove(&g->raft, &g->change, id, changed);
}

static int start_add(struct group *g, uint64_t id)
{
    char name[24];

    FAILPOINT("member.add");
    snprintf(name, sizeof name, "%" PRIu64, id);
    log_debug("member_adding", "shard=%u node=%" PRIu64, g->number, id);
    g->changing = true;
    return raft_add(&g->raft, &g->change, id, name, changed);
}

static int start_assign(struct group *g, uint64_t id, int role)
{
    FAILPOINT("member.assign");
    log_debug("member_role", "shard=%u node=%" PRIu64 " role=%d", g->number, id,
              role);
    g->changing = true;
    return raft_assign(&g->raft, &g->change, id, role, changed);
}

/* What must be done to make `m` what it should be, if anything. Returns true
 * when something was tried. */
static bool adjust(struct group *g, const struct member *m, int *rv)
{
    int role = peek_role(&g->raft, m->id);

    if (role < 0) {
        *rv = start_add(g, m->id);
        return true;
    }
    if (role == RAFT_SPARE) {
        *rv = start_assign(g, m->id, RAFT_STANDBY);
        return true;
    }
    if (role == RAFT_VOTER && m->replica) {
        if (m->self) {
            leadership_hand_over(g);
            return true;
        }
        *rv = start_assign(g, m->id, RAFT_STANDBY);
        return true;
    }
    if (role == RAFT_STANDBY && !m->replica && m->ready &&
        !leadership_lags(g, m->id, NEAR_ENTRIES)) {
        *rv = start_assign(g, m->id, RAFT_VOTER);
        return true;
    }
    return false;
}

/* Has this node read what group 0 has committed? Otherwise it might take in
 * somebody who has been let go. */
static bool is_current(const struct groups *all)
{
    const struct group *g = all->groups[0];
    raft_index goal = group_leads(g) ? filters_own_first(&g->filters)
                                     : filters_commit_heard(&g->filters);

    return groups_quorum_fresh(all, 0) && peek_applied(&g->raft) >= goal;
}

static bool may_change(const struct group *g)
{
    return group_leads(g) && is_current(g->all) && !g->changing &&
           !g->transferring && !peek_changing_members(&g->raft) &&
           !peek_promoting(&g->raft) &&
           peek_applied(&g->raft) >= filters_own_first(&g->filters) &&
           groups_now(g->all) - g->change_ms >= RETRY_MS;
}

/* Say of each leaving member that this group no longer has it. */
static void say_left(struct group *g)
{
    struct groups *all = g->all;
    uint64_t now = groups_now(all);

    if (all->options.left == NULL || now - g->left_said_ms < SAY_AGAIN_MS) {
        return;
    }
    for (unsigned i = 0; i < all->n_members; i++) {
        const struct member *m = &all->members[i];
        if (m->id != 0 && m->leaving && peek_role(&g->raft, m->id) < 0) {
            g->left_said_ms = now;
            all->options.left(all->options.data, g->number, m->id);
        }
    }
}

static void reconcile(struct group *g)
{
    struct groups *all = g->all;
    uint64_t id;
    int rv = 0;

    if (!may_change(g)) {
        return;
    }
    g->change.data = g;
    id = to_remove(g);
    if (id != 0) {
        rv = start_removal(g, id);
    }
    for (unsigned i = 0; id == 0 && i < all->n_members; i++) {
        const struct member *m = &all->members[i];
        if (m->id != 0 && !m->leaving && !m->told && adjust(g, m, &rv)) {
            id = m->id;
        }
    }
    if (rv != 0) {
        g->changing = false;
        g->change_ms = groups_now(all);
    }
    if (id == 0) {
        say_left(g);
    } else {
        filters_settle(&g->filters);
    }
}

void membership_tick(struct groups *g)
{
    for (unsigned i = 0; g->registry_read && i < g->options.shards; i++) {
        reconcile(g->groups[i]);
    }
}
