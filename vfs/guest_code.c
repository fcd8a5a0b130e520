#include "vfs/guest_code.h"

#include <errno.h>

#include "base/err.h"
#include "vfs/guest_sqlite.h"

int guest_code_lock(int err)
{
    switch (err) {
    case ERR_READONLY:
        return SQLITE_READONLY;
    case ERR_FULL:
        return SQLITE_FULL;
    case ERR_FOREIGN:
        return SQLITE_READONLY_DBMOVED;
    case ERR_VERSION:
        return SQLITE_CANTOPEN;
    case ERR_IO:
        return SQLITE_IOERR_SHMLOCK;
    default:
        return SQLITE_BUSY;
    }
}

int guest_code_commit(int err)
{
    switch (err) {
    case ERR_CONFLICT:
    case ERR_BUSY:
    case ERR_CLOSED:
        return SQLITE_BUSY_SNAPSHOT;
    case ERR_READONLY:
        return SQLITE_READONLY;
    case ERR_FOREIGN:
        return SQLITE_READONLY_DBMOVED;
    case ERR_UNKNOWN_OUTCOME:
        return MARMOT_IOERR_UNKNOWN;
    default:
        return guest_code_frame(err);
    }
}

int guest_code_frame(int err)
{
    switch (err) {
    case ERR_FULL:
        return SQLITE_FULL;
    case -ENOMEM:
        return SQLITE_IOERR_NOMEM;
    default:
        return SQLITE_IOERR_WRITE;
    }
}
