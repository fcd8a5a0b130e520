/* A snapshot of the database, read page by page the way SQLite's readers do.
 *
 * When everything is in the file, READ0 keeps it so. Otherwise a read mark at
 * or below our last frame is held: nobody writes back frames above it, nor
 * starts the WAL over. The reader has file handles of its own, or its locks
 * would be the applier's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "vfs/apply_internal.h"
#include "vfs/sqlite_code.h"

#define OPEN_TRIES 100
#define OPEN_WAIT_US 1000

struct page_reader {
    struct base_files files;
    struct wal_index index;
    struct wal_index_header h;
    uint32_t pages;
    uint32_t min, max; /* frames to look at; none when max is 0 */
    int slot;          /* read lock held, or -1 */
};

/* Lock `slot`; ERR_BUSY when `mark` or the header has changed by then. */
static int hold(struct page_reader *r, int slot, uint32_t mark)
{
    volatile struct wal_index_info *info = wal_index_info(&r->index);
    int err = base_shm_shared(r->files.db, SLOT_READ0 + slot);

    if (err != 0) {
        return err;
    }
    /* Before the marks are looked at again: frames up to here are in the file
     * for good, as long as the lock is held. */
    r->min = info->backfilled + 1;
    if (!wal_index_unchanged(&r->index, &r->h) ||
        (slot > 0 && info->read_mark[slot] != mark)) {
        base_shm_unlock_shared(r->files.db, SLOT_READ0 + slot);
        return ERR_BUSY;
    }
    r->slot = slot;
    return 0;
}

/* The slot whose mark is the highest not above our frames; 0 if none. */
static int best_slot(struct page_reader *r, uint32_t *mark)
{
    volatile struct wal_index_info *info = wal_index_info(&r->index);
    int best = 0;

    *mark = 0;
    for (int i = 1; i < READ_SLOTS; i++) {
        uint32_t m = info->read_mark[i];
        if (m >= *mark && m <= r->h.frames) {
            *mark = m;
            best = i;
        }
    }
    return best;
}

/* Set some free mark to our last frame. */
static int claim_slot(struct page_reader *r, int *slot, uint32_t *mark)
{
    volatile struct wal_index_info *info = wal_index_info(&r->index);

    for (int i = 1; i < READ_SLOTS; i++) {
        int err = base_shm_exclusive(r->files.db, SLOT_READ0 + i, 1);
        if (err == 0) {
            info->read_mark[i] = r->h.frames;
            base_shm_unlock_exclusive(r->files.db, SLOT_READ0 + i, 1);
            *slot = i;
            *mark = r->h.frames;
            return 0;
        }
        if (err != ERR_BUSY) {
            return err;
        }
    }
    return ERR_BUSY;
}

static int try_snapshot(struct page_reader *r)
{
    uint32_t mark;
    int slot, err = wal_index_read(&r->index, &r->h);

    if (err != 0) {
        return err == ERR_CORRUPT ? ERR_BUSY : err;
    }
    if (wal_index_info(&r->index)->backfilled == r->h.frames) {
        err = hold(r, 0, 0);
        if (err == 0) {
            r->max = 0;
        }
        return err;
    }
    slot = best_slot(r, &mark);
    if (slot == 0 || mark < r->h.frames) {
        err = claim_slot(r, &slot, &mark);
        if (err != 0 && (err != ERR_BUSY || slot == 0)) {
            return err;
        }
    }
    r->max = r->h.frames;
    return hold(r, slot, mark);
}

static int snapshot(struct page_reader *r)
{
    int err = try_snapshot(r);

    for (int i = 1; i < OPEN_TRIES && err == ERR_BUSY; i++) {
        r->files.vfs->xSleep(r->files.vfs, OPEN_WAIT_US);
        err = try_snapshot(r);
    }
    return err;
}

int page_reader_open(struct apply *a, struct page_reader **out)
{
    struct page_reader *r = calloc(1, sizeof *r);
    int err;

    if (r == NULL) {
        return -ENOMEM;
    }
    r->slot = -1;
    err = base_files_open(a->files.name, &r->files);
    if (err == 0) {
        wal_index_init(&r->index, r->files.db);
        err = wal_index_map(&r->index);
    }
    if (err == 0) {
        err = snapshot(r);
    }
    if (err == 0) {
        err = apply_count_pages(a, &r->h, &r->pages);
    }
    if (err != 0) {
        page_reader_close(r);
        return err;
    }
    *out = r;
    return 0;
}

uint32_t page_reader_count(const struct page_reader *r)
{
    return r->pages;
}

/* Overlay page `number` from the WAL if its newest image is there. */
static int overlay(struct page_reader *r, uint32_t number, uint8_t *image)
{
    uint32_t frame, size = r->files.page_size;
    int err = wal_index_find(&r->index, r->min, r->max, number, &frame);

    if (err != 0 || frame == 0) {
        return err;
    }
    return sqlite_code_err(r->files.wal->pMethods->xRead(
        r->files.wal, image, (int)size,
        (sqlite3_int64)(wal_frame_offset(size, frame) +
                        WAL_FRAME_HEADER_BYTES)));
}

int page_reader_run(struct page_reader *r, uint32_t first, uint32_t count,
                    uint8_t *images)
{
    uint32_t size = r->files.page_size, lock = wal_lock_page(size);
    int rc, err = 0;

    if (first == 0 || first > r->pages || count > r->pages - first + 1) {
        return ERR_NOT_FOUND;
    }
    rc = r->files.db->pMethods->xRead(r->files.db, images, (int)(count * size),
                                      (sqlite3_int64)(first - 1) * size);
    /* The file may end before the database does; the VFS fills with zeros. */
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) {
        return sqlite_code_err(rc);
    }
    for (uint32_t i = 0; i < count && err == 0; i++) {
        uint8_t *image = images + (size_t)i * size;
        if (first + i == lock) {
            memset(image, 0, size);
        } else if (r->max != 0) {
            err = overlay(r, first + i, image);
        }
    }
    return err;
}

int page_reader_get(struct page_reader *r, uint32_t number, uint8_t *image)
{
    return page_reader_run(r, number, 1, image);
}

void page_reader_close(struct page_reader *r)
{
    if (r->slot >= 0) {
        base_shm_unlock_shared(r->files.db, SLOT_READ0 + r->slot);
    }
    if (r->files.db != NULL) {
        wal_index_close(&r->index);
        base_files_close(&r->files);
    }
    free(r);
}
