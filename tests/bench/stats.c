#include "tests/bench/stats.h"

#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

struct spread stats_spread(const double *values, size_t n)
{
    double sorted[STATS_VALUES_MAX];
    struct spread s = {0};

    if (n > STATS_VALUES_MAX) {
        n = STATS_VALUES_MAX;
    }
    if (n == 0) {
        return s;
    }
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    s.low = sorted[0];
    s.high = sorted[n - 1];
    s.median =
        n % 2 != 0 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    s.n = n;
    return s;
}

void stats_sort(float *values, size_t n)
{
    if (n > 0) {
        qsort(values, n, sizeof *values, compare_floats);
    }
}

double stats_percentile(const float *sorted, size_t n, double percent)
{
    double exact;
    size_t rank;

    if (n == 0) {
        return 0;
    }
    /* 99 % of 100 values is the 99th, whatever binary fractions say. */
    exact = (double)n * percent / 100.0 - 1e-9;
    rank = exact > 0 ? (size_t)exact + 1 : 1;
    return (double)sorted[(rank > n ? n : rank) - 1];
}

static bool quiet(double control)
{
    return control >= 0.9 && control <= 1.1;
}

bool stats_noisy(const double *controls, size_t n)
{
    size_t within = 0;

    for (size_t i = 0; i < n; i++) {
        within += quiet(controls[i]);
    }
    return !quiet(stats_spread(controls, n).median) || within * 2 < n;
}
