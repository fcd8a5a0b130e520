#include "vfs/base_files.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "vfs/sqlite_code.h"
#include "vfs/wal_format.h"

#define LOCK_TRIES 20
#define LOCK_WAIT_US 2000

sqlite3_vfs *base_vfs(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

    return vfs != NULL ? vfs : sqlite3_vfs_find(NULL);
}

int base_files_name(const char *path, const char **name)
{
    sqlite3_vfs *vfs = base_vfs();
    char full[PATH_MAX], journal[PATH_MAX + 16], wal[PATH_MAX + 16];
    int rc;

    if ((size_t)vfs->mxPathname + 1 > sizeof full) {
        return -ENAMETOOLONG;
    }
    rc = vfs->xFullPathname(vfs, path, sizeof full, full);
    if (rc != SQLITE_OK && rc != SQLITE_OK_SYMLINK) {
        return sqlite_code_err(rc);
    }
    sqlite3_snprintf(sizeof journal, journal, "%s-journal", full);
    sqlite3_snprintf(sizeof wal, wal, "%s-wal", full);
    *name = sqlite3_create_filename(full, journal, wal, 0, NULL);
    return *name == NULL ? -ENOMEM : 0;
}

uint32_t base_header_page_size(const uint8_t *header)
{
    uint32_t size = get_be16(header + 16);

    if (size == 1) {
        size = WAL_PAGE_SIZE_MAX;
    }
    return wal_page_size_ok(size) ? size : 0;
}

static int lock_shared(struct base_files *f)
{
    int rc = SQLITE_BUSY;

    for (int i = 0; i < LOCK_TRIES && rc == SQLITE_BUSY; i++) {
        if (i > 0) {
            f->vfs->xSleep(f->vfs, LOCK_WAIT_US);
        }
        rc = f->db->pMethods->xLock(f->db, SQLITE_LOCK_SHARED);
    }
    return sqlite_code_err(rc);
}

/* Page 1 must be there and in WAL mode: SQLite deletes a -wal beside an empty
 * database, and would not look at one beside a rollback-mode database. */
static int check_header(struct base_files *f)
{
    uint8_t header[100];
    sqlite3_int64 size;
    int rc = f->db->pMethods->xFileSize(f->db, &size);

    if (rc != SQLITE_OK) {
        return sqlite_code_err(rc);
    }
    if (size < (sqlite3_int64)WAL_PAGE_SIZE_MIN) {
        return ERR_CORRUPT;
    }
    rc = f->db->pMethods->xRead(f->db, header, sizeof header, 0);
    if (rc != SQLITE_OK) {
        return sqlite_code_err(rc);
    }
    f->page_size = base_header_page_size(header);
    if (f->page_size == 0 || header[18] != 2 || header[19] != 2) {
        return ERR_CORRUPT;
    }
    return 0;
}

static int open_files(struct base_files *f)
{
    int flags, rc, err;

    rc = f->vfs->xOpen(f->vfs, f->name, f->db,
                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB, &flags);
    if (rc != SQLITE_OK) {
        return sqlite_code_err(rc);
    }
    if ((flags & SQLITE_OPEN_READONLY) != 0) {
        return ERR_READONLY;
    }
    err = lock_shared(f);
    if (err == 0) {
        err = check_header(f);
    }
    if (err != 0) {
        return err;
    }
    rc = f->vfs->xOpen(
        f->vfs, sqlite3_filename_wal(f->name), f->wal,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_WAL, &flags);
    if (rc == SQLITE_OK && (flags & SQLITE_OPEN_READONLY) != 0) {
        return ERR_READONLY;
    }
    return sqlite_code_err(rc);
}

int base_files_open(const char *path, struct base_files *f)
{
    struct base_files files = {.vfs = base_vfs()};
    int err = base_files_name(path, &files.name);

    if (err != 0) {
        return err;
    }
    files.db = calloc(1, (size_t)files.vfs->szOsFile);
    files.wal = calloc(1, (size_t)files.vfs->szOsFile);
    if (files.db == NULL || files.wal == NULL) {
        err = -ENOMEM;
    } else {
        err = open_files(&files);
    }
    if (err != 0) {
        base_files_close(&files);
        return err;
    }
    *f = files;
    return 0;
}

void base_files_close(struct base_files *f)
{
    if (f->wal != NULL && f->wal->pMethods != NULL) {
        f->wal->pMethods->xClose(f->wal);
    }
    if (f->db != NULL && f->db->pMethods != NULL) {
        f->db->pMethods->xUnlock(f->db, SQLITE_LOCK_NONE);
        f->db->pMethods->xClose(f->db);
    }
    free(f->db);
    free(f->wal);
    if (f->name != NULL) {
        sqlite3_free_filename(f->name);
    }
    memset(f, 0, sizeof *f);
}

int base_shm_exclusive(sqlite3_file *db, int slot, int count)
{
    return sqlite_code_err(db->pMethods->xShmLock(
        db, slot, count, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE));
}

int base_shm_shared(sqlite3_file *db, int slot)
{
    return sqlite_code_err(db->pMethods->xShmLock(
        db, slot, 1, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED));
}

void base_shm_unlock_exclusive(sqlite3_file *db, int slot, int count)
{
    db->pMethods->xShmLock(db, slot, count,
                           SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

void base_shm_unlock_shared(sqlite3_file *db, int slot)
{
    db->pMethods->xShmLock(db, slot, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
}
