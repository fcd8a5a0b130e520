/* The pages of a transaction in a log entry.
 *
 * A page is its image, raw or as an lz4 block, or a change: an lz4 block of the
 * image XOR the one that the page had at the transaction's base. Who unpacks a
 * change has that image, since the base is where its copy stands. */
#ifndef WIRE_ENTRY_PAGE_H
#define WIRE_ENTRY_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/page.h"
#include "wire/unpack.h"

enum page_encoding { PAGE_RAW, PAGE_LZ4, PAGE_CHANGE };

/* What the encoder may take as known to everybody who has the base. */
struct entry_before {
    /* The image that page `number` has there, page_size bytes. False: the
     * page goes out whole. */
    bool (*get)(void *data, uint32_t number, uint8_t *image);
    void *data;
};

/* Pages as borrowed by the encoder or pointed to by the decoder. */
struct entry_pages {
    uint32_t page_size; /* bytes, 512..65536, a power of two */
    uint32_t count;
    const struct entry_before *before; /* encoder; NULL: all pages whole */
    const uint8_t *packed; /* decoder: the msgpack array of pages, borrowed */
    size_t packed_len;
};

/* Are they page numbers, and does none come twice? At most NUMBER_SET_MAX. */
bool entry_pages_distinct(const uint32_t *numbers, uint32_t count);

/* The array of pages->count pages: their numbers (host order), and their images
 * one after the other. Errors are in out->err. */
void entry_pages_pack(const struct entry_pages *pages, const uint32_t *numbers,
                      const uint8_t *images, struct buf *out);

/* Everything is checked but what is inside lz4 blocks: page_size, given by the
 * caller, each number, that none comes twice, encodings and lengths. Returns 0,
 * ERR_CORRUPT or ERR_TOO_BIG. */
int entry_pages_decode(struct unpack *u, struct entry_pages *pages);

/* Are page size and count within the limits? 0, ERR_CORRUPT or ERR_TOO_BIG. */
int entry_pages_valid(const struct entry_pages *pages);

/* The pages of a decoded entry, one after the other. */
struct entry_page_cursor {
    const uint8_t *at, *end;
    uint32_t left, page_size;
};

struct entry_page {
    uint32_t number;
    enum page_encoding encoding;
    const uint8_t *blob; /* borrowed from the entry */
    size_t len;
};

void entry_pages_begin(const struct entry_pages *pages,
                       struct entry_page_cursor *c);

/* Returns 0, ERR_NOT_FOUND at the end, ERR_CORRUPT. */
int entry_pages_next(struct entry_page_cursor *c, struct entry_page *page);

/* The page into `image` (page_size bytes), which for a PAGE_CHANGE holds the
 * image before it. Returns 0, or ERR_CORRUPT when the lz4 block does not give
 * page_size bytes (`image` may then hold anything). */
int entry_page_unpack(const struct entry_page *page, uint32_t page_size,
                      uint8_t *image);

/* Both at once, for entries in which all pages are whole: a change is
 * ERR_CORRUPT. */
int entry_pages_next_whole(struct entry_page_cursor *c, uint32_t *number,
                           uint8_t *image);

#endif
