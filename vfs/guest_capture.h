/* Turns what SQLite writes to a WAL into transactions: no files, no sockets,
 * no SQLite. One object per database handle; algorithm on top of the .c.
 *
 * The door (whoever intercepts the writes) calls capture_lock when SQLite got
 * the write lock, capture_write for every write to the WAL, carries out what
 * the answer says, and calls capture_unlock. Errors are ERR_* or -errno. */
#ifndef VFS_GUEST_CAPTURE_H
#define VFS_GUEST_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfs/guest_client.h" /* struct proposal */
#include "vfs/wal_format.h"

enum capture_step {
    CAPTURE_PASS, /* write as it is */
    CAPTURE_HELD, /* report success, write nothing */
    CAPTURE_JOIN, /* write `bytes` instead: a held header and its page */
    CAPTURE_FAIL  /* write nothing, report `err` */
};

struct capture_answer {
    enum capture_step step;
    bool commit; /* FAIL, JOIN: this is the commit frame */
    int err;
    const uint8_t *bytes; /* JOIN: borrowed until the next call */
    size_t len;
    int64_t offset;
};

struct capture_hooks {
    /* Decide a transaction whose last frame will be `frame`: 0 only when it
     * has been accepted. */
    int (*propose)(void *arg, const struct proposal *p, uint32_t frame);
    /* The page of a frame that was written to the WAL. */
    int (*read)(void *arg, uint32_t frame, uint8_t *image);
    void *arg;
};

enum capture_phase {
    CAPTURE_IDLE,  /* no write lock: nothing may be written */
    CAPTURE_OPEN,  /* a transaction may be written */
    CAPTURE_SHOWN, /* accepted: what follows is SQLite's own business */
    CAPTURE_LOST   /* failed at the commit: nothing more may be written */
};

struct capture_frame;

struct capture {
    struct capture_hooks hooks;
    enum capture_phase phase;
    uint32_t page_size;
    uint32_t first; /* frame number of frames[0]; 0 = none yet */
    struct capture_frame *frames;
    uint32_t count, capacity;
    size_t buffered; /* bytes of images in memory */
    size_t buffered_max;
    bool lean;        /* images only in the WAL: a large transaction */
    bool header_held; /* `held` belongs to frame number `held_frame` */
    uint32_t held_frame;
    uint8_t held[WAL_FRAME_HEADER_BYTES];
    uint8_t *scratch; /* a header and a page */
    size_t scratch_size;
};

void capture_init(struct capture *c, const struct capture_hooks *hooks);
void capture_close(struct capture *c);

/* SQLite has the write lock. `page_size` 0: told by the WAL header. */
void capture_lock(struct capture *c, uint32_t page_size);

void capture_write(struct capture *c, const uint8_t *bytes, size_t len,
                   int64_t offset, struct capture_answer *answer);

/* The last frame of the running transaction; 0 before the first. */
uint32_t capture_last(const struct capture *c);

/* Did SQLite write a frame of it, up to number `frame`, without a checksum? */
bool capture_unsummed(const struct capture *c, uint32_t frame);

/* Page number and image of one of its frames; NULL: only in the WAL. */
uint32_t capture_page(const struct capture *c, uint32_t frame,
                      const uint8_t **image);

/* SQLite gave the write lock back; true when a transaction was accepted. */
bool capture_unlock(struct capture *c);

#endif
