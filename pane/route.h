/* The paths of the pane, and what is wrong with others. Pure. */
#ifndef PANE_ROUTE_H
#define PANE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

enum route_kind {
    ROUTE_PAGE, /* the dashboard */
    ROUTE_HEALTH,
    ROUTE_INFO,
    ROUTE_STATUS,
    ROUTE_METRICS,
    ROUTE_EVENTS,
    ROUTE_BACKUP,
    ROUTE_VERIFY,
    ROUTE_MOVE,
    ROUTE_SHUFFLE,
    ROUTE_REMOVE,
    ROUTE_ATTACH, /* ?path= */
    ROUTE_DETACH,
    ROUTE_DROP,
    ROUTE_RENAME, /* ?to= */
    ROUTE_SHARDS  /* ?to= */
};

struct route {
    enum route_kind kind;
    bool changes;               /* POST; the others are GET */
    uint64_t shard, node;       /* ROUTE_MOVE; ROUTE_REMOVE */
    char name[DB_NAME_MAX + 1]; /* of a database */
};

/* `path` is the decoded path without the query. Returns 0, ERR_NOT_FOUND for a
 * path that there is not, or -EINVAL for one with a bad number or name; then
 * with a line in `why`. */
int route_parse(const char *path, struct route *out, char *why, size_t size);

#endif
