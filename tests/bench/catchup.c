/* C: how fast a node that was away gets back, from the log and as an image.
 *
 * A follower is stopped, the cluster goes on, the follower is started again.
 * The clock runs from its first connection to a peer (before that it loads its
 * own log) until stock SQLite sees the last row in its copy. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bench/plain_frames.h"
#include "tests/bench/process.h"
#include "tests/bench/special.h"

#define CATCH_UP_US 300000000u

/* Start the node and wait for the row. */
static int time_catch_up(struct special_run *run, int node, int64_t row,
                         double mb)
{
    struct cluster *c = &run->arm->cluster;
    uint64_t start = clock_us(), up = 0, now = start;
    char path[CLUSTER_PATH_MAX];

    (void)cluster_path(c, node, 0, "", path);
    if (cluster_start_node(c, node) != 0) {
        run->why = "the node does not start";
        return -EIO;
    }
    while (plain_last_row(path) < row) {
        if (up == 0 && cluster_said(c, node, " peer_up ")) {
            up = clock_us();
        }
        sleep_us(500);
        if (clock_us() - start > CATCH_UP_US) {
            run->why = "the node does not catch up";
            return -ETIMEDOUT;
        }
    }
    now = clock_us();
    up = up == 0 ? start : up;
    results_put(run->results, "mb", mb);
    results_put(run->results, "seconds", (double)(now - up) / 1e6);
    results_put(run->results, "since_start_s", (double)(now - start) / 1e6);
    results_put(run->results, "mb_s", mb * 1e6 / (double)(now - up));
    return 0;
}

/* One that leads nothing of interest. */
static int follower(const struct special_run *run)
{
    return (arm_writer_node(run->arm, 0) + 1) % run->arm->cluster.nodes;
}

static int64_t last_row(struct special_run *run)
{
    char path[CLUSTER_PATH_MAX];

    return plain_last_row(cluster_path(
        &run->arm->cluster, arm_writer_node(run->arm, 0), 0, "", path));
}

int special_catchup(struct special_run *run)
{
    int64_t batches = INT64_MAX, frames = run->size;
    int node = follower(run), err;

    err = plain_frames(run->arm->options, OP_FILL, &batches, &frames);
    if (err != 0) {
        run->why = "cannot count frames";
        return err;
    }
    cluster_end_node(&run->arm->cluster, node, SIGTERM);
    err = special_write(run, batches, true);
    if (err != 0) {
        return err;
    }
    return time_catch_up(run, node, last_row(run),
                         (double)frames * PAGE_BYTES / 1e6);
}

int special_image(struct special_run *run)
{
    static const char *const suffix[] = {"", "-wal", "-shm"};
    struct cluster *c = &run->arm->cluster;
    int64_t pages = 0;
    int node = follower(run), err;
    char path[CLUSTER_PATH_MAX];

    cluster_end_node(c, node, SIGTERM);
    for (int i = 0; i < 3; i++) {
        (void)unlink(cluster_path(c, node, 0, suffix[i], path));
    }
    err = special_write(run, 1, false);
    if (err != 0) {
        return err;
    }
    pages =
        plain_pages(cluster_path(c, arm_writer_node(run->arm, 0), 0, "", path));
    return time_catch_up(run, node, last_row(run),
                         (double)pages * PAGE_BYTES / 1e6);
}
