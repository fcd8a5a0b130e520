#include "tests/bench/cluster.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/bench/probe.h"
#include "tests/bench/process.h"

#define READY_MS 60000
#define STOP_MS 20000
#define LEADER_MS 5000 /* while an election may go on */
#define ARGS_MAX 64
#define LONG_LOG_BYTES (1 << 30)
#define ARG_BYTES 512

struct arguments {
    const char *argv[ARGS_MAX];
    char text[ARGS_MAX][ARG_BYTES];
    int n;
};

static void node_path(const struct cluster *c, int node, const char *name,
                      char *room)
{
    snprintf(room, CLUSTER_PATH_MAX, "%s/n%d/%s", c->folder, node + 1, name);
}

const char *cluster_path(const struct cluster *c, int node, int database,
                         const char *suffix, char *room)
{
    char name[64];

    snprintf(name, sizeof name, "d%d.db%s", database, suffix);
    node_path(c, node, name, room);
    return room;
}

const char *cluster_counters(const struct cluster *c, int node, char *room)
{
    node_path(c, node, "counters", room);
    return room;
}

__attribute__((format(printf, 2, 3))) static void add(struct arguments *a,
                                                      const char *format, ...)
{
    va_list ap;

    if (a->n + 1 < ARGS_MAX) {
        va_start(ap, format);
        vsnprintf(a->text[a->n], ARG_BYTES, format, ap);
        va_end(ap);
        a->argv[a->n] = a->text[a->n];
        a->n++;
    }
}

static void add_others(const struct cluster *c, int node, struct arguments *a)
{
    char others[ARG_BYTES] = "";

    for (int i = 0; i < c->nodes; i++) {
        size_t at = strlen(others);
        if (i != node) {
            snprintf(others + at, sizeof others - at, "%s%d@127.0.0.1:%u",
                     at > 0 ? "," : "", i + 1, c->port[i]);
        }
    }
    if (others[0] != '\0') {
        add(a, "-bootstrap");
        add(a, "%s", others);
    }
}

static void command_line(const struct cluster *c, int node, struct arguments *a)
{
    char path[CLUSTER_PATH_MAX];

    memset(a, 0, sizeof *a);
    add(a, "%s/marmot", c->build);
    add(a, "-node-id");
    add(a, "%d", node + 1);
    add(a, "-bind");
    add(a, "127.0.0.1:%u", c->port[node]);
    add_others(c, node, a);
    for (int d = 0; d < c->databases; d++) {
        add(a, "-db-path");
        add(a, "d%d=%s", d, cluster_path(c, node, d, "", path));
    }
    node_path(c, node, "raft", path);
    add(a, "-raft-path");
    add(a, "%s", path);
    if (c->long_log) {
        add(a, "-max-log-bytes");
        add(a, "%d", LONG_LOG_BYTES);
    }
    if (c->shards > 0) {
        add(a, "-shards");
        add(a, "%d", c->shards);
    }
}

int cluster_start_node(struct cluster *c, int node)
{
    char log[CLUSTER_PATH_MAX], counters[CLUSTER_PATH_MAX];
    char probe[CLUSTER_PATH_MAX];
    struct arguments arguments;
    struct command command = {
        .argv = arguments.argv, .log = log, .keep_fd = -1};
    struct stat st;

    node_path(c, node, "log", log);
    if (c->probed || c->nosync) {
        snprintf(probe, sizeof probe, "%s/bench/libprobe.so", c->build);
        command.preload = probe;
        command.env[0] = PROBE_ENV;
        command.env[1] = cluster_counters(c, node, counters);
        command.env[2] = c->nosync ? PROBE_ENV_NOSYNC : NULL;
        command.env[3] = "1";
    }
    command_line(c, node, &arguments);
    c->log_mark[node] = stat(log, &st) == 0 ? (long)st.st_size : 0;
    c->pid[node] = process_start(&command);
    return c->pid[node] < 0 ? -EIO : 0;
}

static int make_node(const struct cluster *c, int node, const char *seed)
{
    char path[CLUSTER_PATH_MAX];
    int err = 0;

    node_path(c, node, "", path);
    if (mkdir(path, 0700) != 0) {
        return -errno;
    }
    for (int d = 0; d < c->databases && err == 0; d++) {
        err = copy_file(seed, cluster_path(c, node, d, "", path));
    }
    return err;
}

int cluster_start(struct cluster *c, const char *seed, const char **why)
{
    int err = free_ports(c->port, c->nodes);

    for (int i = 0; i < c->nodes && err == 0; i++) {
        err = make_node(c, i, seed);
    }
    for (int i = 0; i < c->nodes && err == 0; i++) {
        err = cluster_start_node(c, i);
    }
    for (int i = 0; i < c->nodes && err == 0; i++) {
        err = cluster_wait_ready(c, i, why);
    }
    if (err != 0 && *why == NULL) {
        *why = "cannot make the files of a node";
    }
    return err;
}

/* The last number that follows `what` in the lines since the node's start that
 * hold `mark`; -1: there is none. "": just look for the mark. */
static int find_in_log(const struct cluster *c, int node, const char *mark,
                       const char *what)
{
    char path[CLUSTER_PATH_MAX], line[2048];
    int found = -1;
    FILE *f;

    node_path(c, node, "log", path);
    f = fopen(path, "re");
    if (f == NULL) {
        return -1;
    }
    (void)fseek(f, c->log_mark[node], SEEK_SET);
    while (fgets(line, sizeof line, f) != NULL) {
        const char *at = strstr(line, mark);
        at = at != NULL ? strstr(at, what) : NULL;
        if (at != NULL) {
            found = atoi(at + strlen(what));
        }
    }
    fclose(f);
    return found;
}

bool cluster_said(const struct cluster *c, int node, const char *mark)
{
    return find_in_log(c, node, mark, "") >= 0;
}

int cluster_wait_ready(struct cluster *c, int node, const char **why)
{
    uint64_t end = clock_ms() + READY_MS;

    while (!cluster_said(c, node, " ready node=")) {
        if (clock_ms() > end) {
            *why = "a node of marmot does not become ready, see its log";
            return -EIO;
        }
        sleep_us(5000);
    }
    return 0;
}

/* -1: nobody leads at this moment, or it has not said so. */
static int leader_in_log(const struct cluster *c, int witness, int database)
{
    char mark[64];
    int shard;

    snprintf(mark, sizeof mark, " ready db=d%d ", database);
    shard = find_in_log(c, witness, mark, "shard=");
    snprintf(mark, sizeof mark, " leader shard=%d ", shard);
    return shard < 0 ? -1 : find_in_log(c, witness, mark, "node=") - 1;
}

int cluster_leader(const struct cluster *c, int witness, int database)
{
    uint64_t end = clock_ms() + LEADER_MS;
    int leader;

    while ((leader = leader_in_log(c, witness, database)) < 0 &&
           clock_ms() < end) {
        sleep_us(5000);
    }
    return leader;
}

void cluster_end_node(struct cluster *c, int node, int signal)
{
    (void)process_end(&c->pid[node], signal, STOP_MS);
}

void cluster_stop(struct cluster *c)
{
    for (int i = 0; i < c->nodes; i++) {
        cluster_end_node(c, i, SIGKILL);
    }
}
