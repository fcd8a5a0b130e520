/* As much of dqlite's wire protocol, version 1, as the benchmark speaks: a
 * header of one word, then words of 8 bytes in this machine's order (which
 * must be little-endian). One request, one response, over a blocking socket. */
#ifndef BENCH_DQLITE_WIRE_H
#define BENCH_DQLITE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define DQLITE_BYTES_MAX 65536u

enum dqlite_request {
    DQLITE_LEADER = 0,
    DQLITE_CLIENT = 1,
    DQLITE_OPEN = 3,
    DQLITE_PREPARE = 4,
    DQLITE_EXEC = 5,
    DQLITE_QUERY = 6,
    DQLITE_EXEC_SQL = 8,
    DQLITE_ADD = 12,
    DQLITE_ASSIGN = 13,
};

enum dqlite_response {
    DQLITE_FAILURE = 0,
    DQLITE_NODE = 1,
    DQLITE_WELCOME = 2,
    DQLITE_DB = 4,
    DQLITE_STATEMENT = 5,
    DQLITE_RESULT = 6,
    DQLITE_ROWS = 7,
    DQLITE_EMPTY = 8,
};

struct dqlite_message {
    int fd;
    uint8_t *bytes; /* DQLITE_BYTES_MAX, both ways */
    size_t len;     /* of a request so far; of a response without its header */
    int type;       /* of the response */
};

void dqlite_begin(struct dqlite_message *m);
void dqlite_put_64(struct dqlite_message *m, uint64_t value);
void dqlite_put_32(struct dqlite_message *m, uint32_t value);
void dqlite_put_text(struct dqlite_message *m, const char *text, size_t len);

/* Pad to a word, send, and read the response. Returns 0 when it is of the type
 * `wanted`; -EPROTO when it is another (DQLITE_FAILURE: a code in word 0, then
 * a text); -EIO when the node is gone. */
int dqlite_call(struct dqlite_message *m, enum dqlite_request request,
                enum dqlite_response wanted);

/* Word `i` of the response; 0 beyond its end. */
uint64_t dqlite_word(const struct dqlite_message *m, size_t i);

/* Connect and greet. Returns a file descriptor, or -1. */
int dqlite_connect(const char *host_port);

#endif
