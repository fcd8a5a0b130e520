/* How many groups a store has, and how they begin. */
#include "consensus/store_db.h"

/* New groups: each begins with the same entry, the configuration, or empty. */
static int begin_groups(struct store_db *s, const struct store_write *w)
{
    struct store_write first = {
        .kind = STORE_APPEND, .index = 1, .entries = w->entries, .n = w->n};
    int rv = SQLITE_OK;

    for (uint32_t g = w->group; g < w->shards && rv == SQLITE_OK; g++) {
        s->first[g] = 1;
        first.group = g;
        rv = w->n == 0 ? SQLITE_OK : store_db_append(s, &first);
        if (rv == SQLITE_OK) {
            rv = store_db_set_meta(s, g, 1, 0);
        }
    }
    return rv;
}

int store_db_bootstrap(struct store_db *s, const struct store_options *o)
{
    struct raft_entry entry = {
        .term = 1,
        .type = RAFT_CHANGE,
        .buf = {.base = (void *)(uintptr_t)o->conf, .len = o->conf_len}};
    const struct store_write all = {
        .shards = o->shards, .entries = &entry, .n = o->joined ? 0 : 1};

    return begin_groups(s, &all);
}

int store_db_grow(struct store_db *s, const struct store_write *w)
{
    int rv = begin_groups(s, w);

    if (rv == SQLITE_OK) {
        rv = sqlite3_exec(s->db,
                          "INSERT OR IGNORE INTO node"
                          " SELECT 'first_shards', value FROM node"
                          " WHERE key = 'shards'",
                          NULL, NULL, NULL);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_set_number(s, "shards", w->shards);
    }
    if (rv == SQLITE_OK && w->n == 0) {
        rv =
            store_db_set_number(s, "joined", 1); /* a group may have no entry */
    }
    if (rv == SQLITE_OK) {
        s->shards = w->shards;
    }
    return rv;
}

static uint32_t shards_said(sqlite3 *db, const char *sql)
{
    int64_t n = store_db_number(db, sql);

    return n > 0 && n <= SHARDS_MAX ? (uint32_t)n : 0;
}

int store_db_shards(const char *path, uint32_t *shards, uint32_t *first)
{
    sqlite3 *db;
    int rv = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);

    *shards = *first = 0;
    if (rv == SQLITE_OK) {
        *shards =
            shards_said(db, "SELECT value FROM node WHERE key = 'shards'");
        *first = shards_said(
            db, "SELECT value FROM node WHERE key = 'first_shards'");
        rv = sqlite3_errcode(db);
    }
    if (*first == 0) {
        *first = *shards;
    }
    sqlite3_close(db);
    return rv;
}
