/* lz4 blocks of known size, bounded on both sides. */
#ifndef WIRE_COMPRESS_H
#define WIRE_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

/* The most bytes that a block of `len` bytes may take compressed; what does not
 * get that small is not worth the work of unpacking it. */
static inline size_t compress_max(size_t len)
{
    return len - len / 16;
}

/* Compress `len` bytes into `out`, which has room for compress_max(len).
 * Returns the compressed length, 0 when it would be larger than that. */
size_t compress_block(const void *bytes, size_t len, void *out);

/* Returns 0, or ERR_CORRUPT when the block does not give exactly `out_len`
 * bytes; `out` may then hold part of them. */
int decompress_block(const void *bytes, size_t len, void *out, size_t out_len);

#endif
