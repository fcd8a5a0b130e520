/* When SQLite has overwritten frame x of a running transaction, it writes all
 * further frames without checksums, and after the commit frame reads the
 * checksum of frame x - 1 and fills in those of x to the last one. Up to some
 * version after 3.40 it forgets that ROLLBACK TO a savepoint before x took the
 * transaction back to a frame below x: the frames that then follow, below x,
 * never get a checksum, and at the next recovery that commit and all later ones
 * are gone.
 *
 * We stand in for it: at that read, the frames of the transaction up to x - 1
 * (or the last one) get their checksums, and SQLite the end of this chain to
 * go on from. Stock programs without our VFS are not helped by this. */
#include "vfs/guest_resum.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "vfs/guest_log.h"

#define CHECKSUM_BYTES 8
#define CHECKSUM_AT_HEADER 24 /* in the WAL header */
#define CHECKSUM_AT_FRAME 16  /* in a frame header */

static int read_wal(struct guest_db *db, void *bytes, int len, uint64_t offset)
{
    int rc =
        db->wal->pMethods->xRead(db->wal, bytes, len, (sqlite3_int64)offset);

    return rc == SQLITE_OK ? 0 : ERR_IO;
}

/* The frame whose checksum is read at `offset`; 0: the WAL header's. */
static bool frame_of(const struct capture *c, int64_t offset, uint32_t *frame)
{
    uint64_t size = WAL_FRAME_HEADER_BYTES + (uint64_t)c->page_size;
    uint64_t at;

    if (offset == CHECKSUM_AT_HEADER) {
        *frame = 0;
        return true;
    }
    if (offset < WAL_HEADER_BYTES) {
        return false;
    }
    at = (uint64_t)offset - WAL_HEADER_BYTES;
    *frame = (uint32_t)(at / size) + 1;
    return at % size == CHECKSUM_AT_FRAME;
}

/* The chain as it is before the transaction's first frame. */
static int start(struct guest_db *db, struct wal_cursor *cursor)
{
    const struct capture *c = &db->capture;
    uint8_t header[WAL_HEADER_BYTES];
    int rc = read_wal(db, header, sizeof header, 0);

    if (rc == 0) {
        rc = wal_cursor_begin(cursor, header);
    }
    if (rc != 0 || c->first == 1) {
        return rc;
    }
    rc = read_wal(db, header, WAL_FRAME_HEADER_BYTES,
                  wal_frame_offset(c->page_size, c->first - 1));
    if (rc == 0) {
        cursor->checksum[0] = get_be32(header + CHECKSUM_AT_FRAME);
        cursor->checksum[1] = get_be32(header + CHECKSUM_AT_FRAME + 4);
        cursor->frame = c->first - 1;
    }
    return rc;
}

static int sum_frame(struct guest_db *db, struct wal_cursor *cursor,
                     uint32_t frame)
{
    uint64_t offset = wal_frame_offset(cursor->page_size, frame);
    uint8_t header[WAL_FRAME_HEADER_BYTES];
    const uint8_t *image;
    uint32_t page = capture_page(&db->capture, frame, &image);
    int rc = 0;

    if (image == NULL) {
        image = db->capture.scratch; /* of no use any more */
        rc = read_wal(db, db->capture.scratch, (int)cursor->page_size,
                      offset + WAL_FRAME_HEADER_BYTES);
    }
    if (rc == 0) {
        rc = read_wal(db, header, sizeof header, offset);
    }
    if (rc != 0) {
        return rc;
    }
    wal_frame_encode(cursor, page, get_be32(header + 4), image, header);
    rc = db->wal->pMethods->xWrite(db->wal, header, (int)sizeof header,
                                   (sqlite3_int64)offset);
    return rc == SQLITE_OK ? 0 : ERR_IO;
}

bool guest_resum(struct guest_db *db, uint8_t *bytes, size_t len,
                 int64_t offset)
{
    struct capture *c = &db->capture;
    struct wal_cursor cursor;
    uint32_t last;
    int rc;

    if (c->phase != CAPTURE_SHOWN || len != CHECKSUM_BYTES ||
        !frame_of(c, offset, &last) || !capture_unsummed(c, last)) {
        return false;
    }
    last = last > capture_last(c) ? capture_last(c) : last;
    rc = start(db, &cursor);
    for (uint32_t i = c->first; i <= last && rc == 0; i++) {
        rc = sum_frame(db, &cursor, i);
    }
    if (rc != 0) {
        db->broken = true;
        guest_log(SQLITE_IOERR, "%s: checksums could not be written: %s",
                  db->path, err_str(rc));
        return false;
    }
    put_be32(bytes, cursor.checksum[0]);
    put_be32(bytes + 4, cursor.checksum[1]);
    return true;
}
