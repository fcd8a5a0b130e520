/* File handles over the base VFS: sqlite3_io_methods for main databases, WALs
 * and the rollback journals of managed databases.
 *
 * A handle of an unmanaged database hands every call on unchanged; it has to
 * be ours all the same, because it may become managed while it is open. */
#ifndef VFS_GUEST_FILE_H
#define VFS_GUEST_FILE_H

#include "vfs/guest_db.h"
#include "vfs/guest_sqlite.h"

enum guest_kind { GUEST_MAIN, GUEST_WAL, GUEST_JOURNAL };

struct guest_file {
    sqlite3_file base;          /* first: what SQLite sees */
    sqlite3_io_methods methods; /* as many as the base VFS's file has */
    enum guest_kind kind;
    struct guest_db *db;
    sqlite3_file *real;
};

/* The base VFS's file inside the memory that SQLite gave us for `file`. */
sqlite3_file *guest_file_real(sqlite3_file *file);

/* Put our methods in front of the real file, which is open. */
void guest_file_begin(sqlite3_file *file, enum guest_kind kind,
                      struct guest_db *db);

/* The database that `file` belongs to; NULL when it is not one of ours. */
struct guest_db *guest_file_db(sqlite3_file *file);

#endif
