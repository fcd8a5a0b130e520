/* The first transaction of an empty managed database, which SQLite writes in
 * rollback mode (algorithm on top of the .c). Return SQLite codes. */
#ifndef VFS_GUEST_CREATE_H
#define VFS_GUEST_CREATE_H

#include "vfs/guest_db.h"

/* xLock(RESERVED): ask the node. */
int guest_create_lock(struct guest_db *db);

/* SQLITE_FCNTL_SYNC, which SQLite sends when all pages have been written. */
int guest_create_commit(struct guest_db *db);

/* xUnlock to SHARED or less. */
void guest_create_unlock(struct guest_db *db);

/* Make the 16 bytes at offset 24 of page 1 look changed, once: SQLite compares
 * them before each transaction, then drops its cache and finds WAL mode. */
void guest_create_reread(struct guest_db *db, uint8_t *bytes, size_t len,
                         int64_t offset);

#endif
