#include "tests/cluster/stage.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "tests/cluster/check.h"
#include "wire/raft_message.h"

#define ELECT_MAX_US (20 * SECOND)

static struct stage *playing; /* for the gate, which has no other way to it */

static bool gate(struct sim *s, unsigned from, unsigned to,
                 const struct packet *p)
{
    struct raft_message m;
    bool pass = true;

    (void)s;
    if (p->group != 0 || p->kind != PACKET_RAFT) {
        return true;
    }
    if (playing->closed[from][to]) {
        return false;
    }
    memset(&m, 0, sizeof m);
    if (raft_message_decode(p->payload, p->len, &m) != 0) {
        return false;
    }
    if (m.type == RAFT_IO_REQUEST_VOTE && (playing->mute >> from & 1) != 0) {
        pass = false;
    } else if (playing->script != NULL) {
        pass = playing->script(from, to, &m);
    }
    raft_message_close(&m);
    return pass;
}

/* Before every event: the timers of those that shall not stand begin anew, and
 * no leader is moved by the product. */
static void keep_calm(struct stage *t)
{
    for (unsigned i = 0; i < t->sim->n_nodes; i++) {
        struct sim_node *n = &t->sim->nodes[i];
        if (!n->alive) {
            continue;
        }
        n->node.groups->groups[0]->retry_ms = UINT64_MAX;
        if ((t->calm >> i & 1) != 0 &&
            raft_state(sim_raft(n, 0)) != RAFT_LEADER) {
            peek_restart_timer(sim_raft(n, 0), t->sim->now_us / MS);
        }
    }
}

static bool pass_one(struct stage *t, uint64_t until)
{
    keep_calm(t);
    return !t->sim->report.violated && sim_step(t->sim, until);
}

void stage_pass(struct stage *t, uint64_t us)
{
    uint64_t until = t->sim->now_us + us;

    while (pass_one(t, until)) {
    }
}

static struct stage *open_stage(const struct sim_plan *plan, unsigned leader)
{
    struct stage *t = must_alloc(sizeof *t);

    log_set_level(LOG_ERROR + 1);
    playing = t;
    t->sim = sim_new(plan);
    t->sim->plan.print = getenv("MARMOT_TRACE") != NULL;
    t->sim->net.orderly = false; /* what is not let through is lost */
    t->sim->net.gate = gate;
    t->calm = ~0u;
    for (unsigned i = 0; i < plan->voters; i++) {
        node_start(&t->sim->nodes[i]);
    }
    stage_pass(t, SECOND);
    if (!stage_elect(t, leader)) {
        assert(!"no leader at the start");
    }
    stage_pass(t, SECOND);
    return t;
}

struct stage *stage_open(unsigned nodes, unsigned off, unsigned leader)
{
    struct sim_plan plan = {
        .seed = 1, .voters = nodes, .quiet = true, .off = off};

    return open_stage(&plan, leader);
}

struct stage *stage_open_short(unsigned nodes, unsigned entries,
                               unsigned leader)
{
    struct sim_plan plan = {.seed = 1,
                            .voters = nodes,
                            .quiet = true,
                            .log_entries_keep = entries,
                            .log_bytes_keep = 1u << 30};

    return open_stage(&plan, leader);
}

void stage_close(struct stage *t)
{
    sim_free(t->sim);
    free(t);
    playing = NULL;
}

void stage_link(struct stage *t, unsigned a, unsigned b, bool open)
{
    t->closed[a][b] = t->closed[b][a] = !open;
}

void stage_isolate(struct stage *t, unsigned a, bool open)
{
    for (unsigned b = 0; b < t->sim->n_nodes; b++) {
        if (b != a) {
            stage_link(t, a, b, open);
        }
    }
}

static void stand_now(struct stage *t, unsigned a)
{
    struct raft *r = sim_raft(&t->sim->nodes[a], 0);

    if (raft_state(r) == RAFT_FOLLOWER || raft_state(r) == RAFT_CANDIDATE) {
        peek_set_timeout(r, 1000);
        peek_restart_timer(r, 0);
    }
}

void stage_forget(struct stage *t, unsigned a)
{
    unsigned mute = t->mute, calm = t->calm;

    t->mute |= 1u << a;
    t->calm &= ~(1u << a);
    stand_now(t, a);
    stage_pass(t, 100 * MS);
    t->mute = mute;
    t->calm = calm;
}

void stage_may_stand(struct stage *t, unsigned a)
{
    t->calm &= ~(1u << a);
}

bool stage_leads(const struct stage *t, unsigned a)
{
    struct sim_node *n = &t->sim->nodes[a];

    return n->alive && raft_state(sim_raft(n, 0)) == RAFT_LEADER;
}

bool stage_elect(struct stage *t, unsigned a)
{
    uint64_t until = t->sim->now_us + ELECT_MAX_US;

    t->calm &= ~(1u << a);
    stand_now(t, a);
    while (!stage_leads(t, a) && pass_one(t, until)) {
    }
    t->calm |= 1u << a;
    return stage_leads(t, a);
}

/* A node says that it holds a database that was never enrolled: a no-op. */
static uint8_t *make_entry(uint64_t value, size_t *len)
{
    struct entry_holds e = {.db = {{0xee}}, .node = value};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    if (entry_encode_holds(&e, &out) != 0) {
        assert(!"an entry that cannot be encoded");
    }
    return buf_take(&out, len);
}

void stage_put(struct stage *t, unsigned a, uint64_t value)
{
    struct sim_node *n = &t->sim->nodes[a];
    size_t len = 0;
    uint8_t *bytes = make_entry(value, &len);

    (void)groups_propose(n->node.groups, 0, bytes, len);
    node_turn_soon(n);
}

bool stage_has(struct stage *t, uint64_t value)
{
    const struct log *l = &t->sim->check->logs[0];
    size_t len = 0;
    uint8_t *bytes = make_entry(value, &len);
    uint64_t hash = XXH3_64bits(bytes, len) | 1;
    bool found = false;

    free(bytes);
    for (uint64_t i = 0; i <= l->last && i < l->cap; i++) {
        found = found || l->entries[i].hash == hash;
    }
    return found;
}

raft_index stage_last(struct stage *t, unsigned a)
{
    return peek_last(sim_raft(&t->sim->nodes[a], 0));
}

void stage_install(struct stage *t, unsigned leader, unsigned to,
                   raft_index index)
{
    struct sim_node *n = &t->sim->nodes[to];
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT,
                             .server_id = leader + 1};
    struct raft_install_snapshot *install = &m.install_snapshot;
    struct raft_io *raw = &n->node.groups->groups[0]->io.raw;

    install->term = install->last_term = peek_term(sim_raft(n, 0));
    install->last_index = index;
    install->conf_index = 1;
    install->data.len = 8;
    install->data.base = raft_calloc(1, 8);
    raft_configuration_init(&install->conf);
    for (unsigned i = 0; i < t->sim->n_nodes; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i + 1);
        raft_configuration_add(&install->conf, i + 1, name, RAFT_VOTER);
    }
    n->node.groups->groups[0]->io.recv(raw, &m);
    assert(t->sim->put != NULL);
}

void stage_give_up_install(struct stage *t)
{
    void *bufs = t->sim->put_bufs;

    t->sim->put_cb(t->sim->put, RAFT_CANCELED);
    raft_free(bufs); /* the core does not */
    t->sim->put = NULL;
}
