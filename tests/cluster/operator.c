/* Who runs the cluster: lets nodes join, removes some, loses a store, moves a
 * node to another address. All in the middle of faults.
 *
 * It knows what any operator has to know: that stores are lost one at a time,
 * and only where the rest has a majority and has met them all; that not
 * everybody moves at once, or nobody finds anybody (the first node stays where
 * it is); that a node that was removed is to be stopped, and comes back with an
 * empty folder. */
#include <string.h>

#include "node/registry.h"
#include "tests/cluster/sim.h"

#define PAUSE_US (2 * SECOND)
#define REMOVAL_US (15 * SECOND) /* a request may still be on its way */

static const struct registered *registered(struct sim *s, unsigned k)
{
    const struct registry *r = check_registry(s);

    return r == NULL ? NULL : registry_find(r, k + 1);
}

static struct sim_node *any_node(struct sim *s)
{
    return &s->nodes[draw(s, s->n_nodes)];
}

static bool runs(const struct sim_node *n)
{
    return n->alive || n->asking;
}

/* The id of its store, as it would tell it. */
static const struct uuid *store_of(const struct sim_node *n)
{
    return n->disk.exists ? &n->disk.store : &n->disk.roster.store;
}

static bool is_member(struct sim *s, const struct sim_node *n)
{
    const struct registered *m = registered(s, n->number);

    return m != NULL && !m->leaving && uuid_equal(&m->info.store, store_of(n));
}

/* ---- what is done -------------------------------------------------------- */

static void end(struct sim_node *n)
{
    n->out = true;
    if (n->asking) {
        members_give_up(n);
    } else if (n->alive && chance(n->sim, 1, 2)) {
        node_kill(n, false);
    } else {
        node_stop(n, 0);
    }
}

/* The folder of its log is emptied. */
static void empty(struct sim_node *n, bool files)
{
    if (n->asking) {
        members_give_up(n);
    } else if (n->alive) {
        node_kill(n, files);
    }
    disk_wipe(n);
    for (unsigned i = 0; files && i < SIM_DBS * SIM_GUESTS; i++) {
        guest_kill(n->guests[i]);
    }
    for (unsigned i = 0; files && i < SIM_DBS; i++) {
        uint64_t version = n->files[i].version;
        memset(&n->files[i], 0, sizeof n->files[i]);
        n->files[i].version = version + 1;
    }
    trace(n->sim, n->number + 1, "empty", files, 0, 0);
}

static void ask_removal(struct sim *s, unsigned k)
{
    struct sim_node *via = any_node(s);
    char why[512];

    if (!via->alive || via->mute || via->node.groups == NULL ||
        via->number == k) {
        return;
    }
    if (membership_remove(&via->node, k + 1, why, sizeof why) == 0) {
        s->report.removals++;
        s->removal_us = s->now_us;
        trace(s, via->number + 1, "remove", k + 1, 0, 0);
    }
    node_turn_soon(via);
}

static void join(struct sim *s)
{
    struct sim_node *n = any_node(s);

    if (!n->out || runs(n)) {
        return;
    }
    empty(n, chance(s, 1, 2));
    n->joins = true;
    n->out = false;
    n->replica = chance(s, 1, 4);
    s->report.joins++;
    node_start(n);
}

static void removal(struct sim *s)
{
    struct sim_node *n = any_node(s);

    if (s->wiped == 0 && is_member(s, n) &&
        (n->number > 0 || s->report.moves == 0)) {
        ask_removal(s, n->number);
    }
}

static bool anybody_leaves(struct sim *s)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        const struct sim_node *n = &s->nodes[i];
        for (unsigned k = 0; n->alive && k < s->n_nodes; k++) {
            const struct registered *m =
                registry_find(&n->node.group[0].machine.registry, k + 1);
            if (m != NULL && m->leaving) {
                return true;
            }
        }
    }
    return s->removal_us != 0 && s->now_us - s->removal_us < REMOVAL_US;
}

/* What only it has is lost with it: so nothing may be. */
static bool others_have_all(struct sim *s, const struct sim_node *n)
{
    for (unsigned k = 0; k < s->n_nodes; k++) {
        const struct sim_node *other = &s->nodes[k];
        for (unsigned i = 0; other != n && !other->out && i < SIM_DBS; i++) {
            if (!other->alive || other->dbs[i].state != DB_READY) {
                return false;
            }
        }
    }
    return true;
}

static bool has_met(const struct sim_node *n, const struct sim_node *other)
{
    const struct disk *d = &n->disk;
    bool met = false;

    for (unsigned i = 0; i < d->n_peers; i++) {
        met = met || (d->peers[i].node_id == other->number + 1 &&
                      uuid_equal(&d->peers[i].store, store_of(other)));
    }
    for (unsigned i = 0; d->has_roster && i < d->roster.n; i++) {
        met = met || (d->roster.members[i].id == other->number + 1 &&
                      uuid_equal(&d->roster.members[i].store, store_of(other)));
    }
    return met;
}

/* Who has never heard of a store does not miss it. */
static bool all_have_met(struct sim *s, const struct sim_node *n)
{
    bool met = true;

    for (unsigned k = 0; k < s->n_nodes; k++) {
        met = met &&
              (k == n->number || s->nodes[k].out || has_met(&s->nodes[k], n));
    }
    return met;
}

static void wipe(struct sim *s)
{
    struct sim_node *n = any_node(s);
    bool files = chance(s, 1, 2);

    if (s->wiped != 0 || n->out || !is_member(s, n) || anybody_leaves(s) ||
        check_voters(s) < 3 || !check_followed(s) ||
        (n->number == 0 && s->report.moves > 0) || !all_have_met(s, n) ||
        (files && !others_have_all(s, n))) {
        return;
    }
    s->report.wipes++;
    s->wiped |= 1u << n->number;
    check_wiped(n);
    empty(n, files);
    n->joins = n->joins || chance(s, 2, 3); /* or the old flags, by mistake */
    node_start_after(n, draw_between(s, 10 * MS, 3 * SECOND));
}

/* All are where the registry says. */
static bool all_are_found(struct sim *s)
{
    char address[ADDRESS_MAX];
    bool found = true;

    for (unsigned k = 0; k < s->n_nodes; k++) {
        const struct registered *m = registered(s, k);
        members_address(&s->nodes[k], address);
        found = found && (s->nodes[k].out ||
                          (m != NULL && strcmp(m->info.address, address) == 0));
    }
    return found;
}

static void move(struct sim *s)
{
    struct sim_node *n = any_node(s);

    if (n->number == 0 || !runs(n) || !is_member(s, &s->nodes[0]) ||
        !all_are_found(s)) {
        return;
    }
    s->report.moves++;
    n->moves++;
    if (n->asking) {
        members_give_up(n);
    } else {
        node_kill(n, false);
    }
    node_start_after(n, draw_between(s, 10 * MS, 3 * SECOND));
}

/* ---- what follows -------------------------------------------------------- */

/* Its store is lost: it has to leave, and to come back. */
static void replace(struct sim *s, struct sim_node *n)
{
    const struct registered *m = registered(s, n->number);

    if (is_member(s, n)) {
        s->wiped &= check_followed(s) ? ~(1u << n->number) : ~0u;
    } else if (m != NULL && !m->leaving) {
        ask_removal(s, n->number);
    } else if (!n->joins) {
        empty(n, false);
        n->joins = true;
        node_start(n);
    }
}

static void tidy(struct sim *s)
{
    const struct registry *r = check_registry(s);

    for (unsigned k = 0; r != NULL && k < s->n_nodes; k++) {
        struct sim_node *n = &s->nodes[k];
        if ((n->disk.exists || n->disk.has_roster) && !n->out &&
            registry_is_gone(r, k + 1, store_of(n))) {
            end(n);
            r = check_registry(s);
        } else if ((s->wiped >> k & 1) != 0) {
            replace(s, n);
            r = check_registry(s);
        }
    }
}

static void on_operate(struct sim *s, void *data)
{
    static void (*const all[])(struct sim *) = {
        join, join, join, removal, removal, wipe, wipe, wipe, wipe, move};

    (void)data;
    tidy(s);
    if (s->faulty) {
        all[draw(s, sizeof all / sizeof all[0])](s);
    }
    sim_after(s, draw(s, PAUSE_US), on_operate, 0);
}

void operator_begin(struct sim *s)
{
    sim_after(s, draw_between(s, SECOND, 4 * SECOND), on_operate, 0);
}
