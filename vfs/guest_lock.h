/* The locks of a managed database: which are the node's to give, which are
 * refused, and which go to the base VFS as they are. */
#ifndef VFS_GUEST_LOCK_H
#define VFS_GUEST_LOCK_H

#include "vfs/guest_db.h"

/* xShmLock, xLock and xUnlock; return SQLite codes. */
int guest_shm_lock(struct guest_db *db, int slot, int count, int flags);
int guest_lock(struct guest_db *db, int level);
int guest_unlock(struct guest_db *db, int level);

#endif
