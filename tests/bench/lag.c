/* L: from the return of a commit to visible in a process on a follower. The
 * two processes note the times; they share a clock. The watcher looks every 30
 * us, which is part of the figure. */
#include <errno.h>

#include "tests/bench/special.h"

#define GRACE_MS 60000

static void put(struct results *r, float *samples, size_t n)
{
    stats_sort(samples, n);
    results_put(r, "commits", (double)n);
    results_put(r, "p50_ms", stats_percentile(samples, n, 50) / 1000);
    results_put(r, "p90_ms", stats_percentile(samples, n, 90) / 1000);
    results_put(r, "p99_ms", stats_percentile(samples, n, 99) / 1000);
    results_put(r, "max_ms", stats_percentile(samples, n, 100) / 1000);
}

int special_lag(struct special_run *run)
{
    struct arm *a = run->arm;
    int writer = arm_writer_node(a, 0);
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0) {
        run->why = "no shared memory";
        return err;
    }
    arm_add(a, &crew, 0, writer)->task = TASK_LAG;
    arm_add(a, &crew, 0, (writer + 1) % a->cluster.nodes)->task = TASK_WATCH;
    err = crew_start(&crew, &run->why);
    if (err == 0) {
        crew_go(&crew);
        err = crew_wait(&crew, 1,
                        (unsigned)(a->options->seconds * 1000) + GRACE_MS,
                        &run->why);
    }
    if (err == 0) {
        put(run->results, crew.memory->sample[0], crew.memory->seat[0].samples);
    } else {
        run->why = "a worker failed";
    }
    crew_close(&crew);
    return err;
}
