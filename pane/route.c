#include "pane/route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static const struct {
    const char *path;
    enum route_kind kind;
    bool changes;
} fixed[] = {
    {"/", ROUTE_PAGE, false},           {"/health", ROUTE_HEALTH, false},
    {"/info", ROUTE_INFO, false},       {"/status", ROUTE_STATUS, false},
    {"/metrics", ROUTE_METRICS, false}, {"/events", ROUTE_EVENTS, false},
    {"/shuffle", ROUTE_SHUFFLE, true},  {"/shards", ROUTE_SHARDS, true},
};

/* They end with the name of a database. */
static const struct {
    const char *path;
    enum route_kind kind;
    bool changes;
} named[] = {
    {"/backup/", ROUTE_BACKUP, false},
    {"/verify/", ROUTE_VERIFY, true}, /* it makes all nodes work */
    {"/attach/", ROUTE_ATTACH, true},
    {"/detach/", ROUTE_DETACH, true},
    {"/drop/", ROUTE_DROP, true},
    {"/rename/", ROUTE_RENAME, true},
};

/* Goes past `prefix`, or returns NULL. */
static const char *after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* Decimal digits alone, up to INT64_MAX. Returns what follows, or NULL. */
static const char *number(const char *text, uint64_t *out)
{
    uint64_t n = 0;

    if (*text < '0' || *text > '9') {
        return NULL;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (n > ((uint64_t)INT64_MAX - digit) / 10) {
            return NULL;
        }
        n = n * 10 + digit;
    }
    *out = n;
    return text;
}

static int parse_move(const char *rest, struct route *out, char *why,
                      size_t size)
{
    struct route r = {.kind = ROUTE_MOVE, .changes = true};
    const char *at = number(rest, &r.shard);

    if (at == NULL) {
        snprintf(why, size, "/move/cluster/SHARD/node/ID: SHARD is a number");
        return -EINVAL;
    }
    at = after(at, "/node/");
    if (at == NULL) {
        snprintf(why, size, "the path is /move/cluster/SHARD/node/ID");
        return ERR_NOT_FOUND;
    }
    at = number(at, &r.node);
    if (at == NULL || *at != '\0' || r.node == 0) {
        snprintf(why, size,
                 "/move/cluster/SHARD/node/ID: ID is a positive number");
        return -EINVAL;
    }
    *out = r;
    return 0;
}

static int parse_remove(const char *rest, struct route *out, char *why,
                        size_t size)
{
    struct route r = {.kind = ROUTE_REMOVE, .changes = true};
    const char *at = number(rest, &r.node);

    if (at == NULL || *at != '\0' || r.node == 0) {
        snprintf(why, size, "/remove/node/ID: ID is a positive number");
        return -EINVAL;
    }
    *out = r;
    return 0;
}

static int parse_name(const char *name, struct route *out, char *why,
                      size_t size)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(name);

    if (len == 0 || len > DB_NAME_MAX || strspn(name, allowed) != len) {
        snprintf(why, size,
                 "a database has a name of 1 to %d of the characters A-Z a-z "
                 "0-9 . _ -",
                 DB_NAME_MAX);
        return -EINVAL;
    }
    memcpy(out->name, name, len + 1);
    return 0;
}

int route_parse(const char *path, struct route *out, char *why, size_t size)
{
    struct route r;
    const char *rest;
    int rv;

    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (strcmp(path, fixed[i].path) == 0) {
            *out = (struct route){.kind = fixed[i].kind,
                                  .changes = fixed[i].changes};
            return 0;
        }
    }
    if ((rest = after(path, "/move/cluster/")) != NULL) {
        return parse_move(rest, out, why, size);
    }
    if ((rest = after(path, "/remove/node/")) != NULL) {
        return parse_remove(rest, out, why, size);
    }
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if ((rest = after(path, named[i].path)) != NULL) {
            r = (struct route){.kind = named[i].kind,
                               .changes = named[i].changes};
            rv = parse_name(rest, &r, why, size);
            *out = rv == 0 ? r : *out;
            return rv;
        }
    }
    snprintf(why, size,
             "no such path; there are / /health /info /status /metrics "
             "/events /backup/NAME, and by POST /move/cluster/SHARD/node/ID, "
             "/remove/node/ID, /shuffle, /verify/NAME, /attach/NAME?path=PATH, "
             "/detach/NAME, /drop/NAME, /rename/NAME?to=NAME and /shards?to=N");
    return ERR_NOT_FOUND;
}
