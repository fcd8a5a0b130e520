/* M and I: the memory of a node, and how often it wakes when nothing is to do.
 */
#include "tests/bench/process.h"
#include "tests/bench/special.h"

#define SETTLE_US 1000000
#define IDLE_US 3000000

static double largest(const struct arm *a)
{
    const pid_t *pids;
    int n = arm_nodes(a, &pids);
    double most = 0;

    for (int i = 0; i < n; i++) {
        double mb = process_rss_mb(pids[i]);
        most = mb > most ? mb : most;
    }
    return most;
}

int special_memory(struct special_run *run)
{
    int err;

    sleep_us(SETTLE_US);
    results_put(run->results, "rss_idle_mb", largest(run->arm));
    err = special_write(run, run->size, false);
    if (err == 0) {
        sleep_us(SETTLE_US);
        results_put(run->results, "rss_mb", largest(run->arm));
        results_put(run->results, "commits", (double)run->size);
    }
    return err;
}

static double waits(const struct arm *a)
{
    const pid_t *pids;
    int n = arm_nodes(a, &pids);
    double sum = 0;

    for (int i = 0; i < n; i++) {
        sum += (double)process_waits(pids[i]);
    }
    return sum / n;
}

int special_idle(struct special_run *run)
{
    double before;

    sleep_us(SETTLE_US);
    before = waits(run->arm);
    sleep_us(IDLE_US);
    results_put(run->results, "wakeups_s",
                (waits(run->arm) - before) * 1e6 / IDLE_US);
    return 0;
}
