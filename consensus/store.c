/* Who has the file:
 *
 *   the loop --store_submit: large or slow writes, checkpoints--> the thread
 *      ^                                                              |
 *      +------------------------- woken() <---------------------------+
 *
 * `busy` says that the thread has it, with `db` and `batch`. Small writes are
 * made by the loop itself: two switches between threads cost as much as the
 * sync. A disk that has become slow is left to the thread for a while, so that
 * heartbeats go on. */
#include "consensus/store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/reserve.h"
#include "consensus/store_internal.h"

/* In frames of 8 KiB; the write-ahead log has been grown to 2,048. When idle,
 * a checkpoint costs nobody anything; under load, one comes before the log
 * would grow, and the fewer the better: a commit waits 5 to 10 ms for it. */
#define CHECKPOINT_IDLE_FRAMES 128
#define CHECKPOINT_FRAMES 1792
#define IDLE_MS 50u

/* What the loop writes itself: at most so many bytes, and not for a while after
 * a write that took longer than this. */
#define SMALL_BYTES (128u << 10)
#define SLOW_US 20000u
#define SLOW_PAUSE_MS 1000u

/* Between two attempts on a full disk. */
#define FULL_RETRY_MS 1000u

/* Nothing may sync again what a failed sync may have lost: not even the close.
 */
static void note_failure(struct store *s, const char *doing)
{
    sqlite3_db_config(s->db.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    snprintf(s->why, sizeof s->why,
             "the log store cannot %s: %s; look at the disk of -raft-path, "
             "then start again",
             doing, sqlite3_errmsg(s->db.db));
}

/* ---- the thread --------------------------------------------------------- */

/* Returns false when the thread must end. */
static bool wait_for_work(struct store *s)
{
    bool have;

    uv_mutex_lock(&s->mutex);
    while (!s->stop && !s->have_work) {
        uv_cond_wait(&s->work, &s->mutex);
    }
    have = s->have_work;
    uv_mutex_unlock(&s->mutex);
    return have;
}

static int do_work(struct store *s)
{
    switch (s->kind) {
    case WORK_WRITE:
        return store_db_write(&s->db, &s->batch);
    case WORK_SWEEP:
        return store_db_sweep(&s->db);
    case WORK_CHECKPOINT:
        return store_db_checkpoint(&s->db);
    }
    return SQLITE_MISUSE;
}

static void work(void *arg)
{
    struct store *s = arg;

    while (wait_for_work(s)) {
        int rv = do_work(s);
        uv_mutex_lock(&s->mutex);
        if (rv != SQLITE_OK) {
            note_failure(s,
                         s->kind == WORK_CHECKPOINT ? "checkpoint" : "write");
        }
        s->rv = rv;
        s->have_work = false;
        s->work_done = true;
        uv_mutex_unlock(&s->mutex);
        uv_async_send(&s->wake);
    }
}

/* ---- the loop ----------------------------------------------------------- */

static void complete(struct list *writes)
{
    struct list *link;

    while ((link = list_pop(writes)) != NULL) {
        struct store_write *w = LIST_ENTRY(link, struct store_write, link);
        w->done(w);
    }
}

static void move_all(struct list *from, struct list *to)
{
    struct list *link;

    while ((link = list_pop(from)) != NULL) {
        list_push(to, link);
    }
}

/* `batch` is on the disk. */
static void finish_batch(struct store *s)
{
    struct list writes;

    FAILPOINT("store.complete");
    list_init(&writes);
    move_all(&s->batch, &writes);
    s->syncs++;
    s->durable = s->batch_last;
    complete(&writes);
}

/* ---- a full disk -------------------------------------------------------- */

static void on_idle(uv_timer_t *timer);

static void now_full(struct store *s)
{
    if (!s->full) {
        s->full = true;
        reserve_release(s->folder);
        log_error("disk_full",
                  "path=%s why=\"no room for the log: new transactions are "
                  "refused; free at least %u MB, it goes on by itself\"",
                  s->folder, RESERVE_BYTES >> 20);
    } else {
        uv_update_time(s->options.loop);
        s->full_until_ms = uv_now(s->options.loop) + FULL_RETRY_MS;
    }
    uv_timer_start(&s->idle, on_idle, FULL_RETRY_MS, 0);
}

/* The reserve comes back first: then there is room for what is queued. */
static void try_reserve(struct store *s)
{
    if (reserve_make(s->folder) == 0) {
        s->full = false;
        log_info("disk_has_room", "path=%s", s->folder);
    } else {
        uv_timer_start(&s->idle, on_idle, FULL_RETRY_MS, 0);
    }
}

bool store_full(const struct store *s, char *why, size_t size)
{
    if (s->full && why != NULL) {
        snprintf(why, size,
                 "no room on the disk of %s: free at least %u MB, it goes on "
                 "by itself",
                 s->folder, RESERVE_BYTES >> 20);
    }
    return s->full;
}

/* ---- whose turn it is --------------------------------------------------- */

static void give_to_thread(struct store *s, enum store_work kind)
{
    s->busy = true;
    s->begun_us = clock_us();
    uv_mutex_lock(&s->mutex);
    s->kind = kind;
    s->have_work = true;
    uv_cond_signal(&s->work);
    uv_mutex_unlock(&s->mutex);
}

static void on_idle(uv_timer_t *timer)
{
    struct store *s = timer->data;

    if (s->full) {
        try_reserve(s);
    }
    if (!s->busy && !s->failed && s->db.wal_frames >= CHECKPOINT_IDLE_FRAMES) {
        give_to_thread(s, WORK_CHECKPOINT);
    }
}

/* Nobody waits for either; each is short, so that what is queued meanwhile has
 * its turn between them. */
static void plan_housekeeping(struct store *s)
{
    if (s->db.wal_frames >= CHECKPOINT_FRAMES) {
        give_to_thread(s, WORK_CHECKPOINT);
    } else if (s->db.sweep_from != 0 && !s->full && list_empty(&s->queued)) {
        give_to_thread(s, WORK_SWEEP);
    } else if (s->db.wal_frames >= CHECKPOINT_IDLE_FRAMES) {
        uv_timer_start(&s->idle, on_idle, IDLE_MS, 0);
    }
}

static void say_failure(struct store *s)
{
    s->failed = true;
    if (!s->said_so) {
        s->said_so = true;
        s->options.fatal(s->options.data, s->why);
    }
}

/* The batch goes back to the front of the queue. */
static void not_written(struct store *s, int rv)
{
    move_all(&s->queued, &s->batch);
    move_all(&s->batch, &s->queued);
    s->queued_bytes += SMALL_BYTES + 1; /* the next try is the thread's */
    if ((rv & 0xff) == SQLITE_FULL) {
        now_full(s);
    } else {
        say_failure(s);
    }
}

static void woken(uv_async_t *handle)
{
    struct store *s = handle->data;
    enum store_work kind;
    bool done;
    int rv;

    uv_mutex_lock(&s->mutex);
    done = s->work_done;
    s->work_done = false;
    kind = s->kind;
    rv = s->rv;
    uv_mutex_unlock(&s->mutex);
    if (!done) {
        return;
    }
    s->busy = false;
    if (rv != SQLITE_OK) {
        not_written(s, rv);
        return;
    }
    if (kind == WORK_WRITE) {
        histogram_add(&s->times, clock_us() - s->begun_us);
        finish_batch(s);
    }
    if (kind != WORK_CHECKPOINT || s->db.wal_frames == 0) {
        plan_housekeeping(s);
    }
}

static void take_queued(struct store *s)
{
    s->batch_last = s->pushed;
    s->queued_bytes = 0;
    move_all(&s->queued, &s->batch);
}

static bool may_write_here(const struct store *s)
{
    return s->queued_bytes <= SMALL_BYTES &&
           uv_now(s->options.loop) >= s->slow_until_ms;
}

static void write_here(struct store *s)
{
    uint64_t begun = clock_us(), took;
    int rv;

    take_queued(s);
    rv = store_db_write(&s->db, &s->batch);
    if (rv != SQLITE_OK) {
        note_failure(s, "write");
        not_written(s, rv);
        return;
    }
    took = clock_us() - begun;
    histogram_add(&s->times, took);
    if (took > SLOW_US) {
        uv_update_time(s->options.loop);
        s->slow_until_ms = uv_now(s->options.loop) + SLOW_PAUSE_MS;
    }
    finish_batch(s);
    plan_housekeeping(s);
}

bool store_submits_here(const struct store *s)
{
    return !s->busy && !s->failed && !list_empty(&s->queued) &&
           uv_now(s->options.loop) >= s->full_until_ms && may_write_here(s);
}

bool store_submit(struct store *s)
{
    if (s->busy || s->failed || list_empty(&s->queued) ||
        uv_now(s->options.loop) < s->full_until_ms) {
        return false;
    }
    if (may_write_here(s)) {
        write_here(s);
        return s->durable == s->batch_last;
    }
    take_queued(s);
    give_to_thread(s, WORK_WRITE);
    return false;
}

int store_start(struct store *s)
{
    int rv = uv_mutex_init(&s->mutex);

    store_forget_loaded(s);
    if (rv == 0) {
        rv = uv_cond_init(&s->work);
    }
    if (rv == 0) {
        rv = uv_async_init(s->options.loop, &s->wake, woken);
    }
    if (rv != 0) {
        return rv;
    }
    s->wake.data = s;
    uv_timer_init(s->options.loop, &s->idle);
    s->idle.data = s;
    rv = uv_thread_create(&s->thread, work, s);
    if (rv != 0) {
        uv_close((uv_handle_t *)&s->wake, NULL);
        uv_close((uv_handle_t *)&s->idle, NULL);
        return rv;
    }
    s->handles = 2;
    s->started = true;
    if (s->full) {
        s->full = false;
        now_full(s);
    }
    return 0;
}

uint64_t store_push(struct store *s, struct store_write *write)
{
    assert(s->started && write->done != NULL);
    for (unsigned i = 0; write->kind == STORE_APPEND && i < write->n; i++) {
        s->queued_bytes += write->entries[i].buf.len;
    }
    if (write->kind == STORE_SNAPSHOT) {
        s->queued_bytes += write->snapshot->data_len;
        /* Looking for entries to delete takes long. */
        s->queued_bytes += write->replaces ? SMALL_BYTES + 1 : 0;
    }
    write->sequence = ++s->pushed;
    list_push(&s->queued, &write->link);
    return write->sequence;
}

uint64_t store_pushed(const struct store *s)
{
    return s->pushed;
}

uint64_t store_durable(const struct store *s)
{
    return s->durable;
}

uint64_t store_syncs(const struct store *s)
{
    return s->syncs;
}

const struct histogram *store_times(const struct store *s)
{
    return &s->times;
}

bool store_failed(const struct store *s)
{
    return s->failed;
}

void store_give_up(struct store *s)
{
    s->failed = !s->busy;
}

void store_abandon(struct store *s)
{
    struct list writes;

    assert(s->failed);
    list_init(&writes);
    move_all(&s->batch, &writes);
    move_all(&s->queued, &writes);
    complete(&writes);
}

static void handle_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;
    void (*closed)(void *data) = s->closed;
    void *data = s->closed_data;

    if (--s->handles > 0) {
        return;
    }
    uv_mutex_destroy(&s->mutex);
    uv_cond_destroy(&s->work);
    free(s->folder);
    free(s);
    closed(data);
}

void store_close(struct store *s, void (*closed)(void *data), void *data)
{
    assert(s->failed || (list_empty(&s->batch) && list_empty(&s->queued)));
    s->closed = closed;
    s->closed_data = data;
    uv_mutex_lock(&s->mutex);
    s->stop = true;
    uv_cond_signal(&s->work);
    uv_mutex_unlock(&s->mutex);
    uv_thread_join(&s->thread);
    store_db_close(&s->db);
    uv_close((uv_handle_t *)&s->wake, handle_closed);
    uv_close((uv_handle_t *)&s->idle, handle_closed);
}
