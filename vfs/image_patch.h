/* An image that goes into a database where it is: the pages that differ become
 * one transaction in its live WAL, beside stock readers, who see the old state
 * until the commit and then the new one.
 *
 * Call only while no session has the write slot, from begin to end. Nobody else
 * uses the `struct apply` meanwhile. Cut short, by an error or a death, it
 * leaves the old state. One thread at a time. */
#ifndef VFS_IMAGE_PATCH_H
#define VFS_IMAGE_PATCH_H

#include <stdint.h>

#include "vfs/apply.h"
#include "vfs/checksum.h"

struct image_patch;

/* `sum` is of the state of `a`, and is copied. Fails as apply_begin. */
int image_patch_open(struct apply *a, const struct checksum *sum,
                     uint32_t pages, struct image_patch **out);

/* The database shall have `pages` pages. */
int image_patch_resize(struct image_patch *p, uint32_t pages);

/* Page `number` is not what its hash says: it is to come whatever it is. */
void image_patch_distrust(struct image_patch *p, uint32_t number);

/* In any order; of one that comes again the last image counts. ERR_CORRUPT for
 * a page beyond the end, or a page 1 that is not in WAL mode. */
int image_patch_page(struct image_patch *p, uint32_t number,
                     const uint8_t *image);

/* What the database will be, by its pages' hashes; 0: not yet. The table does
 * not move while pages are written, and no other entry changes. */
const struct checksum *image_patch_sum(const struct image_patch *p);

/* Verify against `checksum` (ERR_MISMATCH, more pages may then follow), commit
 * and sync. *sum, when 0, is that of the new state and the caller's to close.
 * Frees `p` on success. */
int image_patch_commit(struct image_patch *p, uint64_t checksum,
                       struct checksum *sum);

/* Leave the old state, and free. */
void image_patch_cancel(struct image_patch *p);

#endif
