/* The incremental checksum of a database: XOR over page_hash(number, image).
 *
 * Keeps one hash per page (8 bytes a page), so that a transaction's checksum
 * costs only its own pages. Not thread-safe. */
#ifndef VFS_CHECKSUM_H
#define VFS_CHECKSUM_H

#include <stdint.h>

struct checksum {
    uint64_t *hashes; /* [pages], page 1 first */
    uint32_t pages, capacity;
    uint64_t sum;
};

void checksum_init(struct checksum *c);
void checksum_close(struct checksum *c);

/* Set page `number`'s hash (page_hash of its image). Pages between the old end
 * and `number` count as 0 until they are set. Returns 0 or -ENOMEM. */
int checksum_set(struct checksum *c, uint32_t number, uint64_t hash);

/* The database has `pages` pages now: hashes beyond are taken out. */
int checksum_resize(struct checksum *c, uint32_t pages);

/* What c->sum would be after these changes, without making them. `numbers` are
 * distinct; those beyond db_pages do not count. */
uint64_t checksum_preview(const struct checksum *c, const uint32_t *numbers,
                          const uint64_t *hashes, uint32_t count,
                          uint32_t db_pages);

struct apply;
/* Fill from the whole database at its current state (call while nothing is
 * being written; reads every page). */
int checksum_scan(struct checksum *c, struct apply *a);

#endif
