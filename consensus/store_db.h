/* store.db itself: schema, statements, and the life of its write-ahead log.
 *
 * Blocking, no threads, no loop: store.c sees to it that only one thread at a
 * time is in here. */
#ifndef CONSENSUS_STORE_DB_H
#define CONSENSUS_STORE_DB_H

#include <sqlite3.h>

#include "consensus/store.h"

#define STORE_APPLICATION_ID 0x4d4c4f47 /* "MLOG" */
#define STORE_USER_VERSION 2
#define STORE_PAGE_BYTES 16384

struct store_db {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *append, *truncate, *snapshot, *meta, *peer,
        *node, *rows, *delete;
    uint32_t shards;
    uint64_t *first; /* by group: index of the first entry that is needed */
    sqlite3_int64 next_row;   /* of the log */
    sqlite3_int64 sweep_from; /* rows before were looked at; 0: no sweep */
    unsigned wal_frames;      /* that no checkpoint has copied yet */
    struct store_identity identity;
    struct store_peer *peers; /* also such as are members no longer */
    unsigned n_peers;
};

/* See store_open. */
int store_db_open(struct store_db *s, const struct store_options *options,
                  char *why, size_t why_size);
void store_db_close(struct store_db *s);
/* ---- store_begin.c ---- */
/* The groups of a new store. */
int store_db_bootstrap(struct store_db *s, const struct store_options *o);
/* Shards of the store in the file, which is not created; 0: none. `first`: of
 * its beginning. An SQLite code. */
int store_db_shards(const char *path, uint32_t *shards, uint32_t *first);

/* Single statements. SQLite codes; the first is -1 where there is no row. */
int64_t store_db_number(sqlite3 *db, const char *sql);
int store_db_set_number(struct store_db *s, const char *key, uint64_t value);
int store_db_set(struct store_db *s, const char *key, const void *value,
                 size_t len);
int store_db_append(struct store_db *s, const struct store_write *write);
int store_db_set_meta(struct store_db *s, uint32_t group, uint64_t term,
                      uint64_t vote);

/* STORE_GROUPS. */
int store_db_grow(struct store_db *s, const struct store_write *w);

/* One transaction of all writes in the list. Returns 0 or an SQLite code; then
 * nothing was written, and the list is as it was. */
int store_db_write(struct store_db *s, const struct list *writes);

/* Delete some of the rows that no group needs any more; sweep_from is 0 when
 * there are none left. Returns 0 or an SQLite code. */
int store_db_sweep(struct store_db *s);

/* Copy the write-ahead log into the file, so that it is overwritten from its
 * beginning next. Returns 0 or an SQLite code. */
int store_db_checkpoint(struct store_db *s);

/* Read the term, vote, snapshot and entries of all groups. `groups` is zeroed
 * before; on failure what is in there is the caller's to free, too. */
int store_db_load(struct store_db *s, struct store_group *groups,
                  uint32_t shards, char *why, size_t why_size);

#endif
