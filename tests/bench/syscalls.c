/* G9 and G6: system calls per commit and node, and what a commit adds to the
 * log, counted by the probe in the nodes. Not timed: the probe costs. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/plain_frames.h"
#include "tests/bench/probe.h"
#include "tests/bench/probe_file.h"
#include "tests/bench/special.h"

#define GRACE_MS 60000

typedef struct probe_count counts[PROBE_CALLS][PROBE_ONS];

struct tally {
    counts of[CLUSTER_NODES_MAX];
};

static int read_tally(const struct special_run *run, struct tally *t)
{
    const struct cluster *c = &run->arm->cluster;

    memset(t, 0, sizeof *t);
    for (int i = 0; i < c->nodes; i++) {
        const struct probe *p = probe_open_node(c, i);
        if (p == NULL) {
            return -EIO;
        }
        memcpy(t->of[i], p->count, sizeof t->of[i]);
        probe_close(p);
    }
    return 0;
}

/* Calls of a kind between two tallies: of one node, or (-1) the mean. */
static double calls(const struct special_run *run, const struct tally *a,
                    const struct tally *b, enum probe_call call,
                    enum probe_on on, int node)
{
    int n = run->arm->cluster.nodes;
    double sum = 0;

    for (int i = 0; i < n; i++) {
        if (node < 0 || node == i) {
            sum +=
                (double)(b->of[i][call][on].calls - a->of[i][call][on].calls);
        }
    }
    return node < 0 ? sum / n : sum;
}

static double sync_us(const struct special_run *run, const struct tally *a,
                      const struct tally *b)
{
    double ns = 0, n = 0;

    for (int i = 0; i < run->arm->cluster.nodes; i++) {
        const struct probe_count *x = &a->of[i][PROBE_SYNC][PROBE_FILE];
        const struct probe_count *y = &b->of[i][PROBE_SYNC][PROBE_FILE];
        ns += (double)(y->ns - x->ns);
        n += (double)(y->calls - x->calls);
    }
    return n > 0 ? ns / n / 1000 : 0;
}

static void put(struct special_run *run, const struct tally *a,
                const struct tally *b, double commits)
{
    struct results *r = run->results;
    int leader = arm_writer_node(run->arm, 0);

    results_put(r, "commits", commits);
    results_put(r, "syncs_per_commit",
                calls(run, a, b, PROBE_SYNC, PROBE_FILE, -1) / commits);
    results_put(r, "syncs_leader",
                calls(run, a, b, PROBE_SYNC, PROBE_FILE, leader) / commits);
    results_put(r, "sync_us", sync_us(run, a, b));
    results_put(r, "waits",
                calls(run, a, b, PROBE_WAIT, PROBE_OTHER, -1) / commits);
    results_put(r, "reads",
                (calls(run, a, b, PROBE_READ, PROBE_TCP, -1) +
                 calls(run, a, b, PROBE_READ, PROBE_UNIX, -1)) /
                    commits);
    results_put(r, "socket_writes",
                (calls(run, a, b, PROBE_WRITE, PROBE_TCP, -1) +
                 calls(run, a, b, PROBE_WRITE, PROBE_UNIX, -1)) /
                    commits);
    results_put(r, "file_writes",
                calls(run, a, b, PROBE_WRITE, PROBE_FILE, -1) / commits);
}

int special_syncs(struct special_run *run)
{
    struct arm *a = run->arm;
    unsigned ms = (unsigned)(a->options->seconds * 1000) + GRACE_MS;
    struct tally before, after;
    double commits = 0;
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0) {
        run->why = "no shared memory";
        return err;
    }
    for (int i = 0; i < run->size; i++) {
        arm_add(a, &crew, i, -1)->task = TASK_INSERT;
    }
    err = crew_start(&crew, &run->why);
    if (err == 0 && (err = read_tally(run, &before)) == 0) {
        crew_go(&crew);
        err = crew_wait(&crew, crew.n, ms, &run->why);
    }
    for (int i = 0; i < crew.n; i++) {
        commits += (double)crew.memory->seat[i].ops;
    }
    if (err == 0 && (err = read_tally(run, &after)) == 0 && commits > 0) {
        put(run, &before, &after, commits);
    }
    if (err != 0) {
        run->why = "a worker failed, or the probe did";
    }
    crew_close(&crew);
    return err;
}

/* The bytes of all entries in the store of a node that is down; -1: it cannot
 * be read. */
static int64_t log_bytes(const struct cluster *c, int node)
{
    char path[CLUSTER_PATH_MAX];
    sqlite3_stmt *st = NULL;
    sqlite3 *db = NULL;
    int64_t bytes = -1;

    snprintf(path, sizeof path, "%s/n%d/raft/store.db", c->folder, node + 1);
    if (sqlite3_open(path, &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT coalesce(sum(length(data)), 0) FROM log",
                           -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW) {
        bytes = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return bytes;
}

int special_log_bytes(struct special_run *run)
{
    struct cluster *c = &run->arm->cluster;
    int node = (arm_writer_node(run->arm, 0) + 1) % c->nodes, err;
    int leader = arm_writer_node(run->arm, 0);
    int64_t inserts = run->size, frames = INT64_MAX;
    double n = (double)run->size, pages, log, sent = 0;
    struct tally before, after;

    err = read_tally(run, &before);
    if (err == 0) {
        err = special_write(run, run->size, false);
    }
    if (err == 0) {
        err = read_tally(run, &after);
    }
    if (err != 0) {
        return err;
    }
    sent = (double)(after.of[leader][PROBE_WRITE][PROBE_TCP].bytes -
                    before.of[leader][PROBE_WRITE][PROBE_TCP].bytes);
    cluster_end_node(c, node, SIGTERM);
    log = (double)log_bytes(c, node);
    err = plain_frames(run->arm->options, OP_INSERT, &inserts, &frames);
    pages = (double)frames * PAGE_BYTES;
    if (err != 0 || log <= 0) {
        run->why = "cannot read the log";
        return -EIO;
    }
    results_put(run->results, "log_bytes", log / n);
    results_put(run->results, "page_bytes", pages / n);
    results_put(run->results, "log_ratio", log / pages);
    results_put(run->results, "sent_bytes", sent / n);
    return 0;
}
