/* The log is a chain: each frame's checksum continues the one before it, and
 * starts from the header's. A frame counts only if its salts are the header's
 * and its checksum fits, so what is left over from an earlier use of the file
 * ends the log by itself. Integers are big-endian; checksum words are read in
 * the order that the lowest bit of the magic names. */
#include "vfs/wal_format.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"

#define WAL_MAGIC 0x377f0682u

/* Offsets in the log's header. */
enum {
    HEADER_MAGIC = 0,
    HEADER_VERSION = 4,
    HEADER_PAGE_SIZE = 8,
    HEADER_SEQUENCE = 12,
    HEADER_SALT = WAL_HEADER_SALT,
    HEADER_CHECKSUM = 24
};

/* Offsets in a frame's header. */
enum {
    FRAME_PAGE = 0,
    FRAME_DB_PAGES = 4,
    FRAME_SALT = 8,
    FRAME_CHECKSUM = 16,
    FRAME_SUMMED = 8 /* bytes of the header that the checksum covers */
};

bool wal_page_size_ok(uint32_t page_size)
{
    return page_size >= WAL_PAGE_SIZE_MIN && page_size <= WAL_PAGE_SIZE_MAX &&
           (page_size & (page_size - 1)) == 0;
}

bool wal_native_big_endian(void)
{
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
}

void wal_checksum(bool big_endian, const uint8_t *bytes, size_t len,
                  uint32_t sum[2])
{
    uint32_t s0 = sum[0], s1 = sum[1];
    const uint8_t *end = bytes + len;

    if (big_endian) {
        for (; bytes < end; bytes += 8) {
            s0 += get_be32(bytes) + s1;
            s1 += get_be32(bytes + 4) + s0;
        }
    } else {
        for (; bytes < end; bytes += 8) {
            s0 += get_le32(bytes) + s1;
            s1 += get_le32(bytes + 4) + s0;
        }
    }
    sum[0] = s0;
    sum[1] = s1;
}

uint64_t wal_frame_offset(uint32_t page_size, uint32_t number)
{
    return WAL_HEADER_BYTES +
           (uint64_t)(number - 1) * (WAL_FRAME_HEADER_BYTES + page_size);
}

uint32_t wal_lock_page(uint32_t page_size)
{
    return WAL_LOCK_BYTE / page_size + 1;
}

void wal_header_encode(uint32_t page_size, uint32_t sequence,
                       const uint32_t salt[2], uint8_t header[WAL_HEADER_BYTES],
                       struct wal_cursor *cursor)
{
    bool big_endian = wal_native_big_endian();
    uint32_t sum[2] = {0, 0};

    put_be32(header + HEADER_MAGIC, WAL_MAGIC | (big_endian ? 1u : 0u));
    put_be32(header + HEADER_VERSION, WAL_FORMAT_VERSION);
    put_be32(header + HEADER_PAGE_SIZE, page_size);
    put_be32(header + HEADER_SEQUENCE, sequence);
    put_be32(header + HEADER_SALT, salt[0]);
    put_be32(header + HEADER_SALT + 4, salt[1]);
    wal_checksum(big_endian, header, HEADER_CHECKSUM, sum);
    put_be32(header + HEADER_CHECKSUM, sum[0]);
    put_be32(header + HEADER_CHECKSUM + 4, sum[1]);
    *cursor = (struct wal_cursor){
        .page_size = page_size,
        .salt = {salt[0], salt[1]},
        .checksum = {sum[0], sum[1]},
        .big_endian = big_endian,
    };
}

int wal_cursor_begin(struct wal_cursor *cursor,
                     const uint8_t header[WAL_HEADER_BYTES])
{
    uint32_t magic = get_be32(header + HEADER_MAGIC);
    uint32_t page_size = get_be32(header + HEADER_PAGE_SIZE);
    bool big_endian = (magic & 1) != 0;
    uint32_t sum[2] = {0, 0};

    if ((magic & ~1u) != WAL_MAGIC || !wal_page_size_ok(page_size)) {
        return ERR_CORRUPT;
    }
    wal_checksum(big_endian, header, HEADER_CHECKSUM, sum);
    if (sum[0] != get_be32(header + HEADER_CHECKSUM) ||
        sum[1] != get_be32(header + HEADER_CHECKSUM + 4)) {
        return ERR_CORRUPT;
    }
    if (get_be32(header + HEADER_VERSION) != WAL_FORMAT_VERSION) {
        return ERR_VERSION;
    }
    *cursor = (struct wal_cursor){
        .page_size = page_size,
        .salt = {get_be32(header + HEADER_SALT),
                 get_be32(header + HEADER_SALT + 4)},
        .checksum = {sum[0], sum[1]},
        .big_endian = big_endian,
    };
    return 0;
}

int wal_cursor_next(struct wal_cursor *cursor, const uint8_t *bytes, size_t len,
                    struct wal_frame *frame)
{
    const uint8_t *image = bytes + WAL_FRAME_HEADER_BYTES;
    uint32_t sum[2] = {cursor->checksum[0], cursor->checksum[1]};

    if (len < WAL_FRAME_HEADER_BYTES + (size_t)cursor->page_size) {
        return ERR_SHORT;
    }
    if (get_be32(bytes + FRAME_PAGE) == 0 ||
        get_be32(bytes + FRAME_SALT) != cursor->salt[0] ||
        get_be32(bytes + FRAME_SALT + 4) != cursor->salt[1]) {
        return ERR_CORRUPT;
    }
    wal_checksum(cursor->big_endian, bytes, FRAME_SUMMED, sum);
    wal_checksum(cursor->big_endian, image, cursor->page_size, sum);
    if (get_be32(bytes + FRAME_CHECKSUM) != sum[0] ||
        get_be32(bytes + FRAME_CHECKSUM + 4) != sum[1]) {
        return ERR_CORRUPT;
    }
    cursor->frame++;
    memcpy(cursor->checksum, sum, sizeof sum);
    *frame = (struct wal_frame){
        .number = cursor->frame,
        .page = get_be32(bytes + FRAME_PAGE),
        .db_pages = get_be32(bytes + FRAME_DB_PAGES),
        .image = image,
    };
    return 0;
}

void wal_frame_encode(struct wal_cursor *cursor, uint32_t page,
                      uint32_t db_pages, const uint8_t *image,
                      uint8_t header[WAL_FRAME_HEADER_BYTES])
{
    put_be32(header + FRAME_PAGE, page);
    put_be32(header + FRAME_DB_PAGES, db_pages);
    put_be32(header + FRAME_SALT, cursor->salt[0]);
    put_be32(header + FRAME_SALT + 4, cursor->salt[1]);
    wal_checksum(cursor->big_endian, header, FRAME_SUMMED, cursor->checksum);
    wal_checksum(cursor->big_endian, image, cursor->page_size,
                 cursor->checksum);
    put_be32(header + FRAME_CHECKSUM, cursor->checksum[0]);
    put_be32(header + FRAME_CHECKSUM + 4, cursor->checksum[1]);
    cursor->frame++;
}
