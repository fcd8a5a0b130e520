/* A bounded pull decoder for the msgpack that peers send.
 *
 * Never allocates: strings and blobs are borrowed from the input. A count is
 * accepted only if that many elements could follow (one byte each), nesting
 * only to MSGPACK_DEPTH_MAX. The first failure sticks in u->err; later calls
 * return zero values, so a reader may check once at the end. */
#ifndef WIRE_UNPACK_H
#define WIRE_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unpack {
    const uint8_t *at, *end;
    unsigned depth;
    int err; /* 0, ERR_CORRUPT or ERR_TOO_BIG */
};

void unpack_init(struct unpack *u, const void *bytes, size_t len);

/* Enter an array; returns its count. */
uint32_t unpack_array(struct unpack *u);
/* Enter an array that must have exactly `count` elements. */
void unpack_array_of(struct unpack *u, uint32_t count);
/* Leave the innermost array. */
void unpack_leave(struct unpack *u);

uint64_t unpack_uint(struct unpack *u, uint64_t max);
bool unpack_bool(struct unpack *u);
/* Borrowed; *len <= max. NULL on failure. */
const uint8_t *unpack_bin(struct unpack *u, size_t max, size_t *len);
/* Exactly `len` bytes copied to `out`. */
void unpack_bin_exact(struct unpack *u, void *out, size_t len);
/* Copied with a terminating NUL; at most size-1 bytes, none of them NUL. */
void unpack_str(struct unpack *u, char *out, size_t size);

/* Returns u->err, or ERR_CORRUPT when bytes are left over. */
int unpack_end(const struct unpack *u);

#endif
