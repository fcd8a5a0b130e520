/* What is on a virtual disk: logs, snapshots, terms and votes, who the peers
 * are. disk.c decides when it gets there. */
#include <stdlib.h>
#include <string.h>

#include "consensus/alloc.h"
#include "tests/cluster/platter.h"

void platter_cut(struct disk_group *g, uint64_t index)
{
    while (g->n > 0 && g->first + g->n > index) {
        free(g->entries[--g->n].bytes);
    }
}

/* Entries before `index` go. */
static void forget(struct disk_group *g, uint64_t index)
{
    size_t gone = (size_t)(index - g->first);

    for (size_t i = 0; i < gone; i++) {
        free(g->entries[i].bytes);
    }
    g->n -= gone;
    memmove(g->entries, g->entries + gone, g->n * sizeof *g->entries);
    g->first = index;
}

void platter_free_snapshot(struct store_snapshot *s)
{
    free(s->conf);
    free(s->data);
    memset(s, 0, sizeof *s);
}

static void *copy_of(const void *bytes, size_t len)
{
    void *copy = must_alloc(len + 1);

    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

struct store_snapshot platter_copy_snapshot(const struct store_snapshot *s)
{
    struct store_snapshot copy = *s;

    copy.conf = copy_of(s->conf, s->conf_len);
    copy.data = copy_of(s->data, s->data_len);
    return copy;
}

static void keep_snapshot(struct sim_node *n, const struct store_write *w)
{
    struct disk_group *g = &n->disk.groups[w->group];

    if (w->replaces) {
        platter_cut(g, g->first);
        g->first = w->index;
    } else if (w->index < g->first || w->index > g->first + g->n ||
               w->snapshot->index >= g->first + g->n) {
        violation(n->sim,
                  "node %u forgets entries of group %u before %llu that it "
                  "does not have",
                  n->number + 1, w->group, (unsigned long long)w->index);
        return;
    } else {
        forget(g, w->index);
    }
    platter_free_snapshot(&g->snapshot);
    g->snapshot = platter_copy_snapshot(w->snapshot);
    check_snapshot(n, w->group, &g->snapshot, w->replaces);
    faults_moment(n);
}

void platter_add(struct disk_group *g, const struct raft_entry *e)
{
    struct disk_entry *to;

    if (g->n == g->cap) {
        g->cap = g->cap == 0 ? 64 : 2 * g->cap;
        g->entries = must_grow(g->entries, g->cap * sizeof *g->entries);
    }
    to = &g->entries[g->n++];
    to->term = e->term;
    to->type = e->type;
    to->len = e->buf.len;
    to->bytes = must_alloc(to->len + 1);
    memcpy(to->bytes, e->buf.base, to->len);
}

static void append(struct sim_node *n, const struct store_write *w)
{
    struct disk_group *g = &n->disk.groups[w->group];

    if (w->index != g->first + g->n) {
        violation(n->sim, "node %u appends entry %llu of group %u behind %llu",
                  n->number + 1, (unsigned long long)w->index, w->group,
                  (unsigned long long)(g->first + g->n - 1));
        return;
    }
    for (unsigned i = 0; i < w->n; i++) {
        platter_add(g, &w->entries[i]);
    }
}

static void keep_peer(struct disk *d, const struct store_peer *peer)
{
    for (unsigned i = 0; i < d->n_peers; i++) {
        if (d->peers[i].node_id == peer->node_id) {
            d->peers[i] = *peer;
            return;
        }
    }
    d->peers[d->n_peers++] = *peer;
}

void platter_write(struct sim_node *n, const struct store_write *w)
{
    struct disk *d = &n->disk;

    switch (w->kind) {
    case STORE_APPEND:
        append(n, w);
        break;
    case STORE_TRUNCATE:
        platter_cut(&d->groups[w->group], w->index);
        break;
    case STORE_SNAPSHOT:
        keep_snapshot(n, w);
        break;
    case STORE_META:
        d->groups[w->group].term = w->term;
        d->groups[w->group].vote = w->vote;
        check_voted(n, w->group, w->term, w->vote);
        break;
    case STORE_GROUPS:
        abort(); /* a simulated cluster does not grow */
    case STORE_PEER:
        keep_peer(d, &w->peer);
        break;
    case STORE_CLUSTER:
        d->cluster = w->cluster;
        break;
    }
}
