/* Stopping, one thing after the other:
 *
 *   RUNNING -> DRAINING           leadership is handed over
 *           -> CLOSING_CORES      what was begun is written
 *           -> CLOSING_TRANSPORT  what was queued is sent
 *           -> CLOSING_STORE -> CLOSING_HANDLES -> gone
 *
 * A failed store skips the writing: the cores are closed before what they had
 * queued is given back to them. */
#include <assert.h>
#include <stdlib.h>

#include "consensus/groups_internal.h"

#define LINGER_MS 200u

static void handle_closed(uv_handle_t *handle)
{
    struct groups *g = handle->data;
    void (*stopped)(void *data) = g->stopped;
    void *data = g->stopped_data;

    if (--g->open_handles == 0) {
        groups_free_all(g);
        free(g);
        stopped(data);
    }
}

static void store_closed(void *data)
{
    struct groups *g = data;

    g->state = GROUPS_CLOSING_HANDLES;
    uv_close((uv_handle_t *)&g->timer, handle_closed);
    uv_close((uv_handle_t *)&g->push, handle_closed);
    uv_close((uv_handle_t *)&g->prepare, handle_closed);
    uv_close((uv_handle_t *)&g->check, handle_closed);
}

static void transport_closed(void *data)
{
    struct groups *g = data;
    struct store *store = g->store;

    g->state = GROUPS_CLOSING_STORE;
    g->store = NULL;
    store_close(store, store_closed, g);
}

/* Everything that was begun is also finished: the last votes are on disk. */
static bool writes_are_done(const struct groups *g)
{
    return g->open_groups == 0 &&
           (store_failed(g->store) ||
            store_durable(g->store) == store_pushed(g->store));
}

static void close_cores(struct groups *g)
{
    g->state = GROUPS_CLOSING_CORES;
    for (unsigned i = 0; i < g->options.shards; i++) {
        group_close(g->groups[i]);
    }
}

void groups_step_closing(struct groups *g)
{
    if (g->state == GROUPS_DRAINING &&
        (g->fatal || groups_now(g) >= g->drain_until_ms ||
         leadership_drain(g))) {
        close_cores(g);
    }
    if (g->state == GROUPS_CLOSING_CORES) {
        if (g->open_groups > 0 && store_full(g->store, NULL, 0)) {
            store_give_up(g->store);
        }
        if (store_failed(g->store)) {
            /* The cores are closed: they only free what they had queued. */
            store_abandon(g->store);
        }
        if (writes_are_done(g)) {
            g->state = GROUPS_CLOSING_TRANSPORT;
            transport_stop(g->transport, LINGER_MS, transport_closed, g);
        }
    }
}

void groups_stop(struct groups *g, unsigned drain_ms,
                 void (*stopped)(void *data), void *data)
{
    assert(g->state == GROUPS_RUNNING);
    g->state = GROUPS_DRAINING;
    g->drain_until_ms = groups_now(g) + drain_ms;
    g->stopped = stopped;
    g->stopped_data = data;
}
