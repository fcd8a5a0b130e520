/* Three dqlite nodes on loopback, for one arm in one round. */
#ifndef BENCH_DQLITE_CLUSTER_H
#define BENCH_DQLITE_CLUSTER_H

#include <stdbool.h>
#include <sys/types.h>

#define DQLITE_NODES 3

struct dqlite_cluster {
    pid_t pid[DQLITE_NODES];
    char address[DQLITE_NODES][32]; /* the first one leads */
};

/* Is build/bench/dqlite_node there? It needs libdqlite-dev. */
bool dqlite_available(const char *build);

/* Start, join three voters, and make `databases` databases d0, d1... of `rows`
 * rows each. Returns 0, or -EIO with *why filled. */
int dqlite_cluster_start(struct dqlite_cluster *c, const char *build,
                         const char *folder, bool nodelay, int databases,
                         int rows, const char **why);
void dqlite_cluster_stop(struct dqlite_cluster *c);

#endif
