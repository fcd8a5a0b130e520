/* A program linked to SQLite has it in the global scope, right behind us. A
 * module that was loaded with RTLD_LOCAL (Python's, say) has it among its own
 * dependencies, perhaps under another file name. */
#include "shim/lookup.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define SQLITE_SONAME "libsqlite3.so.0"

void *lookup_next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* Is the address in this library? */
static int is_ours(const void *address)
{
    Dl_info there, here;

    return dladdr(address, &there) != 0 &&
           dladdr((const void *)is_ours, &here) != 0 &&
           there.dli_fbase == here.dli_fbase;
}

/* `name` in a library that is loaded already, or in its dependencies. */
static void *find_in(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOLOAD | RTLD_LAZY);
    void *found = NULL;

    if (handle != NULL) {
        found = dlsym(handle, name);
        dlclose(handle);
    }
    return found != NULL && !is_ours(found) ? found : NULL;
}

void *lookup_sqlite(const char *name, const void *caller)
{
    void *found = lookup_next(name);
    Dl_info info;

    if (found == NULL && caller != NULL && dladdr(caller, &info) != 0) {
        found = find_in(info.dli_fname, name);
    }
    if (found == NULL) {
        found = find_in(SQLITE_SONAME, name);
    }
    return found;
}

int lookup_beside(const char *file, char *path, unsigned size)
{
    const char *slash;
    Dl_info info;
    int n;

    if (dladdr((const void *)lookup_beside, &info) == 0) {
        return -1;
    }
    slash = strrchr(info.dli_fname, '/');
    n = snprintf(path, size, "%.*s%s",
                 slash == NULL ? 0 : (int)(slash + 1 - info.dli_fname),
                 info.dli_fname, file);
    return n > 0 && (unsigned)n < size ? 0 : -1;
}
