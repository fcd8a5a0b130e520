#include "node/image_pace.h"

#include "base/limits.h"

#define SAY_US 5000000u
#define SAY_PERCENT 10u

uint64_t image_pace_wait(const struct image_pace *p, uint64_t now_us)
{
    return p->bytes_per_s == 0 || p->free_us <= now_us ? 0
                                                       : p->free_us - now_us;
}

void image_pace_spend(struct image_pace *p, uint64_t now_us, uint64_t bytes)
{
    if (p->bytes_per_s == 0) {
        return;
    }
    /* What was not used before is gone. */
    if (p->free_us < now_us) {
        p->free_us = now_us;
    }
    p->free_us += bytes * 1000000u / p->bytes_per_s;
}

uint32_t image_pace_pages(const struct image_pace *p, uint32_t page_size)
{
    uint64_t bytes = PART_BYTES_MAX;

    if (p->bytes_per_s != 0 && p->bytes_per_s / 4 < bytes) {
        bytes = p->bytes_per_s / 4;
    }
    return bytes < page_size ? 1 : (uint32_t)(bytes / page_size);
}

uint32_t image_next_range(uint32_t asked, uint32_t covered, uint32_t page_size)
{
    uint32_t least = IMAGE_PARTS_MAX * (PART_BYTES_MAX / page_size);
    uint32_t next = asked;

    if (covered == asked && asked < IMAGE_RANGE_PAGES_MAX) {
        next = 2 * asked;
    } else if (covered < asked / 2) {
        next = 2 * covered;
    }
    next = next < least ? least : next;
    return next < IMAGE_RANGE_PAGES_MAX ? next : IMAGE_RANGE_PAGES_MAX;
}

void image_progress_begin(struct image_progress *p, uint64_t now_us)
{
    p->begun_us = p->said_us = now_us;
    p->said_percent = 0;
}

bool image_progress_due(struct image_progress *p, uint64_t now_us,
                        unsigned percent)
{
    if (percent < p->said_percent + SAY_PERCENT &&
        now_us - p->said_us < SAY_US) {
        return false;
    }
    p->said_percent = percent;
    p->said_us = now_us;
    return true;
}
