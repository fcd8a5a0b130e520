/* The goals G1-G9, and what a run says about them. */
#ifndef BENCH_GOALS_H
#define BENCH_GOALS_H

#include "tests/bench/results.h"

/* The arms that goals and controls speak of. */
#define ARM_SQLITE "sqlite"
#define ARM_CONTROL "sqlite_again"
#define ARM_MARMOT "marmot3"
#define ARM_DQLITE "dqlite_nodelay"

struct goal {
    const char *name;
    const char *what;
    const char *workload;
    const char *metric;
    const char *base;    /* an arm: the goal is a ratio; NULL: a figure */
    const char *control; /* the workload whose control must be quiet, or NULL
                          * for what does not depend on time */
    double must, target, moonshot; /* falling: less is better */
};

extern const struct goal goals[];
extern const size_t goals_n;

/* The best of the three levels that `value` reaches: "moonshot", "target",
 * "must", or "missed". */
const char *goal_level(const struct goal *goal, double value);

struct verdict {
    struct spread value;
    const char *text; /* a level, "noisy", "too few rounds", "not measured" */
};

#define GOAL_ROUNDS_MIN 3

struct verdict goal_verdict(const struct goal *goal, const struct results *r);

/* The control arm against the arm that it repeats. `n` is 0: it did not run. */
struct control {
    struct spread ratio;
    bool noisy;
};

struct control goals_control(const struct results *r, const char *workload);

#endif
