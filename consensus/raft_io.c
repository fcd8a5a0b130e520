#include "consensus/raft_io.h"

#include <assert.h>
#include <string.h>

#include "base/failpoint.h"
#include "consensus/alloc.h"
#include "consensus/raft_io_internal.h"
#include "consensus/raft_peek.h"

/* A write on its way to the disk. */
struct write {
    struct store_write store;
    struct raft_io_group *g;
    struct raft_io_append *req;
    raft_io_append_cb cb;
};

/* A send whose callback is due. */
struct sent {
    struct list link;
    struct raft_io_group *g;
    struct raft_io_send *req;
    raft_io_send_cb cb;
};

static struct raft_io_group *group_of(struct raft_io *raw)
{
    return raw->impl;
}

/* ---- host --------------------------------------------------------------- */

void raft_io_host_init(struct raft_io_host *host, uv_loop_t *loop,
                       struct store *store, uint64_t node_id)
{
    host->loop = loop;
    host->store = store;
    host->random = (uv_hrtime() ^ node_id * 0x9e3779b97f4a7c15u) | 1;
    list_init(&host->sent);
    list_init(&host->gets);
}

void raft_io_finish_close(struct raft_io_group *g)
{
    if (g->close != NULL && g->in_flight == 0) {
        raft_io_close_cb cb = g->close;
        g->close = NULL;
        cb(&g->raw);
    }
}

void raft_io_host_complete(struct raft_io_host *host)
{
    struct list due, *link;

    /* What the callbacks send is for the next time: no endless turn. */
    list_init(&due);
    while ((link = list_pop(&host->sent)) != NULL) {
        list_push(&due, link);
    }
    while ((link = list_pop(&due)) != NULL) {
        struct sent *s = LIST_ENTRY(link, struct sent, link);
        struct raft_io_group *g = s->g;
        s->cb(s->req, 0);
        free(s);
        g->in_flight--;
        raft_io_finish_close(g);
    }
    raft_io_snapshot_gets(host);
}

/* ---- writes ------------------------------------------------------------- */

static void write_done(struct store_write *store)
{
    struct write *w = store->data;
    struct raft_io_group *g = w->g;

    g->in_flight--;
    if (w->cb != NULL) {
        w->cb(w->req, 0);
    }
    free(w);
    g->durable(g->data);
    raft_io_finish_close(g);
}

static struct write *write_new(struct raft_io_group *g,
                               enum store_write_kind kind)
{
    struct write *w = must_alloc(sizeof *w);

    w->g = g;
    w->store.kind = kind;
    w->store.group = g->group;
    w->store.done = write_done;
    w->store.data = w;
    return w;
}

static void push(struct write *w)
{
    w->g->in_flight++;
    w->g->written = store_push(w->g->host->store, &w->store);
}

static void push_meta(struct raft_io_group *g)
{
    struct write *w = write_new(g, STORE_META);

    w->store.term = g->term;
    w->store.vote = g->vote;
    push(w);
}

/* Returns before it is durable: the filters hold the group's messages back
 * (W10), so that nobody can know of the new term before the disk does. */
static int set_term(struct raft_io *raw, raft_term term)
{
    struct raft_io_group *g = group_of(raw);

    g->term = term;
    g->vote = 0;
    push_meta(g);
    return 0;
}

static int set_vote(struct raft_io *raw, raft_id id)
{
    struct raft_io_group *g = group_of(raw);

    g->vote = id;
    push_meta(g);
    return 0;
}

static int append(struct raft_io *raw, struct raft_io_append *req,
                  const struct raft_entry entries[], unsigned n,
                  raft_io_append_cb cb)
{
    struct raft_io_group *g = group_of(raw);
    struct write *w = write_new(g, STORE_APPEND);

    req->cb = cb;
    w->req = req;
    w->cb = cb;
    w->store.index = g->last + 1;
    w->store.entries = entries; /* stay valid until cb: no copy */
    w->store.n = n;
    g->last += n;
    for (unsigned i = 0; i < n; i++) {
        g->bytes += entries[i].buf.len;
        if (entries[i].type == RAFT_BARRIER) {
            /* The core leaves these bytes as they came from the heap. */
            memset(entries[i].buf.base, 0, entries[i].buf.len);
        }
    }
    push(w);
    return 0;
}

static int truncate_from(struct raft_io *raw, raft_index index)
{
    struct raft_io_group *g = group_of(raw);
    struct write *w = write_new(g, STORE_TRUNCATE);

    w->store.index = index;
    g->bytes -= peek_bytes_from(g->raft, index); /* still in its log */
    g->last = index - 1;
    push(w);
    return 0;
}

/* ---- messages ----------------------------------------------------------- */

/* A message that cannot be sent counts as lost on the way: told of a failure,
 * the core would forget where the peer's log ends, and send it all from the
 * first entry on. The answer to the next heartbeat says what is missing. */
static int send_message(struct raft_io *raw, struct raft_io_send *req,
                        const struct raft_message *message, raft_io_send_cb cb)
{
    struct raft_io_group *g = group_of(raw);
    struct raft_io_host *host = g->host;
    struct sent *s;

    FAILPOINT_IF(message->type == RAFT_IO_APPEND_ENTRIES &&
                     message->append_entries.n_entries > 0,
                 "raft.append");
    host->send(host->data, message->server_id, g->group, message);
    if (cb == NULL) {
        return 0;
    }
    s = must_alloc(sizeof *s);
    req->cb = cb;
    s->g = g;
    s->req = req;
    s->cb = cb;
    g->in_flight++;
    list_push(&host->sent, &s->link);
    return 0;
}

/* ---- start -------------------------------------------------------------- */

static int init(struct raft_io *raw, raft_id id, const char *address)
{
    (void)raw;
    (void)id;
    (void)address;
    return 0;
}

static int load(struct raft_io *raw, raft_term *term, raft_id *voted_for,
                struct raft_snapshot **snapshot, raft_index *start_index,
                struct raft_entry *entries[], size_t *n_entries)
{
    struct raft_io_group *g = group_of(raw);
    int rv;

    *term = g->term = g->loaded.term;
    *voted_for = g->vote = g->loaded.vote;
    rv = raft_io_snapshot_load(g, snapshot);
    if (rv != 0) {
        return rv;
    }
    *start_index = g->loaded.first;
    *entries = g->loaded.entries; /* the core's from here */
    *n_entries = g->loaded.n;
    g->last = g->loaded.first + g->loaded.n - 1;
    memset(&g->loaded, 0, sizeof g->loaded);
    return 0;
}

static int start(struct raft_io *raw, unsigned ms, raft_io_tick_cb tick,
                 raft_io_recv_cb recv)
{
    struct raft_io_group *g = group_of(raw);

    (void)ms; /* one timer of the node ticks all groups */
    g->tick = tick;
    g->recv = recv;
    return 0;
}

/* The store was created with the first configuration in every group. */
static int bootstrap(struct raft_io *raw, const struct raft_configuration *conf)
{
    (void)raw;
    (void)conf;
    return RAFT_CANTBOOTSTRAP;
}

static int recover(struct raft_io *raw, const struct raft_configuration *conf)
{
    (void)raw;
    (void)conf;
    return RAFT_INVALID;
}

/* ---- small ones --------------------------------------------------------- */

static raft_time now(struct raft_io *raw)
{
    return uv_now(group_of(raw)->host->loop);
}

static int draw(struct raft_io *raw, int min, int max)
{
    uint64_t *x = &group_of(raw)->host->random;

    *x ^= *x << 13; /* xorshift64: elections need no better */
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return min + (int)(*x % (uint64_t)(max - min));
}

static void close_raw(struct raft_io *raw, raft_io_close_cb cb)
{
    struct raft_io_group *g = group_of(raw);

    raft_io_snapshot_cancel(g);
    g->close = cb;
    raft_io_finish_close(g);
}

int raft_io_group_load(struct raft_io_group *g, char *why, size_t why_size)
{
    int rv = store_load(g->host->store, g->group, &g->loaded, why, why_size);

    for (size_t i = 0; rv == 0 && i < g->loaded.n; i++) {
        g->bytes += g->loaded.entries[i].buf.len;
    }
    return rv;
}

void raft_io_group_init(struct raft_io_group *g, unsigned group,
                        const struct raft *raft, struct raft_io_host *host)
{
    memset(g, 0, sizeof *g);
    g->group = group;
    g->raft = raft;
    g->host = host;
    g->raw = (struct raft_io){.version = 1,
                              .impl = g,
                              .init = init,
                              .close = close_raw,
                              .load = load,
                              .start = start,
                              .bootstrap = bootstrap,
                              .recover = recover,
                              .set_term = set_term,
                              .set_vote = set_vote,
                              .send = send_message,
                              .append = append,
                              .truncate = truncate_from,
                              .snapshot_put = raft_io_snapshot_put,
                              .snapshot_get = raft_io_snapshot_get,
                              .time = now,
                              .random = draw};
}
