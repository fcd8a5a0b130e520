/* What SQLite allows a page to be (its file format, section 1.3). */
#ifndef WIRE_PAGE_H
#define WIRE_PAGE_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
