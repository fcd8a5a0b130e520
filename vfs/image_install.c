/* Putting an image in the database's place.
 *
 *   nothing at the path   the image is linked there: it appears whole
 *   an empty file         others may have it open: filled in place under an
 *                         EXCLUSIVE lock, page 1 last. Cut short, it has a
 *                         zero page 1 and the image beside it, which
 *                         file_classify counts as empty again
 *   same page size, WAL   one WAL transaction: open readers go on, and a power
 *                         loss leaves the old or the new content
 *   anything else         SQLite folds the -wal in, holds the file
 *                         EXCLUSIVE, and the image is renamed over it. A
 *                         program that keeps the old file open gets
 *                         SQLITE_READONLY_DBMOVED when it writes
 *
 * The image's own descriptor is closed before it becomes the database: closing
 * it later would drop the locks that this process has on it by then. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/apply.h"
#include "vfs/base_files.h"
#include "vfs/image.h"
#include "vfs/image_internal.h"
#include "vfs/sqlite_code.h"
#include "vfs/wal_format.h"

static uint64_t image_bytes(const struct image_writer *w)
{
    return (uint64_t)w->pages * w->page_size;
}

static void close_image(struct image_writer *w)
{
    if (w->fd >= 0) {
        close(w->fd);
        w->fd = -1;
    }
}

/* A -wal or -journal without its database would be taken for the new one's. */
static int delete_leftovers(const struct image_writer *w)
{
    static const char *const suffixes[] = {"-journal", "-wal", "-shm"};

    for (int i = 0; i < 3; i++) {
        char *name = sqlite3_mprintf("%s%s", w->path, suffixes[i]);
        int err = name == NULL ? -ENOMEM : unlink(name) != 0 ? -errno : 0;
        sqlite3_free(name);
        if (err != 0 && err != -ENOENT) {
            return err;
        }
    }
    return 0;
}

/* ---- where no database is ------------------------------------------------ */

static int write_in_place(struct image_writer *w, sqlite3_file *db)
{
    uint32_t step = IMAGE_RUN_BYTES / w->page_size;
    uint8_t *run = malloc(IMAGE_RUN_BYTES);
    int err = run == NULL ? -ENOMEM : 0;

    for (uint32_t n = 2; n <= w->pages && err == 0; n += step) {
        uint32_t count = w->pages - n + 1 < step ? w->pages - n + 1 : step;
        uint64_t at = (uint64_t)(n - 1) * w->page_size;
        err = image_read(w->fd, run, (size_t)count * w->page_size, at);
        if (err == 0) {
            err = sqlite_code_err(db->pMethods->xWrite(
                db, run, (int)(count * w->page_size), (sqlite3_int64)at));
        }
    }
    if (err == 0) {
        err = sqlite_code_err(db->pMethods->xSync(db, SQLITE_SYNC_NORMAL));
    }
    if (err == 0) {
        err = image_read(w->fd, run, w->page_size, 0);
    }
    if (err == 0) {
        err = sqlite_code_err(
            db->pMethods->xWrite(db, run, (int)w->page_size, 0));
    }
    if (err == 0) {
        err = sqlite_code_err(db->pMethods->xSync(db, SQLITE_SYNC_NORMAL));
    }
    free(run);
    return err;
}

/* Nobody may have written a page 1 since it was looked at. */
static int still_empty(sqlite3_file *db)
{
    uint8_t start[WAL_PAGE_SIZE_MIN] = {0};
    sqlite3_int64 size;
    int err = sqlite_code_err(db->pMethods->xFileSize(db, &size));

    if (err != 0 || size == 0) {
        return err;
    }
    err = sqlite_code_err(db->pMethods->xRead(db, start, sizeof start, 0));
    for (size_t i = 0; i < sizeof start && err == 0; i++) {
        err = start[i] != 0 ? ERR_BUSY : 0;
    }
    return err;
}

static int fill_locked(struct image_writer *w, sqlite3_file *db)
{
    int err = sqlite_code_err(db->pMethods->xLock(db, SQLITE_LOCK_SHARED));

    if (err == 0) {
        err = sqlite_code_err(db->pMethods->xLock(db, SQLITE_LOCK_EXCLUSIVE));
    }
    if (err == 0) {
        err = still_empty(db);
    }
    if (err != 0) {
        return err;
    }
    err = delete_leftovers(w);
    if (err == 0) {
        err = write_in_place(w, db);
    }
    if (err != 0) {
        db->pMethods->xTruncate(db, 0);
    }
    return err;
}

static int fill_empty(struct image_writer *w)
{
    sqlite3_vfs *vfs = base_vfs();
    sqlite3_file *db = calloc(1, (size_t)vfs->szOsFile);
    int err, flags, rc;

    if (db == NULL) {
        return -ENOMEM;
    }
    rc = vfs->xOpen(
        vfs, w->path, db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB,
        &flags);
    err = sqlite_code_err(rc);
    if (err == 0) {
        err = fill_locked(w, db);
        db->pMethods->xUnlock(db, SQLITE_LOCK_NONE);
    }
    if (db->pMethods != NULL) {
        db->pMethods->xClose(db);
    }
    free(db);
    return err;
}

static int place_new(struct image_writer *w)
{
    int err = delete_leftovers(w);

    if (err != 0) {
        return err;
    }
    FAILPOINT("image.link");
    if (link(w->temp, w->path) != 0) {
        /* Somebody has just created it, or the file system has no links. */
        return errno == EEXIST ? ERR_BUSY : fill_empty(w);
    }
    FAILPOINT("image.linked");
    close_image(w);
    return image_sync_folder(w->path);
}

/* ---- replacing in place -------------------------------------------------- */

/* Add the pages of one run that differ from the database's. */
static int apply_run(struct image_writer *w, struct apply *a,
                     struct page_reader *old, uint32_t first, uint32_t count,
                     uint8_t *images)
{
    uint32_t had = page_reader_count(old);
    uint8_t *before = images + IMAGE_RUN_BYTES;
    uint32_t both = first > had ? 0 : had - first + 1;
    int err = image_read(w->fd, images, (size_t)count * w->page_size,
                         (uint64_t)(first - 1) * w->page_size);

    both = both < count ? both : count;
    if (err == 0 && both > 0) {
        err = page_reader_run(old, first, both, before);
    }
    for (uint32_t i = 0; i < count && err == 0; i++) {
        const uint8_t *image = images + (size_t)i * w->page_size;
        bool same = i < both &&
                    memcmp(image, before + (image - images), w->page_size) == 0;
        /* Page 1 always: a transaction needs a page to end with. */
        if (!same || first + i == 1) {
            err = apply_page(a, first + i, image);
        }
    }
    return err;
}

static int apply_image(struct image_writer *w, struct apply *a,
                       struct page_reader *old)
{
    uint32_t step = IMAGE_RUN_BYTES / w->page_size;
    uint8_t *images = malloc(2 * (size_t)IMAGE_RUN_BYTES);
    struct wal_state state;
    int err = images == NULL ? -ENOMEM : apply_begin(a, w->pages);

    for (uint32_t n = 1; n <= w->pages && err == 0; n += step) {
        uint32_t left = w->pages - n + 1;
        err = apply_run(w, a, old, n, left < step ? left : step, images);
    }
    if (err == 0) {
        err = apply_commit(a, &state);
    }
    if (err != 0) {
        apply_abort(a);
    }
    free(images);
    return err;
}

/* The WAL can take up the whole image, and the file grow to its size. */
static int check_room(const struct image_writer *w, const struct apply *a,
                      bool keep_aside)
{
    uint64_t old = (uint64_t)apply_pages(a) * w->page_size;
    uint64_t grows = image_bytes(w) > old ? image_bytes(w) - old : 0;
    uint64_t log = wal_frame_offset(w->page_size, w->pages + 1);

    return image_room(w->path, log + grows + (keep_aside ? old : 0));
}

static int replace_opened(struct image_writer *w, struct apply *a,
                          bool keep_aside, char aside[PATH_MAX])
{
    struct page_reader *old;
    int err = check_room(w, a, keep_aside);

    if (err == 0) {
        err = page_reader_open(a, &old);
    }
    if (err != 0) {
        return err;
    }
    if (keep_aside) {
        err = aside_by_copy(w, old, aside);
        FAILPOINT("image.aside");
    }
    if (err == 0) {
        err = apply_image(w, a, old);
        if (err != 0 && keep_aside) {
            unlink(aside);
        }
    }
    page_reader_close(old);
    return err;
}

static int replace_in_place(struct image_writer *w, bool keep_aside,
                            char aside[PATH_MAX])
{
    struct apply *a;
    int err = apply_open(w->path, &a);

    if (err != 0) {
        return err;
    }
    err = replace_opened(w, a, keep_aside, aside);
    FAILPOINT("image.applied");
    if (err == 0) {
        err = apply_sync(a);
    }
    /* The image is in force once it is in the WAL: a checkpoint that does not
     * get through is no failure of the install. */
    (void)apply_close(a, err == 0);
    return err;
}

/* ---- replacing by rename ------------------------------------------------- */

/* The database's connection holds it EXCLUSIVE and there is no -wal. */
static int rename_over(struct image_writer *w, bool keep_aside,
                       char aside[PATH_MAX])
{
    int err = 0;

    if (keep_aside) {
        err = aside_by_link(w, aside);
    }
    if (err == 0) {
        err = delete_leftovers(w);
    }
    if (err == 0) {
        close_image(w);
        FAILPOINT("image.rename");
        err = rename(w->temp, w->path) != 0 ? -errno : 0;
        FAILPOINT("image.renamed");
    }
    if (err != 0 && keep_aside) {
        unlink(aside);
    }
    return err;
}

/* Fold the -wal in and take the file EXCLUSIVE, by SQLite. */
static int take_exclusive(sqlite3 *db)
{
    int err = sqlite_code_err(
        sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL));

    if (err == 0) {
        err = file_expect_answer(db, "PRAGMA journal_mode=DELETE", "delete");
    }
    if (err == 0) {
        err = sqlite_code_err(
            sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL));
    }
    return err;
}

static int replace_by_rename(struct image_writer *w, bool was_wal,
                             bool keep_aside, char aside[PATH_MAX])
{
    sqlite3 *db = NULL;
    int err = sqlite_code_err(sqlite3_open_v2(
        w->path, &db, SQLITE_OPEN_READWRITE, base_vfs()->zName));

    if (err == 0) {
        err = take_exclusive(db);
    }
    if (err == 0) {
        err = rename_over(w, keep_aside, aside);
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    if (err != 0 && was_wal) {
        /* As it was, where SQLite got as far as changing it. */
        sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    }
    sqlite3_close(db);
    return err != 0 ? err : image_sync_folder(w->path);
}

/* ---- all together -------------------------------------------------------- */

/* Is it whole, a WAL-mode database, and safely on disk? */
static int check_image(struct image_writer *w, uint64_t checksum)
{
    uint8_t header[100];
    int err;

    if (w->sum.sum != checksum) {
        return ERR_MISMATCH;
    }
    err = image_read(w->fd, header, sizeof header, 0);
    if (err != 0) {
        return err;
    }
    if (memcmp(header, "SQLite format 3", 16) != 0 || header[18] != 2 ||
        header[19] != 2 || base_header_page_size(header) != w->page_size) {
        return ERR_CORRUPT;
    }
    return fsync(w->fd) != 0 ? -errno : 0;
}

static int install(struct image_writer *w, bool keep_aside,
                   char aside[PATH_MAX])
{
    enum file_kind kind;
    uint32_t page_size = 0;
    int err = file_classify(w->path, &kind, &page_size);

    if (err != 0) {
        return err;
    }
    switch (kind) {
    case FILE_MISSING:
        return place_new(w);
    case FILE_EMPTY:
        return fill_empty(w);
    case FILE_WAL:
    case FILE_ROLLBACK:
        if (kind == FILE_WAL && page_size == w->page_size) {
            return replace_in_place(w, keep_aside, aside);
        }
        return replace_by_rename(w, kind == FILE_WAL, keep_aside, aside);
    case FILE_NOT_SQLITE:
        break;
    }
    return ERR_CORRUPT;
}

int image_writer_install(struct image_writer *w, uint64_t checksum,
                         int keep_aside, char *aside)
{
    char name[PATH_MAX] = "";
    int err = check_image(w, checksum);

    FAILPOINT("image.install");
    if (err == 0) {
        err = install(w, keep_aside != 0, name);
    }
    if (err != 0) {
        return err;
    }
    if (aside != NULL) {
        snprintf(aside, PATH_MAX, "%s", name);
    }
    image_writer_cancel(w);
    return 0;
}
