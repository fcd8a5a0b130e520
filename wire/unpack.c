/* The subset of msgpack that our formats use: arrays, unsigned integers,
 * booleans, strings and binaries, in any of their encodings. Everything else is
 * ERR_CORRUPT. */
#include "wire/unpack.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"

void unpack_init(struct unpack *u, const void *bytes, size_t len)
{
    u->at = bytes;
    u->end = u->at + len;
    u->depth = 0;
    u->err = 0;
}

static void fail(struct unpack *u, int err)
{
    if (u->err == 0) {
        u->err = err;
    }
}

static size_t left(const struct unpack *u)
{
    return (size_t)(u->end - u->at);
}

/* The next `len` bytes; NULL when they are not there. */
static const uint8_t *take(struct unpack *u, size_t len)
{
    const uint8_t *at = u->at;

    if (u->err != 0) {
        return NULL;
    }
    if (len > left(u)) {
        fail(u, ERR_CORRUPT);
        return NULL;
    }
    u->at += len;
    return at;
}

static uint64_t take_be(struct unpack *u, unsigned bytes)
{
    const uint8_t *at = take(u, bytes);
    uint64_t v = 0;

    for (unsigned i = 0; at != NULL && i < bytes; i++) {
        v = v << 8 | at[i];
    }
    return v;
}

/* 0xc1, which msgpack never uses, at the end. */
static uint8_t take_tag(struct unpack *u)
{
    const uint8_t *at = take(u, 1);

    return at != NULL ? *at : 0xc1;
}

uint32_t unpack_array(struct unpack *u)
{
    uint8_t tag = take_tag(u);
    uint64_t count = 0;

    if ((tag & 0xf0) == 0x90) {
        count = tag & 0x0f;
    } else if (tag == 0xdc) {
        count = take_be(u, 2);
    } else if (tag == 0xdd) {
        count = take_be(u, 4);
    } else {
        fail(u, ERR_CORRUPT);
    }
    if (u->err == 0 && u->depth == MSGPACK_DEPTH_MAX) {
        fail(u, ERR_TOO_BIG);
    }
    if (u->err == 0 && count > left(u)) {
        fail(u, ERR_CORRUPT);
    }
    if (u->err != 0) {
        return 0;
    }
    u->depth++;
    return (uint32_t)count;
}

void unpack_array_of(struct unpack *u, uint32_t count)
{
    if (unpack_array(u) != count) {
        fail(u, ERR_CORRUPT);
    }
}

void unpack_leave(struct unpack *u)
{
    if (u->err == 0) {
        assert(u->depth > 0);
        u->depth--;
    }
}

uint64_t unpack_uint(struct unpack *u, uint64_t max)
{
    uint8_t tag = take_tag(u);
    uint64_t v = 0;

    if (tag < 0x80) {
        v = tag;
    } else if (tag >= 0xcc && tag <= 0xcf) {
        v = take_be(u, 1u << (tag - 0xcc));
    } else {
        fail(u, ERR_CORRUPT);
    }
    if (u->err == 0 && v > max) {
        fail(u, ERR_TOO_BIG);
    }
    return u->err == 0 ? v : 0;
}

bool unpack_bool(struct unpack *u)
{
    uint8_t tag = take_tag(u);

    if (tag != 0xc2 && tag != 0xc3) {
        fail(u, ERR_CORRUPT);
        return false;
    }
    return tag == 0xc3;
}

/* The body of a string or binary whose length was read. */
static const uint8_t *take_body(struct unpack *u, uint64_t n, size_t max,
                                size_t *len)
{
    const uint8_t *body;

    if (u->err == 0 && n > max) {
        fail(u, ERR_TOO_BIG);
    }
    body = take(u, (size_t)n);
    *len = body != NULL ? (size_t)n : 0;
    return body;
}

const uint8_t *unpack_bin(struct unpack *u, size_t max, size_t *len)
{
    uint8_t tag = take_tag(u);
    uint64_t n = 0;

    if (tag >= 0xc4 && tag <= 0xc6) {
        n = take_be(u, 1u << (tag - 0xc4));
    } else {
        fail(u, ERR_CORRUPT);
    }
    return take_body(u, n, max, len);
}

void unpack_bin_exact(struct unpack *u, void *out, size_t len)
{
    size_t n;
    const uint8_t *body = unpack_bin(u, len, &n);

    if (body != NULL && n == len) {
        memcpy(out, body, len);
        return;
    }
    fail(u, ERR_CORRUPT);
    memset(out, 0, len);
}

void unpack_str(struct unpack *u, char *out, size_t size)
{
    uint8_t tag = take_tag(u);
    const uint8_t *body;
    uint64_t n = 0;
    size_t len;

    if ((tag & 0xe0) == 0xa0) {
        n = tag & 0x1f;
    } else if (tag >= 0xd9 && tag <= 0xdb) {
        n = take_be(u, 1u << (tag - 0xd9));
    } else {
        fail(u, ERR_CORRUPT);
    }
    body = take_body(u, n, size - 1, &len);
    if (body != NULL && memchr(body, 0, len) != NULL) {
        fail(u, ERR_CORRUPT);
        len = 0;
    }
    if (len > 0) {
        memcpy(out, body, len);
    }
    out[len] = '\0';
}

int unpack_end(const struct unpack *u)
{
    if (u->err != 0) {
        return u->err;
    }
    return u->at == u->end ? 0 : ERR_CORRUPT;
}
