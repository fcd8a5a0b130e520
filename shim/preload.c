/* LD_PRELOAD: gives programs that know nothing of Marmot its VFS.
 *
 * The first time that the program opens an SQLite database, libmarmot.so (from
 * the folder of this library) is loaded as an extension into the very copy of
 * SQLite that is about to be used, and its VFS is made the default. Databases
 * that are not managed go through it unchanged. A program that never opens a
 * database never gets that far, and SQLite is forced on nobody.
 *
 * Modules that are loaded with RTLD_DEEPBIND (PHP's) look for sqlite3_open in
 * their own dependencies first and pass us by; for these the VFS is registered
 * as soon as they are loaded, which is what dlopen is watched for.
 *
 * Without effect in set-user-id programs. When libmarmot.so cannot be loaded,
 * databases open as ever, or with MARMOT_REQUIRE=1 not at all. */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "shim/lookup.h"

#define EXPORT __attribute__((visibility("default")))
#define LIBRARY "libmarmot.so"
#define ENTRY "sqlite3_marmot_init"

/* The few codes and types of sqlite3.h that are needed; including it would
 * declare functions that are looked up instead. */
enum { SQLITE_OK = 0, SQLITE_CANTOPEN = 14, SQLITE_WARNING = 28 };
struct sqlite3;

typedef int open_fn(const char *, struct sqlite3 **);
typedef int open16_fn(const void *, struct sqlite3 **);
typedef int open_v2_fn(const char *, struct sqlite3 **, int, const char *);
typedef int enable_fn(struct sqlite3 *, int);
typedef int load_fn(struct sqlite3 *, const char *, const char *, char **);
typedef int close_fn(struct sqlite3 *);
typedef void free_fn(void *);
typedef void log_fn(int, const char *, ...);
typedef void *dlopen_fn(const char *, int);
typedef int register_fn(int);

EXPORT open_fn sqlite3_open;
EXPORT open16_fn sqlite3_open16;
EXPORT open_v2_fn sqlite3_open_v2;

struct registration {
    open_fn *open;
    enable_fn *enable;
    load_fn *load;
    close_fn *close;
    free_fn *free;
    log_fn *log;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const void *first_caller; /* read by the one who runs `once` */
static bool registered;
static _Thread_local bool registering;

static bool find_all(struct registration *r)
{
    const void *c = first_caller;

    r->open = (open_fn *)lookup_sqlite("sqlite3_open", c);
    r->enable = (enable_fn *)lookup_sqlite("sqlite3_enable_load_extension", c);
    r->load = (load_fn *)lookup_sqlite("sqlite3_load_extension", c);
    r->close = (close_fn *)lookup_sqlite("sqlite3_close", c);
    r->free = (free_fn *)lookup_sqlite("sqlite3_free", c);
    r->log = (log_fn *)lookup_sqlite("sqlite3_log", c);
    return r->open != NULL && r->enable != NULL && r->load != NULL &&
           r->close != NULL && r->free != NULL && r->log != NULL;
}

/* The extension has been loaded from `path`: make its VFS the default. */
static int make_default(const char *path)
{
    void *handle = dlopen(path, RTLD_NOLOAD | RTLD_NOW);
    register_fn *set;
    int rc = SQLITE_CANTOPEN;

    if (handle == NULL) {
        return rc;
    }
    set = (register_fn *)dlsym(handle, "marmot_register");
    if (set != NULL) {
        rc = set(1);
    }
    dlclose(handle);
    return rc;
}

static void load_extension(const struct registration *r)
{
    char path[PATH_MAX];
    struct sqlite3 *db = NULL;
    char *message = NULL;
    int rc;

    if (lookup_beside(LIBRARY, path, sizeof path) != 0) {
        return;
    }
    rc = r->open(":memory:", &db);
    if (rc == SQLITE_OK) {
        r->enable(db, 1);
        rc = r->load(db, path, ENTRY, &message);
    }
    if (rc == SQLITE_OK) {
        rc = make_default(path);
    }
    registered = rc == SQLITE_OK;
    if (!registered) {
        r->log(SQLITE_WARNING, "marmot: cannot load %s: %s", path,
               message != NULL ? message : "no reason given");
    }
    r->free(message);
    r->close(db);
}

static void register_once(void)
{
    struct registration r;

    registering = true;
    if (getauxval(AT_SECURE) == 0 && find_all(&r)) {
        load_extension(&r);
    }
    registering = false;
}

/* True when the program may open its database. */
static bool prepare(const void *caller)
{
    const char *require;

    if (registering) {
        return true;
    }
    __atomic_store_n(&first_caller, caller, __ATOMIC_RELAXED);
    pthread_once(&once, register_once);
    require = secure_getenv("MARMOT_REQUIRE");
    return registered || require == NULL || strcmp(require, "1") != 0;
}

static int refuse(struct sqlite3 **db)
{
    *db = NULL;
    return SQLITE_CANTOPEN;
}

int sqlite3_open(const char *name, struct sqlite3 **db)
{
    const void *caller = __builtin_return_address(0);
    open_fn *next = (open_fn *)lookup_sqlite("sqlite3_open", caller);

    if (next == NULL || !prepare(caller)) {
        return refuse(db);
    }
    return next(name, db);
}

int sqlite3_open16(const void *name, struct sqlite3 **db)
{
    const void *caller = __builtin_return_address(0);
    open16_fn *next = (open16_fn *)lookup_sqlite("sqlite3_open16", caller);

    if (next == NULL || !prepare(caller)) {
        return refuse(db);
    }
    return next(name, db);
}

/* A program that names a VFS gets that one. */
int sqlite3_open_v2(const char *name, struct sqlite3 **db, int flags,
                    const char *vfs)
{
    const void *caller = __builtin_return_address(0);
    open_v2_fn *next = (open_v2_fn *)lookup_sqlite("sqlite3_open_v2", caller);

    if (next == NULL || (!prepare(caller) && vfs == NULL)) {
        return refuse(db);
    }
    return next(name, db, flags, vfs);
}

/* ---- dlopen -------------------------------------------------------------- */

static pthread_once_t dlopen_once = PTHREAD_ONCE_INIT;
static dlopen_fn *next_dlopen;

static void find_dlopen(void)
{
    next_dlopen = (dlopen_fn *)lookup_next("dlopen");
}

/* The real dlopen looks at its return address to know whose search path
 * applies, so it has to be left by a jump, which compilers make of a call in
 * this place. Only for a name with a slash, which is not searched for, may
 * something follow. */
EXPORT void *dlopen(const char *name, int flags)
{
    void *handle;
    void *open;

    pthread_once(&dlopen_once, find_dlopen);
    if ((flags & RTLD_DEEPBIND) == 0 || name == NULL ||
        strchr(name, '/') == NULL) {
        return next_dlopen(name, flags);
    }
    handle = next_dlopen(name, flags);
    open = handle == NULL ? NULL : dlsym(handle, "sqlite3_open");
    if (open != NULL) {
        prepare(open);
    }
    return handle;
}
