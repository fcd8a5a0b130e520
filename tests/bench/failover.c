/* F: the leader is killed while an application on another node writes. How
 * long until the next commit, and is every acknowledged one still there, on the
 * node that was killed too? */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "tests/bench/plain_frames.h"
#include "tests/bench/process.h"
#include "tests/bench/special.h"

#define RUN_US 5000000
#define KILL_AFTER_US 1000000
#define GRACE_MS 60000
#define CATCH_UP_US 30000000u

/* Of the acknowledged rows, how many does this copy lack? -1: unreadable. */
static int64_t missing(const char *path, const float *acks, size_t n)
{
    int64_t gone = 0;
    sqlite3_stmt *st = NULL;
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(db, "SELECT 1 FROM t WHERE k = ?", -1, &st,
                                NULL);
    }
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        if (acks[i] >= 0) {
            sqlite3_bind_int64(st, 1, -(int64_t)i - 1);
            gone += sqlite3_step(st) != SQLITE_ROW;
            sqlite3_reset(st);
        }
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return rc == SQLITE_OK ? gone : -1;
}

/* The worst of all copies, once the last one has caught up. */
static int64_t lost(const struct cluster *c, int writer, const float *acks,
                    size_t n)
{
    uint64_t end = clock_us() + CATCH_UP_US;
    char path[CLUSTER_PATH_MAX];
    int64_t worst = 0, last;

    last = plain_last_row(cluster_path(c, writer, 0, "", path));
    for (int i = 0; i < c->nodes; i++) {
        (void)cluster_path(c, i, 0, "", path);
        while (plain_last_row(path) < last && clock_us() < end) {
            sleep_us(10000);
        }
        int64_t gone = missing(path, acks, n);
        worst = gone < 0 || worst < 0 ? -1 : gone > worst ? gone : worst;
    }
    return worst;
}

static int kill_and_wait(struct special_run *run, struct crew *crew, int leader)
{
    int err = crew_start(crew, &run->why);

    if (err != 0) {
        return err;
    }
    crew_go(crew);
    sleep_us(KILL_AFTER_US);
    cluster_end_node(&run->arm->cluster, leader, SIGKILL);
    err = crew_wait(crew, 1, RUN_US / 1000 + GRACE_MS, &run->why);
    if (err == 0) {
        err = cluster_start_node(&run->arm->cluster, leader);
    }
    return err;
}

int special_failover(struct special_run *run)
{
    struct arm *a = run->arm;
    int leader = cluster_leader(&a->cluster, 0, 0), writer;
    struct seat *seat;
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0 || leader < 0) {
        run->why = "no leader is known";
        return -EIO;
    }
    writer = (leader + 1) % a->cluster.nodes;
    seat = arm_add(a, &crew, 0, writer);
    seat->task = TASK_ACKS;
    seat->us = RUN_US;
    err = kill_and_wait(run, &crew, leader);
    if (err == 0) {
        results_put(run->results, "gap_ms", (double)seat->gap_us / 1000);
        results_put(run->results, "acknowledged", (double)seat->ops);
        results_put(run->results, "lost",
                    (double)lost(&a->cluster, writer, crew.memory->sample[0],
                                 seat->samples));
        results_put(run->results, "errors", (double)seat->errors);
        results_put(run->results, "busy", (double)seat->busy);
    } else {
        run->why = "the writer failed";
    }
    crew_close(&crew);
    return err;
}
