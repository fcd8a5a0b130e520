#include "consensus/raft_code.h"

#include <errno.h>
#include <raft.h>

#include "base/err.h"

int raft_code(int code)
{
    switch (code) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return -ENOMEM;
    case RAFT_NOTLEADER:
        return ERR_NOT_LEADER;
    case RAFT_LEADERSHIPLOST:
    case RAFT_CANCELED:
    case RAFT_SHUTDOWN:
        return ERR_UNKNOWN_OUTCOME;
    case RAFT_MALFORMED:
    case RAFT_CORRUPT:
        return ERR_CORRUPT;
    case RAFT_NOCONNECTION:
        return ERR_CLOSED;
    case RAFT_BUSY:
        return ERR_BUSY;
    case RAFT_NOTFOUND:
    case RAFT_BADID:
        return ERR_NOT_FOUND;
    case RAFT_TOOBIG:
    case RAFT_TOOMANY:
    case RAFT_NAMETOOLONG:
        return ERR_TOO_BIG;
    case RAFT_NOSPACE:
        return ERR_FULL;
    case RAFT_INVALID:
    case RAFT_BADROLE:
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
    case RAFT_CANTBOOTSTRAP:
    case RAFT_CANTCHANGE:
        return -EINVAL;
    default:
        return ERR_IO;
    }
}
