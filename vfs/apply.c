/* Opening and closing a managed database, and the state that its WAL is in.
 *
 * Held from open to close: SHARED on the database (nobody is the last closer
 * and deletes the WAL) and the WRITE and CKPT slots of the -shm, both SHARED:
 * programs without our VFS can neither write nor checkpoint. They were held
 * exclusively for a moment before, which proves that no session and no other
 * node is there. That moment must not open a gap for a second node that starts
 * at the same time: WRITE is exchanged while CKPT is still exclusive, so a
 * competitor that slips in between gets WRITE but not CKPT, and gives up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/apply_internal.h"
#include "vfs/sqlite_code.h"
#include "wire/page.h"

#define LOCK_TRIES 25
#define LOCK_WAIT_US 2000
#define IDENTITY_US 50000

/* The unix VFS fails writes of 128 KiB and more. */
#define WRITE_BYTES_MAX 131071u

static void wait_a_little(const struct apply *a)
{
    a->files.vfs->xSleep(a->files.vfs, LOCK_WAIT_US);
}

static int lock_exclusive(struct apply *a, int slot)
{
    int err = base_shm_exclusive(a->files.db, slot, 1);

    for (int i = 1; i < LOCK_TRIES && err == ERR_BUSY; i++) {
        wait_a_little(a);
        err = base_shm_exclusive(a->files.db, slot, 1);
    }
    return err;
}

/* From exclusive to SHARED. */
static int exchange(struct apply *a, int slot)
{
    int err;

    base_shm_unlock_exclusive(a->files.db, slot, 1);
    err = base_shm_shared(a->files.db, slot);
    for (int i = 1; i < LOCK_TRIES && err == ERR_BUSY; i++) {
        wait_a_little(a);
        err = base_shm_shared(a->files.db, slot);
    }
    return err;
}

int apply_load(struct apply *a)
{
    int err = wal_index_read(&a->index, &a->h);

    if (err != ERR_CORRUPT) {
        return err;
    }
    return wal_index_recover(&a->index, a->files.wal, a->files.page_size,
                             &a->h);
}

/* Nobody else writes or checkpoints now. A stock program that died in the
 * middle of starting the WAL over leaves more frames written back than there
 * are: readers would miss as many of the next ones. */
static int load_alone(struct apply *a)
{
    int err = apply_load(a);

    if (err == 0 && wal_index_info(&a->index)->backfilled > a->h.frames) {
        err = wal_index_recover(&a->index, a->files.wal, a->files.page_size,
                                &a->h);
    }
    return err;
}

static int take_locks(struct apply *a)
{
    int err = lock_exclusive(a, SLOT_WRITE);

    if (err != 0) {
        return err;
    }
    err = lock_exclusive(a, SLOT_CKPT);
    if (err != 0) {
        base_shm_unlock_exclusive(a->files.db, SLOT_WRITE, 1);
        return err;
    }
    err = load_alone(a);
    if (err != 0) {
        base_shm_unlock_exclusive(a->files.db, SLOT_WRITE, 1);
        base_shm_unlock_exclusive(a->files.db, SLOT_CKPT, 1);
        return err;
    }
    err = exchange(a, SLOT_WRITE);
    if (err != 0) {
        base_shm_unlock_exclusive(a->files.db, SLOT_CKPT, 1);
        return err;
    }
    a->holds_write = true;
    err = exchange(a, SLOT_CKPT);
    a->holds_ckpt = err == 0;
    return err;
}

static void drop_locks(struct apply *a)
{
    if (a->holds_ckpt) {
        base_shm_unlock_shared(a->files.db, SLOT_CKPT);
    }
    if (a->holds_write) {
        base_shm_unlock_shared(a->files.db, SLOT_WRITE);
    }
    a->holds_ckpt = a->holds_write = false;
}

static int identify(const struct apply *a, struct file_identity *out)
{
    static const char *const suffixes[IDENTITIES] = {"", "-wal", "-shm"};

    for (int i = 0; i < IDENTITIES; i++) {
        char *name = sqlite3_mprintf("%s%s", a->files.name, suffixes[i]);
        struct stat st;
        int err = name == NULL ? -ENOMEM : stat(name, &st) != 0 ? -errno : 0;

        sqlite3_free(name);
        if (err != 0) {
            return err;
        }
        out[i] = (struct file_identity){st.st_dev, st.st_ino};
    }
    return 0;
}

static int open_index(struct apply *a)
{
    int err;

    wal_index_init(&a->index, a->files.db);
    err = wal_index_map(&a->index);
    /* BUSY: another process is creating the shared memory right now. */
    for (int i = 1; i < LOCK_TRIES && err == ERR_BUSY; i++) {
        wait_a_little(a);
        err = wal_index_map(&a->index);
    }
    if (err == 0) {
        err = take_locks(a);
    }
    if (err == 0) {
        /* Again: a stock writer may have used the moment of the exchange. */
        err = apply_load(a);
    }
    if (err == 0) {
        err = identify(a, a->identity);
    }
    return err;
}

/* Lets go of everything that apply_open took. */
static void release(struct apply *a)
{
    if (a->files.db != NULL) {
        drop_locks(a);
        wal_index_close(&a->index);
        base_files_close(&a->files);
    }
    free(a->txn.buffer);
    free(a->txn.pages);
    free(a);
}

int apply_open(const char *path, struct apply **out)
{
    struct apply *a = calloc(1, sizeof *a);
    int err;

    if (a == NULL) {
        return -ENOMEM;
    }
    err = base_files_open(path, &a->files);
    if (err == 0) {
        err = open_index(a);
    }
    if (err != 0) {
        release(a);
        return err;
    }
    a->txn.capacity_max =
        WRITE_BYTES_MAX / (WAL_FRAME_HEADER_BYTES + a->files.page_size);
    wal_index_state(&a->h, &a->expected);
    *out = a;
    return 0;
}

/* Let a stock connection be the last closer: it removes -wal and -shm when it
 * can have the file for itself, and leaves them when it cannot. */
static int close_as_stock(const char *path)
{
    sqlite3 *db = NULL;
    int rc =
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, base_vfs()->zName);

    if (rc == SQLITE_OK) {
        /* A connection that has read nothing does not know that there is a
         * WAL. */
        rc = sqlite3_exec(db, "PRAGMA schema_version", NULL, NULL, NULL);
    }
    sqlite3_close(db);
    return sqlite_code_err(rc);
}

int apply_close(struct apply *a, bool checkpoint)
{
    char *path = NULL;
    int err = 0;

    apply_abort(a);
    if (checkpoint) {
        err = apply_checkpoint(a, false);
        path = sqlite3_mprintf("%s", a->files.name);
        if (err == 0 && path == NULL) {
            err = -ENOMEM;
        }
        if (err == 0 && a->sync_failed) {
            err = ERR_IO;
        }
    }
    release(a);
    if (path != NULL && err == 0) {
        err = close_as_stock(path);
    }
    sqlite3_free(path);
    return err;
}

uint32_t apply_page_size(const struct apply *a)
{
    return a->files.page_size;
}

int apply_count_pages(const struct apply *a, const struct wal_index_header *h,
                      uint32_t *pages)
{
    sqlite3_int64 size;
    int rc = a->files.db->pMethods->xFileSize(a->files.db, &size);
    uint32_t in_file;

    if (rc != SQLITE_OK) {
        return sqlite_code_err(rc);
    }
    in_file = (uint32_t)(size / a->files.page_size);
    /* Every page is in the file or in a frame. */
    if (!page_growth_valid(in_file, h->frames, h->db_pages)) {
        return ERR_CORRUPT;
    }
    *pages = h->db_pages != 0 ? h->db_pages : in_file;
    return 0;
}

uint32_t apply_pages(const struct apply *a)
{
    struct wal_index_header h;
    uint32_t pages = 0;

    if (wal_index_read(&a->index, &h) != 0) {
        h = a->h;
    }
    (void)apply_count_pages(a, &h, &pages);
    return pages;
}

int apply_state(struct apply *a, struct wal_state *state)
{
    int err = apply_load(a);

    if (err == 0) {
        wal_index_state(&a->h, state);
    }
    return err;
}

void apply_expect(struct apply *a, const struct wal_state *state)
{
    a->expected = *state;
}

void apply_set_record(struct apply *a, apply_record_cb record, void *arg)
{
    a->record = record;
    a->record_arg = arg;
}

int apply_tell(struct apply *a, const struct wal_state *state, bool advances)
{
    return a->record == NULL ? 0 : a->record(a->record_arg, state, advances);
}

/* What a failed sync left unwritten the system may take for clean: a second one
 * would succeed and prove nothing. */
int apply_sync_file(struct apply *a, sqlite3_file *file)
{
    int rc = SQLITE_IOERR_FSYNC;

    if (!a->sync_failed) {
        rc = FAILPOINT_ERROR("checkpoint.sync", SQLITE_IOERR_FSYNC,
                             file->pMethods->xSync(file, SQLITE_SYNC_NORMAL));
    }
    a->sync_failed = rc != SQLITE_OK;
    return sqlite_code_err(rc);
}

int apply_sync(struct apply *a)
{
    return apply_sync_file(a, a->files.wal);
}

void apply_frames(const struct apply *a, uint32_t *frames, uint32_t *backfilled)
{
    struct wal_index_header h;

    if (wal_index_read(&a->index, &h) != 0) {
        h = a->h;
    }
    *frames = h.frames;
    *backfilled = wal_index_info(&a->index)->backfilled;
}

int apply_check_identity(struct apply *a)
{
    struct file_identity now[IDENTITIES];
    int err = identify(a, now);

    if (err != 0) {
        return err == -ENOENT ? ERR_FOREIGN : err;
    }
    for (int i = 0; i < IDENTITIES; i++) {
        if (now[i].device != a->identity[i].device ||
            now[i].inode != a->identity[i].inode) {
            return ERR_FOREIGN;
        }
    }
    a->identified_us = clock_us();
    return 0;
}

int apply_check_identity_lately(struct apply *a)
{
    return clock_us() - a->identified_us < IDENTITY_US
               ? 0
               : apply_check_identity(a);
}

bool apply_is_file(const struct apply *a, uint64_t device, uint64_t inode)
{
    return a->identity[0].device == device && a->identity[0].inode == inode;
}
