/* Marmot's VFS, for programs that link it or load it as an extension.
 *
 *   SELECT load_extension('libmarmot');       -- or link vfs/ and call
 *   file:app.db?vfs=marmot                    -- marmot_register(0)
 *
 * Databases with a running (or stopped) node have a socket `app.db-marmot`
 * beside them: they are "managed". Include after sqlite3.h. */
#ifndef VFS_MARMOT_H
#define VFS_MARMOT_H

/* The commit was handed to the cluster but no answer came in time: it may or
 * may not have happened. The transaction was rolled back locally; if the
 * cluster accepted it, it will appear by itself. Never retry blindly. */
#define MARMOT_IOERR_UNKNOWN (SQLITE_IOERR | (200 << 8))

/* Register the VFS under the name "marmot", once per process; as the default
 * VFS if `as_default`, which may be done later, too. Returns an SQLite code.
 *
 * In libmarmot.so it fails with SQLITE_MISUSE before sqlite3_marmot_init, which
 * is where the library meets the program's SQLite. */
int marmot_register(int as_default);

#endif
