/* SQLite's lock slots in the -shm: 0 WRITE, 1 CKPT, 2 RECOVER, 3 to 7 READ0 to
 * READ4 (https://sqlite.org/walformat.html#wal_locks).
 *
 * WRITE asked by somebody who holds a READ slot is a writer, and that lock is
 * virtual: the node grants it to one session at a time. While it is granted the
 * session holds the real slot SHARED, as the node does all its life, so that no
 * program without this VFS can write, even if the node dies meanwhile. WRITE
 * asked without a READ slot is a recovery, which stays SQLite's own business.
 *
 * CKPT alone and READ1 to READ4 together are asked by checkpoints and by the
 * reset of a WAL: only the node does these. EXCLUSIVE on the file is asked by
 * the last connection that closes and by changes of the journal mode: it would
 * delete the WAL. */
#include "vfs/guest_lock.h"

#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/guest_code.h"
#include "vfs/guest_create.h"
#include "vfs/guest_log.h"

enum { WRITE = 0, CKPT = 1, READ0 = 3, READ1 = 4, RESET_SLOTS = 4 };

/* Fields of the wal-index header, in the machine's byte order. */
enum { AT_PAGE_SIZE = 14, AT_FRAME = 16, AT_CKSUM = 24, AT_SALT = 32 };

static int base_shm_lock(struct guest_db *db, int slot, int count, int flags)
{
    return db->main->pMethods->xShmLock(db->main, slot, count, flags);
}

static uint32_t index_page_size(const uint8_t *header)
{
    uint16_t size;

    memcpy(&size, header + AT_PAGE_SIZE, sizeof size);
    return size == 1 ? WAL_PAGE_SIZE_MAX : size;
}

static void index_state(const uint8_t *header, struct wal_state *state)
{
    memcpy(&state->frame, header + AT_FRAME, sizeof state->frame);
    memcpy(state->cksum, header + AT_CKSUM, sizeof state->cksum);
    memcpy(state->salt, header + AT_SALT, sizeof state->salt);
}

static int hold_slot(struct guest_db *db)
{
    return base_shm_lock(db, WRITE, 1, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED);
}

static int let_slot_go(struct guest_db *db)
{
    return base_shm_lock(db, WRITE, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
}

/* The real slot first: a node that starts after ours died takes it exclusively
 * for a moment, so either we see that ours is gone, or it sees us. */
static bool retake(struct guest_db *db)
{
    if (!guest_client_kept(&db->client) || hold_slot(db) != SQLITE_OK) {
        return false;
    }
    if (guest_client_retake(&db->client)) {
        FAILPOINT("guest.retaken");
        return true;
    }
    let_slot_go(db);
    return false;
}

/* Our node may have died since it granted the lock, and the next one may have
 * taken the file before the real slot was ours. */
static int ask(struct guest_db *db)
{
    struct position position;
    int err = guest_db_grant(db, &position);
    int rc;

    if (err != 0) {
        return guest_code_lock(err);
    }
    FAILPOINT("guest.granted");
    rc = hold_slot(db);
    if (rc == SQLITE_OK && !guest_client_owns(&db->client)) {
        let_slot_go(db);
        rc = SQLITE_BUSY;
    }
    if (rc != SQLITE_OK) {
        guest_client_unlock(&db->client, UNLOCK_NOTHING, NULL, true);
    }
    return rc;
}

static int lock_write(struct guest_db *db)
{
    uint8_t now[INDEX_HEADER_BYTES];
    int rc = retake(db) ? SQLITE_OK : ask(db);

    if (rc != SQLITE_OK) {
        return rc;
    }
    if (!guest_db_index_header(db, now) ||
        memcmp(now, db->seen, sizeof now) != 0) {
        guest_db_stale(db);
        let_slot_go(db);
        return SQLITE_BUSY_SNAPSHOT;
    }
    capture_lock(&db->capture, index_page_size(now));
    db->writer = true;
    db->broken = false;
    FAILPOINT("guest.locked");
    return SQLITE_OK;
}

/* Tell the node what the wal-index shows after an accepted transaction. When
 * that is not the transaction, the connection is dropped instead: the node then
 * looks for itself and completes what is missing. */
static void tell_published(struct guest_db *db)
{
    uint8_t header[INDEX_HEADER_BYTES];
    struct wal_state state;

    FAILPOINT("guest.published");
    if (guest_db_index_header(db, header)) {
        index_state(header, &state);
        if (!db->broken && state.frame == db->commit_frame) {
            guest_client_unlock(&db->client, UNLOCK_PUBLISHED, &state, true);
            return;
        }
    }
    guest_log(SQLITE_WARNING, "%s: a commit could not be shown locally",
              db->path);
    guest_client_drop(&db->client);
    guest_client_unlock(&db->client, UNLOCK_NOTHING, NULL, true);
}

static int unlock_write(struct guest_db *db)
{
    if (capture_unlock(&db->capture)) {
        tell_published(db);
    } else {
        guest_client_unlock(&db->client, UNLOCK_NOTHING, NULL, true);
    }
    db->writer = false;
    FAILPOINT("guest.told");
    return let_slot_go(db);
}

static bool is_writer(const struct guest_db *db, int slot, int flags)
{
    return slot == WRITE && (flags & SQLITE_SHM_EXCLUSIVE) != 0 &&
           db->read_locks != 0 && !db->checkpoint_lock;
}

static bool is_nodes_own(int slot, int count, int flags)
{
    return (slot == CKPT && count == 1) ||
           (slot == READ1 && count == RESET_SLOTS &&
            (flags & SQLITE_SHM_EXCLUSIVE) != 0);
}

/* Keep account of a lock that the base VFS has given or taken back. */
static void note_lock(struct guest_db *db, int slot, int count, int flags)
{
    bool held = (flags & SQLITE_SHM_LOCK) != 0;
    uint8_t bit;

    if (slot == CKPT && count == 1) {
        db->checkpoint_lock = held;
    }
    if (slot < READ0 || (flags & SQLITE_SHM_SHARED) == 0) {
        return;
    }
    bit = (uint8_t)(1u << (slot - READ0));
    if (!held) {
        db->read_locks = (uint8_t)(db->read_locks & ~bit);
        return;
    }
    /* SQLite compares the header once more after this; so if it goes on, this
     * is the header of its snapshot. */
    db->read_locks = (uint8_t)(db->read_locks | bit);
    if (!guest_db_index_header(db, db->seen)) {
        memset(db->seen, 0, sizeof db->seen);
    }
}

static int shm_lock_real(struct guest_db *db, int slot, int count, int flags)
{
    int rc = base_shm_lock(db, slot, count, flags);

    if (rc == SQLITE_OK) {
        note_lock(db, slot, count, flags);
    }
    return rc;
}

int guest_shm_lock(struct guest_db *db, int slot, int count, int flags)
{
    int rc;

    if (db->managed && guest_db_forked(db)) {
        return (flags & SQLITE_SHM_UNLOCK) != 0 ? SQLITE_OK
                                                : SQLITE_IOERR_SHMLOCK;
    }
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        return slot == WRITE && db->writer
                   ? unlock_write(db)
                   : shm_lock_real(db, slot, count, flags);
    }
    if (db->managed && is_nodes_own(slot, count, flags)) {
        return SQLITE_BUSY;
    }
    if (db->managed && is_writer(db, slot, flags)) {
        return lock_write(db);
    }
    rc = shm_lock_real(db, slot, count, flags);
    if (rc == SQLITE_BUSY && is_writer(db, slot, flags) && guest_db_look(db)) {
        return lock_write(db);
    }
    return rc;
}

/* ---- the database file ----------------------------------------------------
 */

/* RESERVED is asked in rollback mode only. */
static int lock_reserved(struct guest_db *db)
{
    int rc;

    if (!db->managed && db->maybe_empty) {
        db->maybe_empty = guest_db_empty(db);
        if (db->maybe_empty) {
            guest_db_look(db);
        }
    }
    if (!db->managed) {
        rc = db->main->pMethods->xLock(db->main, SQLITE_LOCK_RESERVED);
        if (rc != SQLITE_BUSY || !guest_db_look(db)) {
            return rc;
        }
    }
    return guest_create_lock(db);
}

int guest_lock(struct guest_db *db, int level)
{
    if (db->managed && guest_db_forked(db)) {
        return SQLITE_IOERR_LOCK;
    }
    if (level == SQLITE_LOCK_RESERVED) {
        return lock_reserved(db);
    }
    if (db->managed && level > SQLITE_LOCK_RESERVED && !db->fresh.active) {
        return SQLITE_BUSY;
    }
    return db->main->pMethods->xLock(db->main, level);
}

int guest_unlock(struct guest_db *db, int level)
{
    int rc;

    if (db->managed && guest_db_forked(db)) {
        return SQLITE_OK;
    }
    rc = db->main->pMethods->xUnlock(db->main, level);
    if (db->fresh.active && level <= SQLITE_LOCK_SHARED) {
        guest_create_unlock(db);
    }
    return rc;
}
