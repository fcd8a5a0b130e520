/* What must hold of who belongs to a group.
 *
 * A configuration is an entry of the log. A leader writes one only when the one
 * before is committed and something of its own term is; it differs by one
 * server, so that any two majorities have a node in common; who is new does not
 * vote, and who is promoted has the log. Who was elected was given a majority
 * of votes by the voters of its own log, and knows the committed configuration.
 * Nobody listens to a node that has forgotten what it voted, as long as a group
 * has it. */
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "node/registry.h"
#include "tests/cluster/check.h"
#include "wire/raft_message.h"

#define NEAR_ENTRIES 256u /* as consensus/membership.c */

/* ---- configurations ------------------------------------------------------ */

static bool decode(const void *bytes, size_t len, struct conf *out)
{
    struct raft_configuration c;

    if (raft_conf_decode(bytes, len, &c) != 0) {
        return false;
    }
    memset(out->role, 0, sizeof out->role);
    for (unsigned i = 0; i < c.n; i++) {
        if (c.servers[i].id <= SIM_NODES_MAX) {
            out->role[c.servers[i].id - 1] = (uint8_t)(1 + c.servers[i].role);
        }
    }
    raft_configuration_close(&c);
    return true;
}

/* The last one in a node's log before `below`. */
static bool conf_before(struct sim_node *n, unsigned group, uint64_t below,
                        struct conf *out)
{
    const struct group *g = n->node.groups->groups[group];
    const struct store_snapshot *s = &g->io.snapshot;
    raft_index index;
    const struct raft_entry *e = peek_change_before(&g->raft, below, &index);

    if (e != NULL) {
        out->index = index;
        return decode(e->buf.base, e->buf.len, out);
    }
    out->index = s->conf_index;
    return s->index != 0 && s->conf_index < below &&
           decode(s->conf, s->conf_len, out);
}

static bool votes(const struct conf *c, unsigned node)
{
    return c->role[node] == 1 + RAFT_VOTER;
}

static unsigned voters(const struct conf *c, const struct conf * or)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        n += votes(c, i) || (or != NULL && votes(or, i));
    }
    return n;
}

static uint64_t disk_last(const struct disk *d, unsigned group)
{
    return d->groups[group].first + d->groups[group].n - 1;
}

/* Has the group let it go, and said so? A leader that is a moment behind in
 * group 0 may take it in again, and takes it out when it has read of it. */
static bool has_to_stay_out(struct sim *s, unsigned group, unsigned node)
{
    const struct registry *r = check_registry(s);
    const struct registered *m = r == NULL ? NULL : registry_find(r, node + 1);

    return r != NULL &&
           (m == NULL || (m->left[group / 8] >> group % 8 & 1) != 0);
}

static void check_difference(struct sim_node *n, unsigned group,
                             const struct conf *old, const struct conf *now)
{
    unsigned changes = 0;

    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        const struct disk *d = &n->sim->nodes[i].disk;
        changes += old->role[i] != now->role[i];
        if (!votes(old, i) && votes(now, i) &&
            has_to_stay_out(n->sim, group, i)) {
            violation(n->sim, "group %u: node %u votes, which has left", group,
                      i + 1);
        }
        if (old->role[i] == 0 && votes(now, i)) {
            violation(n->sim, "group %u: node %u votes as soon as it is there",
                      group, i + 1);
        } else if (!votes(old, i) && votes(now, i) &&
                   (disk_last(d, group) == 0 ||
                    disk_last(d, group) + NEAR_ENTRIES < now->index)) {
            violation(n->sim,
                      "group %u: node %u is made a voter at %" PRIu64
                      " with a log up to %" PRIu64,
                      group, i + 1, now->index, disk_last(d, group));
        }
    }
    if (changes != 1) {
        violation(n->sim, "group %u: %u members change at once", group,
                  changes);
    }
    if (voters(old, NULL) / 2 + voters(now, NULL) / 2 + 2 <= voters(old, now)) {
        violation(n->sim, "group %u: two majorities have no node in common",
                  group);
    }
}

void check_change(struct sim_node *n, unsigned group, uint64_t index,
                  const struct raft_entry *e)
{
    const struct raft *r = sim_raft(n, group);
    struct conf old, now = {.index = index};
    raft_term term;

    if (index == 1 || raft_state(sim_raft(n, group)) != RAFT_LEADER) {
        return;
    }
    if (!conf_before(n, group, index, &old) ||
        !decode(e->buf.base, e->buf.len, &now)) {
        violation(n->sim, "group %u: a configuration upon none", group);
        return;
    }
    n->sim->report.changes++;
    trace(n->sim, n->number + 1, "change", group, index, old.index);
    term = peek_term_of(r, peek_commit(r));
    if (old.index > peek_commit(r)) {
        violation(n->sim, "group %u: two changes of the members in flight",
                  group);
    } else if (term != 0 && term != peek_term(r)) {
        violation(n->sim,
                  "group %u: node %u changes the members before anything of "
                  "its term is committed",
                  group, n->number + 1);
    }
    check_difference(n, group, &old, &now);
}

/* ---- what is committed, and in effect ------------------------------------ */

static void note_committed(struct sim *s, unsigned group,
                           const struct conf *conf)
{
    struct check *c = s->check;

    if (conf->index <= c->confs[group].index) {
        return;
    }
    c->confs[group] = *conf;
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        c->stale[i][group] = c->stale[i][group] && conf->role[i] != 0;
    }
}

static void check_in_effect(struct sim_node *n, unsigned group,
                            const struct conf *last)
{
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        if (last->role[i] != 1 + peek_role(sim_raft(n, group), i + 1)) {
            violation(n->sim,
                      "node %u group %u: the configuration at %" PRIu64
                      " of its log is not the one it goes by",
                      n->number + 1, group, last->index);
            return;
        }
    }
}

void check_members(struct sim_node *n)
{
    for (unsigned i = 0; i < SIM_SHARDS && n->node.groups != NULL; i++) {
        const struct raft *r = sim_raft(n, i);
        struct conf c;
        if (!n->node.groups->booted || peek_installing(r) ||
            n->node.groups->state > GROUPS_DRAINING) {
            continue;
        }
        if (conf_before(n, i, peek_commit(r) + 1, &c)) {
            note_committed(n->sim, i, &c);
        }
        if (conf_before(n, i, peek_last_stored(r) + 1, &c) &&
            peek_last_stored(r) == peek_last(r)) {
            check_in_effect(n, i, &c);
        }
    }
}

/* ---- votes --------------------------------------------------------------- */

/* By a node, whichever its store was; or by a store. */
static uint64_t vote_key(unsigned node, unsigned group, uint64_t term,
                         const struct uuid *store)
{
    uint64_t name[3] = {node, group, term};

    return store == NULL ? XXH3_64bits(name, sizeof name)
                         : XXH3_64bits_withSeed(name, sizeof name,
                                                XXH3_64bits(store->b, 16));
}

void check_voted(struct sim_node *n, unsigned group, uint64_t term,
                 uint64_t vote)
{
    struct map *votes = &n->sim->check->votes;
    uint64_t *known;
    bool is_new;

    if (vote == 0) {
        return;
    }
    known = map_at(votes, vote_key(n->number, group, term, &n->disk.store),
                   &is_new);
    if (!is_new && *known != vote && !n->sim->plan.quiet) {
        violation(n->sim,
                  "node %u votes for nodes %" PRIu64 " and %" PRIu64
                  " in term %" PRIu64 " of group %u",
                  n->number + 1, *known, vote, term, group);
    }
    *known = vote;
    *map_at(votes, vote_key(n->number, group, term, NULL), &is_new) = vote;
}

void check_elected(struct sim_node *n, unsigned group, uint64_t term)
{
    const struct check *c = n->sim->check;
    struct conf conf;
    unsigned n_votes = 0;

    if (!conf_before(n, group, UINT64_MAX, &conf)) {
        violation(n->sim, "node %u leads group %u, which has no members",
                  n->number + 1, group);
        return;
    }
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        n_votes += votes(&conf, i) &&
                   (i == n->number ||
                    map_get(&c->votes, vote_key(i, group, term, NULL)) ==
                        n->number + 1);
    }
    if (!votes(&conf, n->number) || n_votes <= voters(&conf, NULL) / 2) {
        violation(n->sim,
                  "node %u leads group %u in term %" PRIu64
                  " by %u votes of %u",
                  n->number + 1, group, term, n_votes, voters(&conf, NULL));
    }
    if (conf.index < c->confs[group].index) {
        violation(n->sim,
                  "node %u leads group %u with the members of %" PRIu64
                  ", those of %" PRIu64 " are committed",
                  n->number + 1, group, conf.index, c->confs[group].index);
    }
}

/* ---- stores that are lost ------------------------------------------------ */

void check_wiped(struct sim_node *n)
{
    struct check *c = n->sim->check;

    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        c->stale[n->number][i] = c->confs[i].role[n->number] != 0;
    }
}

void check_listens(struct sim_node *n, const struct sim_node *peer)
{
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        if (n->sim->check->stale[peer->number][i]) {
            violation(n->sim,
                      "node %u listens to node %u, which has forgotten what it "
                      "voted in group %u",
                      n->number + 1, peer->number + 1, i);
        }
    }
}

/* ---- where it leads ------------------------------------------------------ */

const struct registry *check_registry(struct sim *s)
{
    const struct sim_node *best = NULL;

    for (unsigned i = 0; i < s->n_nodes; i++) {
        const struct sim_node *n = &s->nodes[i];
        if (n->alive && !n->dying &&
            (best == NULL || n->applied[0] > best->applied[0])) {
            best = n;
        }
    }
    return best == NULL ? NULL : &best->node.group[0].machine.registry;
}

static const struct sim_node *leader_of(struct sim *s, unsigned group)
{
    const struct sim_node *best = NULL;

    for (unsigned i = 0; i < s->n_nodes; i++) {
        const struct sim_node *n = &s->nodes[i];
        if (n->alive && n->leads[group] != 0 &&
            (best == NULL || n->leads[group] > best->leads[group])) {
            best = n;
        }
    }
    return best;
}

static bool follows(const struct registry *r, const struct raft *raft)
{
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        const struct registered *m = registry_find(r, i + 1);
        int should = m == NULL         ? -1
                     : m->info.replica ? RAFT_STANDBY
                                       : RAFT_VOTER;
        if (peek_role(raft, i + 1) != should || (m != NULL && m->leaving)) {
            return false;
        }
    }
    return !peek_changing_members(raft);
}

bool check_followed(struct sim *s)
{
    const struct registry *r = check_registry(s);

    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        const struct sim_node *leader = leader_of(s, i);
        if (r == NULL || leader == NULL || leader->node.groups == NULL ||
            !follows(r, &leader->node.groups->groups[i]->raft)) {
            return false;
        }
    }
    return true;
}

unsigned check_voters(struct sim *s)
{
    const struct registry *r = check_registry(s);
    unsigned n = 0;

    for (unsigned i = 0; r != NULL && i < r->n; i++) {
        n += !r->members[i].info.replica && !r->members[i].leaving;
    }
    return n;
}
