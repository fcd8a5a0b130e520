/* What the fuzz targets share. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert, which a build may leave out. */
#define CHECK(condition) ((condition) ? (void)0 : abort())

static inline void check_equal(const struct buf *b, const uint8_t *bytes,
                               size_t len)
{
    CHECK(b->err == 0 && b->len == len);
    CHECK(len == 0 || memcmp(b->data, bytes, len) == 0);
}

#endif
