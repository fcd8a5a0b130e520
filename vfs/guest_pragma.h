/* PRAGMAs that are answered here for managed databases. */
#ifndef VFS_GUEST_PRAGMA_H
#define VFS_GUEST_PRAGMA_H

#include "vfs/guest_db.h"

/* SQLITE_FCNTL_PRAGMA; `argument` as in its documentation. SQLITE_NOTFOUND:
 * SQLite's own business. */
int guest_pragma(struct guest_db *db, char **argument);

#endif
