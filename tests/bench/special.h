/* What is measured otherwise than by counting transactions for a while. Each
 * starts its arm in a fresh folder and puts one line into the results. */
#ifndef BENCH_SPECIAL_H
#define BENCH_SPECIAL_H

#include "tests/bench/arm.h"
#include "tests/bench/results.h"

#define SPECIAL_METRICS_MAX 20

/* One arm in one round. The arm is started; the results' line is open. */
struct special_run {
    struct arm *arm;
    struct results *results;
    int round;
    int64_t size;    /* of the special, see below */
    const char *why; /* after a failure */
};

struct special {
    const char *name;
    const char *what;
    /* 0, or an error with run->why filled. */
    int (*run)(struct special_run *run);
    const char *arms; /* "a,b": those that can do it */
    int databases;
    int shards;         /* 0: the default */
    bool long_log;      /* the nodes shorten their logs late */
    bool probed;        /* the probe counts in the nodes */
    bool nosync;        /* and their syncs do nothing */
    bool large;         /* the database has `size` rows, a seed of its own */
    int64_t size;       /* how much: frames, rows, as the case may be */
    int64_t size_short; /* the same in the short run; 0: not part of it */
    int rounds_max;     /* few are enough where time or spread is small */
    const char *metric[SPECIAL_METRICS_MAX]; /* for the table */
};

extern const struct special specials[];
extern const int specials_n;

/* Those that were chosen, all rounds. */
void specials_run(const struct options *o, struct results *r);

/* One a file. */
int special_lag(struct special_run *run);
int special_catchup(struct special_run *run);
int special_image(struct special_run *run);
int special_failover(struct special_run *run);
int special_memory(struct special_run *run);
int special_idle(struct special_run *run);
int special_log_bytes(struct special_run *run);
int special_syncs(struct special_run *run);
int special_trace(struct special_run *run);

/* `n` rows in single commits by one worker per database, spread over all of
 * them; or in batches of 1000 when `batches`. Returns as run() does. */
int special_write(struct special_run *run, int64_t n, bool batches);

#endif
