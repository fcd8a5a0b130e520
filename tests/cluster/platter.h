/* What is on a virtual disk, for disk.c. */
#ifndef TESTS_CLUSTER_PLATTER_H
#define TESTS_CLUSTER_PLATTER_H

#include "tests/cluster/sim.h"

/* It survives from now on. */
void platter_write(struct sim_node *n, const struct store_write *w);
void platter_add(struct disk_group *g, const struct raft_entry *e);
/* Entries from `index` on go. */
void platter_cut(struct disk_group *g, uint64_t index);

struct store_snapshot platter_copy_snapshot(const struct store_snapshot *s);
void platter_free_snapshot(struct store_snapshot *s);

#endif
