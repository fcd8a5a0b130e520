/* After a transaction was accepted by the cluster, nothing that fails locally
 * may undo it: such errors are kept from SQLite and the connection to the node
 * is dropped at the unlock, so that the node completes the local copy. Only
 * while the commit frame itself is missing may SQLite still roll back, and the
 * application learns that the outcome is unknown to it. */
#include "vfs/guest_wal.h"

#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/guest_code.h"
#include "vfs/guest_log.h"

/* Frames between two looks at whether the node is still there. */
#define FRAMES_BETWEEN_LOOKS 64u

static int write_real(struct guest_db *db, const void *bytes, size_t len,
                      int64_t offset)
{
    return db->wal->pMethods->xWrite(db->wal, bytes, (int)len, offset);
}

static void note_broken(struct guest_db *db, int rc)
{
    db->broken = true;
    guest_log(rc, "%s: local error after a commit was accepted", db->path);
}

/* A new log's salts must be durable before any of its frames, whatever
 * `synchronous` says: after a power cut old frames would follow otherwise. */
static int sync_header(struct guest_db *db)
{
    return db->wal->pMethods->xSync(db->wal, SQLITE_SYNC_NORMAL);
}

static int write_as_is(struct guest_db *db, const uint8_t *bytes, size_t len,
                       int64_t offset)
{
    bool shown = db->capture.phase == CAPTURE_SHOWN;
    int rc = write_real(db, bytes, len, offset);

    if (rc == SQLITE_OK && offset == 0 && len == WAL_HEADER_BYTES) {
        FAILPOINT("guest.wal_header");
        rc = sync_header(db);
    }
    if (rc != SQLITE_OK && shown) {
        note_broken(db, rc);
        return SQLITE_OK;
    }
    return rc;
}

static int write_frame(struct guest_db *db, const struct capture_answer *a)
{
    int rc;

    if (!a->commit && db->capture.count % FRAMES_BETWEEN_LOOKS == 1 &&
        !guest_client_alive(&db->client)) {
        return SQLITE_IOERR_WRITE; /* the commit would fail anyway */
    }
    rc = FAILPOINT_ERROR("guest.frame_write", SQLITE_IOERR_WRITE,
                         write_real(db, a->bytes, a->len, a->offset));
    if (!a->commit) {
        FAILPOINT("guest.frame");
        return rc;
    }
    if (rc != SQLITE_OK) {
        note_broken(db, rc);
        return MARMOT_IOERR_UNKNOWN;
    }
    FAILPOINT("guest.shown");
    return SQLITE_OK;
}

int guest_wal_write(struct guest_db *db, const uint8_t *bytes, size_t len,
                    int64_t offset)
{
    struct capture_answer answer;

    capture_write(&db->capture, bytes, len, offset, &answer);
    switch (answer.step) {
    case CAPTURE_PASS:
        return write_as_is(db, bytes, len, offset);
    case CAPTURE_HELD:
        return SQLITE_OK;
    case CAPTURE_JOIN:
        return write_frame(db, &answer);
    default:
        return answer.commit ? guest_code_commit(answer.err)
                             : guest_code_frame(answer.err);
    }
}

int guest_wal_sync_failed(struct guest_db *db, int rc)
{
    if (db->capture.phase != CAPTURE_SHOWN && !db->fresh.accepted) {
        return rc;
    }
    note_broken(db, rc);
    return SQLITE_OK;
}
