/* One open database of the application: what its main, -wal and -journal file
 * handles have in common. Life: from xOpen to xClose of the main file.
 *
 * "Managed" is a database with a node's socket beside it; a handle may become
 * managed while it is open, and stays so. Everything here is used by one thread
 * at a time, as SQLite uses its file handles. */
#ifndef VFS_GUEST_DB_H
#define VFS_GUEST_DB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vfs/guest_capture.h"
#include "vfs/guest_client.h"
#include "vfs/guest_new.h"
#include "vfs/guest_sqlite.h"
#include "wire/session.h"

/* One of the two copies at the start of the wal-index. */
#define INDEX_HEADER_BYTES 48
#define INDEX_REGION_BYTES 32768

struct guest_db {
    sqlite3_file *main;    /* the base VFS's */
    sqlite3_file *wal;     /* the base VFS's; NULL when not open */
    sqlite3_file *journal; /* the base VFS's; NULL when not open */
    char *path;            /* without symbolic links */
    char *marker;          /* the socket: path + "-marmot" */
    pid_t pid;             /* of the process that opened it */
    bool managed;
    bool maybe_empty; /* it was, when last looked at */
    uint64_t dev, inode;

    volatile void *index; /* region 0 of the wal-index; NULL: not mapped */
    uint8_t read_locks;   /* READ slots held SHARED, one bit each */
    bool checkpoint_lock;
    uint8_t seen[INDEX_HEADER_BYTES]; /* when the read lock was taken */

    bool writer;           /* has the virtual write lock */
    bool broken;           /* accepted, but not all of it could be written */
    uint32_t commit_frame; /* of the accepted transaction */
    uint8_t commit_header[WAL_FRAME_HEADER_BYTES];
    struct capture capture;
    struct guest_new fresh; /* the first transaction of an empty file */

    struct guest_client client;
    char refusal[CLIENT_TEXT_BYTES]; /* why the node last said no, or "" */
    uint64_t logged_ms;              /* when a refusal was last logged */
};

/* The real path of a database that may not exist yet: malloc, NULL when out of
 * memory. */
char *guest_path_resolve(const char *name);

/* The socket's name for `path`: malloc, NULL when out of memory. */
char *guest_path_marker(const char *path);
bool guest_path_managed(const char *marker);

/* `path` and `marker` are taken. NULL when out of memory. */
struct guest_db *guest_db_new(char *path, char *marker, sqlite3_file *main);
void guest_db_free(struct guest_db *db);

/* Note which file was opened. */
void guest_db_identify(struct guest_db *db);

/* Look for the socket once more. */
bool guest_db_look(struct guest_db *db);

/* Is this another process than the one that opened the database? It must not
 * touch it. */
bool guest_db_forked(const struct guest_db *db);

/* Has the file no byte yet? */
bool guest_db_empty(const struct guest_db *db);

/* Ask the node for the write lock; on failure (ERR_*) the reason is noted and
 * logged, and the thread's next xSleep ends when it is our turn. */
int guest_db_grant(struct guest_db *db, struct position *position);

/* Note and log, not too often, why the node said no: client.text. */
void guest_db_refused(struct guest_db *db, const char *what, int err);

/* Give it back because what we have read is older. */
void guest_db_stale(struct guest_db *db);

/* As guest_client_ask, for this database. */
int guest_db_ask(struct guest_db *db, enum session_kind kind,
                 const struct session_wait *wait, char *text, bool *ok);

/* The wal-index header as it is now; false when it is not mapped. */
bool guest_db_index_header(const struct guest_db *db,
                           uint8_t header[INDEX_HEADER_BYTES]);

#endif
