#include "wire/compress.h"

#include <assert.h>
#include <limits.h>
#include <lz4.h>

#include "base/err.h"

size_t compress_block(const void *bytes, size_t len, void *out)
{
    int n;

    assert(len <= INT_MAX);
    n = LZ4_compress_default(bytes, out, (int)len, (int)compress_max(len));
    return n > 0 ? (size_t)n : 0;
}

int decompress_block(const void *bytes, size_t len, void *out, size_t out_len)
{
    int n;

    if (len > INT_MAX || out_len > INT_MAX) {
        return ERR_CORRUPT;
    }
    n = LZ4_decompress_safe(bytes, out, (int)len, (int)out_len);
    return n >= 0 && (size_t)n == out_len ? 0 : ERR_CORRUPT;
}
