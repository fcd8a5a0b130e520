/* SQLite's API for the guest part, by either of two ways: linked, or through
 * the table of functions that the program's SQLite hands to an extension. */
#ifndef VFS_GUEST_SQLITE_H
#define VFS_GUEST_SQLITE_H

#ifdef MARMOT_EXTENSION
#include <sqlite3ext.h>
extern const sqlite3_api_routines *sqlite3_api; /* in guest_extension.c */
#else
#include <sqlite3.h>
#endif

#include "vfs/marmot.h"

#endif
