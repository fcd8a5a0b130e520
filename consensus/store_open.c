/* Opening and creating store.db.
 *
 * Debian's SQLite overwrites what it deletes, unless it is told not to: every
 * entry would be written twice.
 *
 * The write-ahead log is what a commit waits for. Overwriting blocks that were
 * written before costs half of what extending a file does, so the log is grown
 * once, is never truncated, and a checkpoint comes before it would grow
 * further. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "consensus/alloc.h"
#include "consensus/reserve.h"
#include "consensus/store_db.h"

#define WAL_BYTES (16u << 20)
#define CACHE_SIZE "PRAGMA cache_size = -4096;"

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int64_t store_db_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st;
    int64_t value = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW) {
        value = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    return value;
}

int store_db_set_number(struct store_db *s, const char *key, uint64_t value)
{
    sqlite3_bind_text(s->node, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->node, 2, (sqlite3_int64)value);
    sqlite3_step(s->node);
    return sqlite3_reset(s->node);
}

static int count_frames(void *data, sqlite3 *db, const char *name, int frames)
{
    struct store_db *s = data;

    (void)db;
    (void)name;
    s->wal_frames = (unsigned)frames;
    return SQLITE_OK;
}

static int make_folder(const char *folder, char *why, size_t why_size)
{
    char parent[PATH_MAX];
    char *slash;
    int fd;

    if (mkdir(folder, 0777) != 0) {
        if (errno == EEXIST) {
            return 0;
        }
        snprintf(why, why_size, "cannot create the folder %s: %s", folder,
                 strerror(errno));
        return -errno;
    }
    snprintf(parent, sizeof parent, "%s", folder);
    slash = strrchr(parent, '/');
    snprintf(slash == NULL ? parent : slash + 1, 3, ".");
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* some file systems cannot; then nothing is lost */
        close(fd);
    }
    return 0;
}

/* The name of SQLite's code as ours, with a line that says what to do. */
static int cannot(struct store_db *s, const char *path, int rv, char *why,
                  size_t why_size)
{
    switch (rv & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        snprintf(why, why_size,
                 "%s is in use by another running node; stop it, or give "
                 "this one another -raft-path",
                 path);
        return ERR_BUSY;
    case SQLITE_NOTADB:
        snprintf(why, why_size,
                 "%s is not a store of marmot; move it away, or give another "
                 "-raft-path",
                 path);
        return ERR_CORRUPT;
    case SQLITE_CORRUPT:
        snprintf(why, why_size,
                 "%s is damaged; remove this node from the cluster, move its "
                 "-raft-path away and add it again",
                 path);
        return ERR_CORRUPT;
    case SQLITE_FULL:
        snprintf(why, why_size,
                 "no room on the disk of %s: free at least %u MB, it goes on "
                 "by itself",
                 path, RESERVE_BYTES >> 20);
        return ERR_FULL;
    default:
        snprintf(why, why_size, "cannot use %s: %s", path,
                 sqlite3_errmsg(s->db));
        return ERR_IO;
    }
}

static int configure(struct store_db *s)
{
    int rv, on = 1;

    sqlite3_extended_result_codes(s->db, 1);
    rv = run(s->db,
             "PRAGMA page_size = 8192;"
             "PRAGMA locking_mode = EXCLUSIVE;"
             "PRAGMA journal_mode = WAL;"
             "PRAGMA synchronous = FULL;"
             "PRAGMA wal_autocheckpoint = 0;"
             "PRAGMA temp_store = MEMORY;"
             "PRAGMA secure_delete = OFF;" CACHE_SIZE);
    if (rv != SQLITE_OK) {
        return rv;
    }
    sqlite3_wal_hook(s->db, count_frames, s);
    sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_PERSIST_WAL, &on);
    return run(s->db, "BEGIN IMMEDIATE; COMMIT");
}

static int check_format(struct store_db *s, const char *path, bool *fresh,
                        char *why, size_t why_size)
{
    int64_t application = store_db_number(s->db, "PRAGMA application_id");
    int64_t version = store_db_number(s->db, "PRAGMA user_version");
    int64_t things =
        store_db_number(s->db, "SELECT count(*) FROM sqlite_schema");

    if (things < 0) {
        return cannot(s, path, sqlite3_errcode(s->db), why, why_size);
    }
    *fresh = application == 0 && version == 0 && things == 0;
    if (*fresh) {
        return 0;
    }
    if (application != STORE_APPLICATION_ID) {
        return cannot(s, path, SQLITE_NOTADB, why, why_size);
    }
    if (version != STORE_USER_VERSION) {
        snprintf(why, why_size,
                 "%s has format %lld, this program knows only %d; run the "
                 "version of marmot that wrote it",
                 path, (long long)version, STORE_USER_VERSION);
        return ERR_VERSION;
    }
    return 0;
}

static const char schema[] =
    "CREATE TABLE node(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE peers(node_id INTEGER PRIMARY KEY, store BLOB NOT NULL,"
    "  starts INTEGER NOT NULL);"
    "CREATE TABLE meta(grp INTEGER PRIMARY KEY, term INTEGER NOT NULL,"
    "  vote INTEGER NOT NULL);"
    "CREATE TABLE log(id INTEGER PRIMARY KEY, grp INTEGER NOT NULL,"
    "  idx INTEGER NOT NULL, term INTEGER NOT NULL, type INTEGER NOT NULL,"
    "  data BLOB NOT NULL);"
    "CREATE TABLE snapshots(grp INTEGER PRIMARY KEY, idx INTEGER NOT NULL,"
    "  term INTEGER NOT NULL, conf_idx INTEGER NOT NULL, conf BLOB NOT NULL,"
    "  first INTEGER NOT NULL, data BLOB NOT NULL);"
    "PRAGMA application_id = 1296846663; PRAGMA user_version = 2;";

static_assert(STORE_APPLICATION_ID == 1296846663 && STORE_USER_VERSION == 2,
              "the schema's text says the same");

static int prepare(struct store_db *s)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&s->begin, "BEGIN IMMEDIATE"},
        {&s->commit, "COMMIT"},
        {&s->append, "INSERT INTO log VALUES(?, ?, ?, ?, ?, ?)"},
        {&s->truncate, "DELETE FROM log WHERE grp = ? AND idx >= ?"},
        {&s->snapshot,
         "INSERT OR REPLACE INTO snapshots VALUES(?, ?, ?, ?, ?, ?, ?)"},
        {&s->rows,
         "SELECT id, grp, idx, length(data) FROM log WHERE id >= ?"
         " ORDER BY id"},
        {&s->delete, "DELETE FROM log WHERE id = ?"},
        {&s->meta, "INSERT OR REPLACE INTO meta VALUES(?, ?, ?)"},
        {&s->peer, "INSERT OR REPLACE INTO peers VALUES(?, ?, ?)"},
        {&s->node, "INSERT OR REPLACE INTO node VALUES(?, ?)"},
    };
    int rv = SQLITE_OK;

    for (size_t i = 0; i < sizeof all / sizeof *all && rv == SQLITE_OK; i++) {
        rv =
            sqlite3_prepare_v3(s->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                               all[i].statement, NULL);
    }
    return rv;
}

static int create(struct store_db *s, const struct store_options *o)
{
    struct uuid id = o->new_store;
    int rv;

    if (uuid_is_none(&id) && uuid_random(&id) != 0) {
        return SQLITE_IOERR;
    }
    rv = run(s->db, "BEGIN IMMEDIATE");
    if (rv == SQLITE_OK) {
        rv = run(s->db, schema);
    }
    if (rv == SQLITE_OK) {
        rv = prepare(s);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_set(s, "store", id.b, sizeof id.b);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_set_number(s, "starts", 0);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_set_number(s, "node_id", o->node_id);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_set_number(s, "shards", o->shards);
    }
    if (rv == SQLITE_OK && o->joined) {
        rv = store_db_set_number(s, "joined", 1);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_set(s, "members", o->members, strlen(o->members));
    }
    if (rv == SQLITE_OK && !uuid_is_none(&o->cluster)) {
        rv = store_db_set(s, "cluster", o->cluster.b, sizeof o->cluster.b);
    }
    if (rv == SQLITE_OK) {
        rv = store_db_bootstrap(s, o);
    }
    return rv == SQLITE_OK ? run(s->db, "COMMIT") : rv;
}

/* Write the log full once: a transaction that is too large for the cache spills
 * into it, and leaves nothing else when it is rolled back. */
static int grow_wal(struct store_db *s)
{
    sqlite3_file *wal;
    sqlite3_int64 size;
    int rv =
        sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &wal);

    if (rv != SQLITE_OK || wal->pMethods == NULL ||
        wal->pMethods->xFileSize(wal, &size) != SQLITE_OK ||
        size >= WAL_BYTES) {
        return SQLITE_OK; /* only speed depends on it */
    }
    rv = run(s->db,
             "PRAGMA cache_size = 10;"
             "BEGIN IMMEDIATE;"
             "CREATE TABLE filler(bytes BLOB);"
             "INSERT INTO filler VALUES(zeroblob(17825792));"
             "ROLLBACK;" CACHE_SIZE);
    if (rv == SQLITE_OK) {
        rv = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
    }
    return rv;
}

static int read_node_row(struct store_identity *id, sqlite3_stmt *st)
{
    const char *key = (const char *)sqlite3_column_text(st, 0);
    const void *value = sqlite3_column_blob(st, 1);
    size_t len = (size_t)sqlite3_column_bytes(st, 1);
    uint64_t n = (uint64_t)sqlite3_column_int64(st, 1);

    if (key == NULL || value == NULL) {
        return len == 0 && key != NULL ? SQLITE_OK : SQLITE_CORRUPT;
    }
    if (strcmp(key, "store") == 0 && len == sizeof id->store.b) {
        memcpy(id->store.b, value, len);
    } else if (strcmp(key, "cluster") == 0 && len == sizeof id->cluster.b) {
        memcpy(id->cluster.b, value, len);
    } else if (strcmp(key, "joined") == 0) {
        id->joined = n != 0;
    } else if (strcmp(key, "starts") == 0) {
        id->starts = n;
    } else if (strcmp(key, "node_id") == 0) {
        id->node_id = n;
    } else if (strcmp(key, "shards") == 0) {
        id->shards = (uint32_t)n;
    } else if (strcmp(key, "members") == 0 && len < sizeof id->members) {
        memcpy(id->members, value, len);
        id->members[len] = '\0';
    }
    return SQLITE_OK;
}

static int read_identity(struct store_db *s)
{
    sqlite3_stmt *st = NULL;
    int rv =
        sqlite3_prepare_v2(s->db, "SELECT key, value FROM node", -1, &st, NULL);

    while (rv == SQLITE_OK && (rv = sqlite3_step(st)) == SQLITE_ROW) {
        rv = read_node_row(&s->identity, st);
    }
    sqlite3_finalize(st);
    if (rv == SQLITE_DONE && uuid_is_none(&s->identity.store)) {
        return SQLITE_CORRUPT;
    }
    return rv == SQLITE_DONE ? SQLITE_OK : rv;
}

static int read_peers(struct store_db *s)
{
    sqlite3_stmt *st = NULL;
    int rv = sqlite3_prepare_v2(
        s->db, "SELECT node_id, store, starts FROM peers", -1, &st, NULL);

    while (rv == SQLITE_OK && (rv = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_peer *peer;
        s->peers = must_grow(s->peers, (s->n_peers + 1) * sizeof *peer);
        peer = &s->peers[s->n_peers];
        if (sqlite3_column_bytes(st, 1) != sizeof peer->store.b) {
            rv = SQLITE_CORRUPT;
            break;
        }
        peer->node_id = (uint64_t)sqlite3_column_int64(st, 0);
        memcpy(peer->store.b, sqlite3_column_blob(st, 1), sizeof peer->store.b);
        peer->starts = (uint64_t)sqlite3_column_int64(st, 2);
        s->n_peers++;
        rv = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rv == SQLITE_DONE ? SQLITE_OK : rv;
}

/* The flags of this start against those of the first one. */
static int check_identity(const struct store_db *s,
                          const struct store_options *o, const char *path,
                          char *why, size_t why_size)
{
    const struct store_identity *id = &s->identity;

    if (id->node_id != o->node_id) {
        snprintf(why, why_size,
                 "%s belongs to node %llu, this is node %llu; correct "
                 "-node-id or -raft-path",
                 path, (unsigned long long)id->node_id,
                 (unsigned long long)o->node_id);
        return ERR_MISMATCH;
    }
    if (id->shards != o->shards) {
        snprintf(why, why_size,
                 "the cluster was created with -shards %u and this start says "
                 "%u; it cannot change",
                 id->shards, o->shards);
        return ERR_MISMATCH;
    }
    if (!o->registered && strcmp(id->members, o->members) != 0) {
        snprintf(why, why_size,
                 "the cluster was created with members %s and this start "
                 "names %s; correct -bootstrap",
                 id->members, o->members);
        return ERR_MISMATCH;
    }
    return 0;
}

static int count_start(struct store_db *s)
{
    uint64_t count = store_start_count(s->identity.starts) + 1, mark;
    struct uuid random;

    if (uuid_random(&random) != 0) {
        return SQLITE_IOERR;
    }
    memcpy(&mark, random.b, sizeof mark);
    s->identity.starts = count << STORE_START_BITS |
                         (mark & (((uint64_t)1 << STORE_START_BITS) - 1));
    return store_db_set_number(s, "starts", s->identity.starts);
}

static int open_file(struct store_db *s, const struct store_options *o,
                     const char *path, char *why, size_t why_size)
{
    bool fresh = false;
    int rv = sqlite3_open_v2(
        path, &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rv == SQLITE_OK) {
        rv = configure(s);
    }
    if (rv != SQLITE_OK) {
        return cannot(s, path, rv, why, why_size);
    }
    rv = check_format(s, path, &fresh, why, why_size);
    if (rv != 0) {
        return rv;
    }
    s->shards = o->shards;
    s->first = must_alloc(SHARDS_MAX * sizeof *s->first);
    s->next_row = 1;
    if (!fresh) {
        s->next_row =
            store_db_number(s->db, "SELECT ifnull(max(id), 0) + 1 FROM log");
    }
    rv = fresh ? create(s, o) : prepare(s);
    if (rv == SQLITE_OK) {
        rv = read_identity(s);
    }
    if (rv == SQLITE_OK) {
        rv = read_peers(s);
    }
    if (rv == SQLITE_OK) {
        rv = check_identity(s, o, path, why, why_size);
        if (rv != 0) {
            return rv;
        }
        rv = store_db_checkpoint(s); /* so that it starts from its beginning */
    }
    if (rv == SQLITE_OK) {
        rv = grow_wal(s);
    }
    if (rv == SQLITE_OK) {
        rv = count_start(s);
    }
    return rv == SQLITE_OK ? 0 : cannot(s, path, rv, why, why_size);
}

int store_db_open(struct store_db *s, const struct store_options *options,
                  char *why, size_t why_size)
{
    char path[PATH_MAX];
    int rv = make_folder(options->folder, why, why_size);

    memset(s, 0, sizeof *s);
    if (rv != 0) {
        return rv;
    }
    if (snprintf(path, sizeof path, "%s/store.db", options->folder) >=
        (int)sizeof path) {
        snprintf(why, why_size, "the path %.60s... is too long",
                 options->folder);
        return -ENAMETOOLONG;
    }
    rv = open_file(s, options, path, why, why_size);
    if (rv != 0) {
        store_db_close(s);
    }
    return rv;
}

void store_db_close(struct store_db *s)
{
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->commit);
    sqlite3_finalize(s->append);
    sqlite3_finalize(s->truncate);
    sqlite3_finalize(s->snapshot);
    sqlite3_finalize(s->rows);
    sqlite3_finalize(s->delete);
    sqlite3_finalize(s->meta);
    sqlite3_finalize(s->peer);
    sqlite3_finalize(s->node);
    sqlite3_close(s->db);
    free(s->first);
    free(s->peers);
    memset(s, 0, sizeof *s);
}
