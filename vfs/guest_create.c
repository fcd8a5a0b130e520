/* How a database comes into being:
 *
 *   RESERVED   the node grants the lock; the file must still be empty
 *   writes     stay in memory (guest_new.h): the application's page size,
 *              encoding and auto_vacuum are chosen by SQLite as always
 *   FCNTL_SYNC sent after all writes, whatever `synchronous` says: the whole
 *              file is proposed, with page 1 saying WAL mode
 *   accepted   the rollback journal is emptied, so that nobody ever rolls back
 *              what the cluster has; then the pages go into the file
 *   unlock     the node is told and opens the file; SQLite rereads page 1 at
 *              its next transaction and opens the WAL
 *
 * If the proposal fails, SQLite rolls back to a file of 0 bytes, which it still
 * is. If the file cannot be written after the proposal was accepted, it is
 * emptied and the connection to the node dropped: the node then writes it. */
#include "vfs/guest_create.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/guest_code.h"
#include "vfs/guest_log.h"

int guest_create_lock(struct guest_db *db)
{
    struct position position;
    int err;
    int rc;

    if (!guest_db_empty(db)) {
        /* It exists, so it is (or is being made) WAL: try again and see. */
        return SQLITE_BUSY;
    }
    err = guest_db_grant(db, &position);
    if (err != 0) {
        return err == ERR_IO ? SQLITE_IOERR_LOCK : guest_code_lock(err);
    }
    if (!guest_db_empty(db) || position.txid != 0) {
        guest_db_stale(db);
        return SQLITE_BUSY;
    }
    rc = db->main->pMethods->xLock(db->main, SQLITE_LOCK_RESERVED);
    if (rc != SQLITE_OK) {
        guest_client_unlock(&db->client, UNLOCK_NOTHING, NULL, false);
        return rc;
    }
    guest_new_begin(&db->fresh);
    return SQLITE_OK;
}

static int write_pages(struct guest_db *db, const struct proposal *p)
{
    const sqlite3_io_methods *io = db->main->pMethods;
    int rc = SQLITE_OK;

    if (db->journal != NULL) {
        rc = db->journal->pMethods->xTruncate(db->journal, 0);
    }
    /* Page 1 last: until then the file is nothing that SQLite would read. */
    for (uint32_t i = p->count; i > 0 && rc == SQLITE_OK; i--) {
        rc = io->xWrite(db->main, p->pages[i - 1].image, (int)p->page_size,
                        (sqlite3_int64)(i - 1) * p->page_size);
    }
    if (rc != SQLITE_OK) {
        io->xTruncate(db->main, 0);
    }
    return rc;
}

static int propose(struct guest_db *db, const struct proposal *p)
{
    int err = guest_client_propose(&db->client, p);
    int rc;

    if (err != 0) {
        guest_db_refused(db, "it could not be created", err);
        return guest_code_commit(err);
    }
    db->fresh.accepted = true;
    FAILPOINT("guest.creating");
    rc = write_pages(db, p);
    if (rc != SQLITE_OK) {
        guest_log(rc, "%s was created in the cluster, but not locally",
                  db->path);
        guest_client_drop(&db->client);
        return MARMOT_IOERR_UNKNOWN;
    }
    FAILPOINT("guest.created");
    db->fresh.reread = true;
    return SQLITE_OK;
}

int guest_create_commit(struct guest_db *db)
{
    struct proposal p;
    int err;
    int rc;

    if (db->fresh.accepted || db->fresh.size == 0) {
        return SQLITE_OK;
    }
    err = guest_new_proposal(&db->fresh, &p);
    if (err != 0) {
        return guest_code_commit(err);
    }
    rc = propose(db, &p);
    free((void *)(uintptr_t)p.pages);
    return rc;
}

void guest_create_unlock(struct guest_db *db)
{
    static const struct wal_state none;

    guest_client_unlock(&db->client,
                        db->fresh.accepted ? UNLOCK_PUBLISHED : UNLOCK_NOTHING,
                        db->fresh.accepted ? &none : NULL, false);
    guest_new_end(&db->fresh);
}

void guest_create_reread(struct guest_db *db, uint8_t *bytes, size_t len,
                         int64_t offset)
{
    if (db->fresh.reread && !db->fresh.active && offset == 24 && len == 16) {
        bytes[0] ^= 0x80;
        db->fresh.reread = false;
    }
}
