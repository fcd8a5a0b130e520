/* A VFS in front of SQLite's own, under the same name, that tells what is done
 * to the files of databases whose name contains "follower", and may answer the
 * locks of the shared memory itself. Header only. */
#ifndef TESTS_VFS_FRONT_VFS_H
#define TESTS_VFS_FRONT_VFS_H

#include "tests/unit/vfs/databases.h"

enum { ON_DB, ON_WAL, ON_NONE };

/* What the test wants to know; any may be NULL. `file` is the real one. */
static struct {
    void (*write)(int which, const void *bytes, size_t len, uint64_t at);
    void (*truncate)(int which, uint64_t size);
    void (*sync)(int which);
    int failing_syncs; /* so many fail from now on */
    void (*barrier)(sqlite3_file *file);
    /* Another answer than the real one's; -1 to ask that. */
    int (*shm_lock)(sqlite3_file *file, int slot, int n, int flags);
} front;

struct watched {
    sqlite3_file base;
    int which;
    sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;

static sqlite3_file *real(sqlite3_file *f)
{
    return ((struct watched *)f)->real;
}

static int w_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}
static int w_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), p, n, at);
}
static int w_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (front.write != NULL) {
        front.write(((struct watched *)f)->which, p, (size_t)n, (uint64_t)at);
    }
    return real(f)->pMethods->xWrite(real(f), p, n, at);
}
static int w_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (front.truncate != NULL) {
        front.truncate(((struct watched *)f)->which, (uint64_t)size);
    }
    return real(f)->pMethods->xTruncate(real(f), size);
}
static int w_sync(sqlite3_file *f, int flags)
{
    (void)flags;
    if (front.sync != NULL) {
        front.sync(((struct watched *)f)->which);
    }
    if (front.failing_syncs > 0) {
        front.failing_syncs--;
        return SQLITE_IOERR_FSYNC;
    }
    return SQLITE_OK; /* tests need no real one */
}
static int w_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real(f)->pMethods->xFileSize(real(f), size);
}
static int w_lock(sqlite3_file *f, int lock)
{
    return real(f)->pMethods->xLock(real(f), lock);
}
static int w_unlock(sqlite3_file *f, int lock)
{
    return real(f)->pMethods->xUnlock(real(f), lock);
}
static int w_reserved(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int w_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int w_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}
static int w_device(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int w_shm_map(sqlite3_file *f, int n, int size, int extend,
                     void volatile **out)
{
    return real(f)->pMethods->xShmMap(real(f), n, size, extend, out);
}
static int w_shm_lock(sqlite3_file *f, int slot, int n, int flags)
{
    int rc =
        front.shm_lock == NULL ? -1 : front.shm_lock(real(f), slot, n, flags);
    return rc >= 0 ? rc : real(f)->pMethods->xShmLock(real(f), slot, n, flags);
}
static void w_shm_barrier(sqlite3_file *f)
{
    if (front.barrier != NULL) {
        front.barrier(real(f));
    }
    real(f)->pMethods->xShmBarrier(real(f));
}
static int w_shm_unmap(sqlite3_file *f, int delete)
{
    return real(f)->pMethods->xShmUnmap(real(f), delete);
}

static const sqlite3_io_methods w_methods = {
    .iVersion = 2,
    .xClose = w_close,
    .xRead = w_read,
    .xWrite = w_write,
    .xTruncate = w_truncate,
    .xSync = w_sync,
    .xFileSize = w_size,
    .xLock = w_lock,
    .xUnlock = w_unlock,
    .xCheckReservedLock = w_reserved,
    .xFileControl = w_control,
    .xSectorSize = w_sector,
    .xDeviceCharacteristics = w_device,
    .xShmMap = w_shm_map,
    .xShmLock = w_shm_lock,
    .xShmBarrier = w_shm_barrier,
    .xShmUnmap = w_shm_unmap,
};

static int w_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f,
                  int flags, int *out)
{
    struct watched *w = (struct watched *)f;
    int rc;

    (void)vfs;
    if (name == NULL || strstr(name, "follower") == NULL) {
        return real_vfs->xOpen(real_vfs, name, f, flags, out);
    }
    w->which = (flags & SQLITE_OPEN_WAL) != 0 ? ON_WAL : ON_DB;
    w->real = (sqlite3_file *)(w + 1);
    rc = real_vfs->xOpen(real_vfs, name, w->real, flags, out);
    w->base.pMethods = rc == SQLITE_OK ? &w_methods : NULL;
    return rc;
}

/* As the default, or only under `name`. */
UNUSED static void stand_in_front(sqlite3_vfs *vfs, const char *name)
{
    real_vfs = sqlite3_vfs_find("unix");
    *vfs = *real_vfs;
    vfs->szOsFile = (int)sizeof(struct watched) + real_vfs->szOsFile;
    vfs->xOpen = w_open;
    vfs->zName = name;
    assert_int_equal(sqlite3_vfs_register(vfs, strcmp(name, "unix") == 0),
                     SQLITE_OK);
}

#endif
