/* The SQLite write-ahead log file format: headers, salts and checksums.
 *
 * Pure functions over bytes: no files, no locks, no allocation. Capture and
 * apply both stand on this file, so a format rule is stated here once
 * (https://sqlite.org/fileformat2.html, "The Write-Ahead Log"). */
#ifndef VFS_WAL_FORMAT_H
#define VFS_WAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_HEADER_BYTES 32
#define WAL_HEADER_SALT 16 /* where its 8 bytes of salts are */
#define WAL_FRAME_HEADER_BYTES 24
#define WAL_FORMAT_VERSION 3007000u
#define WAL_PAGE_SIZE_MIN 512u
#define WAL_PAGE_SIZE_MAX 65536u
/* SQLite's own locks live at this offset of a database file. */
#define WAL_LOCK_BYTE 0x40000000u

/* A place in a log: everything that the next frame depends on. */
struct wal_cursor {
    uint32_t page_size;
    uint32_t salt[2];
    uint32_t checksum[2]; /* of everything up to and including `frame` */
    uint32_t frame;       /* last valid frame, 1-based; 0 before the first */
    bool big_endian;      /* byte order in which checksum words are read */
};

struct wal_frame {
    uint32_t number;      /* of the frame, 1-based */
    uint32_t page;        /* page number, 1-based */
    uint32_t db_pages;    /* commit frame: size after it in pages; else 0 */
    const uint8_t *image; /* borrowed: page_size bytes */
};

/* Is it a power of two that SQLite allows? */
bool wal_page_size_ok(uint32_t page_size);

/* The byte order in which this machine's SQLite writes checksums. */
bool wal_native_big_endian(void);

/* Continue the checksum `sum` over `len` bytes, a multiple of 8. */
void wal_checksum(bool big_endian, const uint8_t *bytes, size_t len,
                  uint32_t sum[2]);

/* Where frame `number` (1-based) starts in the file. */
uint64_t wal_frame_offset(uint32_t page_size, uint32_t number);

/* The page that holds WAL_LOCK_BYTE and is never used. */
uint32_t wal_lock_page(uint32_t page_size);

/* Start a new log: fills `header` and places the cursor before frame 1.
 * `sequence` only informs; the checksum is in the native byte order. */
void wal_header_encode(uint32_t page_size, uint32_t sequence,
                       const uint32_t salt[2], uint8_t header[WAL_HEADER_BYTES],
                       struct wal_cursor *cursor);

/* Place the cursor before frame 1 of the log that starts with `header`.
 *
 * Returns 0; ERR_CORRUPT for anything that is no valid header; ERR_VERSION for
 * a valid one of another format version. *cursor is untouched on failure. */
int wal_cursor_begin(struct wal_cursor *cursor,
                     const uint8_t header[WAL_HEADER_BYTES]);

/* Advance over the next frame, whose header and page start at `bytes`.
 *
 * Returns 0 and fills *frame, or ERR_CORRUPT if the frame does not belong to
 * this chain, which is the ordinary end of a log and not worth a log line;
 * ERR_SHORT when `len` is less than a frame. On failure neither *cursor nor
 * *frame is touched. */
int wal_cursor_next(struct wal_cursor *cursor, const uint8_t *bytes, size_t len,
                    struct wal_frame *frame);

/* Fill the header of the next frame and advance over it. */
void wal_frame_encode(struct wal_cursor *cursor, uint32_t page,
                      uint32_t db_pages, const uint8_t *image,
                      uint8_t header[WAL_FRAME_HEADER_BYTES]);

#endif
