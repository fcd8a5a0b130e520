#include "base/err.h"

#include <string.h>

static const char *const texts[] = {
    [ERR_CORRUPT - ERR_CORRUPT] = "malformed data",
    [ERR_SHORT - ERR_CORRUPT] = "incomplete data",
    [ERR_TOO_BIG - ERR_CORRUPT] = "too big",
    [ERR_VERSION - ERR_CORRUPT] = "unknown format version",
    [ERR_NOT_LEADER - ERR_CORRUPT] = "not the leader",
    [ERR_NO_LEADER - ERR_CORRUPT] = "no leader",
    [ERR_FULL - ERR_CORRUPT] = "no room left",
    [ERR_BUSY - ERR_CORRUPT] = "busy",
    [ERR_CONFLICT - ERR_CORRUPT] = "another transaction came first",
    [ERR_UNKNOWN_OUTCOME - ERR_CORRUPT] = "outcome unknown",
    [ERR_MISMATCH - ERR_CORRUPT] = "mismatch",
    [ERR_CLOSED - ERR_CORRUPT] = "closed",
    [ERR_NOT_FOUND - ERR_CORRUPT] = "not found",
    [ERR_READONLY - ERR_CORRUPT] = "read-only",
    [ERR_FOREIGN - ERR_CORRUPT] = "changed by a program outside the cluster",
    [ERR_IO - ERR_CORRUPT] = "input/output error",
};

const char *err_str(int code)
{
    if (code >= ERR_CORRUPT && code < ERR_LAST) {
        return texts[code - ERR_CORRUPT];
    }
    return code <= 0 ? strerror(-code) : "not an error code";
}
