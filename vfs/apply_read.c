/* One page of the last committed state, for who holds the write slot.
 *
 * No read mark is needed: frames are written back beside us, which leaves them
 * where they are, but the WAL does not start over without the slot. */
#include "base/err.h"
#include "vfs/apply_internal.h"
#include "vfs/sqlite_code.h"

int apply_read(struct apply *a, uint32_t number, uint8_t *image)
{
    uint32_t size = a->files.page_size, frame = 0;
    sqlite3_file *file = a->files.db;
    sqlite3_int64 at = (sqlite3_int64)(number - 1) * size;
    struct wal_index_header h;
    int rc, err = wal_index_read(&a->index, &h);

    if (err == 0 && h.frames > 0) {
        err =
            wal_index_find(&a->index, wal_index_info(&a->index)->backfilled + 1,
                           h.frames, number, &frame);
    }
    if (err != 0) {
        return err == ERR_CORRUPT ? ERR_BUSY : err;
    }
    if (frame != 0) {
        file = a->files.wal;
        at = (sqlite3_int64)(wal_frame_offset(size, frame) +
                             WAL_FRAME_HEADER_BYTES);
    }
    rc = file->pMethods->xRead(file, image, (int)size, at);
    return rc == SQLITE_IOERR_SHORT_READ ? 0 : sqlite_code_err(rc);
}
