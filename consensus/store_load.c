/* Reading the log: one pass over the rows of all groups, in the order in which
 * they were written. Each entry must be the next one of its group; a cut takes
 * entries back. */
#include <errno.h>
#include <stdio.h>

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

static int cut(struct store_group *g, uint64_t index)
{
    if (index < 2 || index > g->n + 1) {
        return SQLITE_CORRUPT;
    }
    while (g->n >= index) {
        raft_free(g->entries[--g->n].buf.base);
    }
    return SQLITE_OK;
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

    if (index != g->n + 1 || type < RAFT_COMMAND || type > RAFT_CHANGE ||
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
        if (*at_group < 0 || *at_group >= shards) {
            rv = SQLITE_CORRUPT;
        } else if (sqlite3_column_int(st, 3) == STORE_ROW_CUT) {
            rv = cut(&groups[*at_group], *at_index);
        } else {
            rv = add(&groups[*at_group], *at_index, st);
        }
    }
    sqlite3_finalize(st);
    return rv == SQLITE_DONE ? SQLITE_OK : rv;
}

int store_db_load(struct store_db *s, struct store_group *groups,
                  uint32_t shards, char *why, size_t why_size)
{
    sqlite3_int64 group = 0;
    uint64_t index = 0;
    int rv = load_meta(s, groups, shards);

    if (rv == SQLITE_OK) {
        rv = load_rows(s, groups, shards, &group, &index);
    }
    for (uint32_t i = 0; i < shards && rv == SQLITE_OK; i++) {
        if (groups[i].n == 0) {
            group = i;
            index = 1;
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
