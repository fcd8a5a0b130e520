#include "vfs/sqlite_code.h"

#include <errno.h>
#include <sqlite3.h>

#include "base/err.h"

int sqlite_code_err(int rc)
{
    if (rc == SQLITE_IOERR_SHMSIZE) {
        /* Growing the wal-index fails only for want of room. */
        return ERR_FULL;
    }
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_BUSY;
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return ERR_READONLY;
    case SQLITE_TOOBIG:
        return ERR_TOO_BIG;
    default:
        return ERR_IO;
    }
}
