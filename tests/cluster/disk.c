/* The store of consensus/store.h on a virtual disk, which keeps what was
 * written in whole transactions, and loses at a crash what was not.
 *
 * Writes queue up; store_submit makes one transaction of them. It is durable
 * after a latency, or within the call; then the writes are called back in
 * order. One transaction at a time. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/alloc.h"
#include "tests/cluster/platter.h"

struct store {
    struct sim_node *node;
    struct store_options options;
    struct store_identity identity;
    struct list queue, flight;
    uint64_t pushed, durable, syncs;
    bool busy, failed, failing, dead;
    struct {
        uint64_t *terms;
        size_t n, cap;
        uint64_t first, before; /* index of the first one, term before it */
        uint64_t snapshot;      /* index */
    } logs[SIM_SHARDS];         /* as the core has them, durable or not */
    bool early;                 /* MUTANT_EARLY_ACK: `flight` was called back */
    struct disk_write *lag;     /* and is written later, from these copies */
};

/* MUTANT_EARLY_ACK: a write that was called durable and is not yet. */
struct disk_write {
    struct disk_write *next;
    struct store_write write;
    struct raft_entry *entries;
    struct store_snapshot snapshot;
};

struct sync {
    struct sim_node *node;
    uint64_t life;
};

/* ---- a transaction ------------------------------------------------------- */

static void call_back(struct store *st, struct list *writes)
{
    struct list *l;

    while ((l = list_pop(writes)) != NULL) {
        struct store_write *w = LIST_ENTRY(l, struct store_write, link);
        st->durable = w->sequence;
        w->done(w);
    }
}

static void write_lag(struct store *st)
{
    struct disk_write *d;

    while ((d = st->lag) != NULL) {
        st->lag = d->next;
        if (!st->dead) {
            platter_write(st->node, &d->write);
        }
        for (unsigned i = 0; i < d->write.n; i++) {
            free(d->entries[i].buf.base);
        }
        platter_free_snapshot(&d->snapshot);
        free(d->entries);
        free(d);
    }
}

static void write_flight(struct store *st)
{
    if (st->dead) {
        return;
    }
    for (struct list *l = st->flight.next; l != &st->flight; l = l->next) {
        platter_write(st->node, LIST_ENTRY(l, struct store_write, link));
    }
}

static void complete(struct store *st)
{
    st->syncs++;
    write_lag(st);
    if (!st->early) {
        write_flight(st);
        call_back(st, &st->flight);
    }
    st->early = st->busy = false;
}

static void on_synced(struct sim *s, void *data)
{
    struct sync *y = data;
    struct sim_node *n = y->node;
    struct store *st = n->store;

    if (n->life != y->life || st == NULL || st->dead || st->failed) {
        return;
    }
    if (n->disk.stopped) {
        return; /* disk_resume begins again */
    }
    if (!st->busy) {
        node_turn_soon(n); /* there is room again */
        return;
    }
    if (s->now_us < n->disk.stalled_until_us) {
        struct sync *again = sim_after(s, n->disk.stalled_until_us - s->now_us,
                                       on_synced, sizeof *again);
        *again = *y;
        return;
    }
    complete(st);
    node_turn_soon(n);
}

static void copy_flight(struct store *st)
{
    struct disk_write **end = &st->lag;

    for (struct list *l = st->flight.next; l != &st->flight; l = l->next) {
        struct store_write *w = LIST_ENTRY(l, struct store_write, link);
        struct disk_write *d = must_alloc(sizeof *d);
        d->write = *w;
        d->write.entries = d->entries =
            must_alloc(w->n * sizeof *d->entries + 1);
        for (unsigned i = 0; i < w->n; i++) {
            d->entries[i] = w->entries[i];
            d->entries[i].buf.base = must_alloc(w->entries[i].buf.len + 1);
            memcpy(d->entries[i].buf.base, w->entries[i].buf.base,
                   w->entries[i].buf.len);
        }
        if (w->kind == STORE_SNAPSHOT) {
            d->snapshot = platter_copy_snapshot(w->snapshot);
            d->write.snapshot = &d->snapshot;
        }
        *end = d;
        end = &d->next;
    }
}

static void begin_sync(struct store *st, uint64_t us)
{
    struct sync *y = sim_after(st->node->sim, us, on_synced, sizeof *y);

    *y = (struct sync){.node = st->node, .life = st->node->life};
}

bool store_submit(struct store *st)
{
    struct sim *s = st->node->sim;
    struct disk *d = &st->node->disk;
    struct list *l;

    if (st->busy || st->failed || (st->node->mute && !st->dead) ||
        list_empty(&st->queue)) {
        return false;
    }
    if (st->failing) {
        st->failed = true;
        s->report.disk_failures++;
        st->options.fatal(st->options.data, "the disk failed (simulated)");
        return false;
    }
    if (store_full(st, NULL, 0)) {
        begin_sync(st, d->full_until_us - s->now_us);
        return false; /* the writes stay queued */
    }
    while ((l = list_pop(&st->queue)) != NULL) {
        list_push(&st->flight, l);
    }
    st->busy = true;
    if (st->dead || (!d->stopped && s->now_us >= d->stalled_until_us &&
                     chance(s, d->at_once, 100))) {
        complete(st);
        return true;
    }
    begin_sync(st, draw_between(s, d->low_us, d->high_us));
    if (s->plan.mutant == MUTANT_EARLY_ACK) {
        st->early = true;
        copy_flight(st);
        call_back(st, &st->flight);
        return true;
    }
    return false;
}

void disk_crash(struct sim_node *n)
{
    struct store *st = n->store;

    if (st == NULL) {
        return;
    }
    if (st->busy && !n->disk.stopped && chance(n->sim, 1, 2)) {
        write_lag(st);
        write_flight(st);
    }
    st->dead = true;
    st->failing = false;
    st->failed = false; /* from now on it swallows */
    write_lag(st);
    st->busy = st->early = false;
    for (struct list *l; (l = list_pop(&st->queue)) != NULL;) {
        list_push(&st->flight, l);
    }
    for (struct list *l; (l = list_pop(&st->flight)) != NULL;) {
        list_push(&st->queue, l);
    }
    for (unsigned i = 0;
         n->sim->plan.mutant == MUTANT_LOST_VOTE && i < SIM_SHARDS; i++) {
        n->disk.groups[i].vote = 0;
    }
}

void disk_fail(struct sim_node *n)
{
    if (n->store != NULL) {
        n->store->failing = true;
    }
}

void disk_resume(struct sim_node *n)
{
    n->disk.stopped = false;
    if (n->store != NULL && n->store->busy) {
        begin_sync(n->store, 0);
    }
}

/* ---- the log as the core has it ------------------------------------------ */

static void note_term(struct store *st, unsigned group, uint64_t term)
{
    if (st->logs[group].n == st->logs[group].cap) {
        st->logs[group].cap = 2 * st->logs[group].cap + 64;
        st->logs[group].terms =
            must_grow(st->logs[group].terms,
                      st->logs[group].cap * sizeof *st->logs[group].terms);
    }
    st->logs[group].terms[st->logs[group].n++] = term;
}

/* Entries that are forgotten here, but not replaced, do no harm. */
static void note_snapshot(struct store *st, const struct store_write *w)
{
    st->logs[w->group].snapshot = w->snapshot->index;
    if (w->replaces) {
        st->logs[w->group].n = 0;
        st->logs[w->group].first = w->index;
        st->logs[w->group].before = w->snapshot->term;
    }
}

uint64_t disk_snapshot_index(const struct sim_node *n, unsigned group)
{
    return n->store->logs[group].snapshot;
}

static void note_write(struct store *st, const struct store_write *w)
{
    size_t n;

    if (w->kind == STORE_TRUNCATE) {
        st->logs[w->group].n = w->index - st->logs[w->group].first;
    } else if (w->kind == STORE_SNAPSHOT) {
        note_snapshot(st, w);
    }
    if (w->kind != STORE_APPEND) {
        return;
    }
    for (unsigned i = 0; i < w->n; i++) {
        const struct raft_entry *e = &w->entries[i];
        n = st->logs[w->group].n;
        if (!st->dead) {
            check_written(st->node, w->group, w->index + i,
                          n == 0 ? st->logs[w->group].before
                                 : st->logs[w->group].terms[n - 1],
                          e);
            if (e->type == RAFT_CHANGE) {
                check_change(st->node, w->group, w->index + i, e);
                faults_rare_moment(st->node);
            }
        }
        note_term(st, w->group, e->term);
    }
}

/* ---- open and close ------------------------------------------------------ */

static void format(struct sim_node *n, const struct store_options *o)
{
    struct disk *d = &n->disk;
    struct raft_entry conf = {
        .term = 1,
        .type = RAFT_CHANGE,
        .buf = {.base = (void *)(uintptr_t)o->conf, .len = o->conf_len}};

    d->exists = true;
    d->store = o->new_store;
    d->cluster = o->cluster;
    if (uuid_is_none(&d->store)) {
        draw_bytes(n->sim, d->store.b, sizeof d->store.b);
    }
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        d->groups[i].term = d->groups[i].first = 1;
        if (o->joined) {
            continue;
        }
        platter_add(&d->groups[i], &conf);
        check_written(n, i, 1, 0, &conf);
    }
}

int store_open(const struct store_options *options, struct store **out,
               char *why, size_t why_size)
{
    struct sim_node *n = loop_node(options->loop);
    struct store *st = must_alloc(sizeof *st);

    (void)why;
    (void)why_size;
    if (!n->disk.exists) {
        format(n, options);
    }
    st->node = n;
    st->options = *options;
    list_init(&st->queue);
    list_init(&st->flight);
    st->identity =
        (struct store_identity){.store = n->disk.store,
                                .cluster = n->disk.cluster,
                                .starts = ++n->disk.starts << STORE_START_BITS,
                                .node_id = options->node_id,
                                .shards = options->shards};
    n->store = st;
    *out = st;
    return 0;
}

void store_discard(struct store *st)
{
    st->node->store = NULL;
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        free(st->logs[i].terms);
    }
    free(st);
}

int store_start(struct store *st)
{
    (void)st;
    return 0;
}

const struct store_identity *store_identity(const struct store *st)
{
    return &st->identity;
}

bool store_peer(const struct store *st, uint64_t node_id,
                struct store_peer *out)
{
    const struct disk *d = &st->node->disk;

    for (unsigned i = 0; i < d->n_peers; i++) {
        if (d->peers[i].node_id == node_id) {
            *out = d->peers[i];
            return true;
        }
    }
    return false;
}

int store_load(struct store *st, uint32_t group, struct store_group *out,
               char *why, size_t why_size)
{
    const struct disk_group *g = &st->node->disk.groups[group];

    (void)why;
    (void)why_size;
    memset(out, 0, sizeof *out);
    out->term = g->term;
    out->vote = g->vote;
    out->first = st->logs[group].first = g->first;
    out->snapshot = platter_copy_snapshot(&g->snapshot);
    st->logs[group].snapshot = g->snapshot.index;
    st->logs[group].before = g->snapshot.term;
    out->n = out->capacity = g->n;
    out->entries = raft_calloc(g->n + 1, sizeof *out->entries);
    for (size_t i = 0; i < g->n; i++) {
        const struct disk_entry *e = &g->entries[i];
        out->entries[i] = (struct raft_entry){.term = e->term, .type = e->type};
        out->entries[i].buf.len = e->len;
        out->entries[i].buf.base = raft_malloc(e->len);
        memcpy(out->entries[i].buf.base, e->bytes, e->len);
        note_term(st, group, e->term);
    }
    return 0;
}

uint64_t store_push(struct store *st, struct store_write *w)
{
    w->sequence = ++st->pushed;
    note_write(st, w);
    list_push(&st->queue, &w->link);
    return w->sequence;
}

uint64_t store_pushed(const struct store *st)
{
    return st->pushed;
}

uint64_t store_durable(const struct store *st)
{
    return st->durable;
}

uint64_t store_syncs(const struct store *st)
{
    return st->syncs;
}

bool store_submits_here(const struct store *s)
{
    (void)s;
    return false; /* all writes take their time */
}

bool store_full(const struct store *st, char *why, size_t size)
{
    bool full = st->node->sim->now_us < st->node->disk.full_until_us;

    if (full && why != NULL) {
        snprintf(why, size, "the disk is full (simulated)");
    }
    return full && !st->dead;
}

void store_give_up(struct store *st)
{
    st->failed = true;
}

bool store_failed(const struct store *st)
{
    return st->failed;
}

void store_abandon(struct store *st)
{
    while (!list_empty(&st->flight) || !list_empty(&st->queue)) {
        call_back(st, &st->flight);
        call_back(st, &st->queue);
    }
}

void store_close(struct store *st, void (*closed)(void *data), void *data)
{
    assert(list_empty(&st->queue) && list_empty(&st->flight));
    write_lag(st);
    store_discard(st);
    closed(data); /* deferred by nobody who minds */
}

void disk_wipe(struct sim_node *n)
{
    struct disk *d = &n->disk;
    struct disk empty = {
        .low_us = d->low_us, .high_us = d->high_us, .at_once = d->at_once};

    disk_free(d);
    *d = empty;
}

void disk_free(struct disk *d)
{
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        platter_cut(&d->groups[i], d->groups[i].first);
        free(d->groups[i].entries);
        platter_free_snapshot(&d->groups[i].snapshot);
    }
}
