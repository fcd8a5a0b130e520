/* All timed workloads in all arms, round by round: within a round the arms run
 * one after the other, and each round begins with another one. */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include "tests/bench/workload.h"

/* Is this arm part of the run? */
bool rounds_arm_chosen(const struct arm_spec *spec, const struct options *o);
bool rounds_workload_chosen(const char *name, bool in_short,
                            const struct options *o);

/* Failures are notes in the results; the rest goes on. */
void rounds_run(const struct options *o, struct results *r);

#endif
