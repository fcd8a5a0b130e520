/* Packets of a verification: every node compares the pages of its file with the
 * checksum that the log carries, and tells the one that asked.
 *
 * Little-endian fixed layouts (docs/FORMATS.md). Pure. */
#ifndef WIRE_VERIFY_H
#define WIRE_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/ids.h"

#define VERIFY_LISTED_MAX 64u /* damaged pages that are named */

enum verify_state {
    VERIFY_WORKING = 0,
    VERIFY_DONE,   /* `damaged` says how it ended */
    VERIFY_ABSENT, /* the node does not have the database */
    VERIFY_BUSY,   /* not now */
    VERIFY_FAILED  /* the file could not be read */
};

struct verify_ask {
    struct uuid db;
    uint64_t id; /* the asker's, random */
};

struct verify_answer {
    struct uuid db;
    uint64_t id;
    struct position position; /* of what was read */
    uint64_t expected, found; /* checksums: by the log, of the pages */
    uint32_t pages, done;     /* done: read so far */
    uint32_t damaged;         /* pages */
    uint32_t state;           /* enum verify_state */
    uint32_t n_listed;
    uint32_t listed[VERIFY_LISTED_MAX]; /* the first of them */
};

int verify_ask_encode(const struct verify_ask *a, struct buf *out);
/* Returns 0 or ERR_CORRUPT, as the next. */
int verify_ask_decode(const void *bytes, size_t len, struct verify_ask *a);
int verify_answer_encode(const struct verify_answer *a, struct buf *out);
int verify_answer_decode(const void *bytes, size_t len,
                         struct verify_answer *a);

#endif
