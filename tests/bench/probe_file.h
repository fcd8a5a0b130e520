/* The benchmark's view of what the probe counts in a node. */
#ifndef BENCH_PROBE_FILE_H
#define BENCH_PROBE_FILE_H

#include "tests/bench/cluster.h"
#include "tests/bench/probe.h"

/* Mapped, so that it goes on counting; NULL: there is no probe. */
const struct probe *probe_open(const char *path);
const struct probe *probe_open_node(const struct cluster *c, int node);
void probe_close(const struct probe *p);

#endif
