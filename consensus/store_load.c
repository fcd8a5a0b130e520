/* Reading the log: the snapshots, then one pass over the rows of all groups, in
 * the order in which they were written. Each entry must be the next one of its
 * group, from the first one that its snapshot leaves. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "consensus/store_db.h"

static int load_meta(struct store_db *s, struct store_group *groups,
                     uint32_t shards)
{
    sqlite3_stmt *st = NULL;
    uint32_t found = 0;
    int rv = sqlite3_prepare_v2(s->db, "SELECT grp, term, vote FROM meta", -1,
                                &st, NULL);

    while (rv == SQLITE_OK && (rv = sqlite3_step(st)) == SQLITE_ROW) {
        sqlite3_int64 group = sqlite3_column_int64(st, 0);
        if (group < 0 || group >= shards) {
            rv = SQLITE_CORRUPT;
            break;
        }
        groups[group].term = (uint64_t)sqlite3_column_int64(st, 1);
        groups[group].vote = (uint64_t)sqlite3_column_int64(st, 2);
        found++;
        rv = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rv != SQLITE_DONE ? rv
           : found == shards ? SQLITE_OK
                             : SQLITE_CORRUPT;
}

static int copy_blob(sqlite3_stmt *st, int column, void **out, size_t *len)
{
    const void *blob = sqlite3_column_blob(st, column);

    *len = (size_t)sqlite3_column_bytes(st, column);
    *out = malloc(*len + 1);
    if (*out == NULL) {
        return SQLITE_NOMEM;
    }
    if (*len > 0) {
        memcpy(*out, blob, *len);
    }
    return SQLITE_OK;
}

static int add_snapshot(struct store_group *g, sqlite3_stmt *st)
{
    struct store_snapshot *s = &g->snapshot;
    int rv;

    s->index = (uint64_t)sqlite3_column_int64(st, 1);
    s->term = (uint64_t)sqlite3_column_int64(st, 2);
    s->conf_index = (uint64_t)sqlite3_column_int64(st, 3);
    g->first = (uint64_t)sqlite3_column_int64(st, 5);
    rv = copy_blob(st, 4, &s->conf, &s->conf_len);
    if (rv == SQLITE_OK) {
        rv = copy_blob(st, 6, &s->data, &s->data_len);
    }
    if (rv == SQLITE_OK &&
        (s->index == 0 || g->first == 0 || g->first > s->index + 1)) {
        rv = SQLITE_CORRUPT;
    }
    return rv;
}

static int load_snapshots(struct store_db *s, struct store_group *groups,
                          uint32_t shards)
{
    sqlite3_stmt *st = NULL;
    int rv =
        sqlite3_prepare_v2(s->db,
                           "SELECT grp, idx, term, conf_idx, conf, first, data"
                           " FROM snapshots",
                           -1, &st, NULL);

    for (uint32_t i = 0; i < shards; i++) {
        groups[i].first = 1;
    }
    while (rv == SQLITE_OK && (rv = sqlite3_step(st)) == SQLITE_ROW) {
        sqlite3_int64 group = sqlite3_column_int64(st, 0);
        rv = group < 0 || group >= shards ? SQLITE_CORRUPT
                                          : add_snapshot(&groups[group], st);
        s->sweep_from = 1; /* the last sweep may not have ended */
    }
    sqlite3_finalize(st);
    for (uint32_t i = 0; i < shards; i++) {
        s->first[i] = groups[i].first;
    }
    return rv == SQLITE_DONE ? SQLITE_OK : rv;
}

static int make_room(struct store_group *g)
{
    size_t more = g->capacity == 0 ? 64 : g->capacity * 2;
    struct raft_entry *e;

    if (g->n < g->capacity) {
        return SQLITE_OK;
    }
    e = raft_realloc(g->entries, more * sizeof *e);
    if (e == NULL) {
        return SQLITE_NOMEM;
    }
    g->entries = e;
    g->capacity = more;
    return SQLITE_OK;
}

static int add(struct store_group *g, uint64_t index, sqlite3_stmt *st)
{
    size_t len = (size_t)sqlite3_column_bytes(st, 4);
    int type = sqlite3_column_int(st, 3);
    struct raft_entry *e;

    if (index < g->first) {
        return SQLITE_OK; /* not swept away yet */
    }
    if (index != g->first + g->n || type < RAFT_COMMAND || type > RAFT_CHANGE ||
        (index == 1 && type != RAFT_CHANGE)) {
        return SQLITE_CORRUPT;
    }
    if (make_room(g) != SQLITE_OK) {
        return SQLITE_NOMEM;
    }
    e = &g->entries[g->n];
    e->term = (raft_term)sqlite3_column_int64(st, 2);
    e->type = (unsigned short)type;
    e->batch = NULL;
    e->buf.len = len;
    e->buf.base = raft_malloc(len == 0 ? 1 : len);
    if (e->buf.base == NULL) {
        return SQLITE_NOMEM;
    }
    if (len > 0) {
        memcpy(e->buf.base, sqlite3_column_blob(st, 4), len);
    }
    g->n++;
    return SQLITE_OK;
}

static int load_rows(struct store_db *s, struct store_group *groups,
                     uint32_t shards, sqlite3_int64 *at_group,
                     uint64_t *at_index)
{
    sqlite3_stmt *st = NULL;
    int rv = sqlite3_prepare_v2(s->db,
                                "SELECT grp, idx, term, type, data FROM log"
                                " ORDER BY id",
                                -1, &st, NULL);

    while (rv == SQLITE_OK && (rv = sqlite3_step(st)) == SQLITE_ROW) {
        *at_group = sqlite3_column_int64(st, 0);
        *at_index = (uint64_t)sqlite3_column_int64(st, 1);
        rv = *at_group < 0 || *at_group >= shards
                 ? SQLITE_CORRUPT
                 : add(&groups[*at_group], *at_index, st);
    }
    sqlite3_finalize(st);
    return rv == SQLITE_DONE ? SQLITE_OK : rv;
}

/* The log begins with the configuration, or follows a snapshot; on a node that
 * came later it may not have begun yet. */
static bool complete(const struct store_db *s, const struct store_group *g)
{
    return g->snapshot.index == 0 ? g->n > 0 || s->identity.joined
                                  : g->first + g->n > g->snapshot.index;
}

int store_db_load(struct store_db *s, struct store_group *groups,
                  uint32_t shards, char *why, size_t why_size)
{
    sqlite3_int64 group = 0;
    uint64_t index = 0;
    int rv = load_meta(s, groups, shards);

    if (rv == SQLITE_OK) {
        rv = load_snapshots(s, groups, shards);
    }
    if (rv == SQLITE_OK) {
        rv = load_rows(s, groups, shards, &group, &index);
    }
    for (uint32_t i = 0; i < shards && rv == SQLITE_OK; i++) {
        if (!complete(s, &groups[i])) {
            group = i;
            index = groups[i].first + groups[i].n;
            rv = SQLITE_CORRUPT;
        }
    }
    if (rv == SQLITE_OK) {
        return 0;
    }
    snprintf(why, why_size,
             "store.db is damaged: the log of shard %lld cannot be read at "
             "entry %llu (%s); move -raft-path away, remove this node from the "
             "cluster and add it again",
             (long long)group, (unsigned long long)index, sqlite3_errstr(rv));
    return rv == SQLITE_NOMEM              ? -ENOMEM
           : (rv & 0xff) == SQLITE_CORRUPT ? ERR_CORRUPT
                                           : ERR_IO;
}
