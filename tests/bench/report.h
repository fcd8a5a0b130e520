/* The end of a run: summaries as JSON lines, and the table for people. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "tests/bench/options.h"
#include "tests/bench/results.h"

/* What was measured on what, as the first line. */
void report_machine(const struct options *o, bool realtime, struct results *r);

/* Medians and verdicts: into the lines, and as a table on `out`. */
void report_end(struct results *r, FILE *out);

#endif
