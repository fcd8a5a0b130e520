/* The three files of a WAL-mode database, through SQLite's own unix VFS.
 *
 * They are never opened by hand: closing any descriptor of a file drops all
 * POSIX locks that the process has on it, and only the VFS knows how to put
 * that off. */
#ifndef VFS_BASE_FILES_H
#define VFS_BASE_FILES_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct base_files {
    sqlite3_vfs *vfs;
    const char *name; /* made by sqlite3_create_filename */
    sqlite3_file *db;
    sqlite3_file *wal;
    uint32_t page_size;
};

/* The VFS that works on plain local files. */
sqlite3_vfs *base_vfs(void);

/* The full path of `path` with symbolic links resolved, and the names of the
 * files beside it, in the form that xOpen wants. Freed with
 * sqlite3_free_filename. */
int base_files_name(const char *path, const char **name);

/* Open database and -wal (created when missing) and take SHARED on the
 * database, so that nobody can be its last closer. ERR_CORRUPT when it is not a
 * WAL-mode database, ERR_BUSY when somebody has it EXCLUSIVE. */
int base_files_open(const char *path, struct base_files *f);
void base_files_close(struct base_files *f);

/* xShmLock, translated. `base_shm_unlock` cannot fail in a way that matters. */
int base_shm_exclusive(sqlite3_file *db, int slot, int count);
int base_shm_shared(sqlite3_file *db, int slot);
void base_shm_unlock_exclusive(sqlite3_file *db, int slot, int count);
void base_shm_unlock_shared(sqlite3_file *db, int slot);

/* Locks in the -shm. */
enum {
    SLOT_WRITE = 0,
    SLOT_CKPT = 1,
    SLOT_RECOVER = 2,
    SLOT_READ0 = 3,
    READ_SLOTS = 5
};

/* Page size named by bytes 16 and 17 of a database header; 0 if impossible. */
uint32_t base_header_page_size(const uint8_t *header);

#endif
