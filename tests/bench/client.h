/* A connection of a worker to the database of an arm.
 *
 * Three drivers: SQLite (plain, or managed when the library was preloaded),
 * dqlite's protocol, and the quorum floor, which knows OP_INSERT only. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <sqlite3.h>
#include <stdint.h>

#include "tests/bench/statement.h"

enum driver { DRIVER_SQLITE, DRIVER_DQLITE, DRIVER_FLOOR };

#define CLIENT_WHY_MAX 200

struct target {
    enum driver driver;
    char address[512]; /* a file; HOST:PORT; a Unix socket */
    char database[32]; /* dqlite's name of it */
    char synchronous[8];
};

struct client {
    const struct client_driver *call;
    char why[CLIENT_WHY_MAX]; /* the last error, for people */
    sqlite3 *db;
    sqlite3_stmt *prepared[OPS];
    int fd;
    uint32_t db_id, prepared_id[OPS];
    uint8_t *bytes; /* one message of dqlite's or the floor's */
};

/* All return 0, -EBUSY: try again, or -EIO with `why` filled. Each `run` is a
 * transaction of its own; *answer is the first column of the first row. */
struct client_driver {
    int (*open)(struct client *c, const struct target *target);
    int (*run)(struct client *c, enum op op, int64_t number, const char *text,
               int64_t *answer);
    void (*close)(struct client *c); /* also after a failed open */
};

extern const struct client_driver client_sqlite, client_dqlite, client_floor;

int client_open(struct client *c, const struct target *target);
int client_run(struct client *c, enum op op, int64_t number, const char *text,
               int64_t *answer);
void client_close(struct client *c);

#endif
