/* A database file, opened as any application opens it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/client.h"

#define BUSY_MS 5000

static int failed(struct client *c, int rc)
{
    snprintf(c->why, sizeof c->why, "%s", sqlite3_errmsg(c->db));
    rc &= 0xff;
    return rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? -EBUSY : -EIO;
}

static int sqlite_client_open(struct client *c, const struct target *target)
{
    char pragma[100];
    int rc = sqlite3_open(target->address, &c->db);

    snprintf(pragma, sizeof pragma,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s",
             target->synchronous);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(c->db, BUSY_MS);
        rc = sqlite3_exec(c->db, pragma, NULL, NULL, NULL);
    }
    for (int op = 0; op < OPS && rc == SQLITE_OK; op++) {
        rc = sqlite3_prepare_v2(c->db, statements[op].sql, -1, &c->prepared[op],
                                NULL);
    }
    return rc == SQLITE_OK ? 0 : failed(c, rc);
}

static int sqlite_client_run(struct client *c, enum op op, int64_t number,
                             const char *text, int64_t *answer)
{
    sqlite3_stmt *st = c->prepared[op];
    int rc, err = 0;

    if (statements[op].number) {
        sqlite3_bind_int64(st, 1, number);
    }
    if (statements[op].text) {
        sqlite3_bind_text(st, 2, text, TEXT_BYTES, SQLITE_STATIC);
    }
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *answer = sqlite3_column_int64(st, 0);
    } else if (rc != SQLITE_DONE) {
        err = failed(c, rc);
    }
    sqlite3_reset(st);
    return err;
}

static void sqlite_client_close(struct client *c)
{
    for (int op = 0; op < OPS; op++) {
        sqlite3_finalize(c->prepared[op]);
    }
    sqlite3_close(c->db);
}

const struct client_driver client_sqlite = {
    sqlite_client_open, sqlite_client_run, sqlite_client_close};
