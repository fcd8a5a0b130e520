/* Completes the checksums of a transaction where SQLite forgets to. */
#ifndef VFS_GUEST_RESUM_H
#define VFS_GUEST_RESUM_H

#include "vfs/guest_db.h"

/* SQLite reads `len` bytes of the WAL at `offset`. True when this is the read
 * that starts its rechecksumming, frames before it lack their checksums, and
 * `bytes` has been filled with the right answer. */
bool guest_resum(struct guest_db *db, uint8_t *bytes, size_t len,
                 int64_t offset);

#endif
