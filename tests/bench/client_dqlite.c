/* A client of the leader of a dqlite cluster. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/client.h"
#include "tests/bench/dqlite_wire.h"

#define TYPE_INTEGER 1
#define TYPE_TEXT 3
#define CODE_BUSY 5

static struct dqlite_message message(const struct client *c)
{
    struct dqlite_message m = {.fd = c->fd, .bytes = c->bytes};

    dqlite_begin(&m);
    return m;
}

static int failed(struct client *c, const struct dqlite_message *m, int err)
{
    if (err == -EPROTO && m->type == DQLITE_FAILURE && m->len > 8) {
        snprintf(c->why, sizeof c->why, "%.*s", (int)(m->len - 8),
                 (const char *)m->bytes + 8);
        return (dqlite_word(m, 0) & 0xff) == CODE_BUSY ? -EBUSY : -EIO;
    }
    snprintf(c->why, sizeof c->why, "dqlite: %s",
             err == -EPROTO ? "another response" : "the node is gone");
    return -EIO;
}

static int prepare(struct client *c, enum op op)
{
    const char *sql = statements[op].sql;
    struct dqlite_message m = message(c);
    int err;

    dqlite_put_64(&m, c->db_id);
    dqlite_put_text(&m, sql, strlen(sql));
    err = dqlite_call(&m, DQLITE_PREPARE, DQLITE_STATEMENT);
    if (err != 0) {
        return failed(c, &m, err);
    }
    c->prepared_id[op] = (uint32_t)(dqlite_word(&m, 0) >> 32);
    return 0;
}

static int dqlite_client_open(struct client *c, const struct target *target)
{
    struct dqlite_message m;
    int err;

    c->bytes = malloc(DQLITE_BYTES_MAX);
    c->fd = dqlite_connect(target->address);
    if (c->bytes == NULL || c->fd < 0) {
        snprintf(c->why, sizeof c->why, "no dqlite at %.100s", target->address);
        return -EIO;
    }
    m = message(c);
    dqlite_put_64(&m, (uint64_t)getpid());
    err = dqlite_call(&m, DQLITE_CLIENT, DQLITE_WELCOME);
    if (err == 0) {
        dqlite_begin(&m);
        dqlite_put_text(&m, target->database, strlen(target->database));
        dqlite_put_64(&m, 0);
        dqlite_put_text(&m, "volatile", 8);
        err = dqlite_call(&m, DQLITE_OPEN, DQLITE_DB);
    }
    if (err != 0) {
        return failed(c, &m, err);
    }
    c->db_id = (uint32_t)dqlite_word(&m, 0);
    for (int op = 0; op < OPS && err == 0; op++) {
        err = prepare(c, (enum op)op);
    }
    return err;
}

static void put_parameters(struct dqlite_message *m, const struct statement *s,
                           int64_t number, const char *text)
{
    uint8_t head[8] = {0};
    uint64_t word;

    if (s->number) {
        head[++head[0]] = TYPE_INTEGER;
    }
    if (s->text) {
        head[++head[0]] = TYPE_TEXT;
    }
    memcpy(&word, head, sizeof word);
    dqlite_put_64(m, word);
    if (s->number) {
        dqlite_put_64(m, (uint64_t)number);
    }
    if (s->text) {
        dqlite_put_text(m, text, TEXT_BYTES);
    }
}

/* Rows: how many columns, their names, then for each row a word of types and
 * the values. We ask for one column whose name is shorter than 64 bytes. */
static void first_value(const struct dqlite_message *m, int64_t *answer)
{
    size_t at = 1;

    while (at * 8 < m->len && memchr(m->bytes + at * 8, 0, 8) == NULL) {
        at++;
    }
    *answer = (int64_t)dqlite_word(m, at + 2);
}

static int dqlite_client_run(struct client *c, enum op op, int64_t number,
                             const char *text, int64_t *answer)
{
    const struct statement *s = &statements[op];
    struct dqlite_message m = message(c);
    int err;

    dqlite_put_32(&m, c->db_id);
    dqlite_put_32(&m, c->prepared_id[op]);
    if (s->number || s->text) {
        put_parameters(&m, s, number, text);
    }
    err = s->reads ? dqlite_call(&m, DQLITE_QUERY, DQLITE_ROWS)
                   : dqlite_call(&m, DQLITE_EXEC, DQLITE_RESULT);
    if (err != 0) {
        return failed(c, &m, err);
    }
    if (s->reads) {
        first_value(&m, answer);
    }
    return 0;
}

static void dqlite_client_close(struct client *c)
{
    free(c->bytes);
    if (c->fd >= 0) {
        close(c->fd);
    }
}

const struct client_driver client_dqlite = {
    dqlite_client_open, dqlite_client_run, dqlite_client_close};
