/* The timed workloads: every arm does the same for the same time. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "tests/bench/arm.h"
#include "tests/bench/results.h"

struct workload {
    const char *name;
    const char *what;
    enum task task;
    int64_t rows;       /* of TASK_FILL; 0: as many as the database has */
    int writers;        /* workers with this task */
    int databases;      /* among which they are spread */
    bool beside_writer; /* one more worker inserts, unmeasured */
    bool on_floor;      /* the quorum floor can do it */
    bool in_short;
};

extern const struct workload workloads[];
extern const int workloads_n;

/* One arm in one round: start, run, put a line into the results, stop.
 * Returns 0, or an error after a message; then there is no line. */
int workload_run(const struct workload *w, const struct arm_spec *spec,
                 const struct options *o, int round, struct results *r);

#endif
