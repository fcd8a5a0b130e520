/* Images: a whole database as it travels to a node that does not have it.
 *
 * The receiving side, for a new file. Pages go to a temporary file beside the
 * database (`P.marmot-image`), are verified, and only then take the database's
 * place. What is received outlives the writer: the next one goes on from it. */
#ifndef VFS_IMAGE_H
#define VFS_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "vfs/checksum.h"

struct apply;
struct image_writer;

/* Start an image for the database at `path`: `pages` pages of `page_size`
 * bytes. ERR_FULL when the file system has no room for it. */
int image_writer_open(const char *path, uint32_t page_size, uint32_t pages,
                      struct image_writer **out);

/* The same, but go on from what an earlier writer left, or, when there is
 * nothing, from a copy of the database that `old` has open (NULL: none). Reads
 * and hashes all of that. A copy with other pages is as good: the hashes tell
 * what must still come. */
int image_writer_resume(const char *path, uint32_t page_size, uint32_t pages,
                        struct apply *old, struct image_writer **out);

/* From now on it is an image of `pages` pages. */
int image_writer_resize(struct image_writer *w, uint32_t pages);

int image_writer_page(struct image_writer *w, uint32_t number,
                      const uint8_t *image);

/* The pages that are there, by their hashes; 0: not yet. The table does not
 * move while pages are written, and no other entry changes. */
const struct checksum *image_writer_sum(const struct image_writer *w);
uint32_t image_writer_page_size(const struct image_writer *w);

/* Verify against `checksum` (ERR_MISMATCH), sync, and put the image in place:
 *  - no file at `path`: linked there, whole, with owner and mode of the folder;
 *    what an earlier database left (-wal, -shm, -journal) is deleted first;
 *  - an empty one: written there in place, page 1 last, EXCLUSIVE locked;
 *  - a database: first kept aside as `path.before-marmot-<time>` if
 *    `keep_aside` (name written to `aside`, PATH_MAX bytes, when not NULL),
 *    then replaced: one WAL transaction in place when the page size is the
 *    same and it is in WAL mode, otherwise renamed under EXCLUSIVE.
 * ERR_BUSY when a lock is not to be had, ERR_FULL when there is no room for
 * the copy; the database is then untouched. The database must not be open by
 * apply_open in this process. ERR_CORRUPT when the image is no WAL-mode
 * database or something that is no database lies at `path`. Frees `w` on
 * success. */
int image_writer_install(struct image_writer *w, uint64_t checksum,
                         int keep_aside, char *aside);
/* Remove the temporary file and free. */
void image_writer_cancel(struct image_writer *w);
/* Free, and leave what was received for image_writer_resume. */
void image_writer_keep(struct image_writer *w);

/* Keep a copy of the database that `a` has open, as it is now, as
 * `path.before-marmot-<time>`, the name written to `aside` (PATH_MAX bytes).
 * Call while nothing is being written. ERR_FULL when there is no room. */
int image_keep_aside(const char *path, struct apply *a, char *aside);

/* Remove what a writer left: the database at `path` needs no image. */
void image_forget(const char *path);

/* Do the databases at `path` and `other` hold the same schema and rows, though
 * not the same bytes? 0 yes; ERR_MISMATCH no, and `difference` (size bytes)
 * names the first difference in words: "table t: 3 rows here, 5 there". */
int image_same_content(const char *path, const char *other, char *difference,
                       uint32_t size);

#endif
