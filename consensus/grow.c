/* More groups while the node runs.
 *
 * A new group begins on all nodes with the same entry, as those of the first
 * start did, or, on a node that does not know which one, empty, as on one that
 * joins. That is written before anything else of the group, so that a start
 * finds all of it or nothing, and then it is said again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "consensus/store_db.h"

struct growth {
    struct store_write write;
    struct raft_entry entry;
};

static void written(struct store_write *write)
{
    struct growth *w = write->data;

    raft_free(w->entry.buf.base);
    free(w);
    FAILPOINT("shards.stored");
}

/* What a start would find of the new group. */
static void load(struct group *g, const struct raft_buffer *conf)
{
    struct store_group *to = &g->io.loaded;

    to->term = to->first = 1;
    if (conf->len == 0) {
        return;
    }
    to->entries = raft_malloc(sizeof *to->entries);
    if (to->entries == NULL) {
        abort();
    }
    to->n = to->capacity = 1;
    to->entries[0] = (struct raft_entry){.term = 1, .type = RAFT_CHANGE};
    to->entries[0].buf.len = conf->len;
    to->entries[0].buf.base = raft_malloc(conf->len);
    if (to->entries[0].buf.base == NULL) {
        abort();
    }
    memcpy(to->entries[0].buf.base, conf->base, conf->len);
    g->io.bytes += conf->len;
}

static void store(struct groups *g, unsigned from, unsigned shards,
                  struct raft_buffer *conf)
{
    struct growth *w = must_alloc(sizeof *w);

    w->entry =
        (struct raft_entry){.term = 1, .type = RAFT_CHANGE, .buf = *conf};
    w->write = (struct store_write){.kind = STORE_GROUPS,
                                    .group = from,
                                    .shards = shards,
                                    .entries = &w->entry,
                                    .n = conf->len == 0 ? 0 : 1,
                                    .done = written,
                                    .data = w};
    store_push(g->store, &w->write);
}

void groups_grow(struct groups *g, unsigned shards,
                 const struct groups_member *members, unsigned n)
{
    unsigned from = g->options.shards;
    struct raft_buffer conf = {.len = 0};

    if (shards <= from || shards > SHARDS_MAX || g->state != GROUPS_RUNNING ||
        !g->booted || (n > 0 && members_conf_of(members, n, &conf) != 0)) {
        return; /* a start says it again */
    }
    for (unsigned i = from; i < shards; i++) {
        g->groups[i] = group_new(g, i);
        g->open_groups++;
        load(g->groups[i], &conf);
    }
    store(g, from, shards, &conf);
    g->options.shards = shards;
    for (unsigned i = from; i < shards && !g->fatal; i++) {
        group_start(g->groups[i]);
    }
}

unsigned groups_stored(const char *folder, unsigned *first)
{
    char path[PATH_MAX + 16];
    uint32_t shards = 0;

    snprintf(path, sizeof path, "%s/store.db", folder);
    (void)store_db_shards(path, &shards, first);
    return shards;
}
