/* What was measured: figures by workload, arm, metric and round.
 *
 * A line is opened for one arm in one round, gets its figures, and is closed;
 * closing prints it as one JSON object. Everything is kept for the table.
 * Names are borrowed for the life of the results. Running out of memory ends
 * the program. */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <stdbool.h>
#include <stdio.h>

#include "tests/bench/stats.h"

struct figure {
    const char *workload;
    const char *arm;
    const char *metric;
    int round;
    double value;
};

struct results {
    FILE *lines;   /* JSON goes here; NULL: nowhere */
    FILE *lines_2; /* and here */
    struct figure *figures;
    size_t n, room;
    const char *workload, *arm; /* of the line that is open */
    int round;
    size_t line_start;
};

void results_open_line(struct results *r, const char *workload, const char *arm,
                       int round);
void results_put(struct results *r, const char *metric, double value);
void results_close_line(struct results *r);

/* A JSON object without figures, such as {"type":"skip",...}. The format gives
 * the members after the type. */
void results_note(struct results *r, const char *type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What could not be measured, and why; also told on stderr. */
void results_failed(struct results *r, const char *workload, const char *arm,
                    int round, const char *why);

/* The figure of one round. False, and *value untouched, if there is none. */
bool results_get(const struct results *r, const char *workload, const char *arm,
                 const char *metric, int round, double *value);

/* Over all rounds. */
struct spread results_spread(const struct results *r, const char *workload,
                             const char *arm, const char *metric);

/* Of `arm` to `base`, a ratio per round that has both, in order of the lines.
 * `ratios` has room for STATS_VALUES_MAX; returns how many. */
size_t results_ratios(const struct results *r, const char *workload,
                      const char *arm, const char *base, const char *metric,
                      double *ratios);
struct spread results_ratio(const struct results *r, const char *workload,
                            const char *arm, const char *base,
                            const char *metric);

void results_close(struct results *r);

#endif
