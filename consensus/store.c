/* Two lists: `queued`, filled by the loop, and `batch`, owned by the thread
 * between store_submit and the wake-up of the loop. Everything else is the
 * loop's, but for `db`, which is the thread's once it runs. */
#include "consensus/store.h"

#include <assert.h>
#include <stdio.h>

#include "consensus/alloc.h"
#include "consensus/store_db.h"

/* In frames of 16 KiB; the write-ahead log has been grown to 1,024. When idle,
 * a checkpoint costs nobody anything; under load, one comes before the log
 * would grow, and the fewer the better: a commit waits 5 to 10 ms for it. */
#define CHECKPOINT_IDLE_FRAMES 64
#define CHECKPOINT_FRAMES 896
#define IDLE_NS 50000000ull

struct store {
    struct store_db db;
    struct store_options options;
    struct store_group *loaded; /* by group, until taken; NULL: not read */
    uv_async_t wake;
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t work;
    struct list queued, batch;
    uint64_t pushed, durable, syncs;
    uint64_t batch_last; /* sequence number of the last write in `batch` */
    bool busy;           /* the thread has `batch` */
    bool started, failed, said_so;
    void (*closed)(void *data);
    void *closed_data;
    /* under mutex */
    bool have_batch, batch_done, stop;
    char why[256]; /* not empty: the thread has failed */
};

/* ---- the thread --------------------------------------------------------- */

static void note_failure(struct store *s, const char *doing)
{
    uv_mutex_lock(&s->mutex);
    snprintf(s->why, sizeof s->why,
             "the log store cannot %s: %s; look at the disk of -raft-path, "
             "then start again",
             doing, sqlite3_errmsg(s->db.db));
    uv_mutex_unlock(&s->mutex);
    uv_async_send(&s->wake);
}

/* Returns false when the thread must end. */
static bool wait_for_work(struct store *s, bool *idle)
{
    bool stop;

    *idle = false;
    uv_mutex_lock(&s->mutex);
    while (!s->stop && !s->have_batch && !*idle) {
        if (s->db.wal_frames < CHECKPOINT_IDLE_FRAMES) {
            uv_cond_wait(&s->work, &s->mutex);
        } else if (uv_cond_timedwait(&s->work, &s->mutex, IDLE_NS) ==
                   UV_ETIMEDOUT) {
            *idle = !s->have_batch;
        }
    }
    stop = s->stop && !s->have_batch;
    uv_mutex_unlock(&s->mutex);
    return !stop;
}

static int run_batch(struct store *s)
{
    int rv = store_db_write(&s->db, &s->batch);

    if (rv != SQLITE_OK) {
        note_failure(s, "write");
        return rv;
    }
    uv_mutex_lock(&s->mutex);
    s->have_batch = false;
    s->batch_done = true;
    uv_mutex_unlock(&s->mutex);
    uv_async_send(&s->wake);
    return SQLITE_OK;
}

static void work(void *arg)
{
    struct store *s = arg;
    bool idle;
    int rv = SQLITE_OK;

    while (rv == SQLITE_OK && wait_for_work(s, &idle)) {
        if (!idle) {
            rv = run_batch(s);
        }
        if (rv == SQLITE_OK &&
            (idle || s->db.wal_frames >= CHECKPOINT_FRAMES)) {
            rv = store_db_checkpoint(&s->db);
            if (rv != SQLITE_OK) {
                note_failure(s, "checkpoint");
            }
        }
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

static void woken(uv_async_t *handle)
{
    struct store *s = handle->data;
    bool done;

    uv_mutex_lock(&s->mutex);
    done = s->batch_done;
    s->batch_done = false;
    s->failed = s->why[0] != '\0';
    uv_mutex_unlock(&s->mutex);
    if (done) {
        struct list writes;
        list_init(&writes);
        move_all(&s->batch, &writes);
        s->busy = false;
        s->syncs++;
        s->durable = s->batch_last;
        complete(&writes);
    }
    if (s->failed && !s->said_so) {
        s->said_so = true;
        s->options.fatal(s->options.data, s->why);
    }
}

int store_open(const struct store_options *options, struct store **out,
               char *why, size_t why_size)
{
    struct store *s = must_alloc(sizeof *s);
    int rv = store_db_open(&s->db, options, why, why_size);

    if (rv != 0) {
        free(s);
        return rv;
    }
    s->options = *options;
    list_init(&s->queued);
    list_init(&s->batch);
    *out = s;
    return 0;
}

static void forget_loaded(struct store *s)
{
    for (uint32_t i = 0; s->loaded != NULL && i < s->options.shards; i++) {
        for (size_t k = 0; k < s->loaded[i].n; k++) {
            raft_free(s->loaded[i].entries[k].buf.base);
        }
        raft_free(s->loaded[i].entries);
    }
    free(s->loaded);
    s->loaded = NULL;
}

void store_discard(struct store *s)
{
    assert(!s->started);
    forget_loaded(s);
    store_db_close(&s->db);
    free(s);
}

int store_start(struct store *s)
{
    int rv = uv_mutex_init(&s->mutex);

    forget_loaded(s);
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
    rv = uv_thread_create(&s->thread, work, s);
    if (rv != 0) {
        uv_close((uv_handle_t *)&s->wake, NULL);
        return rv;
    }
    s->started = true;
    return 0;
}

const struct store_identity *store_identity(const struct store *s)
{
    return &s->db.identity;
}

bool store_peer(const struct store *s, uint64_t node_id, struct store_peer *out)
{
    for (unsigned i = 0; i < s->db.n_peers; i++) {
        if (s->db.peers[i].node_id == node_id) {
            *out = s->db.peers[i];
            return true;
        }
    }
    return false;
}

int store_load(struct store *s, uint32_t group, struct store_group *out,
               char *why, size_t why_size)
{
    int rv;

    assert(!s->started && group < s->options.shards);
    if (s->loaded == NULL) {
        s->loaded = must_alloc(s->options.shards * sizeof *s->loaded);
        rv = store_db_load(&s->db, s->loaded, s->options.shards, why, why_size);
        if (rv != 0) {
            forget_loaded(s);
            return rv;
        }
    }
    *out = s->loaded[group];
    memset(&s->loaded[group], 0, sizeof s->loaded[group]);
    return 0;
}

uint64_t store_push(struct store *s, struct store_write *write)
{
    assert(s->started && write->done != NULL);
    write->sequence = ++s->pushed;
    list_push(&s->queued, &write->link);
    return write->sequence;
}

void store_submit(struct store *s)
{
    if (s->busy || s->failed || list_empty(&s->queued)) {
        return;
    }
    s->busy = true;
    s->batch_last = s->pushed;
    move_all(&s->queued, &s->batch);
    uv_mutex_lock(&s->mutex);
    s->have_batch = true;
    uv_cond_signal(&s->work);
    uv_mutex_unlock(&s->mutex);
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

bool store_failed(const struct store *s)
{
    return s->failed;
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

static void wake_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;
    void (*closed)(void *data) = s->closed;
    void *data = s->closed_data;

    uv_mutex_destroy(&s->mutex);
    uv_cond_destroy(&s->work);
    free(s);
    closed(data);
}

void store_close(struct store *s, void (*closed)(void *data), void *data)
{
    assert(s->failed || (!s->busy && list_empty(&s->queued)));
    s->closed = closed;
    s->closed_data = data;
    uv_mutex_lock(&s->mutex);
    s->stop = true;
    uv_cond_signal(&s->work);
    uv_mutex_unlock(&s->mutex);
    uv_thread_join(&s->thread);
    store_db_close(&s->db);
    uv_close((uv_handle_t *)&s->wake, wake_closed);
}
