/* Medians, ranges and percentiles of a handful of figures, and whether they
 * may be trusted. Pure functions; values are finite. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* What the rounds of one figure amount to. */
struct spread {
    double median;
    double low;
    double high;
    size_t n; /* 0: no round gave a value, the rest is 0 */
};

#define STATS_VALUES_MAX 256

/* The first STATS_VALUES_MAX of `values` count. An even number of values has
 * the mean of the two in the middle as its median. */
struct spread stats_spread(const double *values, size_t n);

/* Sort in place, ascending. */
void stats_sort(float *values, size_t n);

/* The smallest of `sorted` that at least `percent` of 100 do not exceed
 * (nearest rank); 0 when there is none. */
double stats_percentile(const float *sorted, size_t n, double percent);

/* Did the same thing, measured twice in each round, differ so much that a ratio
 * of two different things says nothing? `controls` are the ratios of the two:
 * their median, and at least half of them, must lie between 0.9 and 1.1. Also
 * true when there are none. */
bool stats_noisy(const double *controls, size_t n);

#endif
