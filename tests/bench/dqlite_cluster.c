#include "tests/bench/dqlite_cluster.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bench/client.h"
#include "tests/bench/dqlite_wire.h"
#include "tests/bench/process.h"

#define START_MS 20000
#define ROLE_VOTER 0

static void program(const char *build, char room[512])
{
    snprintf(room, 512, "%s/bench/dqlite_node", build);
}

bool dqlite_available(const char *build)
{
    char path[512];

    program(build, path);
    return access(path, X_OK) == 0;
}

static pid_t start_node(struct dqlite_cluster *c, const char *build,
                        const char *folder, bool nodelay, int i)
{
    char path[512], id[8], data[300], log[320];
    const char *argv[] = {
        path, id, c->address[i], data, nodelay ? "nodelay" : "stock", NULL};
    struct command command = {.argv = argv, .log = log, .keep_fd = -1};

    program(build, path);
    snprintf(id, sizeof id, "%d", i + 1);
    snprintf(data, sizeof data, "%s/n%d", folder, i + 1);
    snprintf(log, sizeof log, "%s/log", data);
    (void)mkdir(data, 0700);
    return process_start(&command);
}

static int call(struct dqlite_message *m, enum dqlite_request request,
                enum dqlite_response wanted)
{
    uint64_t end = clock_ms() + START_MS;
    size_t len = m->len;
    uint8_t copy[512];
    int err;

    /* A node that was just started or added may not be ready yet. */
    memcpy(copy, m->bytes, sizeof copy);
    while ((err = dqlite_call(m, request, wanted)) == -EPROTO &&
           clock_ms() < end) {
        sleep_us(20000);
        memcpy(m->bytes, copy, sizeof copy);
        m->len = len;
    }
    return err;
}

static int join(const struct dqlite_cluster *c, struct dqlite_message *m)
{
    int err;

    dqlite_begin(m);
    dqlite_put_64(m, 1);
    err = call(m, DQLITE_CLIENT, DQLITE_WELCOME);
    for (uint64_t id = 2; id <= DQLITE_NODES && err == 0; id++) {
        const char *address = c->address[id - 1];
        dqlite_begin(m);
        dqlite_put_64(m, id);
        dqlite_put_text(m, address, strlen(address));
        err = call(m, DQLITE_ADD, DQLITE_EMPTY);
        if (err == 0) {
            dqlite_begin(m);
            dqlite_put_64(m, id);
            dqlite_put_64(m, ROLE_VOTER);
            err = call(m, DQLITE_ASSIGN, DQLITE_EMPTY);
        }
    }
    return err;
}

static int exec(struct dqlite_message *m, uint64_t db, const char *sql)
{
    dqlite_begin(m);
    dqlite_put_64(m, db);
    dqlite_put_text(m, sql, strlen(sql));
    dqlite_put_64(m, 0);
    return call(m, DQLITE_EXEC_SQL, DQLITE_RESULT);
}

/* One connection has one database; several need one connection each. */
static int make_database(const char *address, uint8_t *bytes, int i, int rows)
{
    struct dqlite_message m = {.fd = dqlite_connect(address), .bytes = bytes};
    char text[400];
    uint64_t db;
    int err;

    snprintf(text, sizeof text, "d%d", i);
    dqlite_begin(&m);
    dqlite_put_64(&m, (uint64_t)i + 10);
    err = call(&m, DQLITE_CLIENT, DQLITE_WELCOME);
    if (err == 0) {
        dqlite_begin(&m);
        dqlite_put_text(&m, text, strlen(text));
        dqlite_put_64(&m, 0);
        dqlite_put_text(&m, "volatile", 8);
        err = call(&m, DQLITE_OPEN, DQLITE_DB);
    }
    db = dqlite_word(&m, 0) & UINT32_MAX;
    if (err == 0) {
        err = exec(&m, db, statement_table);
    }
    if (err == 0) {
        err = exec(&m, db, statement_index);
    }
    if (err == 0) {
        snprintf(text, sizeof text,
                 "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL"
                 " SELECT i + 1 FROM c LIMIT %d)"
                 " INSERT INTO t(k, v) SELECT abs(random()) %% 1000000000,"
                 " hex(randomblob(50)) FROM c",
                 rows);
        err = exec(&m, db, text);
    }
    if (m.fd >= 0) {
        close(m.fd);
    }
    return err;
}

static int connect_leader(const struct dqlite_cluster *c)
{
    uint64_t end = clock_ms() + START_MS;
    int fd;

    while ((fd = dqlite_connect(c->address[0])) < 0 && clock_ms() < end) {
        sleep_us(10000);
    }
    return fd;
}

int dqlite_cluster_start(struct dqlite_cluster *c, const char *build,
                         const char *folder, bool nodelay, int databases,
                         int rows, const char **why)
{
    struct dqlite_message m = {.fd = -1};
    unsigned port[DQLITE_NODES];
    int err;

    memset(c, 0, sizeof *c);
    m.bytes = calloc(1, DQLITE_BYTES_MAX);
    err = m.bytes == NULL ? -EIO : free_ports(port, DQLITE_NODES);
    for (int i = 0; i < DQLITE_NODES && err == 0; i++) {
        snprintf(c->address[i], sizeof c->address[i], "127.0.0.1:%u", port[i]);
        c->pid[i] = start_node(c, build, folder, nodelay, i);
    }
    if (err == 0) {
        m.fd = connect_leader(c);
        err = m.fd < 0 ? -EIO : join(c, &m);
    }
    for (int i = 0; i < databases && err == 0; i++) {
        err = make_database(c->address[0], m.bytes, i, rows);
    }
    if (m.fd >= 0) {
        close(m.fd);
    }
    free(m.bytes);
    if (err != 0) {
        *why = "dqlite does not start, see the logs of its nodes";
    }
    return err == 0 ? 0 : -EIO;
}

void dqlite_cluster_stop(struct dqlite_cluster *c)
{
    for (int i = 0; i < DQLITE_NODES; i++) {
        (void)process_end(&c->pid[i], SIGKILL, 5000);
    }
}
