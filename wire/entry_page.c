/* Layout: docs/FORMATS.md, "Log entries". */
#include "wire/entry_page.h"

#include <string.h>

#include "base/err.h"
#include "wire/compress.h"
#include "wire/number_set.h"
#include "wire/pack.h"

/* Elements of the flat array for each page: number, encoding, blob. */
#define PAGE_FIELDS 3

#define BIN16_HEADER_BYTES 3

_Static_assert(NUMBER_SET_MAX >= PART_BYTES_MAX / PAGE_SIZE_MIN,
               "the set must hold the pages of the largest part");
_Static_assert(PAGE_SIZE_MAX - PAGE_SIZE_MAX / 16 <= UINT16_MAX,
               "a compressed page must fit into a bin 16");

/* A transaction without pages needs no page size: it may be the first entry of
 * an empty database. */
int entry_pages_valid(const struct entry_pages *p)
{
    if (!page_size_valid(p->page_size)) {
        return p->page_size == 0 && p->count == 0 ? 0 : ERR_CORRUPT;
    }
    return p->count <= PART_BYTES_MAX / p->page_size ? 0 : ERR_TOO_BIG;
}

/* to ^= from; `len` is a multiple of 8, as every page size is. */
static void xor_into(uint8_t *to, const uint8_t *from, uint32_t len)
{
    for (uint32_t i = 0; i < len; i += 8) {
        uint64_t a, b;
        memcpy(&a, to + i, 8);
        memcpy(&b, from + i, 8);
        a ^= b;
        memcpy(to + i, &a, 8);
    }
}

/* ---- packing ------------------------------------------------------------- */

/* Compress into the buffer itself, behind room for a header that is written
 * when the length is known. Returns false when the page does not get smaller
 * or there is no room. */
static bool pack_compressed(struct buf *out, const uint8_t *bytes, uint32_t len)
{
    uint8_t *room = buf_room(out, BIN16_HEADER_BYTES + compress_max(len));
    size_t n;

    if (room == NULL) {
        return false;
    }
    n = compress_block(bytes, len, room + BIN16_HEADER_BYTES);
    if (n == 0) {
        return false;
    }
    room[0] = 0xc5; /* bin 16 */
    room[1] = (uint8_t)(n >> 8);
    room[2] = (uint8_t)n;
    buf_added(out, BIN16_HEADER_BYTES + n);
    return true;
}

static bool pack_change(const struct entry_pages *pages, uint32_t number,
                        const uint8_t *image, struct buf *out)
{
    uint8_t change[PAGE_SIZE_MAX];

    if (pages->before == NULL ||
        !pages->before->get(pages->before->data, number, change)) {
        return false;
    }
    xor_into(change, image, pages->page_size);
    return pack_compressed(out, change, pages->page_size);
}

static void pack_page(const struct entry_pages *pages, uint32_t number,
                      const uint8_t *image, struct buf *out)
{
    size_t encoding_at;

    pack_uint(out, number);
    encoding_at = out->len; /* all of them are one byte in msgpack */
    pack_uint(out, PAGE_CHANGE);
    if (pack_change(pages, number, image, out) || out->err != 0) {
        return;
    }
    out->data[encoding_at] = PAGE_LZ4;
    if (!pack_compressed(out, image, pages->page_size) && out->err == 0) {
        out->data[encoding_at] = PAGE_RAW;
        pack_bin(out, image, pages->page_size);
    }
}

bool entry_pages_distinct(const uint32_t *numbers, uint32_t count)
{
    struct number_set seen;

    number_set_init(&seen, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!number_set_add(&seen, numbers[i])) {
            return false;
        }
    }
    return true;
}

void entry_pages_pack(const struct entry_pages *pages, const uint32_t *numbers,
                      const uint8_t *images, struct buf *out)
{
    pack_array(out, pages->count * PAGE_FIELDS);
    for (uint32_t i = 0; i < pages->count && out->err == 0; i++) {
        pack_page(pages, numbers[i], images + (size_t)i * pages->page_size,
                  out);
    }
}

/* ---- unpacking ----------------------------------------------------------- */

/* One page's elements; the blob is borrowed. */
static void unpack_page(struct unpack *u, uint32_t page_size,
                        struct entry_page *p)
{
    size_t most;

    p->number = (uint32_t)unpack_uint(u, PAGE_NUMBER_MAX);
    p->encoding = (enum page_encoding)unpack_uint(u, PAGE_CHANGE);
    most = p->encoding == PAGE_RAW ? page_size : compress_max(page_size);
    p->blob = unpack_bin(u, most, &p->len);
    if (u->err == 0 &&
        (p->encoding == PAGE_RAW ? p->len != page_size : p->len == 0)) {
        u->err = ERR_CORRUPT;
    }
}

int entry_pages_decode(struct unpack *u, struct entry_pages *p)
{
    struct number_set seen;
    struct entry_page page;
    uint32_t elements;
    int rc;

    p->packed = u->at;
    elements = unpack_array(u);
    p->count = elements / PAGE_FIELDS;
    if (u->err != 0) {
        return u->err;
    }
    rc = elements % PAGE_FIELDS == 0 ? entry_pages_valid(p) : ERR_CORRUPT;
    if (rc != 0) {
        return rc;
    }
    number_set_init(&seen, p->count);
    for (uint32_t i = 0; i < p->count; i++) {
        unpack_page(u, p->page_size, &page);
        if (u->err != 0) {
            return u->err;
        }
        if (!number_set_add(&seen, page.number)) {
            return ERR_CORRUPT;
        }
    }
    unpack_leave(u);
    p->packed_len = (size_t)(u->at - p->packed);
    return 0;
}

void entry_pages_begin(const struct entry_pages *pages,
                       struct entry_page_cursor *c)
{
    struct unpack u;

    unpack_init(&u, pages->packed, pages->packed_len);
    unpack_array(&u);
    c->at = u.at;
    c->end = u.end;
    c->left = pages->count;
    c->page_size = pages->page_size;
}

int entry_pages_next(struct entry_page_cursor *c, struct entry_page *page)
{
    struct unpack u;

    if (c->left == 0) {
        return ERR_NOT_FOUND;
    }
    unpack_init(&u, c->at, (size_t)(c->end - c->at));
    unpack_page(&u, c->page_size, page);
    if (u.err != 0) {
        return ERR_CORRUPT;
    }
    c->at = u.at;
    c->left--;
    return 0;
}

int entry_page_unpack(const struct entry_page *page, uint32_t page_size,
                      uint8_t *image)
{
    uint8_t change[PAGE_SIZE_MAX];
    int rc;

    switch (page->encoding) {
    case PAGE_RAW:
        memcpy(image, page->blob, page_size);
        return 0;
    case PAGE_LZ4:
        return decompress_block(page->blob, page->len, image, page_size);
    case PAGE_CHANGE:
        rc = decompress_block(page->blob, page->len, change, page_size);
        if (rc == 0) {
            xor_into(image, change, page_size);
        }
        return rc;
    }
    return ERR_CORRUPT;
}

int entry_pages_next_whole(struct entry_page_cursor *c, uint32_t *number,
                           uint8_t *image)
{
    struct entry_page page;
    int rc = entry_pages_next(c, &page);

    if (rc != 0) {
        return rc;
    }
    *number = page.number;
    return page.encoding == PAGE_CHANGE
               ? ERR_CORRUPT
               : entry_page_unpack(&page, c->page_size, image);
}
