/* The few calls of libuv that consensus/ makes, on the virtual clock. They take
 * the place of the library's at the link.
 *
 * Timers are events; the prepare and check handles run in loop_turn, which
 * follows soon after whatever happened to a node. */
#include <assert.h>
#include <string.h>
#include <time.h>

#include "tests/cluster/sim.h"

struct tick {
    struct sim_node *node;
    uint64_t life, generation;
    unsigned slot;
};

struct sim_node *loop_node(const uv_loop_t *loop)
{
    return loop->data;
}

uint64_t uv_now(const uv_loop_t *loop)
{
    return loop_node(loop)->sim->now_us / MS;
}

uint64_t uv_hrtime(void)
{
    return sim_now->now_us * 1000;
}

/* base/clock.h; linked with --wrap. */
int virtual_gettime(clockid_t clock,
                    struct timespec *out) __asm__("__wrap_clock_gettime");

int virtual_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    out->tv_sec = (time_t)(sim_now->now_us / SECOND);
    out->tv_nsec = (long)(sim_now->now_us % SECOND * 1000);
    return 0;
}

void uv_update_time(uv_loop_t *loop)
{
    (void)loop;
}

/* ---- timers -------------------------------------------------------------- */

static void on_tick(struct sim *s, void *data);

static void arm(struct sim_node *n, unsigned slot, uint64_t us)
{
    struct tick *t = sim_after(n->sim, us, on_tick, sizeof *t);

    *t = (struct tick){.node = n,
                       .life = n->life,
                       .generation = n->timers[slot].generation,
                       .slot = slot};
}

static void on_tick(struct sim *s, void *data)
{
    struct tick *t = data;
    struct sim_node *n = t->node;
    struct sim_timer *timer = &n->timers[t->slot];

    (void)s;
    if (n->life != t->life || !timer->active ||
        timer->generation != t->generation || n->dying) {
        return;
    }
    if (timer->repeat_us > 0) {
        arm(n, t->slot, timer->repeat_us);
    } else {
        timer->active = false;
    }
    timer->cb(timer->handle);
    node_turn_soon(n);
}

static struct sim_timer *timer_of(const uv_timer_t *handle, unsigned *slot)
{
    struct sim_node *n = loop_node(handle->loop);

    for (*slot = 0; *slot < SIM_TIMERS; (*slot)++) {
        if (n->timers[*slot].handle == handle) {
            return &n->timers[*slot];
        }
    }
    assert(!"a timer that was not initialized");
    return NULL;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
    struct sim_node *n = loop_node(loop);

    memset(handle, 0, sizeof *handle);
    handle->loop = loop;
    handle->type = UV_TIMER;
    for (unsigned i = 0; i < SIM_TIMERS; i++) {
        if (n->timers[i].handle == NULL) {
            n->timers[i].handle = handle;
            return 0;
        }
    }
    assert(!"more timers than SIM_TIMERS");
    return UV_ENOMEM;
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t timeout,
                   uint64_t repeat)
{
    struct sim_node *n = loop_node(handle->loop);
    unsigned slot;
    struct sim_timer *timer = timer_of(handle, &slot);

    timer->cb = cb;
    handle->timer_cb = cb; /* read by the product to start it again */
    timer->repeat_us = repeat * MS;
    timer->active = true;
    timer->generation++;
    arm(n, slot, timeout * MS);
    return 0;
}

int uv_is_active(const uv_handle_t *handle)
{
    unsigned slot;

    return timer_of((const uv_timer_t *)handle, &slot)->active;
}

int uv_timer_stop(uv_timer_t *handle)
{
    unsigned slot;

    timer_of(handle, &slot)->active = false;
    return 0;
}

/* ---- once per turn ------------------------------------------------------- */

int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *handle)
{
    memset(handle, 0, sizeof *handle);
    handle->loop = loop;
    handle->type = UV_PREPARE;
    return 0;
}

int uv_prepare_start(uv_prepare_t *handle, uv_prepare_cb cb)
{
    handle->prepare_cb = cb;
    loop_node(handle->loop)->prepare = handle;
    return 0;
}

int uv_check_init(uv_loop_t *loop, uv_check_t *handle)
{
    memset(handle, 0, sizeof *handle);
    handle->loop = loop;
    handle->type = UV_CHECK;
    return 0;
}

int uv_check_start(uv_check_t *handle, uv_check_cb cb)
{
    handle->check_cb = cb;
    loop_node(handle->loop)->check = handle;
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    struct sim_node *n = loop_node(handle->loop);

    if (handle->type == UV_PREPARE) {
        n->prepare = NULL;
    } else if (handle->type == UV_CHECK) {
        n->check = NULL;
    } else {
        unsigned slot;
        struct sim_timer *timer = timer_of((uv_timer_t *)handle, &slot);
        timer->active = false;
        timer->handle = NULL;
    }
    n->closing[n->n_closing] = handle;
    n->closing_cb[n->n_closing++] = cb;
}

static void finish_closing(struct sim_node *n)
{
    for (unsigned i = 0; i < n->n_closing; i++) {
        n->closing_cb[i](n->closing[i]);
    }
    n->n_closing = 0;
}

void loop_turn(struct sim_node *n)
{
    assert(!n->turning);
    n->turning = true;
    if (n->check != NULL) {
        n->check->check_cb(n->check);
    }
    if (n->prepare != NULL) {
        n->prepare->prepare_cb(n->prepare);
    }
    finish_closing(n);
    n->turning = false;
}
