/* A directed run: who hears what, who stands for election and whose disk
 * writes, step by step. Group 0 only; node numbers count from 0. */
#ifndef TESTS_CLUSTER_STAGE_H
#define TESTS_CLUSTER_STAGE_H

#include <raft.h>

#include "tests/cluster/sim.h"

struct stage {
    struct sim *sim;
    /* A message of group 0 from one node to another: may it pass? */
    bool closed[SIM_NODES_MAX][SIM_NODES_MAX];
    unsigned mute; /* nodes whose wish to be elected nobody hears, a mask */
    unsigned calm; /* nodes that do not stand, a mask */
    /* Of those that may: what this script lets through; NULL: all. */
    bool (*script)(unsigned from, unsigned to, const struct raft_message *m);
};

/* All nodes are up and `leader` leads; nobody else will stand by itself. */
struct stage *stage_open(unsigned nodes, unsigned off, unsigned leader);
/* The same with all filters, and with logs that are shortened to so many
 * entries. */
struct stage *stage_open_short(unsigned nodes, unsigned entries,
                               unsigned leader);
void stage_close(struct stage *t);

void stage_pass(struct stage *t, uint64_t us);
void stage_link(struct stage *t, unsigned a, unsigned b, bool open);
/* Links of one node with all others. */
void stage_isolate(struct stage *t, unsigned a, bool open);

/* A node gives up its leader, so that it will vote for another one. */
void stage_forget(struct stage *t, unsigned a);
/* From now on `a` stands when its time has come. */
void stage_may_stand(struct stage *t, unsigned a);
/* `a` stands until it leads; false when it does not come to that. Others that
 * are to vote for it must have forgotten their leader. */
bool stage_elect(struct stage *t, unsigned a);
bool stage_leads(const struct stage *t, unsigned a);

/* `a` proposes an entry that nobody else makes. */
void stage_put(struct stage *t, unsigned a, uint64_t value);
/* Was it committed somewhere? */
bool stage_has(struct stage *t, uint64_t value);

/* `leader` sends `to` a snapshot up to an index, which is being installed until
 * it is given up. */
void stage_install(struct stage *t, unsigned leader, unsigned to,
                   raft_index index);
void stage_give_up_install(struct stage *t);

raft_index stage_last(struct stage *t, unsigned a);

#endif
