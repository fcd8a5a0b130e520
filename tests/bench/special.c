#include "tests/bench/special.h"

#include <errno.h>
#include <stdio.h>

#include "tests/bench/goals.h"
#include "tests/bench/rounds.h"

#define WRITE_MS 600000
#define LARGE_SEED "large.db"

const struct special specials[] = {
    {.name = "L",
     .what = "from the return of a commit to visible on a follower",
     .run = special_lag,
     .arms = ARM_MARMOT,
     .databases = 1,
     .size = 1,
     .size_short = 1,
     .metric = {"p50_ms", "p90_ms", "p99_ms", "max_ms"}},
    {.name = "C-10k",
     .what = "catch-up of a node 10,000 frames behind, from the log",
     .run = special_catchup,
     .arms = ARM_MARMOT,
     .databases = 1,
     .long_log = true,
     .size = 10000,
     .size_short = 10000,
     .rounds_max = 3,
     .metric = {"mb_s", "seconds", "since_start_s", "mb"}},
    {.name = "C-100k",
     .what = "catch-up of a node 100,000 frames behind, from the log",
     .run = special_catchup,
     .arms = ARM_MARMOT,
     .databases = 1,
     .long_log = true,
     .size = 100000,
     .rounds_max = 3,
     .metric = {"mb_s", "seconds", "since_start_s", "mb"}},
    {.name = "C-100k-nosync",
     .what = "the same, with syncs that do nothing",
     .run = special_catchup,
     .arms = ARM_MARMOT,
     .databases = 1,
     .nosync = true,
     .long_log = true,
     .size = 100000,
     .rounds_max = 3,
     .metric = {"mb_s", "seconds", "since_start_s", "mb"}},
    {.name = "C-far",
     .what = "catch-up of a node 100,000 frames behind, beyond the log",
     .run = special_catchup,
     .arms = ARM_MARMOT,
     .databases = 1,
     .size = 100000,
     .rounds_max = 3,
     .metric = {"mb_s", "seconds", "since_start_s", "mb"}},
    {.name = "C-image",
     .what = "a database of 700,000 rows, fetched as an image",
     .run = special_image,
     .arms = ARM_MARMOT,
     .databases = 1,
     .large = true,
     .size = 700000,
     .rounds_max = 3,
     .metric = {"mb_s", "seconds", "since_start_s", "mb"}},
    {.name = "F",
     .what = "the leader is killed under a writer on another node",
     .run = special_failover,
     .arms = ARM_MARMOT,
     .databases = 1,
     .size = 1,
     .size_short = 1,
     .metric = {"gap_ms", "acknowledged", "lost", "errors"}},
    {.name = "M-1",
     .what = "resident memory, 16 databases, 1 group",
     .run = special_memory,
     .arms = ARM_MARMOT,
     .databases = 16,
     .shards = 1,
     .size = 20000,
     .rounds_max = 3,
     .metric = {"rss_idle_mb", "rss_mb"}},
    {.name = "M-16",
     .what = "resident memory, 16 databases, 16 groups",
     .run = special_memory,
     .arms = ARM_MARMOT "," ARM_DQLITE,
     .databases = 16,
     .shards = 16,
     .size = 20000,
     .size_short = 2000,
     .rounds_max = 3,
     .metric = {"rss_idle_mb", "rss_mb"}},
    {.name = "M-64",
     .what = "resident memory, 16 databases, 64 groups",
     .run = special_memory,
     .arms = ARM_MARMOT,
     .databases = 16,
     .shards = 64,
     .size = 20000,
     .rounds_max = 3,
     .metric = {"rss_idle_mb", "rss_mb"}},
    {.name = "I",
     .what = "wake-ups of an idle node",
     .run = special_idle,
     .arms = ARM_MARMOT ",marmot1," ARM_DQLITE,
     .databases = 16,
     .size = 1,
     .size_short = 1,
     .rounds_max = 3,
     .metric = {"wakeups_s"}},
    {.name = "G6",
     .what = "bytes of the log for a row, against the pages it changes",
     .run = special_log_bytes,
     .arms = ARM_MARMOT,
     .databases = 1,
     .probed = true,
     .size = 1000,
     .size_short = 1000,
     .rounds_max = 3,
     .metric = {"log_ratio", "log_bytes", "page_bytes", "sent_bytes"}},
    {.name = "G9-1",
     .what = "system calls per commit and node, 1 writer",
     .run = special_syncs,
     .arms = ARM_MARMOT,
     .databases = 1,
     .probed = true,
     .size = 1,
     .rounds_max = 3,
     .metric = {"syncs_per_commit", "syncs_leader", "sync_us", "waits", "reads",
                "socket_writes", "file_writes"}},
    {.name = "G9",
     .what = "system calls per commit and node, 16 writers on 16 databases",
     .run = special_syncs,
     .arms = ARM_MARMOT,
     .databases = 16,
     .probed = true,
     .size = 16,
     .size_short = 16,
     .rounds_max = 3,
     .metric = {"syncs_per_commit", "syncs_leader", "sync_us", "waits", "reads",
                "socket_writes", "file_writes"}},
    {.name = "T",
     .what = "where the time of a serial commit goes, us",
     .run = special_trace,
     .arms = ARM_MARMOT,
     .databases = 1,
     .probed = true,
     .size = 1,
     .rounds_max = 3,
     .metric = {"commits", "period", "to_first_send", "send", "to_sync", "sync",
                "quorum_wait", "to_answer", "answer_hop", "application",
                "proposal_hop", "to_follower", "follower_to_sync",
                "follower_sync", "follower_reply", "application_writes",
                "application_syncs"}},
};
const int specials_n = sizeof specials / sizeof *specials;

int special_write(struct special_run *run, int64_t n, bool batches)
{
    int databases = run->arm->cluster.databases;
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0) {
        run->why = "no shared memory";
        return err;
    }
    for (int d = 0; d < databases; d++) {
        struct seat *s = arm_add(run->arm, &crew, d, -1);
        s->task = batches ? TASK_BATCHES : TASK_WRITES;
        s->rows = n / databases;
    }
    err = crew_start(&crew, &run->why);
    if (err == 0) {
        crew_go(&crew);
        err = crew_wait(&crew, databases, WRITE_MS, &run->why);
    }
    if (err != 0) { /* the reason belongs to the crew */
        static char kept[CLIENT_WHY_MAX];
        snprintf(kept, sizeof kept, "%s", run->why);
        run->why = kept;
    }
    crew_close(&crew);
    return err;
}

static void run_once(const struct special *s, const struct arm_spec *spec,
                     const struct options *o, int round, struct results *r)
{
    struct special_run run = {.results = r, .round = round, .why = ""};
    struct arm a;
    int err = arm_init(&a, spec, o, s->databases);

    if (err != 0) {
        results_failed(r, s->name, spec->name, round, "no folder");
        return;
    }
    a.cluster.shards = s->shards;
    a.cluster.probed = s->probed;
    a.cluster.nosync = s->nosync;
    a.cluster.long_log = s->long_log;
    run.arm = &a;
    run.size = o->full || s->size_short == 0 ? s->size : s->size_short;
    if (s->large) {
        snprintf(a.seed, sizeof a.seed, "%s/%s", o->folder, LARGE_SEED);
    }
    err = arm_start(&a, &run.why);
    if (err == 0) {
        results_open_line(r, s->name, spec->name, round);
        err = s->run(&run);
    }
    if (err == 0) {
        results_close_line(r);
    } else {
        results_failed(r, s->name, spec->name, round, run.why);
    }
    arm_stop(&a);
    arm_clean(o);
}

static void run_arms(const struct special *s, const struct options *o,
                     int round, struct results *r)
{
    for (int k = 0; k < arm_specs_n; k++) {
        const struct arm_spec *spec = &arm_specs[k];
        if (rounds_arm_chosen(spec, o) && options_listed(s->arms, spec->name)) {
            run_once(s, spec, o, round, r);
        }
    }
}

void specials_run(const struct options *o, struct results *r)
{
    for (int i = 0; i < specials_n; i++) {
        const struct special *s = &specials[i];
        int rounds = s->rounds_max > 0 && o->rounds > s->rounds_max
                         ? s->rounds_max
                         : o->rounds;
        if (!rounds_workload_chosen(s->name, s->size_short > 0, o)) {
            continue;
        }
        fprintf(stderr, "%s: %s\n", s->name, s->what);
        if (s->large && arm_make_seed(o, LARGE_SEED, s->size) != 0) {
            continue;
        }
        for (int round = 0; round < rounds; round++) {
            run_arms(s, o, round, r);
        }
    }
}
