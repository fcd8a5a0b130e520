/* See docs/FORMATS.md for store.db. The cluster's id in the log of group 0
 * stays the old one: a store that knows an id keeps to it, and whoever joins is
 * told.
 */
#include "consensus/recover.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/alloc.h"
#include "consensus/store_db.h"

struct recover {
    struct store_db db;
    struct store_group *groups;
    uint64_t *next; /* by group: index of the next entry */
    char folder[PATH_MAX];
    struct list writes;
};

/* ---- opening ------------------------------------------------------------- */

static int open_store(struct recover *r, uint64_t node_id, char *why,
                      size_t size)
{
    char path[PATH_MAX + 16];
    struct store_options o = {.folder = r->folder,
                              .node_id = node_id,
                              .members = "",
                              .registered = true};
    uint32_t first;
    int rv;

    snprintf(path, sizeof path, "%s/store.db", r->folder);
    rv = store_db_shards(path, &o.shards, &first);
    if (o.shards == 0) {
        snprintf(why, size, "%s %s", path,
                 rv == SQLITE_BUSY ? "is in use by a running node; stop it"
                 : rv == SQLITE_CANTOPEN ? "is missing: correct -raft-path"
                                         : "is not a store of marmot");
        return ERR_NOT_FOUND;
    }
    rv = store_db_open(&r->db, &o, why, size);
    if (rv != 0) {
        return rv;
    }
    r->groups = must_alloc(o.shards * sizeof *r->groups);
    r->next = must_alloc(o.shards * sizeof *r->next);
    rv = store_db_load(&r->db, r->groups, o.shards, why, size);
    for (uint32_t i = 0; rv == 0 && i < o.shards; i++) {
        r->next[i] = r->groups[i].first + r->groups[i].n;
    }
    return rv;
}

int recover_open(const char *folder, uint64_t node_id, struct recover **out,
                 char *why, size_t size)
{
    struct recover *r = must_alloc(sizeof *r);
    int rv;

    list_init(&r->writes);
    snprintf(r->folder, sizeof r->folder, "%s", folder);
    rv = open_store(r, node_id, why, size);
    if (rv != 0) {
        recover_close(r);
        return rv;
    }
    *out = r;
    return 0;
}

void recover_close(struct recover *r)
{
    struct list *l;

    while ((l = list_pop(&r->writes)) != NULL) {
        free(LIST_ENTRY(l, struct store_write, link));
    }
    for (uint32_t i = 0; r->groups != NULL && i < r->db.shards; i++) {
        store_group_free(&r->groups[i]);
    }
    free(r->groups);
    free(r->next);
    store_db_close(&r->db);
    free(r);
}

const struct store_identity *recover_identity(const struct recover *r)
{
    return &r->db.identity;
}

/* ---- changing ------------------------------------------------------------ */

static struct store_write *add(struct recover *r, enum store_write_kind kind,
                               uint32_t group)
{
    struct store_write *w = must_alloc(sizeof *w);

    w->kind = kind;
    w->group = group;
    list_push(&r->writes, &w->link);
    return w;
}

static void append(struct recover *r, uint32_t group,
                   const struct raft_entry *entry)
{
    struct store_write *w = add(r, STORE_APPEND, group);

    w->index = r->next[group]++;
    w->entries = entry;
    w->n = 1;
}

static uint64_t last_term(const struct store_group *g)
{
    uint64_t term = g->n > 0 ? g->entries[g->n - 1].term : g->snapshot.term;

    return term > g->term ? term : g->term;
}

static bool is_empty(const struct store_group *g)
{
    return g->n == 0 && g->snapshot.index == 0;
}

static int write_all(struct recover *r, const struct recover_change *c,
                     const struct raft_buffer *conf)
{
    uint32_t shards = r->db.shards;
    struct raft_entry *alone = must_alloc((shards + 1) * sizeof *alone);
    struct raft_entry last = {
        .type = RAFT_COMMAND,
        .term = last_term(&r->groups[0]),
        .buf = {.base = (void *)(uintptr_t)c->last, .len = c->last_len}};
    int rv;

    for (uint32_t i = 0; i < shards; i++) {
        alone[i] = (struct raft_entry){.type = RAFT_CHANGE,
                                       .term = last_term(&r->groups[i]),
                                       .buf = *conf};
        append(r, i, &alone[i]);
    }
    append(r, 0, &last);
    add(r, STORE_CLUSTER, 0)->cluster = c->cluster;
    rv = store_db_write(&r->db, &r->writes) == SQLITE_OK ? 0 : ERR_IO;
    free(alone);
    return rv;
}

int recover_alone(struct recover *r, const struct recover_change *change,
                  char *why, size_t size)
{
    struct raft_configuration alone;
    struct raft_buffer conf;
    char name[24];
    int rv;

    for (uint32_t i = 0; i < r->db.shards; i++) {
        if (is_empty(&r->groups[i])) {
            snprintf(why, size,
                     "%s holds nothing of shard %u: this node had not caught "
                     "up, recover another one",
                     r->folder, i);
            return ERR_NOT_FOUND;
        }
    }
    snprintf(name, sizeof name, "%llu",
             (unsigned long long)r->db.identity.node_id);
    raft_configuration_init(&alone);
    rv = raft_configuration_add(&alone, r->db.identity.node_id, name,
                                RAFT_VOTER);
    if (rv == 0) {
        rv = raft_configuration_encode(&alone, &conf);
    }
    raft_configuration_close(&alone);
    if (rv != 0) {
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    rv = write_all(r, change, &conf);
    raft_free(conf.base);
    if (rv != 0) {
        snprintf(why, size, "cannot write %s/store.db: %s", r->folder,
                 sqlite3_errmsg(r->db.db));
    }
    return rv;
}
