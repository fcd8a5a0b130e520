/* The deciding parts of an image's way that know neither files nor sockets: how
 * fast it may go (-image-rate), how much is asked for at once, when a line
 * about it is due. Microseconds. */
#ifndef NODE_IMAGE_PACE_H
#define NODE_IMAGE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* The slowest rate: an answer of one page must not take longer than the asker's
 * patience. */
#define IMAGE_RATE_MIN 65536u

/* One for all images that a node sends and receives. */
struct image_pace {
    uint64_t bytes_per_s; /* 0: as fast as it goes */
    uint64_t free_us;     /* what was spent is paid for by then */
};

/* How long until more may be moved; 0: now. */
uint64_t image_pace_wait(const struct image_pace *p, uint64_t now_us);
void image_pace_spend(struct image_pace *p, uint64_t now_us, uint64_t bytes);
/* Pages in one answer: about a quarter of a second's, at least one, at most
 * PART_BYTES_MAX of them. */
uint32_t image_pace_pages(const struct image_pace *p, uint32_t page_size);

/* How many pages to ask about next, when `asked` were and the answers covered
 * `covered` of them. Where little differs the ranges grow; where all does,
 * hashes would be sent in vain. */
uint32_t image_next_range(uint32_t asked, uint32_t covered, uint32_t page_size);

struct image_progress {
    uint64_t begun_us, said_us;
    unsigned said_percent;
};

void image_progress_begin(struct image_progress *p, uint64_t now_us);
/* Every 10 %, and every few seconds in between. */
bool image_progress_due(struct image_progress *p, uint64_t now_us,
                        unsigned percent);

#endif
