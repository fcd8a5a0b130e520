/* Damaged input for a decoder.
 *
 * Every input is copied to memory of exactly its size, so that a sanitizer sees
 * the first byte read beyond it. Include after cmocka.h. */
#ifndef TESTS_MANGLE_H
#define TESTS_MANGLE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* Decode and release; returns what the decoder returned. */
typedef int (*mangle_decode)(const uint8_t *bytes, size_t len);

static inline int mangle_exact(mangle_decode decode, const uint8_t *bytes,
                               size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    int rc;

    assert_non_null(copy);
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    rc = decode(copy, len);
    free(copy);
    return rc;
}

/* A decoder says no in one of these ways, whatever it is given. */
static inline void mangle_assert_code(int rc)
{
    assert_true(rc == 0 || rc == ERR_SHORT || rc == ERR_CORRUPT ||
                rc == ERR_TOO_BIG || rc == ERR_VERSION);
}

static inline void mangle_truncate(mangle_decode decode, const uint8_t *bytes,
                                   size_t len)
{
    for (size_t n = 0; n < len; n++) {
        int rc = mangle_exact(decode, bytes, n);

        assert_int_not_equal(rc, 0);
        mangle_assert_code(rc);
    }
}

/* All eight bits of every byte, one at a time. Returns how many of these
 * inputs were accepted. */
static inline size_t mangle_flip(mangle_decode decode, const uint8_t *bytes,
                                 size_t len)
{
    uint8_t *copy = malloc(len);
    size_t accepted = 0;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    for (size_t bit = 0; bit < len * 8; bit++) {
        int rc;

        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = mangle_exact(decode, copy, len);
        mangle_assert_code(rc);
        accepted += rc == 0;
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(copy);
    return accepted;
}

/* The same random inputs in every run. */
static inline void mangle_random(mangle_decode decode)
{
    uint64_t x = 88172645463325252u;
    uint8_t bytes[96];

    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes[i] = (uint8_t)(x >> 24);
        }
        mangle_assert_code(mangle_exact(decode, bytes, x % sizeof bytes));
    }
}

/* All of the above on a message that must be accepted as it is. */
static inline void mangle(mangle_decode decode, const uint8_t *bytes,
                          size_t len)
{
    assert_int_equal(mangle_exact(decode, bytes, len), 0);
    mangle_truncate(decode, bytes, len);
    mangle_flip(decode, bytes, len);
    mangle_random(decode);
}

#endif
