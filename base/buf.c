#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_close(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->err = 0;
}

static int grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 256;
    uint8_t *data;

    while (cap < need) {
        cap *= 2;
    }
    data = realloc(b->data, cap);
    if (data == NULL) {
        return -ENOMEM;
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

uint8_t *buf_room(struct buf *b, size_t len)
{
    if (b->err != 0) {
        return NULL;
    }
    if (len > b->max || b->len > b->max - len) {
        b->err = ERR_TOO_BIG;
        return NULL;
    }
    if (b->len + len > b->cap) {
        b->err = grow(b, b->len + len);
    }
    return b->err ? NULL : b->data + b->len;
}

void buf_added(struct buf *b, size_t len)
{
    b->len += len;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
    uint8_t *room = buf_room(b, len);

    if (room == NULL) {
        return b->err;
    }
    if (len > 0) {
        memcpy(room, data, len);
    }
    buf_added(b, len);
    return 0;
}

void buf_consume(struct buf *b, size_t len)
{
    if (len == 0) {
        return; /* also when there never was any data */
    }
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

uint8_t *buf_take(struct buf *b, size_t *len)
{
    uint8_t *data = b->data;

    if (b->err != 0) {
        return NULL;
    }
    *len = b->len;
    b->data = NULL;
    buf_init(b, b->max);
    return data;
}
