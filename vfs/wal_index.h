/* The wal-index: the shared memory through which SQLite finds pages in a WAL.
 *
 * Layout and rules are SQLite's (https://sqlite.org/walformat.html, section 2);
 * algorithm and failure modes are on top of wal_index.c. Not thread-safe: a
 * thread needs a wal_index, and a file handle, of its own. */
#ifndef VFS_WAL_INDEX_H
#define VFS_WAL_INDEX_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/session.h" /* struct wal_state */

/* The header, twice at the start of the shared memory; native byte order. */
struct wal_index_header {
    uint32_t version;
    uint32_t unused;
    uint32_t change; /* counts commits */
    uint8_t is_init;
    uint8_t big_endian;
    uint16_t page_size; /* 65536 is stored as 1 */
    uint32_t frames;    /* mxFrame: last committed frame */
    uint32_t db_pages;
    uint32_t frame_checksum[2]; /* of the last committed frame */
    uint8_t salt[8];            /* as in the WAL's header */
    uint32_t checksum[2];       /* of the 40 bytes before */
};

#define READ_MARK_UNUSED 0xffffffffu

/* What checkpointers and readers tell each other; behind the two headers. */
struct wal_index_info {
    uint32_t backfilled; /* frames that are in the database file */
    uint32_t read_mark[5];
    uint8_t locks[8];
    uint32_t backfill_attempted;
    uint32_t unused;
};

struct wal_index {
    sqlite3_file *db; /* borrowed: whose xShm methods are used */
    volatile void **blocks;
    volatile void
        *first; /* blocks[0]: stays where it is while `blocks` grows */
    uint32_t count;
};

void wal_index_init(struct wal_index *x, sqlite3_file *db);
/* Unmaps; the locks must have been let go. */
void wal_index_close(struct wal_index *x);

/* Map the first block, created when missing. */
int wal_index_map(struct wal_index *x);
volatile struct wal_index_info *wal_index_info(const struct wal_index *x);

/* Copy the header. ERR_CORRUPT: missing, or being written right now, or torn
 * by a writer that died; ERR_VERSION: of another format. */
int wal_index_read(const struct wal_index *x, struct wal_index_header *h);

/* Is the header in shared memory still `h`, byte for byte? */
bool wal_index_unchanged(const struct wal_index *x,
                         const struct wal_index_header *h);

/* Make `h` what readers see; fills in its version and checksum. Call with the
 * right to write, after the frames and index entries that it names. */
void wal_index_publish(struct wal_index *x, struct wal_index_header *h);

/* Make room for the entry of `frame`. */
int wal_index_reserve(struct wal_index *x, uint32_t frame);

/* Add the entry that `frame`, above `committed`, holds `page`. What a dead or
 * rolled-back writer left above `committed` is cleared on the way. */
int wal_index_append(struct wal_index *x, uint32_t committed, uint32_t frame,
                     uint32_t page);

/* Clear what is above `committed` in the block that holds it. */
int wal_index_cleanup(struct wal_index *x, uint32_t committed);

/* The last frame in min..max that holds `page`; 0 if there is none. */
int wal_index_find(struct wal_index *x, uint32_t min, uint32_t max,
                   uint32_t page, uint32_t *frame);

/* The page that `frame` holds, from its entry. */
int wal_index_page(struct wal_index *x, uint32_t frame, uint32_t *page);

/* Build everything anew from the WAL and publish it in *h. Call with WRITE and
 * CKPT in hand in a form that keeps out everybody else; takes RECOVER.
 * ERR_BUSY when somebody else recovers, ERR_MISMATCH when the WAL has another
 * page size than the database. */
int wal_index_recover(struct wal_index *x, sqlite3_file *wal,
                      uint32_t page_size, struct wal_index_header *h);

/* The page size as the header stores it. */
uint16_t wal_index_stored_page_size(uint32_t page_size);

void wal_index_state(const struct wal_index_header *h, struct wal_state *s);
bool wal_state_equal(const struct wal_state *a, const struct wal_state *b);

#endif
