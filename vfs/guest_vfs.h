/* The sqlite3_vfs "marmot", over the VFS that is the default when it is
 * registered (marmot.h). */
#ifndef VFS_GUEST_VFS_H
#define VFS_GUEST_VFS_H

#include <stdbool.h>

#include "vfs/guest_sqlite.h"

/* Is the main database of this connection open through us, and managed? */
bool guest_vfs_manages(sqlite3 *db);

/* Gives a new connection to a managed database a busy timeout, which the
 * application may then set as it likes (sqlite3_auto_extension). */
int guest_vfs_on_open(sqlite3 *db, char **message,
                      const sqlite3_api_routines *api);

#endif
