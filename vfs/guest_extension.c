/* Entry points of libmarmot.so as a loadable extension. It stays loaded, since
 * its VFS is used until the process ends. */
#ifdef MARMOT_EXTENSION
#include <sqlite3ext.h>
#include <stddef.h>
SQLITE_EXTENSION_INIT1
#include "vfs/marmot.h"

/* sqlite3_database_file_object(). */
#define SQLITE_VERSION_MIN 3032000

#define EXPORT __attribute__((visibility("default")))

EXPORT int sqlite3_marmot_init(sqlite3 *db, char **message,
                               const sqlite3_api_routines *api);
EXPORT int sqlite3_extension_init(sqlite3 *db, char **message,
                                  const sqlite3_api_routines *api);

int sqlite3_marmot_init(sqlite3 *db, char **message,
                        const sqlite3_api_routines *api)
{
    int rc;

    (void)db;
    if (sqlite3_api != NULL && sqlite3_api != api) {
        *message = api->mprintf(
            "marmot already works with another copy of SQLite in this process");
        return SQLITE_ERROR;
    }
    if (api->libversion_number() < SQLITE_VERSION_MIN) {
        *message = api->mprintf("marmot needs SQLite 3.32.0 or newer");
        return SQLITE_ERROR;
    }
    SQLITE_EXTENSION_INIT2(api);
    rc = marmot_register(0);
    return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}

int sqlite3_extension_init(sqlite3 *db, char **message,
                           const sqlite3_api_routines *api)
{
    return sqlite3_marmot_init(db, message, api);
}
#endif
