#include "wire/page.h"

#include <xxhash.h>

uint64_t page_hash(uint32_t number, const void *image, uint32_t page_size)
{
    if (number == 0x40000000u / page_size + 1) {
        return 0;
    }
    return XXH3_64bits_withSeed(image, page_size, number);
}
