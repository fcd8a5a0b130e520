#include "tests/bench/workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/process.h"

#define GRACE_MS 60000

const struct workload workloads[] = {
    {"W1", "serial insert", TASK_INSERT, 0, 1, 1, false, true, true},
    {"W2-4", "4 writers on 1 database", TASK_INSERT, 0, 4, 1, false, true,
     false},
    {"W2-16", "16 writers on 1 database", TASK_INSERT, 0, 16, 1, false, true,
     false},
    {"W3-4", "4 writers on 4 databases", TASK_INSERT, 0, 4, 4, false, true,
     false},
    {"W3", "16 writers on 16 databases", TASK_INSERT, 0, 16, 16, false, true,
     true},
    {"W4", "1000-row batch", TASK_FILL, 1000, 1, 1, false, false, true},
    {"W5-update", "update of a row", TASK_UPDATE, 0, 1, 1, false, false, false},
    {"W5-delete", "deletion of a row", TASK_DELETE, 0, 1, 1, false, false,
     false},
    {"R1", "point SELECT", TASK_READ, 0, 1, 1, false, false, true},
    {"R2", "point SELECT during W1", TASK_READ, 0, 1, 1, true, false, false},
};
const int workloads_n = sizeof workloads / sizeof *workloads;

/* What all measured workers did, as one line. */
static int put_line(const struct workload *w, const struct arm *a,
                    const struct crew *crew, double nodes_us, int round,
                    struct results *r)
{
    double rate = 0, busy = 0, errors = 0, ops = 0, client_us = 0;
    size_t n = 0;
    float *all = malloc(sizeof *all * SAMPLES_MAX * (size_t)w->writers);

    if (all == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < w->writers; i++) {
        const struct seat *s = &crew->memory->seat[i];
        for (size_t k = 0; k < s->samples; k++) {
            all[n++] = crew->memory->sample[i][k];
        }
        rate += s->elapsed_us == 0
                    ? 0
                    : (double)s->ops * 1e6 / (double)s->elapsed_us;
        ops += (double)s->ops;
        client_us += (double)s->cpu_us;
        busy += (double)s->busy;
        errors += (double)s->errors;
    }
    stats_sort(all, n);
    results_open_line(r, w->name, a->spec->name, round);
    results_put(r, "rate", rate);
    results_put(r, "ops", ops);
    results_put(r, "p50_us", stats_percentile(all, n, 50));
    results_put(r, "p90_us", stats_percentile(all, n, 90));
    results_put(r, "p99_us", stats_percentile(all, n, 99));
    results_put(r, "p999_us", stats_percentile(all, n, 99.9));
    results_put(r, "max_us", stats_percentile(all, n, 100));
    results_put(r, "client_cpu_us", ops > 0 ? client_us / ops : 0);
    results_put(r, "nodes_cpu_us", ops > 0 ? nodes_us / ops : 0);
    results_put(r, "busy", busy);
    results_put(r, "errors", errors);
    results_close_line(r);
    free(all);
    return 0;
}

/* Of all processes that serve. */
static double nodes_cpu_us(const struct arm *a)
{
    const pid_t *pids;
    int n = arm_nodes(a, &pids);
    double sum = 0;

    for (int i = 0; i < n; i++) {
        sum += process_cpu_us(pids[i]);
    }
    return sum;
}

static void fill_seats(const struct workload *w, struct arm *a,
                       struct crew *crew)
{
    for (int i = 0; i < w->writers; i++) {
        struct seat *s = arm_add(a, crew, i % w->databases, -1);
        s->task = w->task;
        s->rows = w->rows > 0 ? w->rows : s->rows;
    }
    if (w->beside_writer) {
        struct seat *s = arm_add(a, crew, 0, -1);
        s->task = TASK_INSERT;
    }
}

static int with_crew(const struct workload *w, struct arm *a, int round,
                     struct results *r, const char **why)
{
    unsigned ms = (unsigned)(a->options->seconds * 1000) + GRACE_MS;
    double nodes_us = 0;
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0) {
        *why = "no shared memory";
        return err;
    }
    fill_seats(w, a, &crew);
    err = crew_start(&crew, why);
    if (err == 0) {
        sync(); /* what was copied does not disturb */
        nodes_us = nodes_cpu_us(a);
        crew_go(&crew);
        err = crew_wait(&crew, w->writers, ms, why);
    }
    if (err == 0) {
        err = put_line(w, a, &crew, nodes_cpu_us(a) - nodes_us, round, r);
    }
    if (err != 0) {
        results_failed(r, w->name, a->spec->name, round, *why);
    }
    crew_close(&crew);
    return err;
}

int workload_run(const struct workload *w, const struct arm_spec *spec,
                 const struct options *o, int round, struct results *r)
{
    const char *why = "";
    struct arm a;
    int err = arm_init(&a, spec, o, w->databases);

    if (err != 0) {
        fprintf(stderr, "bench: cannot make a folder in %s\n", o->folder);
        return err;
    }
    err = arm_start(&a, &why);
    if (err == 0) {
        err = with_crew(w, &a, round, r, &why);
    } else {
        results_failed(r, w->name, spec->name, round, why);
    }
    arm_stop(&a);
    return err;
}
