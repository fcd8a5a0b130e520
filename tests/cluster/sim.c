/* sim SEED [--trace]    one run
 * sim FROM-TO           many, one after the other; stops at none
 *
 * --quiet prints violations only; --mutant=N and --off=N make the mistakes of
 * enum sim_mutant and take out the filters of enum sim_filter. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cluster/sim.h"

/* What is said when a run dies; written down before it begins. */
static char last_words[64];

static void on_abort(int signum)
{
    if (write(STDERR_FILENO, last_words, strlen(last_words)) < 0) {
        _exit(3);
    }
    signal(signum, SIG_DFL);
    raise(signum);
}

static void print_report(uint64_t seed, const struct sim_report *r)
{
    printf("seed %" PRIu64 " %s hash=%016" PRIx64 " s=%" PRIu64
           " events=%" PRIu64 " entries=%" PRIu64 " commits=%" PRIu64
           " conflicts=%" PRIu64 " failures=%" PRIu64 " unknown=%" PRIu64
           " kills=%" PRIu64 "+%" PRIu64 "+%" PRIu64 " stops=%" PRIu64
           " moments=%" PRIu64 " elections=%" PRIu64 " partitions=%" PRIu64
           "+%" PRIu64 " breaks=%" PRIu64 " lost=%" PRIu64 " doubled=%" PRIu64
           " transfers=%" PRIu64 " images=%" PRIu64 " retaken=%" PRIu64
           " resumed=%" PRIu64 " snapshots=%" PRIu64 " installs=%" PRIu64
           " catchups=%" PRIu64 " asides=%" PRIu64 " syncs=%" PRIu64
           " members=%" PRIu64 "+%" PRIu64 "+%" PRIu64 "+%" PRIu64
           " changes=%" PRIu64 " refusals=%" PRIu64 "%s%s\n",
           seed, r->violated ? "VIOLATION" : "ok", r->hash,
           (uint64_t)(r->end_us / SECOND), r->events, r->entries, r->commits,
           r->conflicts, r->failures, r->unknown, r->kills, r->power_cuts,
           r->disk_failures, r->stops, r->moments, r->elections, r->partitions,
           r->one_ways, r->breaks, r->lost, r->duplicated, r->transfers,
           r->images, r->retaken, r->resumed, r->snapshots, r->installs,
           r->catchups, r->asides, r->syncs, r->joins, r->removals, r->wipes,
           r->moves, r->changes, r->refusals, r->violated ? ": " : "",
           r->violated ? r->why : "");
}

int main(int argc, char **argv)
{
    uint64_t from, to, failed = 0;
    struct sim_plan extra = {0};
    bool quiet = false;
    char *end;

    if (argc < 2) {
        fprintf(stderr, "usage: sim SEED [--trace] | FROM-TO\n");
        return 2;
    }
    from = to = strtoull(argv[1], &end, 10);
    if (*end == '-') {
        to = strtoull(end + 1, NULL, 10);
    }
    for (int i = 2; i < argc; i++) {
        extra.print = extra.print || strcmp(argv[i], "--trace") == 0;
        quiet = quiet || strcmp(argv[i], "--quiet") == 0;
        if (strncmp(argv[i], "--mutant=", 9) == 0) {
            extra.mutant = (enum sim_mutant)atoi(argv[i] + 9);
        } else if (strncmp(argv[i], "--off=", 6) == 0) {
            extra.off = (unsigned)atoi(argv[i] + 6);
        }
    }
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
    for (uint64_t seed = from; seed <= to; seed++) {
        struct sim_plan plan = sim_plan_of(seed);
        struct sim_report r;
        snprintf(last_words, sizeof last_words, "seed %" PRIu64 " died\n",
                 seed);
        plan.print = extra.print;
        plan.mutant = extra.mutant;
        plan.off = extra.off;
        r = sim_run(&plan);
        failed += r.violated;
        if (r.violated || !quiet) {
            print_report(seed, &r);
            fflush(stdout);
        }
    }
    printf("%" PRIu64 " runs, %" PRIu64 " violated\n", to - from + 1, failed);
    return failed > 0;
}
