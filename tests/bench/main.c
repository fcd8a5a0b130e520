/* marmot-bench: what replication costs, measured beside plain SQLite, dqlite
 * and the least that a quorum commit can cost. docs/PERFORMANCE.md has the
 * method. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/crew.h"
#include "tests/bench/process.h"
#include "tests/bench/report.h"
#include "tests/bench/rounds.h"
#include "tests/bench/special.h"

/* Everything that is started inherits it: other load does not disturb. */
static bool ask_realtime(void)
{
    struct sched_param priority = {.sched_priority = 5};

    return sched_setscheduler(0, SCHED_FIFO, &priority) == 0;
}

static void note_arms(const struct options *o, struct results *r)
{
    for (int i = 0; i < arm_specs_n; i++) {
        const char *missing = arm_missing(&arm_specs[i], o);
        if (missing != NULL) {
            fprintf(stderr, "without %s: %s\n", arm_specs[i].name, missing);
            results_note(r, "skip", "\"arm\":\"%s\",\"why\":\"%s\"",
                         arm_specs[i].name, missing);
        }
    }
}

static int measure(struct options *o, struct results *r)
{
    bool realtime = o->realtime && ask_realtime();

    fprintf(stderr, "priority: %s\n",
            realtime       ? "SCHED_FIFO 5"
            : !o->realtime ? "ordinary, as asked"
                           : "ordinary: SCHED_FIFO is not permitted");
    report_machine(o, realtime, r);
    note_arms(o, r);
    if (arm_make_seed(o, SEED_NAME, o->rows) != 0) {
        return 1;
    }
    rounds_run(o, r);
    specials_run(o, r);
    report_end(r, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct results results = {0};
    struct options options;
    char folder[180], *build;
    int status = 1;

    if (argc == 3 && strcmp(argv[1], "worker") == 0) {
        return worker_main(argv[2]);
    }
    if (options_parse(&options, argc, argv) != 0) {
        return 2;
    }
    build = realpath(options.build, NULL);
    if (build == NULL) {
        fprintf(stderr, "bench: %s: %s\n", options.build, strerror(errno));
        return 2;
    }
    options.build = build;
    snprintf(folder, sizeof folder, "%.150s/marmot-bench-XXXXXX",
             options.folder);
    if (mkdtemp(folder) == NULL) {
        fprintf(stderr, "bench: %s: %s\n", folder, strerror(errno));
        free(build);
        return 2;
    }
    options.folder = folder;
    results.lines = options.quiet ? NULL : stdout;
    if (options.output != NULL &&
        (results.lines_2 = fopen(options.output, "we")) == NULL) {
        fprintf(stderr, "bench: %s: %s\n", options.output, strerror(errno));
    } else {
        status = measure(&options, &results);
    }
    if (results.lines_2 != NULL) {
        fclose(results.lines_2);
    }
    results_close(&results);
    free(build);
    (void)remove_tree(folder);
    return status;
}
