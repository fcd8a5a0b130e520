/* The few calls of libuv that consensus/ makes, on the virtual clock. They take
 * the place of the library's at the link.
 *
 * Timers are events; the prepare and check handles run in loop_turn, which
 * follows soon after whatever happened to a node. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consensus/alloc.h"
#include "tests/cluster/sim.h"

#define WORK_MAX_US (30 * MS)

/* Work on the pool. Its owner sees nothing of it before it is done. */
struct sim_work {
    struct sim_work *next;
    uv_work_t *req;
    uv_work_cb work;
    uv_after_work_cb after;
    bool worked;
};

struct working {
    struct sim_node *node;
    uint64_t life;
    struct sim_work *work;
};

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

/* ---- the pool ------------------------------------------------------------ */

static void unlink_work(struct sim_node *n, const struct sim_work *w)
{
    struct sim_work **at = &n->work;

    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
}

static void on_worked(struct sim *s, void *data)
{
    struct working *event = data;
    struct sim_node *n = event->node;
    struct sim_work *w = event->work;

    (void)s;
    if (n->life != event->life || n->dying) {
        return;
    }
    unlink_work(n, w);
    if (!w->worked) {
        w->work(w->req);
    }
    w->after(w->req, 0);
    free(w);
    node_turn_soon(n);
}

int uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb work,
                  uv_after_work_cb after)
{
    struct sim_node *n = loop_node(loop);
    uint64_t us = chance(n->sim, 1, 8) ? draw(n->sim, 10 * WORK_MAX_US)
                                       : draw(n->sim, WORK_MAX_US);
    struct working *event = sim_after(n->sim, us, on_worked, sizeof *event);
    struct sim_work *w = must_alloc(sizeof *w);

    w->req = req;
    w->work = work;
    w->after = after;
    w->worked = chance(n->sim, 1, 2); /* at the beginning, or at the end */
    w->next = n->work;
    n->work = w;
    if (w->worked) {
        work(req);
    }
    *event = (struct working){.node = n, .life = n->life, .work = w};
    return 0;
}

void loop_end_work(struct sim_node *n)
{
    struct sim_work *w;

    while ((w = n->work) != NULL) {
        n->work = w->next;
        w->after(w->req, UV_ECANCELED);
        free(w);
    }
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
