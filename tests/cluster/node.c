/* A node: the product's groups, machines, leases, slots and proposals on a
 * virtual loop, and its lives and deaths.
 *
 * The joints are node/events.c, node/host.c and node/steps.c themselves; what
 * node/node.c does with libuv is done here. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/groups_internal.h"
#include "tests/cluster/sim.h"

#define ROUNDS_MAX 4 /* as node/node.c */
#define CLOSE_TURNS_MAX 1000

const char *const sim_db_names[SIM_DBS] = {"first", "second", "third"};

struct wakening {
    struct sim_node *node;
    uint64_t life;
    unsigned db;
};

struct sim_node *sim_node_of(struct node *n)
{
    return LIST_ENTRY(n, struct sim_node, node);
}

struct sim_node *sim_node_id(struct sim *s, uint64_t id)
{
    return &s->nodes[id - 1];
}

struct raft *sim_raft(struct sim_node *n, unsigned group)
{
    return n->node.groups == NULL ? NULL : &n->node.groups->groups[group]->raft;
}

struct filters *sim_filters(struct sim_node *n, unsigned group)
{
    return &n->node.groups->groups[group]->filters;
}

/* The one random source of the product that is not a function pointer
 * (linked with --wrap). */
int random_uuid(struct uuid *u) __asm__("__wrap_uuid_random");

int random_uuid(struct uuid *u)
{
    draw_bytes(sim_now, u->b, sizeof u->b);
    return 0;
}

/* ---- turns and wakes ----------------------------------------------------- */

static void on_turn_event(struct sim *s, void *data)
{
    struct wakening *w = data;
    struct sim_node *n = w->node;

    (void)s;
    if (n->life != w->life || n->dying) {
        return;
    }
    n->turn_queued = false;
    loop_turn(n);
    if (n->node.groups == NULL) {
        memset(n->leads, 0, sizeof n->leads);
        node_turn(&n->node); /* it has no other turn any more */
    }
    check_node(n);
}

void node_turn_soon(struct sim_node *n)
{
    struct wakening *w;

    if (n->turn_queued || n->dying || !n->alive) {
        return;
    }
    n->turn_queued = true;
    w = sim_after(n->sim, draw(n->sim, 200), on_turn_event, sizeof *w);
    *w = (struct wakening){.node = n, .life = n->life};
}

void node_wake(struct node *node, struct database *db)
{
    if (db != NULL && !db->wake_queued) {
        db->wake_queued = true;
        list_push(&node->awake, &db->wake_link);
    }
    node_turn_soon(sim_node_of(node));
}

static bool is_quiet(const struct node *n)
{
    return list_empty(&n->awake) && list_empty(&n->letters);
}

static void step_awake(struct node *n)
{
    struct list now, *l;

    host_deliver_letters(n);
    list_init(&now);
    while ((l = list_pop(&n->awake)) != NULL) {
        list_push(&now, l);
    }
    while ((l = list_pop(&now)) != NULL) {
        struct database *db = LIST_ENTRY(l, struct database, wake_link);
        db->wake_queued = false;
        if (!n->groups_stopped) {
            database_step(n, db);
        }
    }
}

void node_turn(struct node *n)
{
    struct sim_node *sn = sim_node_of(n);

    if (sn->dying || (n->groups == NULL && !n->stopping)) {
        return;
    }
    for (unsigned i = 0; i < ROUNDS_MAX && !is_quiet(n); i++) {
        step_awake(n);
    }
    if (n->stopping && !sn->ended) {
        stop_step(n);
        if (sn->sim->plan.mutant == MUTANT_NO_HANDOVER && n->groups != NULL) {
            n->groups->fatal = n->sessions_closed;
        }
    }
    if (!is_quiet(n)) {
        node_turn_soon(sn);
    }
}

static void on_wake_time(struct sim *s, void *data)
{
    struct wakening *w = data;
    struct database *db = &w->node->dbs[w->db];

    if (w->node->life != w->life || w->node->dying || db->wake_at_us == 0 ||
        db->wake_at_us > s->now_us) {
        return;
    }
    db->wake_at_us = 0;
    node_wake(&w->node->node, db);
}

/* ---- struct db_env ------------------------------------------------------- */

static uint64_t env_now(void *data)
{
    return sim_node_of(data)->sim->now_us;
}

static int env_propose(void *data, unsigned group, void *bytes, size_t len)
{
    struct node *n = data;

    return groups_propose(n->groups, group, bytes, len);
}

static uint64_t env_leader(void *data, unsigned group)
{
    struct node *n = data;

    return n->groups == NULL ? 0 : groups_leader(n->groups, group);
}

static uint64_t env_term(void *data, unsigned group)
{
    struct node *n = data;

    return n->groups == NULL ? 0 : groups_term(n->groups, group);
}

static uint64_t env_applied(void *data, unsigned group)
{
    struct node *n = data;

    return sim_node_of(n)->sim->plan.mutant == MUTANT_UNREAD_LOG
               ? UINT64_MAX
               : groups_applied(n->groups, group);
}

static bool env_fresh(void *data, unsigned group)
{
    struct node *n = data;

    return n->groups != NULL && groups_quorum_fresh(n->groups, group);
}

static void env_why(void *data, unsigned group, char *out, size_t size)
{
    struct node *n = data;

    groups_why_no_quorum(n->groups, group, out, size);
}

static bool env_disk_full(void *data, char *out, size_t size)
{
    struct node *n = data;

    return n->groups != NULL && groups_disk_full(n->groups, out, size);
}

static void env_lease_send(void *data, struct database *db, uint8_t kind,
                           const struct host_lease *l)
{
    struct node *n = data;

    if (n->groups != NULL) {
        host_lease_send(n, groups_leader(n->groups, db->group), kind, db->group,
                        l);
    }
}

static void env_wake(void *data, struct database *db)
{
    node_wake(data, db);
}

static void env_wake_after(void *data, struct database *db, uint64_t us)
{
    struct sim_node *n = sim_node_of(data);
    uint64_t at = n->sim->now_us + us;
    struct wakening *w;

    if (db->wake_at_us != 0 && at >= db->wake_at_us) {
        return;
    }
    db->wake_at_us = at;
    w = sim_after(n->sim, us, on_wake_time, sizeof *w);
    *w = (struct wakening){
        .node = n, .life = n->life, .db = (unsigned)(db - n->dbs)};
}

static void fill_env(struct sim_node *n)
{
    n->node.env = (struct db_env){.data = &n->node,
                                  .node_id = n->number + 1,
                                  .start = draw(n->sim, UINT64_MAX),
                                  .replica = n->replica,
                                  .voter_ids = n->node.voter_ids,
                                  .times = n->sim->times,
                                  .now_us = env_now,
                                  .propose = env_propose,
                                  .leader = env_leader,
                                  .term = env_term,
                                  .applied = env_applied,
                                  .quorum_fresh = env_fresh,
                                  .why_no_quorum = env_why,
                                  .disk_full = env_disk_full,
                                  .lease_send = env_lease_send,
                                  .session_send = server_send,
                                  .page_before = files_page,
                                  .wake = env_wake,
                                  .wake_after = env_wake_after};
    for (unsigned i = 0; i < n->node.n_members; i++) {
        const struct groups_member *m = &n->node.members[i];
        if (!m->replica) {
            n->node.voter_ids[n->node.env.voters++] = m->id;
        }
        if (m->id == n->number + 1) {
            n->node.env.replica = m->replica;
        }
    }
}

/* ---- what the groups tell, looked at on the way -------------------------- */

static void on_apply(void *data, unsigned group, uint64_t index,
                     const void *bytes, size_t len)
{
    struct sim_node *n = sim_node_of(data);

    if (n->dying) {
        return;
    }
    check_apply(n, group, index, bytes, len);
    n->hooks.apply(data, group, index, bytes, len);
    check_applied(n, group, index);
    faults_moment(n);
}

static void on_leader(void *data, unsigned group, uint64_t leader,
                      uint64_t term)
{
    struct sim_node *n = sim_node_of(data);

    if (n->dying) {
        return;
    }
    n->leads[group] = leader == n->number + 1 ? term : 0;
    trace(n->sim, n->number + 1, "leader", group, leader, term);
    if (n->leads[group] != 0) {
        n->sim->report.elections++;
        check_leader(n, group, term);
        faults_moment(n);
    }
    n->hooks.leader(data, group, leader, term);
}

/* At the start, or when a peer had no longer what was missing here. */
static int on_restore(void *data, unsigned group, const void *bytes, size_t len)
{
    struct sim_node *n = sim_node_of(data);
    int rv;

    if (n->dying) {
        return 0;
    }
    rv = n->hooks.restore(data, group, bytes, len);
    check_restored(n, group, disk_snapshot_index(n, group));
    faults_moment(n);
    return rv;
}

/* A snapshot is to be stored. */
static void on_settle(void *data, unsigned group, bool received)
{
    struct sim_node *n = sim_node_of(data);

    if (n->dying) {
        return;
    }
    trace(n->sim, n->number + 1, "settle", group, received, n->applied[group]);
    if ((n->sim->unsettled >> n->number & 1) != 0) {
        return; /* until groups_settled is called for it */
    }
    n->hooks.settle(data, group, received);
    if (n->sim->plan.mutant == MUTANT_NO_SETTLE) {
        groups_settled(n->node.groups, group);
    }
    faults_moment(n);
}

static void on_caught_up(void *data, unsigned group)
{
    if (!sim_node_of(data)->dying) {
        sim_node_of(data)->hooks.caught_up(data, group);
    }
}

static void on_rebirth(struct sim *s, void *data)
{
    struct wakening *w = data;

    (void)s;
    node_start(w->node);
}

void node_start_after(struct sim_node *n, uint64_t us)
{
    struct wakening *w = sim_after(n->sim, us, on_rebirth, sizeof *w);

    w->node = n;
}

/* Somebody starts it again. */
static void on_death(struct sim *s, void *data)
{
    struct wakening *w = data;

    if (w->node->life == w->life && w->node->alive) {
        node_kill(w->node, false);
        node_start_after(w->node, draw_between(s, 10 * MS, 5 * SECOND));
    }
}

void node_fatal(struct node *node, const char *why)
{
    struct sim_node *n = sim_node_of(node);
    struct wakening *w;

    if (n->dying || n->fatal != NULL) {
        return;
    }
    n->fatal = why;
    trace(n->sim, n->number + 1, "fatal", 0, 0, 0);
    if (strstr(why, "simulated") == NULL) {
        violation(n->sim, "node %u stops: %s", n->number + 1, why);
    }
    w = sim_after(n->sim, 0, on_death, sizeof *w);
    *w = (struct wakening){.node = n, .life = n->life};
}

/* ---- life ---------------------------------------------------------------- */

static void fill_options(struct sim_node *n)
{
    struct options *o = &n->node.own_options;

    memset(o, 0, sizeof *o);
    o->node_id = n->number + 1;
    o->shards = SIM_SHARDS;
    o->replica = n->replica;
    o->max_log_bytes = 64u << 20;
    members_fill(n, o);
}

static void start_groups(struct sim_node *n)
{
    struct groups_options g = {
        .loop = &n->loop,
        .path = "",
        .node_id = n->number + 1,
        .bind = "",
        .advertise = n->node.own_options.advertise,
        .shards = SIM_SHARDS,
        .members = n->node.members,
        .n_members = n->node.n_members,
        .registered = n->node.roster.n > 0,
        .joined = n->node.roster.joining,
        .cluster = n->node.roster.cluster,
        .log_bytes_max = n->node.own_options.max_log_bytes,
        .log_bytes_keep = n->sim->plan.log_bytes_keep,
        .log_entries_keep = n->sim->plan.log_entries_keep};
    char why[512];
    int rv;

    if (n->node.roster.joining) {
        g.new_store = n->node.roster.store;
    }
    events_fill(&n->node, &g);
    n->hooks = g;
    if (n->sim->plan.log_entries_keep == 0) {
        g.snapshot = NULL;
    }
    g.restore = on_restore;
    g.settle = on_settle;
    g.apply = on_apply;
    g.leader = on_leader;
    g.caught_up = on_caught_up;
    if (n->sim->plan.mutant == MUTANT_LET_GO) {
        g.may_go = NULL;
    }
    rv = groups_start(&g, &n->node.groups, why, sizeof why);
    assert(rv == 0);
}

void node_start(struct sim_node *n)
{
    if (n->alive || n->asking || n->out) {
        return;
    }
    n->life++;
    if (members_must_ask(n)) {
        members_ask(n);
    } else {
        node_boot(n);
    }
}

/* The file of members may say that it has no place here. */
static bool find_members(struct sim_node *n)
{
    char why[512];

    memset(&n->node, 0, sizeof n->node);
    n->node.options = &n->node.own_options;
    fill_options(n);
    return membership_find(&n->node, why, sizeof why) == 0;
}

void node_boot(struct sim_node *n)
{
    if (!find_members(n)) {
        n->out = true;
        return;
    }
    n->alive = true;
    n->stopped = n->ended = false;
    n->fatal = NULL;
    trace(n->sim, n->number + 1, "start", n->life, 0, 0);
    memset(n->timers, 0, sizeof n->timers);
    memset(n->leads, 0, sizeof n->leads);
    memset(n->applied, 0, sizeof n->applied);
    memset(&n->loop, 0, sizeof n->loop);
    n->loop.data = n;
    n->node.loop = &n->loop;
    list_init(&n->node.databases);
    list_init(&n->node.awake);
    list_init(&n->node.letters);
    n->node.group = calloc(SIM_SHARDS, sizeof *n->node.group);
    assert(n->node.group != NULL);
    fill_env(n);
    move_init(&n->node);
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        events_init_group(&n->node, i);
    }
    for (unsigned i = 0; i < SIM_DBS; i++) {
        database_init(&n->dbs[i], &n->node.env, sim_db_names[i],
                      i % SIM_SHARDS);
        list_push(&n->node.databases, &n->dbs[i].link);
        n->dbs[i].slot = &n->slots[i];
        n->dbs[i].slot_fd = (int)(n->number * SIM_DBS + i);
        n->dbs[i].next_session = draw(n->sim, 0x3fffffff);
        slot_reset(n->dbs[i].slot);
    }
    start_groups(n);
    for (unsigned i = 0; i < SIM_DBS; i++) {
        node_wake(&n->node, &n->dbs[i]);
    }
}

static void on_stopped(void *data)
{
    struct sim_node *n = data;

    n->stopped = true;
}

/* The product's own way, however far it has come on it already. */
static void close_groups(struct sim_node *n)
{
    struct groups *g = n->node.groups;

    if (g == NULL) {
        return;
    }
    if (g->state == GROUPS_RUNNING) {
        groups_stop(g, 0, on_stopped, n);
    } else {
        g->fatal = true; /* it hands over no longer */
    }
    for (unsigned i = 0; !n->stopped && !n->node.groups_stopped; i++) {
        assert(i < CLOSE_TURNS_MAX);
        loop_turn(n);
    }
    n->node.groups = NULL;
}

/* Frees what a dead process held; its disk, its network and its sessions no
 * longer are the world's. */
static void bury(struct sim_node *n)
{
    struct list *l;

    loop_end_work(n);
    close_groups(n);
    while ((l = list_pop(&n->node.letters)) != NULL) {
        free(l); /* the link is its first member */
    }
    for (unsigned i = 0; i < SIM_DBS; i++) {
        n->dbs[i].slot = &n->dbs[i].own_slot;
        n->dbs[i].slot_fd = -1;
        database_close(&n->dbs[i]);
    }
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        found_forget(&n->node.group[i]);
        machine_close(&n->node.group[i].machine);
        lease_table_clear(&n->node.group[i].leases);
    }
    free(n->node.group);
    n->node.group = NULL;
}

/* What was on its way to it is void. */
static void leave_world(struct sim_node *n)
{
    bury(n);
    memset(n->leads, 0, sizeof n->leads);
    n->dying = n->alive = n->turn_queued = n->mute = false;
    n->life++;
    n->disk.stopped = false;
}

void node_end(struct sim_node *n)
{
    assert(n->ended && n->node.groups == NULL);
    trace(n->sim, n->number + 1, "end", 0, 0, 0);
    n->dying = true;
    leave_world(n);
}

bool node_listens(const struct sim_node *n)
{
    return n->alive && !n->dying && !n->node.sessions_closed;
}

void node_kill(struct sim_node *n, bool power)
{
    assert(n->alive && !n->turning);
    trace(n->sim, n->number + 1, power ? "power_cut" : "kill", 0, 0, 0);
    n->dying = true;
    guests_eof(n);
    if (power) {
        for (unsigned i = 0; i < SIM_DBS * SIM_GUESTS; i++) {
            guest_kill(n->guests[i]);
        }
        for (unsigned i = 0; i < SIM_DBS; i++) {
            file_power_cut(n->sim, &n->files[i]);
        }
    }
    disk_crash(n);
    net_crash(n);
    leave_world(n);
}
