/* Snapshots in raft_io: small descriptions of the state, which are kept in
 * memory as they are in the store.
 *
 *   taken or received --announced by put()--> waits --raft_io_group_put-->
 *   store --durable--> the core forgets the entries before it
 */
#include <string.h>

#include "base/err.h"
#include "consensus/alloc.h"
#include "consensus/raft_io_internal.h"
#include "consensus/raft_peek.h"
#include "wire/raft_message.h"

struct raft_io_put {
    struct store_write store;
    struct raft_io_group *g;
    struct raft_io_snapshot_put *req;
    raft_io_snapshot_put_cb cb;
    struct store_snapshot snapshot;
    struct raft_buffer *received; /* the core's; NULL: it was taken here */
    bool pushed;
};

/* A snapshot_get whose callback is due. */
struct raft_io_get {
    struct list link;
    struct raft_io_group *g;
    struct raft_io_snapshot_get *req;
    raft_io_snapshot_get_cb cb;
};

static void forget(struct store_snapshot *s)
{
    free(s->conf);
    free(s->data);
    memset(s, 0, sizeof *s);
}

/* ---- storing one --------------------------------------------------------- */

static void copy_in(struct store_snapshot *to, const struct raft_snapshot *from)
{
    struct raft_buffer conf;

    if (raft_configuration_encode(&from->configuration, &conf) != 0) {
        log_error("out_of_memory", "bytes=%zu", conf.len);
        abort();
    }
    to->index = from->index;
    to->term = from->term;
    to->conf_index = from->configuration_index;
    to->conf_len = conf.len;
    to->conf = must_alloc(conf.len);
    memcpy(to->conf, conf.base, conf.len);
    raft_free(conf.base);
    for (unsigned i = 0; i < from->n_bufs; i++) {
        to->data = must_grow(to->data, to->data_len + from->bufs[i].len + 1);
        memcpy((uint8_t *)to->data + to->data_len, from->bufs[i].base,
               from->bufs[i].len);
        to->data_len += from->bufs[i].len;
    }
}

/* A core that is closing leaves the array of a received snapshot to nobody. */
static void call_back(struct raft_io_put *p, int status)
{
    bool left = p->g->raft->state == RAFT_UNAVAILABLE;
    struct raft_buffer *bufs = p->received;

    p->cb(p->req, status);
    if (left) {
        raft_free(bufs);
    }
}

static void put_done(struct store_write *store)
{
    struct raft_io_put *p = store->data;
    struct raft_io_group *g = p->g;
    bool taken = !store->replaces;

    g->in_flight--;
    forget(&g->snapshot);
    g->snapshot = p->snapshot;
    g->putting = NULL;
    call_back(p, 0);
    if (taken) {
        g->bytes = peek_bytes_from(g->raft, peek_first(g->raft));
    }
    free(p);
    g->durable(g->data);
    raft_io_finish_close(g);
}

void raft_io_group_put(struct raft_io_group *g)
{
    struct raft_io_put *p = g->putting;

    if (p != NULL && !p->pushed) {
        p->pushed = true;
        g->in_flight++;
        g->written = store_push(g->host->store, &p->store);
    }
}

/* The first entry that stays when `trailing` before `index` do; the core
 * removes none where there are fewer. */
static raft_index first_left(const struct raft_io_group *g, raft_index index,
                             unsigned trailing)
{
    raft_index first = peek_first(g->raft);

    return index > trailing && index - trailing >= first ? index - trailing + 1
                                                         : first;
}

int raft_io_snapshot_put(struct raft_io *raw, unsigned trailing,
                         struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *snapshot,
                         raft_io_snapshot_put_cb cb)
{
    struct raft_io_group *g = raw->impl;
    struct raft_io_put *p = must_alloc(sizeof *p);
    bool received = trailing == 0;

    p->g = g;
    p->req = req;
    p->cb = cb;
    req->cb = cb;
    copy_in(&p->snapshot, snapshot);
    p->store = (struct store_write){
        .kind = STORE_SNAPSHOT,
        .group = g->group,
        .index = received ? snapshot->index + 1
                          : first_left(g, snapshot->index, trailing),
        .snapshot = &p->snapshot,
        .replaces = received,
        .done = put_done,
        .data = p};
    if (received) { /* the core's log is empty already */
        p->received = snapshot->bufs;
        g->last = snapshot->index;
        g->bytes = 0;
    }
    g->putting = p;
    g->put(g->data);
    return 0;
}

void raft_io_snapshot_cancel(struct raft_io_group *g)
{
    struct raft_io_put *p = g->putting;

    if (p != NULL && !p->pushed) {
        g->putting = NULL;
        call_back(p, RAFT_CANCELED);
        forget(&p->snapshot);
        free(p);
    }
}

/* ---- giving it ----------------------------------------------------------- */

/* As the core wants it, and frees it: one buffer. */
static struct raft_snapshot *copy_out(const struct store_snapshot *from)
{
    struct raft_snapshot *s = must_alloc(sizeof *s);

    s->index = from->index;
    s->term = from->term;
    s->configuration_index = from->conf_index;
    if (raft_conf_decode(from->conf, from->conf_len, &s->configuration) != 0) {
        free(s);
        return NULL;
    }
    s->bufs = must_alloc(sizeof *s->bufs);
    s->n_bufs = 1;
    s->bufs[0].base = must_alloc(from->data_len + 1);
    s->bufs[0].len = from->data_len;
    if (from->data_len > 0) {
        memcpy(s->bufs[0].base, from->data, from->data_len);
    }
    return s;
}

int raft_io_snapshot_get(struct raft_io *raw, struct raft_io_snapshot_get *req,
                         raft_io_snapshot_get_cb cb)
{
    struct raft_io_group *g = raw->impl;
    struct raft_io_get *get = must_alloc(sizeof *get);

    req->cb = cb;
    get->g = g;
    get->req = req;
    get->cb = cb;
    g->in_flight++;
    list_push(&g->host->gets, &get->link);
    return 0;
}

void raft_io_snapshot_gets(struct raft_io_host *host)
{
    struct list *link;

    while ((link = list_pop(&host->gets)) != NULL) {
        struct raft_io_get *get = LIST_ENTRY(link, struct raft_io_get, link);
        struct raft_io_group *g = get->g;
        struct raft_snapshot *s =
            g->snapshot.index == 0 ? NULL : copy_out(&g->snapshot);
        get->cb(get->req, s, s == NULL ? RAFT_NOTFOUND : 0);
        free(get);
        g->in_flight--;
        raft_io_finish_close(g);
    }
}

int raft_io_snapshot_load(struct raft_io_group *g, struct raft_snapshot **out)
{
    *out = NULL;
    g->snapshot = g->loaded.snapshot; /* ours from here */
    memset(&g->loaded.snapshot, 0, sizeof g->loaded.snapshot);
    if (g->snapshot.index > 0) {
        *out = copy_out(&g->snapshot);
        return *out == NULL ? RAFT_CORRUPT : 0;
    }
    return 0;
}

void raft_io_group_close(struct raft_io_group *g)
{
    store_group_free(&g->loaded);
    forget(&g->snapshot);
}
