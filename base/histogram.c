#include "base/histogram.h"

const uint64_t histogram_bounds_us[HISTOGRAM_BUCKETS - 1] = {
    100,   250,    500,    1000,   2500,    5000,    10000,   25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 10000000};

void histogram_add(struct histogram *h, uint64_t us)
{
    unsigned i = 0;

    while (i < HISTOGRAM_BUCKETS - 1 && us > histogram_bounds_us[i]) {
        i++;
    }
    h->counts[i]++;
    h->sum_us += us;
}

void histogram_merge(struct histogram *h, const struct histogram *more)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        h->counts[i] += more->counts[i];
    }
    h->sum_us += more->sum_us;
}
