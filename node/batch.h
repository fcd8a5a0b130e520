/* Several accepted transactions as one transaction of the local WAL.
 *
 * Readers see the state after the last of them; what the earlier ones wrote to
 * the same pages never reaches the disk. Runs on the pool. */
#ifndef NODE_BATCH_H
#define NODE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "vfs/apply.h"
#include "vfs/checksum.h"

/* `pending` holds struct pending, oldest first, at least one. The checksum is
 * verified before anything is published: ERR_MISMATCH leaves the file as it
 * was. So it does when a page that changes are upon is not what `checksum`
 * says; its number is in *damaged then, otherwise 0. `checksum` follows on
 * success. */
int batch_apply(struct apply *a, struct checksum *checksum,
                const struct list *pending, uint32_t *damaged);

/* The first transactions of a database that has no file yet: written as a
 * new file at `path`. */
int batch_create(const char *path, const struct list *pending);

/* Does any of them bring a page? An empty transaction only moves the position.
 */
bool batch_has_pages(const struct list *pending);

#endif
