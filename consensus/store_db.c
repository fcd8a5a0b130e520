#include "consensus/store_db.h"

#include <assert.h>

#include "base/failpoint.h"

/* In one go: a commit may have to wait for it. */
#define SWEEP_ROWS 512
#define SWEEP_BYTES (8u << 20)

/* ---- small SQL helpers -------------------------------------------------- */

static int finish(sqlite3_stmt *st)
{
    int rv = sqlite3_step(st);

    sqlite3_reset(st);
    return rv == SQLITE_DONE || rv == SQLITE_ROW ? SQLITE_OK : rv;
}

int store_db_set(struct store_db *s, const char *key, const void *value,
                 size_t len)
{
    sqlite3_bind_text(s->node, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_blob(s->node, 2, value, (int)len, SQLITE_STATIC);
    return finish(s->node);
}

static void roll_back(struct store_db *s)
{
    if (!sqlite3_get_autocommit(s->db)) {
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

/* ---- writes ------------------------------------------------------------- */

/* Rows of all groups come one behind the other, in the order of writing: a
 * transaction touches the end of the table only, however many groups it is
 * for. */
static int append_row(struct store_db *s, uint32_t group, uint64_t index,
                      const struct raft_entry *e)
{
    sqlite3_bind_int64(s->append, 1, s->next_row);
    sqlite3_bind_int64(s->append, 2, group);
    sqlite3_bind_int64(s->append, 3, (sqlite3_int64)index);
    sqlite3_bind_int64(s->append, 4, (sqlite3_int64)e->term);
    sqlite3_bind_int(s->append, 5, e->type);
    sqlite3_bind_blob64(s->append, 6, e->buf.len == 0 ? "" : e->buf.base,
                        e->buf.len, SQLITE_STATIC);
    s->next_row++;
    return finish(s->append);
}

int store_db_append(struct store_db *s, const struct store_write *w)
{
    int rv = SQLITE_OK;

    for (unsigned i = 0; i < w->n && rv == SQLITE_OK; i++) {
        rv = append_row(s, w->group, w->index + i, &w->entries[i]);
    }
    return rv;
}

/* Reads the whole table, but happens only when a leader has lost entries. */
static int truncate_log(struct store_db *s, uint32_t group, uint64_t index)
{
    sqlite3_bind_int64(s->truncate, 1, group);
    sqlite3_bind_int64(s->truncate, 2, (sqlite3_int64)index);
    return finish(s->truncate);
}

/* The entries that it stands for are not needed from here on, and swept away
 * later. */
static int set_snapshot(struct store_db *s, const struct store_write *w)
{
    const struct store_snapshot *snapshot = w->snapshot;

    sqlite3_bind_int64(s->snapshot, 1, w->group);
    sqlite3_bind_int64(s->snapshot, 2, (sqlite3_int64)snapshot->index);
    sqlite3_bind_int64(s->snapshot, 3, (sqlite3_int64)snapshot->term);
    sqlite3_bind_int64(s->snapshot, 4, (sqlite3_int64)snapshot->conf_index);
    sqlite3_bind_blob64(s->snapshot, 5, snapshot->conf, snapshot->conf_len,
                        SQLITE_STATIC);
    sqlite3_bind_int64(s->snapshot, 6, (sqlite3_int64)w->index);
    sqlite3_bind_blob64(s->snapshot, 7, snapshot->data, snapshot->data_len,
                        SQLITE_STATIC);
    if (w->replaces) {
        int rv = truncate_log(s, w->group, w->index);
        if (rv != SQLITE_OK) {
            return rv;
        }
    }
    return finish(s->snapshot);
}

int store_db_set_meta(struct store_db *s, uint32_t group, uint64_t term,
                      uint64_t vote)
{
    sqlite3_bind_int64(s->meta, 1, group);
    sqlite3_bind_int64(s->meta, 2, (sqlite3_int64)term);
    sqlite3_bind_int64(s->meta, 3, (sqlite3_int64)vote);
    return finish(s->meta);
}

static int set_peer(struct store_db *s, const struct store_peer *peer)
{
    sqlite3_bind_int64(s->peer, 1, (sqlite3_int64)peer->node_id);
    sqlite3_bind_blob(s->peer, 2, peer->store.b, sizeof peer->store.b,
                      SQLITE_STATIC);
    sqlite3_bind_int64(s->peer, 3, (sqlite3_int64)peer->starts);
    return finish(s->peer);
}

static int write_one(struct store_db *s, const struct store_write *w)
{
    switch (w->kind) {
    case STORE_APPEND:
        return store_db_append(s, w);
    case STORE_TRUNCATE:
        return truncate_log(s, w->group, w->index);
    case STORE_SNAPSHOT:
        return set_snapshot(s, w);
    case STORE_META:
        return store_db_set_meta(s, w->group, w->term, w->vote);
    case STORE_PEER:
        return set_peer(s, &w->peer);
    case STORE_CLUSTER:
        return store_db_set(s, "cluster", w->cluster.b, sizeof w->cluster.b);
    case STORE_GROUPS:
        return store_db_grow(s, w);
    }
    assert(0);
    return SQLITE_MISUSE;
}

/* Only once it is durable, or a failure would have to be taken back. */
static void note_snapshots(struct store_db *s, const struct list *writes)
{
    for (const struct list *l = writes->next; l != writes; l = l->next) {
        const struct store_write *w = LIST_ENTRY(l, struct store_write, link);
        if (w->kind == STORE_SNAPSHOT) {
            s->first[w->group] = w->index;
            s->sweep_from = 1;
        }
    }
}

int store_db_write(struct store_db *s, const struct list *writes)
{
    sqlite3_int64 first = s->next_row;
    int rv = FAILPOINT_ERROR("store.begin", SQLITE_IOERR, finish(s->begin));

    for (const struct list *l = writes->next; l != writes && rv == SQLITE_OK;
         l = l->next) {
        rv = write_one(s, LIST_ENTRY(l, struct store_write, link));
        FAILPOINT("store.row");
    }
    if (rv == SQLITE_OK) {
        rv = FAILPOINT_ERROR("store.commit", SQLITE_FULL, finish(s->commit));
        FAILPOINT("store.committed");
    }
    if (rv != SQLITE_OK) {
        s->next_row = first;
        roll_back(s);
        return rv;
    }
    note_snapshots(s, writes);
    return rv;
}

/* ---- what is no longer needed -------------------------------------------- */

/* The next rows to look at: the ids of those that can go. */
static int find_dead(struct store_db *s, sqlite3_int64 *ids, int *n)
{
    sqlite3_int64 bytes = 0;
    int rv, looked = 0;

    *n = 0;
    sqlite3_bind_int64(s->rows, 1, s->sweep_from);
    while ((rv = sqlite3_step(s->rows)) == SQLITE_ROW && *n < SWEEP_ROWS &&
           bytes < SWEEP_BYTES && looked++ < 8 * SWEEP_ROWS) {
        sqlite3_int64 group = sqlite3_column_int64(s->rows, 1);
        uint64_t index = (uint64_t)sqlite3_column_int64(s->rows, 2);
        s->sweep_from = sqlite3_column_int64(s->rows, 0) + 1;
        if (group >= 0 && group < s->shards && index < s->first[group]) {
            ids[(*n)++] = s->sweep_from - 1;
            bytes += sqlite3_column_int64(s->rows, 3);
        }
    }
    if (rv == SQLITE_DONE) {
        s->sweep_from = 0;
    }
    sqlite3_reset(s->rows);
    return rv == SQLITE_DONE || rv == SQLITE_ROW ? SQLITE_OK : rv;
}

int store_db_sweep(struct store_db *s)
{
    sqlite3_int64 ids[SWEEP_ROWS];
    int n, rv = find_dead(s, ids, &n);

    if (rv != SQLITE_OK || n == 0) {
        return rv;
    }
    rv = finish(s->begin);
    for (int i = 0; i < n && rv == SQLITE_OK; i++) {
        sqlite3_bind_int64(s->delete, 1, ids[i]);
        rv = finish(s->delete);
    }
    if (rv == SQLITE_OK) {
        rv = finish(s->commit);
        FAILPOINT("store.swept");
    }
    if (rv != SQLITE_OK) {
        roll_back(s);
    }
    return rv;
}

int store_db_checkpoint(struct store_db *s)
{
    int frames, copied, rv;

    FAILPOINT("store.checkpoint");
    rv = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE,
                                   &frames, &copied);
    FAILPOINT("store.checkpointed");
    if (rv == SQLITE_OK && frames == copied) {
        s->wal_frames = 0;
    }
    return rv;
}
