/* The client of the quorum floor: an entry out, one byte back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bytes_io.h"
#include "tests/bench/client.h"
#include "tests/bench/floor.h"

static int floor_client_open(struct client *c, const struct target *target)
{
    c->bytes = calloc(1, FLOOR_ENTRY_BYTES);
    c->fd = connect_unix(target->address);
    if (c->bytes == NULL || c->fd < 0) {
        snprintf(c->why, sizeof c->why, "no floor at %.100s", target->address);
        return -EIO;
    }
    return 0;
}

static int floor_client_run(struct client *c, enum op op, int64_t number,
                            const char *text, int64_t *answer)
{
    char done;

    if (statements[op].reads) {
        *answer = 0;
        return 0;
    }
    memcpy(c->bytes, &number, sizeof number);
    if (text != NULL) {
        memcpy(c->bytes + sizeof number, text, TEXT_BYTES);
    }
    if (write_all(c->fd, c->bytes, FLOOR_ENTRY_BYTES) != 0 ||
        read_all(c->fd, &done, 1) != 0) {
        snprintf(c->why, sizeof c->why, "the floor is gone");
        return -EIO;
    }
    return 0;
}

static void floor_client_close(struct client *c)
{
    free(c->bytes);
    if (c->fd >= 0) {
        close(c->fd);
    }
}

const struct client_driver client_floor = {floor_client_open, floor_client_run,
                                           floor_client_close};
