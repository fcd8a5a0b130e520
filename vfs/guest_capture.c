/* What SQLite does to a WAL while it has the write lock
 * (https://sqlite.org/fileformat2.html#walformat, and wal.c):
 *
 *   32 bytes at 0         a new log: everything before is forgotten
 *   24 bytes              header of frame k, whose page follows
 *   page at the header    frame k; the last one of a transaction, the commit
 *                         frame, has a database size in its header
 *   page elsewhere        an earlier frame of this transaction in place
 *
 * After ROLLBACK TO a savepoint SQLite says nothing: it just goes on with a
 * lower frame number, so a header for frame k drops all frames from k on. A
 * page may have several frames, the last one counts. All frames but the commit
 * frame are in the file before it, which is what a large transaction reads its
 * images from.
 *
 * The header is held until its page comes, and both are written at once. That
 * of the commit frame is held until the transaction has been accepted, because
 * from then on a recovery would find it. What follows (checksums, padding) does
 * not change any page. */
#include "vfs/guest_capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

/* Above this many bytes of images they are left in the WAL only. */
#define BUFFERED_BYTES_MAX ((size_t)4 << 20)
/* Frames whose memory is kept for the next transaction, and how many of them
 * the array may be made for. */
#define FRAMES_KEPT 16
#define CAPACITY_KEPT 1024

struct capture_frame {
    uint32_t number; /* of the page */
    bool unsummed;   /* salts and checksum were left out */
    uint8_t *bytes;  /* header and page; NULL when lean */
    size_t size;     /* allocated */
};

void capture_init(struct capture *c, const struct capture_hooks *hooks)
{
    memset(c, 0, sizeof *c);
    c->hooks = *hooks;
    c->buffered_max = BUFFERED_BYTES_MAX;
}

static void release_from(struct capture *c, uint32_t first)
{
    for (uint32_t i = first; i < c->capacity; i++) {
        free(c->frames[i].bytes);
        c->frames[i].bytes = NULL;
        c->frames[i].size = 0;
    }
}

void capture_close(struct capture *c)
{
    release_from(c, 0);
    free(c->frames);
    free(c->scratch);
    memset(c, 0, sizeof *c);
}

static void forget(struct capture *c)
{
    release_from(c, FRAMES_KEPT);
    if (c->capacity > CAPACITY_KEPT) {
        release_from(c, 0);
        free(c->frames);
        c->frames = NULL;
        c->capacity = 0;
    }
    c->first = 0;
    c->count = 0;
    c->buffered = 0;
    c->lean = false;
    c->header_held = false;
}

void capture_lock(struct capture *c, uint32_t page_size)
{
    forget(c);
    c->page_size = page_size;
    c->phase = CAPTURE_OPEN;
}

bool capture_unlock(struct capture *c)
{
    bool accepted = c->phase == CAPTURE_SHOWN;

    forget(c);
    c->phase = CAPTURE_IDLE;
    return accepted;
}

static void fail(struct capture_answer *answer, int err)
{
    answer->step = CAPTURE_FAIL;
    answer->err = err;
}

static size_t frame_bytes(const struct capture *c)
{
    return WAL_FRAME_HEADER_BYTES + (size_t)c->page_size;
}

/* Frame number and place within the frame of an offset; false when it is not
 * in any frame. */
static bool locate(const struct capture *c, int64_t offset, uint32_t *frame,
                   size_t *within)
{
    uint64_t size = frame_bytes(c);
    uint64_t at;

    if (!wal_page_size_ok(c->page_size) || offset < WAL_HEADER_BYTES) {
        return false;
    }
    at = (uint64_t)offset - WAL_HEADER_BYTES;
    if (at / size >= UINT32_MAX) {
        return false;
    }
    *frame = (uint32_t)(at / size) + 1;
    *within = (size_t)(at % size);
    return true;
}

static int make_room(struct capture *c)
{
    uint32_t capacity = c->capacity > 0 ? c->capacity * 2 : FRAMES_KEPT;
    struct capture_frame *frames;

    if (c->count < c->capacity) {
        return 0;
    }
    frames = realloc(c->frames, capacity * sizeof *frames);
    if (frames == NULL) {
        return -ENOMEM;
    }
    memset(frames + c->capacity, 0, (capacity - c->capacity) * sizeof *frames);
    c->frames = frames;
    c->capacity = capacity;
    return 0;
}

static int reserve(uint8_t **bytes, size_t *size, size_t need)
{
    uint8_t *more;

    if (*size >= need) {
        return 0;
    }
    more = realloc(*bytes, need);
    if (more == NULL) {
        return -ENOMEM;
    }
    *bytes = more;
    *size = need;
    return 0;
}

static void take_wal_header(struct capture *c, const uint8_t *header)
{
    forget(c);
    c->page_size = get_be32(header + 8);
}

/* The header of frame `frame`: everything from there on is being rewritten. */
static void take_frame_header(struct capture *c, const uint8_t *bytes,
                              uint32_t frame, struct capture_answer *answer)
{
    if (c->first == 0) {
        c->first = frame;
    }
    if (frame < c->first || frame - c->first > c->count) {
        fail(answer, ERR_CORRUPT);
        return;
    }
    if (frame - c->first < c->count && !c->lean) {
        c->buffered -= (c->count - (frame - c->first)) * (size_t)c->page_size;
    }
    c->count = frame - c->first;
    memcpy(c->held, bytes, sizeof c->held);
    c->held_frame = frame;
    c->header_held = true;
    answer->step = CAPTURE_HELD;
}

/* Where the frame that is being added is put together. */
static int place_for_frame(struct capture *c, uint8_t **place)
{
    struct capture_frame *f;
    int rc = make_room(c);

    if (rc != 0) {
        return rc;
    }
    if (!c->lean && c->buffered + c->page_size > c->buffered_max) {
        release_from(c, 0);
        c->lean = true;
    }
    if (c->lean) {
        rc = reserve(&c->scratch, &c->scratch_size, frame_bytes(c));
        *place = c->scratch;
        return rc;
    }
    f = &c->frames[c->count];
    rc = reserve(&f->bytes, &f->size, frame_bytes(c));
    *place = f->bytes;
    return rc;
}

static int by_page_then_frame(const void *a, const void *b)
{
    const struct proposal_page *x = a;
    const struct proposal_page *y = b;

    if (x->number != y->number) {
        return x->number < y->number ? -1 : 1;
    }
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* Every page once, its last frame; none beyond the new size. */
static uint32_t collect(const struct capture *c, uint32_t db_pages,
                        const uint8_t *last_image, struct proposal_page *pages)
{
    uint32_t n = 0;
    uint32_t kept = 0;
    const uint8_t *bytes;

    for (uint32_t i = 0; i < c->count; i++) {
        if (c->frames[i].number > db_pages) {
            continue;
        }
        bytes = c->lean ? NULL : c->frames[i].bytes;
        pages[n].number = c->frames[i].number;
        pages[n].frame = c->first + i;
        pages[n].image = bytes ? bytes + WAL_FRAME_HEADER_BYTES : NULL;
        if (i + 1 == c->count) {
            pages[n].image = last_image; /* not yet in the file */
        }
        n++;
    }
    qsort(pages, n, sizeof *pages, by_page_then_frame);
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 == n || pages[i].number != pages[i + 1].number) {
            pages[kept++] = pages[i];
        }
    }
    return kept;
}

static int propose(struct capture *c, const uint8_t *last_image)
{
    struct proposal p = {.page_size = c->page_size,
                         .db_pages = get_be32(c->held + 4),
                         .read = c->hooks.read,
                         .arg = c->hooks.arg};
    struct proposal_page *pages = malloc(c->count * sizeof *pages);
    int rc;

    if (pages == NULL) {
        return -ENOMEM;
    }
    p.count = collect(c, p.db_pages, last_image, pages);
    p.pages = pages;
    rc = (uint64_t)p.count * p.page_size > TXN_BYTES_MAX
             ? ERR_FULL
             : c->hooks.propose(c->hooks.arg, &p, c->held_frame);
    free(pages);
    return rc;
}

/* SQLite leaves these fields zero when it means to fill them in later. */
static bool is_unsummed(const uint8_t *header)
{
    static const uint8_t zeros[WAL_FRAME_HEADER_BYTES - 8];

    return memcmp(header + 8, zeros, sizeof zeros) == 0;
}

/* The page that belongs to the held header. */
static void take_frame(struct capture *c, const uint8_t *image, int64_t offset,
                       struct capture_answer *answer)
{
    bool commit = get_be32(c->held + 4) != 0;
    uint8_t *place;
    int rc = place_for_frame(c, &place);

    c->header_held = false;
    answer->commit = commit;
    if (rc == 0) {
        memcpy(place, c->held, sizeof c->held);
        memcpy(place + sizeof c->held, image, c->page_size);
        c->frames[c->count].number = get_be32(c->held);
        c->frames[c->count++].unsummed = is_unsummed(c->held);
        c->buffered += c->lean ? 0 : c->page_size;
        if (commit) {
            rc = propose(c, place + sizeof c->held);
            c->phase = rc == 0 ? CAPTURE_SHOWN : CAPTURE_LOST;
        }
    }
    if (rc != 0) {
        fail(answer, rc);
        return;
    }
    answer->step = CAPTURE_JOIN;
    answer->bytes = place;
    answer->len = frame_bytes(c);
    answer->offset = offset - WAL_FRAME_HEADER_BYTES;
}

/* A page that is written once more into its frame. */
static void take_overwrite(struct capture *c, const uint8_t *image,
                           uint32_t frame, struct capture_answer *answer)
{
    if (c->first == 0 || frame < c->first || frame - c->first >= c->count) {
        fail(answer, ERR_CORRUPT);
        return;
    }
    if (!c->lean) {
        memcpy(c->frames[frame - c->first].bytes + WAL_FRAME_HEADER_BYTES,
               image, c->page_size);
    }
    answer->step = CAPTURE_PASS;
}

void capture_write(struct capture *c, const uint8_t *bytes, size_t len,
                   int64_t offset, struct capture_answer *answer)
{
    uint32_t frame;
    size_t within;

    memset(answer, 0, sizeof *answer);
    if (c->phase == CAPTURE_SHOWN) {
        answer->step = CAPTURE_PASS;
    } else if (c->phase != CAPTURE_OPEN) {
        fail(answer, ERR_READONLY);
    } else if (offset == 0 && len == WAL_HEADER_BYTES) {
        take_wal_header(c, bytes);
        answer->step = CAPTURE_PASS;
    } else if (!locate(c, offset, &frame, &within)) {
        fail(answer, ERR_CORRUPT);
    } else if (within == 0 && len == WAL_FRAME_HEADER_BYTES) {
        take_frame_header(c, bytes, frame, answer);
    } else if (within != WAL_FRAME_HEADER_BYTES || len != c->page_size) {
        fail(answer, ERR_CORRUPT);
    } else if (c->header_held && frame == c->held_frame) {
        take_frame(c, bytes, offset, answer);
    } else {
        take_overwrite(c, bytes, frame, answer);
    }
}

uint32_t capture_last(const struct capture *c)
{
    return c->first == 0 ? 0 : c->first + c->count - 1;
}

bool capture_unsummed(const struct capture *c, uint32_t frame)
{
    for (uint32_t i = 0; i < c->count && c->first + i <= frame; i++) {
        if (c->frames[i].unsummed) {
            return true;
        }
    }
    return false;
}

uint32_t capture_page(const struct capture *c, uint32_t frame,
                      const uint8_t **image)
{
    const struct capture_frame *f = &c->frames[frame - c->first];

    *image = c->lean ? NULL : f->bytes + WAL_FRAME_HEADER_BYTES;
    return f->number;
}
