#include "tests/bench/goals.h"

const struct goal goals[] = {
    {"G1", "serial 3-node commit / SQLite FULL", "W1", "rate", ARM_SQLITE, "W1",
     0.25, 0.40, 0.60},
    {"G1b", "serial commit / dqlite with NODELAY", "W1", "rate", ARM_DQLITE,
     "W1", 2.5, 4, 6},
    {"G2", "16 databases, 16 writers / SQLite FULL", "W3", "rate", ARM_SQLITE,
     "W3", 0.6, 1.0, 1.5},
    {"G2b", "16 databases, 16 writers / dqlite with NODELAY", "W3", "rate",
     ARM_DQLITE, "W3", 8, 15, 25},
    {"G3", "local point reads / SQLite", "R1", "rate", ARM_SQLITE, "R1", 0.95,
     0.98, 1.00},
    {"G4", "replica lag p50, ms", "L", "p50_ms", NULL, "W1", 2, 0.5, 0.3},
    {"G4", "replica lag p99, ms", "L", "p99_ms", NULL, "W1", 20, 5, 2},
    {"G5", "catch-up, durable, MB/s", "C-100k", "mb_s", NULL, "W1", 50, 100,
     200},
    {"G5", "catch-up, unsynced, MB/s", "C-100k-nosync", "mb_s", NULL, "W1", 200,
     400, 800},
    {"G6", "log bytes of a 1-row insert / its pages", "G6", "log_ratio", NULL,
     NULL, 0.50, 0.15, 0.08},
    {"G7", "1000-row batch / SQLite FULL", "W4", "rate", ARM_SQLITE, "W4", 0.4,
     0.6, 0.9},
    {"G8", "resident memory per node, 16 databases, MB", "M-16", "rss_mb", NULL,
     NULL, 64, 32, 16},
    {"G9", "syncs per commit per node, 16 writers", "G9", "syncs_per_commit",
     NULL, NULL, 0.5, 0.15, 1.0 / 16},
};
const size_t goals_n = sizeof goals / sizeof *goals;

static bool reaches(const struct goal *goal, double value, double level)
{
    return goal->moonshot < goal->must ? value <= level : value >= level;
}

const char *goal_level(const struct goal *goal, double value)
{
    if (reaches(goal, value, goal->moonshot)) {
        return "moonshot";
    }
    if (reaches(goal, value, goal->target)) {
        return "target";
    }
    return reaches(goal, value, goal->must) ? "must" : "missed";
}

struct control goals_control(const struct results *r, const char *workload)
{
    double ratios[STATS_VALUES_MAX];
    size_t n =
        results_ratios(r, workload, ARM_CONTROL, ARM_SQLITE, "rate", ratios);

    return (struct control){stats_spread(ratios, n), stats_noisy(ratios, n)};
}

struct verdict goal_verdict(const struct goal *goal, const struct results *r)
{
    struct verdict v;

    if (goal->base != NULL) {
        v.value = results_ratio(r, goal->workload, ARM_MARMOT, goal->base,
                                goal->metric);
    } else {
        v.value = results_spread(r, goal->workload, ARM_MARMOT, goal->metric);
    }
    if (v.value.n == 0) {
        v.text = "not measured";
    } else if (v.value.n < GOAL_ROUNDS_MIN) {
        v.text = "too few rounds";
    } else if (goal->control != NULL && goals_control(r, goal->control).noisy) {
        v.text = "noisy";
    } else {
        v.text = goal_level(goal, v.value.median);
    }
    return v;
}
