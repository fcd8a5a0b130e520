/* A growable byte buffer with an upper bound.
 *
 * After the first failure (out of memory, or above `max`) every later append
 * fails with the same code, so that a writer may check once at the end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap;
    size_t max; /* bytes */
    int err;    /* 0 or the first failure */
};

void buf_init(struct buf *b, size_t max);
void buf_close(struct buf *b);

/* Forget the content, keep the memory. */
void buf_reset(struct buf *b);

/* Returns 0, ERR_TOO_BIG or -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t len);

/* Make room for `len` more bytes and return where they go, without counting
 * them; follow with buf_added. NULL on failure (b->err says why). */
uint8_t *buf_room(struct buf *b, size_t len);
void buf_added(struct buf *b, size_t len);

/* Drop `len` bytes from the front. */
void buf_consume(struct buf *b, size_t len);

/* Move the memory to the caller, who frees it with free(); the buffer is empty
 * afterwards. NULL when nothing was ever appended or on an earlier failure. */
uint8_t *buf_take(struct buf *b, size_t *len);

#endif
