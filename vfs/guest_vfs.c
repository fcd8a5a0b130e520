#include "vfs/guest_vfs.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/guest_file.h"
#include "vfs/guest_log.h"
#include "vfs/guest_wait.h"

#define NAME "marmot"
#define BUSY_TIMEOUT_MS 5000

static sqlite3_vfs *base; /* set once, before the VFS is registered */
static atomic_bool is_default;

/* ---- opening ------------------------------------------------------------- */

static bool must_be_managed(const char *path)
{
    const char *require = secure_getenv("MARMOT_REQUIRE");

    if (require != NULL && strcmp(require, "1") == 0) {
        guest_log(SQLITE_CANTOPEN,
                  "%s is not managed and MARMOT_REQUIRE=1: start marmot with "
                  "this database as -db-path",
                  path);
        return true;
    }
    if (!is_default) {
        guest_log(SQLITE_CANTOPEN,
                  "%s is not managed but was opened with vfs=" NAME
                  ": start marmot with this database as -db-path",
                  path);
        return true;
    }
    return false;
}

/* Parameters that would go past the locks which keep the copies equal. */
static bool forbids(const char *name, const char *path)
{
    static const char *const never[] = {"immutable", "nolock"};

    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        if (sqlite3_uri_boolean(name, never[i], 0)) {
            guest_log(SQLITE_CANTOPEN,
                      "%s is managed and cannot be opened with %s=1", path,
                      never[i]);
            return true;
        }
    }
    return false;
}

/* Let the base VFS open the file that is inside ours. */
static int open_real(const char *name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    sqlite3_file *real = guest_file_real(file);
    int rc;

    memset(real, 0, (size_t)base->szOsFile);
    rc = base->xOpen(base, name, real, flags, out_flags);
    if (rc != SQLITE_OK && real->pMethods != NULL) {
        real->pMethods->xClose(real);
    }
    return rc;
}

static int open_main(const char *name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    char *path = guest_path_resolve(name);
    char *marker = path == NULL ? NULL : guest_path_marker(path);
    struct guest_db *db = NULL;
    int rc = SQLITE_NOMEM;

    if (marker != NULL) {
        db = guest_db_new(path, marker, guest_file_real(file));
    }
    if (db == NULL) {
        free(marker);
        free(path);
        return rc;
    }
    rc = SQLITE_CANTOPEN;
    if (guest_db_look(db) ? forbids(name, path) : must_be_managed(path)) {
        goto free_db;
    }
    rc = open_real(name, file, flags, out_flags);
    if (rc != SQLITE_OK) {
        goto free_db;
    }
    guest_db_identify(db);
    guest_file_begin(file, GUEST_MAIN, db);
    return SQLITE_OK;

free_db:
    guest_db_free(db);
    return rc;
}

/* The main file is opened by another VFS, which stands on ours or beside it:
 * its locks do not reach us, so a managed WAL must not be written. */
static int open_orphan_wal(const char *name, sqlite3_file *file, int flags,
                           int *out_flags)
{
    size_t len = strlen(name);
    char *path = strndup(name, len > 4 ? len - 4 : 0); /* without "-wal" */
    char *marker = path == NULL ? NULL : guest_path_marker(path);
    bool managed = marker != NULL && guest_path_managed(marker);

    if (managed) {
        guest_log(SQLITE_CANTOPEN,
                  "%s is managed: no other VFS may be in "
                  "front of " NAME,
                  path);
    }
    free(marker);
    free(path);
    return managed ? SQLITE_CANTOPEN
                   : base->xOpen(base, name, file, flags, out_flags);
}

static int open_wal(const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct guest_db *db = guest_file_db(sqlite3_database_file_object(name));
    int rc;

    if (db == NULL) {
        return open_orphan_wal(name, file, flags, out_flags);
    }
    rc = open_real(name, file, flags, out_flags);
    if (rc == SQLITE_OK) {
        guest_file_begin(file, GUEST_WAL, db);
        db->wal = guest_file_real(file);
    }
    return rc;
}

static int open_journal(const char *name, sqlite3_file *file, int flags,
                        int *out_flags)
{
    struct guest_db *db = guest_file_db(sqlite3_database_file_object(name));
    int rc;

    if (db == NULL || !db->managed) {
        return base->xOpen(base, name, file, flags, out_flags);
    }
    rc = open_real(name, file, flags, out_flags);
    if (rc == SQLITE_OK) {
        guest_file_begin(file, GUEST_JOURNAL, db);
        db->journal = guest_file_real(file);
    }
    return rc;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file,
                    int flags, int *out_flags)
{
    (void)vfs;
    file->pMethods = NULL;
    if (name != NULL && (flags & SQLITE_OPEN_MAIN_DB) != 0) {
        return open_main(name, file, flags, out_flags);
    }
    if (name != NULL && (flags & SQLITE_OPEN_WAL) != 0) {
        return open_wal(name, file, flags, out_flags);
    }
    if (name != NULL && (flags & SQLITE_OPEN_MAIN_JOURNAL) != 0) {
        return open_journal(name, file, flags, out_flags);
    }
    return base->xOpen(base, name, file, flags, out_flags);
}

/* ---- everything else is the base VFS's ------------------------------------
 */

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    return base->xDelete(base, name, sync);
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    return base->xAccess(base, name, flags, out);
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int size,
                             char *out)
{
    (void)vfs;
    return base->xFullPathname(base, name, size, out);
}

static void *vfs_dl_open(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    return base->xDlOpen(base, name);
}

static void vfs_dl_error(sqlite3_vfs *vfs, int size, char *message)
{
    (void)vfs;
    base->xDlError(base, size, message);
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *handle,
                         const char *name))(void)
{
    (void)vfs;
    return base->xDlSym(base, handle, name);
}

static void vfs_dl_close(sqlite3_vfs *vfs, void *handle)
{
    (void)vfs;
    base->xDlClose(base, handle);
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    return base->xRandomness(base, size, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return guest_wait_sleep(base, microseconds);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *out)
{
    (void)vfs;
    return base->xCurrentTime(base, out);
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    return base->xGetLastError == NULL ? 0
                                       : base->xGetLastError(base, size, out);
}

static int vfs_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    return base->xCurrentTimeInt64(base, out);
}

static int vfs_set_call(sqlite3_vfs *vfs, const char *name,
                        sqlite3_syscall_ptr call)
{
    (void)vfs;
    return base->xSetSystemCall(base, name, call);
}

static sqlite3_syscall_ptr vfs_get_call(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    return base->xGetSystemCall(base, name);
}

static const char *vfs_next_call(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    return base->xNextSystemCall(base, name);
}

static sqlite3_vfs marmot = {
    .zName = NAME,
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_pathname,
    .xDlOpen = vfs_dl_open,
    .xDlError = vfs_dl_error,
    .xDlSym = vfs_dl_sym,
    .xDlClose = vfs_dl_close,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_current_time,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_current_time_int64,
    .xSetSystemCall = vfs_set_call,
    .xGetSystemCall = vfs_get_call,
    .xNextSystemCall = vfs_next_call,
};

/* ---- registration ---------------------------------------------------------
 */

bool guest_vfs_manages(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    struct guest_db *ours;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
        SQLITE_OK) {
        return false;
    }
    ours = guest_file_db(file);
    return ours != NULL && ours->managed;
}

int guest_vfs_on_open(sqlite3 *db, char **message,
                      const sqlite3_api_routines *api)
{
    (void)message;
    (void)api;
    if (guest_vfs_manages(db)) {
        sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
    }
    return SQLITE_OK;
}

/* sqlite3_auto_extension declares its argument without parameters. */
static int watch_opens(void)
{
    return sqlite3_auto_extension((void (*)(void))guest_vfs_on_open);
}

static int register_locked(int as_default)
{
    int rc;

    if (base == NULL) {
        base = sqlite3_vfs_find(NULL);
        if (base == NULL) {
            return SQLITE_ERROR;
        }
        marmot.iVersion = base->iVersion < 3 ? base->iVersion : 3;
        marmot.szOsFile = (int)sizeof(struct guest_file) + base->szOsFile;
        marmot.mxPathname = base->mxPathname;
        rc = watch_opens();
        if (rc != SQLITE_OK) {
            base = NULL;
            return rc;
        }
    }
    rc = sqlite3_vfs_register(&marmot, as_default);
    if (rc == SQLITE_OK && as_default) {
        is_default = true;
    }
    return rc;
}

__attribute__((visibility("default"))) int marmot_register(int as_default)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int rc;

#ifdef MARMOT_EXTENSION
    if (sqlite3_api == NULL) {
        return SQLITE_MISUSE;
    }
#endif
    pthread_mutex_lock(&mutex);
    rc = register_locked(as_default || is_default);
    pthread_mutex_unlock(&mutex);
    return rc;
}
