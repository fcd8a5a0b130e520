/* The names that the replicated state is built from: uuid, token, position.
 *
 * Fixed layouts (docs/FORMATS.md); little-endian on disk and on the wire. */
#ifndef WIRE_IDS_H
#define WIRE_IDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* 128 random bits: a cluster, a store, or a database. All zero = none. */
struct uuid {
    uint8_t b[16];
};

/* One attempt to commit, for ever: never used twice, also not after a restart
 * (`start` is random per start of the node). All zero = none. */
struct token {
    uint64_t node;
    uint64_t start;
    uint64_t session;
    uint64_t sequence;
};

/* A state of a database: `txid` transactions have been accepted, and `hash`
 * chains all of them. Equal positions mean equal pages. */
struct position {
    uint64_t txid;
    uint64_t hash;
};

#define TOKEN_BYTES 32
#define POSITION_BYTES 16

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

static inline bool uuid_is_none(const struct uuid *a)
{
    static const struct uuid none;
    return uuid_equal(a, &none);
}

static inline bool token_equal(const struct token *a, const struct token *b)
{
    return a->node == b->node && a->start == b->start &&
           a->session == b->session && a->sequence == b->sequence;
}

static inline bool position_equal(const struct position *a,
                                  const struct position *b)
{
    return a->txid == b->txid && a->hash == b->hash;
}

/* "01234567-89ab-..." ; `out` holds UUID_TEXT_BYTES. */
#define UUID_TEXT_BYTES 37
void uuid_text(const struct uuid *u, char out[UUID_TEXT_BYTES]);

/* False for what uuid_text does not write. */
bool uuid_parse(const char *text, struct uuid *out);

/* From the kernel's random source. Returns 0 or -errno. */
int uuid_random(struct uuid *u);

/* The position after a transaction: deterministic, the same on every node. */
struct position position_next(const struct position *base,
                              const struct token *token, uint32_t db_pages,
                              uint64_t checksum);

/* May a database be called so? [A-Za-z0-9._-]+, and no step out of a folder. */
bool db_name_valid(const char *name);

#endif
