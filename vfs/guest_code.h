/* Our error codes as SQLite's: each place where SQLite calls us bears only some
 * of them without harm to the database. */
#ifndef VFS_GUEST_CODE_H
#define VFS_GUEST_CODE_H

/* Asking for a write lock. Never SQLITE_OK; SQLITE_BUSY runs the application's
 * busy handler. */
int guest_code_lock(int err);

/* The commit frame: the transaction is rolled back. Never plain SQLITE_BUSY,
 * which would let SQLite take the retried COMMIT for done. */
int guest_code_commit(int err);

/* Any earlier frame: SQLite survives only I/O errors and FULL there. */
int guest_code_frame(int err);

#endif
