/* One piece of work on the pool for a database: its file, never the loop's
 * state. While a database has a job, only that job touches `apply` and
 * `checksum`. */
#ifndef NODE_JOB_H
#define NODE_JOB_H

#include "node/node.h"

struct job {
    uv_work_t work;
    struct node *node;
    struct database *db;
    void (*run)(struct job *job);  /* on the pool */
    void (*done)(struct job *job); /* on the loop; frees what embeds it */
    int rv;
    char text[512]; /* what went wrong, in words; may stay empty */
};

/* Starts it; db->job is set until `done`. The node stops when the pool does
 * not take it. */
void job_start(struct node *n, struct database *db, struct job *job,
               void (*run)(struct job *), void (*done)(struct job *));

/* The same on the loop, at once: for what is short. */
void job_run_here(struct node *n, struct database *db, struct job *job,
                  void (*run)(struct job *), void (*done)(struct job *));

#endif
