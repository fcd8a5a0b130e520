/* Orderly stops: node/stop.c itself, on the virtual loop. What it closes beside
 * the groups is closed here: sockets, files. */
#include <string.h>

#include "base/err.h"
#include "tests/cluster/sim.h"

#define LOOK_US (50 * MS)         /* as the timer of node/node.c */
#define TOO_LONG_US (30 * SECOND) /* stalled and full disks included */

struct stopping {
    struct sim_node *node;
    uint64_t life, since_us, again_us;
};

static bool is_same_life(const struct stopping *p)
{
    return p->node->life == p->life && p->node->alive && !p->node->dying;
}

static void on_ended(struct sim *s, void *data)
{
    struct stopping *p = data;

    if (!is_same_life(p)) {
        return;
    }
    s->report.stops++;
    node_end(p->node);
    node_start_after(p->node, p->again_us);
}

static void on_look(struct sim *s, void *data)
{
    struct stopping *p = data, *next;

    if (!is_same_life(p)) {
        return;
    }
    if (s->now_us - p->since_us > TOO_LONG_US) {
        violation(s, "node %u does not come to an end of its stop",
                  p->node->number + 1);
    }
    next = sim_after(s, p->node->ended ? 0 : LOOK_US,
                     p->node->ended ? on_ended : on_look, sizeof *next);
    *next = *p;
    node_turn_soon(p->node);
}

void node_stop(struct sim_node *n, uint64_t again_us)
{
    struct stopping *p;

    if (!n->alive || n->dying || n->node.stopping) {
        return;
    }
    trace(n->sim, n->number + 1, "stop", 0, 0, 0);
    stop_begin(&n->node);
    p = sim_after(n->sim, LOOK_US, on_look, sizeof *p);
    *p = (struct stopping){.node = n,
                           .life = n->life,
                           .since_us = n->sim->now_us,
                           .again_us = again_us};
}

/* ---- what node/stop.c calls ---------------------------------------------- */

void uv_stop(uv_loop_t *loop)
{
    loop_node(loop)->ended = true;
}

/* All of it is written back, or the -wal stays. */
void applier_close_all(struct node *node)
{
    struct sim_node *n = sim_node_of(node);

    for (unsigned i = 0; i < SIM_DBS; i++) {
        if (n->dbs[i].apply != NULL && !n->mute) {
            (void)apply_sync(n->dbs[i].apply);
        }
        n->dbs[i].apply = NULL;
    }
}

void image_fetch_cancel(struct database *db)
{
    (void)db;
}

void still_end_all(struct node *n)
{
    (void)n;
}

void backup_drop(struct node *n, const struct database *db)
{
    (void)n;
    (void)db;
}

bool backup_any_working(const struct node *n)
{
    (void)n;
    return false;
}

void verify_drop_all(struct node *n)
{
    (void)n;
}

bool verify_any_working(const struct node *n)
{
    (void)n;
    return false;
}
