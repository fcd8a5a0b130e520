/* What SQLite allows a page to be (its file format, section 1.3). */
#ifndef WIRE_PAGE_H
#define WIRE_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

#define PAGE_SIZE_MIN 512u
#define PAGE_SIZE_MAX 65536u
#define PAGE_NUMBER_MAX 0xfffffffeu

static inline bool page_size_valid(uint32_t size)
{
    return size >= PAGE_SIZE_MIN && size <= PAGE_SIZE_MAX &&
           (size & (size - 1)) == 0;
}

/* Page numbers count from 1. */
static inline bool page_number_valid(uint32_t number)
{
    return number != 0 && number <= PAGE_NUMBER_MAX;
}

/* May a database of `before` pages have `after` once `written` page images were
 * written? Any size that is not larger is fine. */
static inline bool page_growth_valid(uint32_t before, uint64_t written,
                                     uint32_t after)
{
    return after <= (uint64_t)before + written + TXN_UNWRITTEN_PAGES_MAX;
}

/* The checksum rule: XOR over all pages of XXH3_64(image, seed = page number).
 * The lock page (that holds byte 0x40000000) counts as 0. */
uint64_t page_hash(uint32_t number, const void *image, uint32_t page_size);

#endif
