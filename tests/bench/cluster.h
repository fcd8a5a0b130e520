/* Nodes of marmot on loopback, for one arm in one round.
 *
 * Node i (from 0) has its files in FOLDER/n<i+1>; databases are d0, d1... All
 * calls wait with a deadline and return 0 or -EIO with *why filled. */
#ifndef BENCH_CLUSTER_H
#define BENCH_CLUSTER_H

#include <stdbool.h>
#include <sys/types.h>

#define CLUSTER_NODES_MAX 3
#define CLUSTER_PATH_MAX 400

struct cluster {
    char folder[200];
    const char *build;
    int nodes;
    int databases;
    int shards;    /* 0: the default */
    bool long_log; /* so much of the log is kept that nobody needs a snapshot */
    bool probed;   /* the probe counts, see probe.h */
    bool nosync;   /* and lets syncs do nothing */
    unsigned port[CLUSTER_NODES_MAX];
    pid_t pid[CLUSTER_NODES_MAX];
    long log_mark[CLUSTER_NODES_MAX]; /* where the log of this start begins */
};

/* Start all, with `seed` (a database) as the content of every database. */
int cluster_start(struct cluster *c, const char *seed, const char **why);

/* Start one that is down. Does not wait. */
int cluster_start_node(struct cluster *c, int node);

/* Wait until a node, or all, have said that they are ready. */
int cluster_wait_ready(struct cluster *c, int node, const char **why);

/* End one, with a signal, and wait for it. */
void cluster_end_node(struct cluster *c, int node, int signal);

/* Has a node logged this since it was started? */
bool cluster_said(const struct cluster *c, int node, const char *mark);

/* The node that leads the group of a database, from the log of `witness`, which
 * is waited for; -1 when it is still not known after a while. */
int cluster_leader(const struct cluster *c, int witness, int database);

/* Where the probe of a node counts. */
const char *cluster_counters(const struct cluster *c, int node, char *room);

/* The file of a database, with a suffix. `room` has CLUSTER_PATH_MAX bytes. */
const char *cluster_path(const struct cluster *c, int node, int database,
                         const char *suffix, char *room);

void cluster_stop(struct cluster *c);

#endif
