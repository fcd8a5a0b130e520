/* Reads and writes of a managed database's WAL (SQLite codes). */
#ifndef VFS_GUEST_WAL_H
#define VFS_GUEST_WAL_H

#include "vfs/guest_db.h"

int guest_wal_write(struct guest_db *db, const uint8_t *bytes, size_t len,
                    int64_t offset);

/* A sync failed with `rc`: what SQLite may be told. */
int guest_wal_sync_failed(struct guest_db *db, int rc);

#endif
