/* How often something took how long: counts per upper bound, and the sum.
 *
 * Plain numbers for one thread; a zeroed struct is empty. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 16 /* the last one has no bound */

/* Upper bounds in microseconds, inclusive, rising: 100 us to 10 s. */
extern const uint64_t histogram_bounds_us[HISTOGRAM_BUCKETS - 1];

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS]; /* each its own, not cumulated */
    uint64_t sum_us;
};

void histogram_add(struct histogram *h, uint64_t us);

/* Add all of `more` to `h`. */
void histogram_merge(struct histogram *h, const struct histogram *more);

#endif
