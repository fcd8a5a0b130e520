/* Chance makes the world: nodes die and come back, disks stall and fail, links
 * break, block one way or both, the network changes its manners, leaders are
 * moved, applications are killed. At the end everything heals. */
#include "tests/cluster/sim.h"

#define DOWN_MAX_US (6 * SECOND)
#define BLOCK_MAX_US (8 * SECOND)

struct later {
    unsigned from, to;
    bool both;
};

struct forged {
    struct sim_node *node;
    uint64_t life, epoch;
    unsigned db;
};

static struct sim_node *any_node(struct sim *s)
{
    return &s->nodes[draw(s, s->n_nodes)];
}

static bool all_are_up(struct sim *s)
{
    bool up = true;

    for (unsigned i = 0; i < s->n_nodes; i++) {
        up =
            up && (s->nodes[i].alive || s->nodes[i].replica || s->nodes[i].out);
    }
    return up;
}

/* ---- deaths -------------------------------------------------------------- */

static void kill_one(struct sim *s, bool power)
{
    struct sim_node *n = any_node(s);

    if (n->asking) {
        members_give_up(n);
        node_start_after(n, draw_between(s, 10 * MS, DOWN_MAX_US));
    }
    if (!n->alive) {
        return;
    }
    if (power) {
        s->report.power_cuts++;
    } else {
        s->report.kills++;
    }
    node_kill(n, power);
    node_start_after(n, draw_between(s, 10 * MS, DOWN_MAX_US));
}

/* The whole place goes dark. */
static void kill_all(struct sim *s)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].alive) {
            s->report.power_cuts++;
            node_kill(&s->nodes[i], true);
            node_start_after(&s->nodes[i],
                             draw_between(s, 10 * MS, 2 * SECOND));
        }
    }
}

static void stop_one(struct sim *s)
{
    node_stop(any_node(s), draw_between(s, 10 * MS, DOWN_MAX_US));
}

static void fail_disk(struct sim *s)
{
    struct sim_node *n = any_node(s);

    if (n->alive && all_are_up(s)) {
        disk_fail(n);
    }
}

static void fill_disk(struct sim *s)
{
    any_node(s)->disk.full_until_us = s->now_us + draw(s, 5 * SECOND);
}

static void stall_disk(struct sim *s)
{
    struct sim_node *n = any_node(s);

    s->report.stalls++;
    n->disk.stalled_until_us =
        s->now_us + (chance(s, 1, 4) ? draw(s, 4 * SECOND) : draw(s, SECOND));
}

static void change_disk(struct sim *s)
{
    struct disk *d = &any_node(s)->disk;

    d->low_us = draw(s, 2 * MS);
    d->high_us = d->low_us + draw(s, chance(s, 1, 5) ? 200 * MS : 10 * MS);
    d->at_once = (unsigned)(chance(s, 1, 2) ? 0 : draw(s, 101));
}

/* ---- the network --------------------------------------------------------- */

static void on_unblock(struct sim *s, void *data)
{
    struct later *l = data;

    net_block(s, l->from, l->to, false);
    if (l->both) {
        net_block(s, l->to, l->from, false);
    }
}

static void block(struct sim *s, unsigned from, unsigned to, bool both,
                  uint64_t us)
{
    struct later *l = sim_after(s, us, on_unblock, sizeof *l);

    *l = (struct later){.from = from, .to = to, .both = both};
    trace(s, 0, "block", from + 1, to + 1, both);
    net_block(s, from, to, true);
    if (both) {
        net_block(s, to, from, true);
    }
}

static void isolate(struct sim *s)
{
    unsigned who = (unsigned)draw(s, s->n_nodes);
    uint64_t us = draw(s, BLOCK_MAX_US);
    unsigned way = (unsigned)draw(s, 3); /* both, out, in */

    s->report.partitions++;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (i != who && way == 2) {
            block(s, i, who, false, us);
        } else if (i != who) {
            block(s, who, i, way == 0, us);
        }
    }
}

static void split_into(struct sim *s, uint64_t sides, uint64_t us)
{
    s->report.partitions++;
    for (unsigned a = 0; a < s->n_nodes; a++) {
        for (unsigned b = a + 1; b < s->n_nodes; b++) {
            if (((sides >> a ^ sides >> b) & 1) != 0) {
                block(s, a, b, true, us);
            }
        }
    }
}

static void split(struct sim *s)
{
    uint64_t us = draw(s, BLOCK_MAX_US);

    split_into(s, draw(s, 1u << s->n_nodes), us);
}

/* A leader is alone with one other node, which may hold a lease of it. */
static void split_off_leader(struct sim *s)
{
    unsigned group = (unsigned)draw(s, SIM_SHARDS);
    uint64_t with = draw(s, s->n_nodes);

    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].leads[group] != 0) {
            split_into(s, 1ull << i | 1ull << with,
                       draw_between(s, SECOND, BLOCK_MAX_US));
            return;
        }
    }
}

static void block_one_way(struct sim *s)
{
    unsigned a = (unsigned)draw(s, s->n_nodes);
    unsigned b = (unsigned)((a + 1 + draw(s, s->n_nodes - 1)) % s->n_nodes);

    s->report.one_ways++;
    block(s, a, b, chance(s, 1, 2), draw(s, BLOCK_MAX_US));
}

static void break_link(struct sim *s)
{
    unsigned a = (unsigned)draw(s, s->n_nodes);
    unsigned b = (unsigned)((a + 1 + draw(s, s->n_nodes - 1)) % s->n_nodes);

    s->report.breaks++;
    trace(s, 0, "break", a + 1, b + 1, 0);
    net_break(s, a, b);
}

static void change_net(struct sim *s)
{
    struct net *net = &s->net;

    net->low_us = draw(s, 2 * MS);
    net->high_us = net->low_us + draw(s, chance(s, 1, 5) ? 300 * MS : 5 * MS);
    if (!net->orderly) {
        net->lose = (unsigned)(chance(s, 1, 3) ? draw(s, 200) : draw(s, 20));
        net->duplicate = (unsigned)draw(s, 50);
        net->delay = (unsigned)draw(s, 30);
    }
}

/* ---- what is asked for --------------------------------------------------- */

static void move_leader_to(struct sim *s, struct sim_node *n, unsigned group,
                           unsigned to)
{
    if (n->alive && n->leads[group] != 0 && n->node.groups != NULL &&
        groups_transfer(n->node.groups, group, to + 1) == 0) {
        s->report.transfers++;
        node_turn_soon(n);
    }
}

static void move_leader(struct sim *s)
{
    struct sim_node *n = any_node(s);
    unsigned group = (unsigned)draw(s, SIM_SHARDS);

    move_leader_to(s, n, group, (unsigned)draw(s, s->n_nodes));
}

/* Some node sees the old leader, but not the new one. */
static void move_leader_unseen(struct sim *s)
{
    unsigned group = (unsigned)draw(s, SIM_SHARDS);
    unsigned to = (unsigned)draw(s, s->n_nodes);
    unsigned blind = (unsigned)draw(s, s->n_nodes);

    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].leads[group] != 0 && i != to && i != blind &&
            blind != to) {
            block(s, blind, to, true, draw(s, 4 * SECOND));
            move_leader_to(s, &s->nodes[i], group, to);
            return;
        }
    }
}

static void kill_guest(struct sim *s)
{
    guest_kill(any_node(s)->guests[draw(s, SIM_DBS * SIM_GUESTS)]);
}

static bool others_have_it(struct sim *s, const struct sim_node *n, uint64_t db)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (i != n->number && !s->nodes[i].replica && !s->nodes[i].out &&
            (!s->nodes[i].alive || s->nodes[i].dbs[db].state != DB_READY)) {
            return false;
        }
    }
    return true;
}

/* Somebody writes over a copy while no node looks. */
static void damage_file(struct sim *s)
{
    struct sim_node *n = any_node(s);
    uint64_t db = draw(s, SIM_DBS);
    struct file *f = &n->files[db];

    if (n->alive || f->writers > 0 || f->now.pages == 0 || !f->member ||
        !others_have_it(s, n, db)) {
        return;
    }
    trace(s, n->number + 1, "damage", db, 0, 0);
    f->now.images[f->now.pages - 1][SIM_PAGE - 1] ^= 1;
    f->now.sum = file_sum(&f->now);
    f->n_before = 0;
    f->damaged = f->excused = true;
    f->version++;
}

/* For what is written a lease is never evidence: in some runs a leader may
 * forget who holds one, and a node may believe that it has one. What is read
 * there may be stale (check_granted). */
static void forget_leases(struct sim *s)
{
    struct sim_node *n = any_node(s);

    if (n->alive && s->forges) {
        lease_table_clear(&n->node.group[draw(s, SIM_SHARDS)].leases);
    }
}

static void on_forged(struct sim *s, void *data)
{
    struct forged *f = data;

    (void)s;
    if (f->node->life == f->life) {
        lease_recalled(&f->node->dbs[f->db], f->epoch);
        node_turn_soon(f->node);
    }
}

static void forge_lease(struct sim *s)
{
    struct sim_node *n = any_node(s);
    unsigned db = (unsigned)draw(s, SIM_DBS);
    const struct database *d = &n->dbs[db];
    struct host_lease l = {.stamp = s->now_us + n->node.env.start,
                           .us = s->times.lease_us};
    struct forged *f;

    if (!n->alive || n->dbs[db].m == NULL || !s->forges) {
        return;
    }
    l.term = n->node.env.term(&n->node, d->group);
    l.epoch = 1 + (d->lease.held ? d->lease.epoch : d->lease.released);
    lease_granted(&n->dbs[db], &l);
    node_turn_soon(n);
    f = sim_after(s, draw(s, 2 * SECOND), on_forged, sizeof *f);
    *f =
        (struct forged){.node = n, .life = n->life, .db = db, .epoch = l.epoch};
}

/* ---- at a bad moment ------------------------------------------------------
 */

struct moment {
    struct sim_node *node;
    uint64_t what;
};

static void cut_off(struct sim *s, const struct sim_node *n)
{
    uint64_t us = draw(s, 3 * SECOND);

    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (i != n->number) {
            block(s, n->number, i, true, us);
        }
    }
}

static void on_moment(struct sim *s, void *data)
{
    struct moment *m = data;
    struct sim_node *n = m->node;
    bool power = m->what == 0;

    if (!n->alive || (!s->faulty && !n->mute)) {
        return;
    }
    s->report.moments++;
    if (m->what <= 2) {
        node_kill(n, power);
        node_start_after(
            n, draw_between(s, MS, chance(s, 1, 2) ? SECOND / 5 : 4 * SECOND));
    } else if (m->what == 3) {
        cut_off(s, n);
    } else if (m->what == 4) {
        guest_kill(n->guests[draw(s, SIM_DBS * SIM_GUESTS)]);
    } else {
        n->disk.stalled_until_us = s->now_us + draw(s, SECOND);
    }
}

static void maybe(struct sim_node *n, unsigned of_1000)
{
    struct sim *s = n->sim;
    struct moment *m;

    if (!s->faulty || !n->alive || n->mute || !chance(s, of_1000, 1000)) {
        return;
    }
    n->mute = chance(s, 1, 4); /* it dies in the middle of its turn */
    m = sim_after(s, n->mute || chance(s, 1, 2) ? 0 : draw(s, 2 * MS),
                  on_moment, sizeof *m);
    *m = (struct moment){.node = n, .what = n->mute ? draw(s, 3) : draw(s, 6)};
}

void faults_moment(struct sim_node *n)
{
    maybe(n, n->sim->moments);
}

void faults_rare_moment(struct sim_node *n)
{
    maybe(n, 10 * n->sim->moments);
}

/* ---- the course of a run ------------------------------------------------- */

static void something_happens(struct sim *s)
{
    static void (*const faults[])(struct sim *) = {stall_disk,
                                                   change_disk,
                                                   fill_disk,
                                                   isolate,
                                                   split,
                                                   split_off_leader,
                                                   split_off_leader,
                                                   move_leader_unseen,
                                                   move_leader_unseen,
                                                   move_leader_unseen,
                                                   block_one_way,
                                                   block_one_way,
                                                   break_link,
                                                   break_link,
                                                   change_net,
                                                   move_leader,
                                                   move_leader,
                                                   kill_guest,
                                                   stop_one,
                                                   stop_one,
                                                   damage_file,
                                                   fail_disk,
                                                   forget_leases,
                                                   forget_leases,
                                                   forge_lease,
                                                   forge_lease,
                                                   forge_lease};
    uint64_t what = draw(s, sizeof faults / sizeof faults[0] + 6);

    if (what < 4) {
        kill_one(s, what == 0);
    } else if (what == 4) {
        kill_one(s, true);
    } else if (what == 5) {
        if (chance(s, 1, 4)) {
            kill_all(s);
        }
    } else {
        faults[what - 6](s);
    }
}

static void on_fault(struct sim *s, void *data)
{
    (void)data;
    if (!s->faulty) {
        return;
    }
    something_happens(s);
    sim_after(s, chance(s, 1, 3) ? draw(s, 100 * MS) : draw(s, 2 * SECOND),
              on_fault, 0);
}

/* Short times lead where long ones seldom do: commits in doubt, turns and
 * leases that end in the middle of something. */
static void change_times(struct sim *s)
{
    if (chance(s, 1, 2)) {
        s->times.deadline_us = draw_between(s, 100 * MS, 3 * SECOND);
        s->times.propose_again_us = draw_between(s, 50 * MS, SECOND);
        s->times.idle_us = draw_between(s, 50 * MS, 5 * SECOND);
        s->times.keep_us = draw_between(s, MS, 200 * MS);
        s->times.quantum_us = draw(s, 20 * MS);
        s->times.lease_us = draw_between(s, 20 * MS, SECOND);
        s->times.offer_us = draw_between(s, MS, 50 * MS);
        s->answer_us = chance(s, 1, 2) ? s->times.deadline_us + 3 * SECOND
                                       : draw_between(s, 50 * MS, 3 * SECOND);
    }
}

void faults_begin(struct sim *s)
{
    s->faulty = true;
    change_times(s);
    s->forges = chance(s, 1, 4);
    s->net.orderly = chance(s, 1, 2);
    s->rest_us = chance(s, 1, 3) ? 2 * MS : 20 * MS;
    s->moments = (unsigned)(chance(s, 1, 3) ? 0 : draw(s, 15));
    change_net(s);
    for (unsigned i = 0; i < s->n_nodes; i++) {
        change_disk(s);
    }
    sim_after(s, draw(s, 4 * SECOND), on_fault, 0);
}

/* A wild network has lost single packets, which the nodes take for impossible
 * while a connection lasts. So the connections are made anew. */
static void calm_net(struct sim *s)
{
    for (unsigned a = 0; !s->net.orderly && a < s->n_nodes; a++) {
        for (unsigned b = a + 1; b < s->n_nodes; b++) {
            net_break(s, a, b);
        }
    }
    s->net.orderly = true;
}

void faults_end(struct sim *s)
{
    s->faulty = false;
    calm_net(s);
    s->net.low_us = 100;
    s->net.high_us = 1 * MS;
    for (unsigned a = 0; a < s->n_nodes; a++) {
        struct disk *d = &s->nodes[a].disk;
        d->stalled_until_us = d->full_until_us = 0;
        d->low_us = 500;
        d->high_us = 3 * MS;
        for (unsigned b = 0; b < s->n_nodes; b++) {
            net_block(s, a, b, false);
        }
        node_start(&s->nodes[a]);
    }
}
