#include "vfs/guest_file.h"

#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/guest_code.h"
#include "vfs/guest_create.h"
#include "vfs/guest_lock.h"
#include "vfs/guest_pragma.h"
#include "vfs/guest_resum.h"
#include "vfs/guest_wal.h"

static struct guest_file *of(sqlite3_file *file)
{
    return (struct guest_file *)file;
}

static const sqlite3_io_methods *base_of(sqlite3_file *file)
{
    return of(file)->real->pMethods;
}

/* Are this database's pages being held back in memory? */
static bool holds_pages(const struct guest_file *f)
{
    return f->kind == GUEST_MAIN && f->db->fresh.active &&
           !f->db->fresh.accepted;
}

static bool is_managed(const struct guest_file *f)
{
    return f->db->managed;
}

/* A child of fork() leaves what it inherited as it is. */
static int file_close(sqlite3_file *file)
{
    struct guest_file *f = of(file);
    struct guest_db *db = f->db;
    int rc;

    if (db->managed && guest_db_forked(db)) {
        return SQLITE_OK;
    }
    rc = f->real->pMethods->xClose(f->real);
    switch (f->kind) {
    case GUEST_MAIN:
        guest_db_free(db);
        break;
    case GUEST_WAL:
        db->wal = NULL;
        break;
    case GUEST_JOURNAL:
        db->journal = NULL;
        break;
    }
    return rc;
}

static int file_read(sqlite3_file *file, void *bytes, int len,
                     sqlite3_int64 offset)
{
    struct guest_file *f = of(file);
    int rc;

    if (holds_pages(f)) {
        return guest_new_read(&f->db->fresh, bytes, (size_t)len, offset) == 0
                   ? SQLITE_OK
                   : SQLITE_IOERR_SHORT_READ;
    }
    if (f->kind == GUEST_WAL &&
        guest_resum(f->db, bytes, (size_t)len, offset)) {
        return SQLITE_OK;
    }
    rc = f->real->pMethods->xRead(f->real, bytes, len, offset);
    if (rc == SQLITE_OK && f->kind == GUEST_MAIN) {
        guest_create_reread(f->db, bytes, (size_t)len, offset);
    }
    return rc;
}

static int main_write(struct guest_file *f, const void *bytes, int len,
                      sqlite3_int64 offset)
{
    int err;

    if (!holds_pages(f)) {
        /* Checkpoints and rollbacks are the node's; nothing else writes here
         * once the database is WAL. */
        return f->db->fresh.active ? SQLITE_OK : SQLITE_IOERR_WRITE;
    }
    err = guest_new_write(&f->db->fresh, bytes, (size_t)len, offset);
    return err == 0 ? SQLITE_OK : guest_code_frame(err);
}

static int file_write(sqlite3_file *file, const void *bytes, int len,
                      sqlite3_int64 offset)
{
    struct guest_file *f = of(file);

    if (!is_managed(f) || f->kind == GUEST_JOURNAL) {
        return f->real->pMethods->xWrite(f->real, bytes, len, offset);
    }
    if (guest_db_forked(f->db)) {
        return SQLITE_IOERR_WRITE;
    }
    return f->kind == GUEST_WAL
               ? guest_wal_write(f->db, bytes, (size_t)len, offset)
               : main_write(f, bytes, len, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct guest_file *f = of(file);

    if (!is_managed(f) || f->kind == GUEST_JOURNAL) {
        return f->real->pMethods->xTruncate(f->real, size);
    }
    if (f->kind == GUEST_WAL) {
        return SQLITE_OK; /* the node reuses it */
    }
    if (holds_pages(f)) {
        guest_new_truncate(&f->db->fresh, size);
        return SQLITE_OK;
    }
    return f->db->fresh.active ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

/* The durable copy of a commit is the group's log: the WAL needs no sync but
 * the one after its header (guest_wal.c) and those of the node's checkpoints.
 * What a power loss takes from its end, the node writes again. */
static int file_sync(sqlite3_file *file, int flags)
{
    struct guest_file *f = of(file);
    int rc;

    if (f->kind == GUEST_WAL && is_managed(f)) {
        return SQLITE_OK;
    }
    rc = f->real->pMethods->xSync(f->real, flags);

    return rc != SQLITE_OK && is_managed(f) ? guest_wal_sync_failed(f->db, rc)
                                            : rc;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct guest_file *f = of(file);

    if (holds_pages(f)) {
        *size = f->db->fresh.size;
        return SQLITE_OK;
    }
    return f->real->pMethods->xFileSize(f->real, size);
}

static int file_lock(sqlite3_file *file, int level)
{
    struct guest_file *f = of(file);

    return f->kind == GUEST_MAIN ? guest_lock(f->db, level)
                                 : f->real->pMethods->xLock(f->real, level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    struct guest_file *f = of(file);

    return f->kind == GUEST_MAIN ? guest_unlock(f->db, level)
                                 : f->real->pMethods->xUnlock(f->real, level);
}

static int file_check_reserved(sqlite3_file *file, int *reserved)
{
    return base_of(file)->xCheckReservedLock(of(file)->real, reserved);
}

/* SQLITE_NOTFOUND: for the base VFS. */
static int managed_control(struct guest_db *db, int op, void *argument)
{
    if (guest_db_forked(db)) {
        return op == SQLITE_FCNTL_PRAGMA ? SQLITE_NOTFOUND : SQLITE_OK;
    }
    switch (op) {
    case SQLITE_FCNTL_PRAGMA:
        return guest_pragma(db, argument);
    case SQLITE_FCNTL_SYNC:
        return db->fresh.active ? guest_create_commit(db) : SQLITE_NOTFOUND;
    case SQLITE_FCNTL_SIZE_HINT:
        return db->fresh.active ? SQLITE_OK : SQLITE_NOTFOUND;
    default:
        return SQLITE_NOTFOUND;
    }
}

static int file_control(sqlite3_file *file, int op, void *argument)
{
    struct guest_file *f = of(file);
    char **name = argument;
    int rc = SQLITE_NOTFOUND;

    if (f->kind == GUEST_MAIN && is_managed(f)) {
        rc = managed_control(f->db, op, argument);
    }
    if (rc != SQLITE_NOTFOUND) {
        return rc;
    }
    rc = f->real->pMethods->xFileControl(f->real, op, argument);
    if (op == SQLITE_FCNTL_VFSNAME && rc == SQLITE_OK && is_managed(f)) {
        *name = sqlite3_mprintf("marmot/%z", *name);
    }
    return rc;
}

static int file_sector_size(sqlite3_file *file)
{
    return base_of(file)->xSectorSize(of(file)->real);
}

/* Without POWERSAFE_OVERWRITE SQLite repeats the commit frame up to the end of
 * a sector; batches of atomic writes would go past us. */
static int file_characteristics(sqlite3_file *file)
{
    int flags = base_of(file)->xDeviceCharacteristics(of(file)->real);

    if (!is_managed(of(file))) {
        return flags;
    }
    return (flags & ~SQLITE_IOCAP_BATCH_ATOMIC) |
           SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- shared memory and mapped files: main database only -------------------
 */

static int file_shm_map(sqlite3_file *file, int region, int size, int extend,
                        void volatile **out)
{
    struct guest_file *f = of(file);
    int rc = f->real->pMethods->xShmMap(f->real, region, size, extend, out);

    if (region == 0 && f->kind == GUEST_MAIN) {
        f->db->index = rc == SQLITE_OK ? *out : NULL;
    }
    return rc;
}

static int file_shm_lock(sqlite3_file *file, int slot, int count, int flags)
{
    return guest_shm_lock(of(file)->db, slot, count, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    FAILPOINT_IF(of(file)->db->capture.phase == CAPTURE_SHOWN,
                 "guest.between_headers");
    base_of(file)->xShmBarrier(of(file)->real);
}

static int file_shm_unmap(sqlite3_file *file, int delete)
{
    struct guest_file *f = of(file);

    if (is_managed(f)) {
        if (guest_db_forked(f->db)) {
            return SQLITE_OK;
        }
        delete = 0; /* the node works with it */
    }
    f->db->index = NULL;
    return f->real->pMethods->xShmUnmap(f->real, delete);
}

static int file_fetch(sqlite3_file *file, sqlite3_int64 offset, int len,
                      void **out)
{
    struct guest_file *f = of(file);

    if (holds_pages(f)) {
        *out = NULL;
        return SQLITE_OK;
    }
    return f->real->pMethods->xFetch(f->real, offset, len, out);
}

static int file_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *page)
{
    return base_of(file)->xUnfetch(of(file)->real, offset, page);
}

static const sqlite3_io_methods all_methods = {
    .iVersion = 3,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
    .xFetch = file_fetch,
    .xUnfetch = file_unfetch,
};

sqlite3_file *guest_file_real(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)(of(file) + 1);
}

void guest_file_begin(sqlite3_file *file, enum guest_kind kind,
                      struct guest_db *db)
{
    struct guest_file *f = of(file);
    const sqlite3_io_methods *base;

    f->kind = kind;
    f->db = db;
    f->real = guest_file_real(file);
    base = f->real->pMethods;
    f->methods = all_methods;
    if (base->iVersion < f->methods.iVersion) {
        f->methods.iVersion = base->iVersion;
    }
    if (base->iVersion < 2 || base->xShmMap == NULL) {
        f->methods.xShmMap = NULL; /* SQLite asks whether there is one */
    }
    f->base.pMethods = &f->methods;
}

struct guest_db *guest_file_db(sqlite3_file *file)
{
    if (file == NULL || file->pMethods == NULL ||
        file->pMethods->xClose != file_close) {
        return NULL;
    }
    return of(file)->db;
}
