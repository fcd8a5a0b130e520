/* One consistent read of a database, with the hashes that its pages must have:
 * what an image is sent from, and what the file on the disk is held against.
 *
 * The table is a copy of the node's own. Pages that the asker has already cost
 * a comparison, not a read, and a page that was damaged on the disk is noticed
 * before it leaves the node. Not thread-safe; any one thread may use it. */
#ifndef VFS_IMAGE_SOURCE_H
#define VFS_IMAGE_SOURCE_H

#include <stdint.h>

#include "vfs/apply.h"
#include "vfs/checksum.h"

struct image_source;

/* As page_reader_open. `sum` is of the state that is read; the hashes of
 * `count` pages from `first` on are copied, those beyond the end not counted:
 * 1, UINT32_MAX for all. Only these pages can be asked for. ERR_MISMATCH when
 * `sum` is that of another number of pages. */
int image_source_open(struct apply *a, const struct checksum *sum,
                      uint32_t first, uint32_t count,
                      struct image_source **out);
void image_source_close(struct image_source *s);

uint32_t image_source_pages(const struct image_source *s); /* of the database */

/* The outcome of a walk. */
struct image_found {
    uint32_t covered; /* pages looked at, from the first on */
    uint32_t count;   /* numbers (and images) filled in */
    uint32_t damaged; /* with ERR_MISMATCH: the page */
};

/* The pages among `count` from `first` on that the asker lacks: whose hash is
 * not the one in `have` (`count` little-endian u64; 0: it has none; NULL: it
 * has none of all). Stops behind `max` of them, at most that many `numbers` and
 * images are filled in. The lock page is never among them. ERR_NOT_FOUND for
 * pages that are not there; ERR_MISMATCH for one that is not what was written;
 * or why it could not be read. */
int image_source_read(struct image_source *s, uint32_t first, uint32_t count,
                      const uint8_t *have, uint32_t max, uint32_t *numbers,
                      uint8_t *images, struct image_found *found);

/* Read all pages from open's `first` on: the numbers of those that are not what
 * was written, at most `max`. */
int image_source_verify(struct image_source *s, uint32_t max, uint32_t *numbers,
                        struct image_found *found);

#endif
