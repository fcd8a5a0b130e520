/* A run from its seed to its report. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/filters.h"
#include "consensus/raft_peek.h"
#include "tests/cluster/guest.h"

#define START_MAX_US (300 * MS)
#define DRAIN_US (90 * SECOND) /* from healing until all is quiet */
#define STOP_US (5 * SECOND)
#define WRITE_US (30 * SECOND) /* until everybody has written once more */

struct sim *sim_now;

/* Logs so short that snapshots are everyday. */
static void shorten(struct sim_plan *p)
{
    uint64_t x = (p->seed + 1) * 0x9e3779b97f4a7c15u >> 32;

    p->log_entries_keep = 16u << (x & 3);
    p->log_bytes_keep = (x >> 2 & 3) == 0 ? 16u << 10 : 1u << 20;
}

struct sim_plan sim_plan_of(uint64_t seed)
{
    struct sim_plan p = {.seed = seed, .voters = 3};

    p.readers = seed % 3 == 0;
    if (p.readers || seed % 5 == 3) {
        p.voters = 5;
    } else if (seed % 5 == 4) {
        p.replicas = 1;
    }
    if (seed % 2 == 0) {
        p.members = true;
        p.spares = 2;
    }
    p.faults_us = 20 * SECOND + seed * 7919 % 20 * SECOND;
    if (seed % 4 != 1) {
        shorten(&p);
    }
    return p;
}

static void node_init(struct sim *s, unsigned number)
{
    struct sim_node *n = &s->nodes[number];

    n->sim = s;
    n->number = number;
    n->out = n->joins = number >= s->plan.voters + s->plan.replicas;
    n->replica = n->founds_as_replica = !n->out && number >= s->plan.voters;
    n->disk.low_us = 500;
    n->disk.high_us = 3 * MS;
    for (unsigned i = 0; i < SIM_DBS; i++) {
        list_init(&n->dbs[i].sessions);
        list_init(&n->dbs[i].waiters);
    }
}

struct sim *sim_new(const struct sim_plan *plan)
{
    struct sim *s = must_alloc(sizeof *s);

    sim_now = s;
    s->plan = *plan;
    s->random = plan->seed * 0x9e3779b97f4a7c15u + 1;
    s->now_us = 1 * SECOND;
    s->n_nodes = plan->voters + plan->replicas + plan->spares;
    s->check = check_new();
    s->net.low_us = 100;
    s->net.high_us = 1 * MS;
    s->net.orderly = true;
    s->rest_us = 20 * MS;
    s->answer_us = 13 * SECOND;
    s->times = db_times_default;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        node_init(s, i);
    }
    net_init(s);
    return s;
}

void sim_free(struct sim *s)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].alive) {
            node_kill(&s->nodes[i], false);
        }
    }
    guests_forget_events(s);
    net_free(s);
    for (unsigned i = 0; i < s->n_nodes; i++) {
        guests_free(&s->nodes[i]);
        disk_free(&s->nodes[i].disk);
    }
    sim_events_free(s);
    check_free(s->check);
    free(s);
    sim_now = NULL;
}

bool sim_pass(struct sim *s, uint64_t us)
{
    uint64_t until = s->now_us + us;

    while (!s->report.violated && sim_step(s, until)) {
    }
    return !s->report.violated;
}

/* One database may be there before the cluster is. */
static void bring_content(struct sim *s)
{
    if (chance(s, 1, 2)) {
        struct file_state f;
        pages_fill(s, &f);
        s->nodes[draw(s, s->plan.voters)].files[0].now = f;
    }
}

static bool drained(struct sim *s, uint64_t us)
{
    uint64_t until = s->now_us + us;

    while (s->now_us < until && sim_pass(s, 200 * MS)) {
        if (check_drained(s)) {
            return true;
        }
    }
    return false;
}

static bool may_write(const struct sim_node *n)
{
    return n->alive && !n->out && !n->node.env.replica;
}

/* Every voter writes to every database, which then is the same everywhere. */
static void write_once_more(struct sim *s)
{
    uint64_t until = s->now_us + WRITE_US;
    bool all_done = false;

    for (unsigned k = 0; k < s->n_nodes; k++) {
        for (unsigned i = 0; may_write(&s->nodes[k]) && i < SIM_DBS; i++) {
            guest_ask(s->nodes[k].guests[i]);
        }
    }
    while (!all_done && s->now_us < until && sim_pass(s, 100 * MS)) {
        all_done = true;
        for (unsigned k = 0; k < s->n_nodes; k++) {
            for (unsigned i = 0; may_write(&s->nodes[k]) && i < SIM_DBS; i++) {
                all_done = all_done && guest_is_idle(s->nodes[k].guests[i]);
            }
        }
    }
    if (!all_done) {
        violation(s, "healed, and yet not everybody can write");
    }
}

/* Whoever leads keeps a short log when nothing is in its way any more. */
static void check_short(struct sim *s)
{
    uint64_t keep = s->plan.log_entries_keep;

    for (unsigned k = 0; keep > 0 && k < s->n_nodes; k++) {
        for (unsigned i = 0; i < SIM_SHARDS; i++) {
            const struct raft *r = sim_raft(&s->nodes[k], i);
            if (s->nodes[k].leads[i] != 0 &&
                peek_last(r) + 1 - peek_first(r) > 2 * keep) {
                violation(s, "node %u keeps %llu entries of group %u", k + 1,
                          peek_last(r) + 1 - peek_first(r), i);
            }
        }
    }
}

static unsigned leads(const struct sim_node *n)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        count += n->leads[i] != 0;
    }
    return count;
}

/* All is well: whoever leads hands over when it stops, and nobody has to stand
 * for election. */
static void stop_a_leader(struct sim *s)
{
    if (check_voters(s) < 2) {
        return;
    }
    struct sim_node *n = &s->nodes[0];
    uint64_t until = s->now_us + STOP_US, life;
    bool all_led = true;

    for (unsigned k = 1; k < s->n_nodes; k++) {
        n = leads(&s->nodes[k]) > leads(n) ? &s->nodes[k] : n;
    }
    life = n->life;
    node_stop(n, SECOND);
    while (n->life == life && s->now_us < until && sim_pass(s, 10 * MS)) {
    }
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        bool led = false;
        for (unsigned k = 0; k < s->n_nodes; k++) {
            led = led || s->nodes[k].leads[i] != 0;
        }
        all_led = all_led && led;
    }
    if (n->life == life || !all_led) {
        violation(s,
                  n->life == life ? "all is well, and yet node %u does not stop"
                                  : "node %u stopped and handed nothing over",
                  n->number + 1);
    }
}

static void go(struct sim *s)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        node_start_after(&s->nodes[i], draw(s, START_MAX_US));
        guests_init(&s->nodes[i]);
    }
    bring_content(s);
    faults_begin(s);
    if (s->plan.members) {
        operator_begin(s);
    }
    sim_pass(s, s->plan.faults_us);
    faults_end(s);
    sim_pass(s, 2 * SECOND);
    s->calm = true;
    if (!drained(s, DRAIN_US)) {
        check_explain(s);
        return;
    }
    write_once_more(s);
    if (!drained(s, DRAIN_US)) {
        check_explain(s);
        return;
    }
    if (sim_pass(s, 5 * SECOND)) {
        check_short(s);
    }
    stop_a_leader(s);
    if (!drained(s, DRAIN_US)) {
        check_explain(s);
    }
}

/* Where everybody stands: the last lines of a trace. */
static void print_nodes(struct sim *s)
{
    for (unsigned k = 0; k < s->n_nodes; k++) {
        for (unsigned i = 0; s->nodes[k].node.groups != NULL && i < SIM_SHARDS;
             i++) {
            const struct raft *r = sim_raft(&s->nodes[k], i);
            const struct filters *f = sim_filters(&s->nodes[k], i);
            printf(
                "node %u group %u state=%u term=%llu vote=%llu last=%llu "
                "stored=%llu commit=%llu applied=%llu appends=%u held=%d "
                "inbox=%d gated=%d\n",
                k + 1, i, (unsigned)r->state, r->current_term, r->voted_for,
                peek_last(r), r->last_stored, r->commit_index, r->last_applied,
                f->appends, !list_empty(&f->held), !list_empty(&f->inbox),
                !list_empty(&f->gated));
        }
    }
}

struct sim_report sim_run(const struct sim_plan *plan)
{
    struct sim *s = sim_new(plan);
    struct sim_report report;

    log_set_level(plan->print ? LOG_DEBUG : LOG_ERROR + 1);
    go(s);
    if (plan->print) {
        print_nodes(s);
    }
    s->report.end_us = s->now_us;
    report = s->report;
    sim_free(s);
    return report;
}
