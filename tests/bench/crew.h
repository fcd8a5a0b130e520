/* Worker processes that start at the same moment and leave their figures in
 * shared memory.
 *
 * Each worker is this program again, so that a library can be preloaded into
 * it; one worker, one connection. Life: init, add (up to CREW_MAX), start,
 * then let go, wait, read the seats, close. */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/bench/client.h"

#define CREW_MAX 17
#define SAMPLES_MAX (1u << 20) /* per worker; later ones are counted only */

enum task {
    TASK_INSERT,
    TASK_FILL,   /* `rows` rows per transaction */
    TASK_UPDATE, /* of rows 1 to `rows` */
    TASK_DELETE, /* the lowest row; `rows` new ones when none is left */
    TASK_READ,   /* of rows 1 to `rows` */
    TASK_ACKS,   /* insert -1, -2, -3...; a negative sample was not acknowledged
                  */
    TASK_LAG,    /* commit, and wait until TASK_WATCH has seen it */
    TASK_WATCH,  /* look for the last row for ever */
    TASK_WRITES, /* insert `rows` times, whatever the time */
    TASK_BATCHES, /* the same with 1000 rows each */
};

/* One worker: what it shall do and what came of it. */
struct seat {
    struct target target;
    enum task task;
    int64_t rows;
    uint64_t us; /* how long */

    volatile int ready;
    uint64_t ops;        /* acknowledged transactions */
    uint64_t busy;       /* refused for now, and tried again */
    uint64_t errors;     /* refused otherwise, or unknown */
    uint64_t elapsed_us; /* without preparations in between */
    uint64_t gap_us;     /* the longest time between two acknowledgements */
    uint64_t cpu_us;     /* processor time of the worker */
    size_t samples;      /* latencies in microseconds */
    char why[CLIENT_WHY_MAX];
};

struct crew_memory {
    volatile uint64_t start_us; /* 0: not yet */
    volatile int64_t committed; /* TASK_LAG: the last row */
    volatile int64_t seen;      /* TASK_WATCH: the last row, and when */
    volatile uint64_t seen_us;
    struct seat seat[CREW_MAX];
    float sample[CREW_MAX][SAMPLES_MAX];
};

struct crew {
    struct crew_memory *memory;
    int fd;
    int n;
    const char *preload[CREW_MAX];
    pid_t pid[CREW_MAX];
};

/* Returns 0 or -errno. */
int crew_init(struct crew *crew);

/* A seat to be filled in. `preload` is borrowed; NULL: none. */
struct seat *crew_add(struct crew *crew, const char *preload);

/* Returns when all are connected and wait; -EIO when one cannot, with its
 * reason in *why, which belongs to the crew. */
int crew_start(struct crew *crew, const char **why);

void crew_go(struct crew *crew);

/* Wait for the first `n` workers, at most `ms`. Returns 0, or -ETIMEDOUT, or
 * -EIO when one failed, with *why as above. */
int crew_wait(struct crew *crew, int n, unsigned ms, const char **why);

/* Kills who still works. */
void crew_close(struct crew *crew);

/* The worker's main(). */
int worker_main(const char *seat);

#endif
