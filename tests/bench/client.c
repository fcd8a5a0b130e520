#include "tests/bench/client.h"

#include <string.h>

int client_open(struct client *c, const struct target *target)
{
    static const struct client_driver *const drivers[] = {
        [DRIVER_SQLITE] = &client_sqlite,
        [DRIVER_DQLITE] = &client_dqlite,
        [DRIVER_FLOOR] = &client_floor,
    };

    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->call = drivers[target->driver];
    return c->call->open(c, target);
}

int client_run(struct client *c, enum op op, int64_t number, const char *text,
               int64_t *answer)
{
    return c->call->run(c, op, number, text, answer);
}

void client_close(struct client *c)
{
    c->call->close(c);
}
