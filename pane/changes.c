/* Requests that change which databases there are, and where. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "pane/answer.h"
#include "pane/server_internal.h"

unsigned changes_status(int rv)
{
    switch (rv) {
    case 0:
        return MHD_HTTP_ACCEPTED;
    case ERR_NOT_FOUND:
        return MHD_HTTP_NOT_FOUND;
    case ERR_READONLY:
    case ERR_MISMATCH:
        return MHD_HTTP_CONFLICT;
    case -EINVAL:
    case -ENOENT:
    case -ENAMETOOLONG:
        return MHD_HTTP_BAD_REQUEST;
    default:
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
}

static const char *argument(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, name);
}

enum MHD_Result changes_database(struct pane *p, struct MHD_Connection *c,
                                 const struct route *r)
{
    const struct pane_source *s = p->options.source;
    const char *path = argument(c, "path"), *to = argument(c, "to");
    char why[TEXT_MAX] = "";
    int rv;

    if (r->kind == ROUTE_ATTACH) {
        if (path == NULL) {
            return answer_error(c, MHD_HTTP_BAD_REQUEST,
                                "/attach/NAME?path=PATH: the path is missing");
        }
        rv = s->attach(s->data, r->name, path, why, sizeof why);
    } else if (r->kind == ROUTE_RENAME) {
        if (to == NULL) {
            return answer_error(c, MHD_HTTP_BAD_REQUEST,
                                "/rename/NAME?to=NAME: the new name is "
                                "missing");
        }
        rv = s->rename(s->data, r->name, to, why, sizeof why);
    } else {
        rv = r->kind == ROUTE_DETACH
                 ? s->detach(s->data, r->name, why, sizeof why)
                 : s->drop(s->data, r->name, why, sizeof why);
    }
    if (rv != 0) {
        return answer_error(c, changes_status(rv), why);
    }
    return answer_json(c, MHD_HTTP_ACCEPTED,
                       json_pack("{s:s}", "database", r->name));
}

/* Decimal digits alone; 0: something else, or none. */
static uint64_t count_of(const char *text)
{
    size_t len = strlen(text);

    return len == 0 || len > 9 || strspn(text, "0123456789") != len
               ? 0
               : strtoull(text, NULL, 10);
}

enum MHD_Result changes_shards(struct pane *p, struct MHD_Connection *c)
{
    const struct pane_source *s = p->options.source;
    const char *to = argument(c, "to");
    char why[TEXT_MAX] = "";
    int rv;

    if (to == NULL || count_of(to) == 0) {
        return answer_error(c, MHD_HTTP_BAD_REQUEST,
                            "/shards?to=N: N is a positive number");
    }
    rv = s->shards(s->data, count_of(to), why, sizeof why);
    return rv != 0 ? answer_error(c, changes_status(rv), why)
                   : answer_json(c, MHD_HTTP_ACCEPTED,
                                 json_pack("{s:I}", "shards",
                                           (json_int_t)count_of(to)));
}
