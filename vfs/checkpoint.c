/* Writing the WAL back into the database, and starting the WAL over.
 *
 * SQLite's rules for a checkpoint that waits for nobody: frames up to the
 * lowest read mark in use may be written back, while READ0 is held exclusively
 * (its holders read the file alone). The order of syncs makes an unsynced WAL
 * safe: the WAL before any page goes to the database, the database before the
 * header says that everything is there. A power loss then leaves either a WAL
 * that repairs the file or a file that needs none.
 *
 * CKPT is ours, shared, for life, so nobody else checkpoints or resets; one
 * thread does both here, which is what SQLite's WAL-reset bug (fixed in 3.51.3)
 * needs two for. The reset wants READ1-4: nobody may be reading from the WAL.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/apply_internal.h"
#include "vfs/sqlite_code.h"

/* A session publishes its header in well under a microsecond. */
#define TORN_TRIES 50
#define TORN_WAIT_US 200

struct moved_page {
    uint32_t page, frame;
};

/* Read a header that a session may be writing at this moment. */
static int read_beside_session(struct apply *a)
{
    int err = wal_index_read(&a->index, &a->h);

    for (int i = 0; i < TORN_TRIES && err == ERR_CORRUPT; i++) {
        a->files.vfs->xSleep(a->files.vfs, TORN_WAIT_US);
        err = wal_index_read(&a->index, &a->h);
    }
    return err == ERR_CORRUPT ? ERR_BUSY : err;
}

/* The last frame that no reader forbids to write back. Marks that nobody holds
 * are moved out of the way. */
static int safe_frame(struct apply *a, uint32_t *safe)
{
    volatile struct wal_index_info *info = wal_index_info(&a->index);

    *safe = a->h.frames;
    for (int i = 1; i < READ_SLOTS; i++) {
        uint32_t mark = info->read_mark[i];
        int err;
        if (mark >= *safe) {
            continue;
        }
        err = base_shm_exclusive(a->files.db, SLOT_READ0 + i, 1);
        if (err == 0) {
            info->read_mark[i] = i == 1 ? *safe : READ_MARK_UNUSED;
            base_shm_unlock_exclusive(a->files.db, SLOT_READ0 + i, 1);
        } else if (err == ERR_BUSY) {
            *safe = mark;
        } else {
            return err;
        }
    }
    return 0;
}

static int by_page_then_newest(const void *left, const void *right)
{
    const struct moved_page *l = left, *r = right;

    if (l->page != r->page) {
        return l->page < r->page ? -1 : 1;
    }
    return l->frame > r->frame ? -1 : l->frame < r->frame;
}

/* Which pages to write back, in file order, each from its newest frame. Made
 * with malloc. */
static int collect(struct apply *a, uint32_t after, uint32_t last,
                   struct moved_page **out, uint32_t *count)
{
    struct moved_page *all = malloc((last - after) * sizeof *all);
    uint32_t kept = 0;

    if (all == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < last - after; i++) {
        int err = wal_index_page(&a->index, after + 1 + i, &all[i].page);
        if (err != 0) {
            free(all);
            return err;
        }
        all[i].frame = after + 1 + i;
    }
    qsort(all, last - after, sizeof *all, by_page_then_newest);
    for (uint32_t i = 0; i < last - after; i++) {
        bool newest = kept == 0 || all[kept - 1].page != all[i].page;
        if (newest && all[i].page != 0 && all[i].page <= a->h.db_pages) {
            all[kept++] = all[i];
        }
    }
    *out = all;
    *count = kept;
    return 0;
}

static int move_pages(struct apply *a, const struct moved_page *pages,
                      uint32_t count)
{
    uint32_t size = a->files.page_size;
    uint8_t *image = malloc(size);
    int rc = image == NULL ? SQLITE_NOMEM : SQLITE_OK;

    for (uint32_t i = 0; i < count && rc == SQLITE_OK; i++) {
        uint64_t from =
            wal_frame_offset(size, pages[i].frame) + WAL_FRAME_HEADER_BYTES;
        uint64_t to = (uint64_t)(pages[i].page - 1) * size;
        rc = a->files.wal->pMethods->xRead(a->files.wal, image, (int)size,
                                           (sqlite3_int64)from);
        if (rc == SQLITE_OK) {
            rc = a->files.db->pMethods->xWrite(a->files.db, image, (int)size,
                                               (sqlite3_int64)to);
        }
        FAILPOINT("checkpoint.page");
    }
    free(image);
    return sqlite_code_err(rc);
}

/* The file now holds the whole database: its size, and safely so. */
static int finish_file(struct apply *a)
{
    sqlite3_file *db = a->files.db;
    int rc = db->pMethods->xTruncate(
        db, (sqlite3_int64)a->h.db_pages * a->files.page_size);

    return rc != SQLITE_OK ? sqlite_code_err(rc) : apply_sync_file(a, db);
}

/* Write frames after..safe back; READ0 is held exclusively. */
static int backfill(struct apply *a, uint32_t after, uint32_t safe)
{
    volatile struct wal_index_info *info = wal_index_info(&a->index);
    struct moved_page *pages;
    uint32_t count;
    int err = apply_sync(a);

    if (err != 0) {
        return err;
    }
    err = collect(a, after, safe, &pages, &count);
    if (err != 0) {
        return err;
    }
    FAILPOINT("checkpoint.synced");
    info->backfill_attempted = safe;
    err = move_pages(a, pages, count);
    FAILPOINT("checkpoint.moved");
    free(pages);
    if (err == 0 && safe == a->h.frames &&
        wal_index_unchanged(&a->index, &a->h)) {
        err = finish_file(a);
    }
    FAILPOINT("checkpoint.done");
    if (err == 0) {
        __atomic_store_n(&info->backfilled, safe, __ATOMIC_SEQ_CST);
    }
    return err;
}

static int checkpoint(struct apply *a)
{
    volatile struct wal_index_info *info = wal_index_info(&a->index);
    uint32_t safe, done = info->backfilled;
    int err;

    if (done >= a->h.frames) {
        return 0;
    }
    err = safe_frame(a, &safe);
    if (err != 0 || done >= safe) {
        return err;
    }
    err = base_shm_exclusive(a->files.db, SLOT_READ0, 1);
    if (err != 0) {
        return err == ERR_BUSY ? 0 : err;
    }
    err = backfill(a, done, safe);
    base_shm_unlock_exclusive(a->files.db, SLOT_READ0, 1);
    return err;
}

/* READ1-4 are held exclusively. */
static int publish_reset(struct apply *a)
{
    volatile struct wal_index_info *info = wal_index_info(&a->index);
    struct wal_index_header h = a->h;
    struct wal_state state;
    uint32_t salt;
    int err;

    put_be32(h.salt, get_be32(h.salt) + 1);
    sqlite3_randomness(sizeof salt, &salt);
    put_be32(h.salt + 4, salt);
    h.frames = 0;
    wal_index_state(&h, &state);
    err = apply_tell(a, &state, false);
    if (err != 0) {
        return err;
    }
    /* Before the header: a death in between must not leave frames of the new
     * WAL that readers take for written back. The old ones are all there. */
    __atomic_store_n(&info->backfilled, 0, __ATOMIC_SEQ_CST);
    info->backfill_attempted = 0;
    info->read_mark[1] = 0;
    for (int i = 2; i < READ_SLOTS; i++) {
        info->read_mark[i] = READ_MARK_UNUSED;
    }
    FAILPOINT("checkpoint.reset");
    wal_index_publish(&a->index, &h);
    FAILPOINT("checkpoint.was_reset");
    a->h = h;
    a->expected = state;
    return 0;
}

static int reset(struct apply *a)
{
    struct wal_state now;
    int err;

    if (a->h.frames == 0 ||
        wal_index_info(&a->index)->backfilled != a->h.frames) {
        return 0;
    }
    /* A state that nobody has accounted for must be found, not carried on. */
    wal_index_state(&a->h, &now);
    if (!wal_state_equal(&now, &a->expected)) {
        return ERR_FOREIGN;
    }
    err = base_shm_exclusive(a->files.db, SLOT_READ0 + 1, READ_SLOTS - 1);
    if (err != 0) {
        return err == ERR_BUSY ? 0 : err;
    }
    err = publish_reset(a);
    base_shm_unlock_exclusive(a->files.db, SLOT_READ0 + 1, READ_SLOTS - 1);
    return err;
}

int apply_checkpoint(struct apply *a, bool may_reset)
{
    int err = may_reset ? apply_load(a) : read_beside_session(a);

    if (err == 0) {
        err = checkpoint(a);
    }
    if (err == 0 && may_reset) {
        err = reset(a);
    }
    return err;
}
