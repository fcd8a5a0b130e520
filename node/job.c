#include "node/job.h"

#include <assert.h>

static void on_work(uv_work_t *w)
{
    struct job *job = w->data;

    job->run(job);
}

static void on_done(uv_work_t *w, int status)
{
    struct job *job = w->data;
    struct node *n = job->node;
    struct database *db = job->db;

    (void)status;
    db->job = NULL;
    db->job_beside = false;
    job->done(job);
    node_wake(n, db);
}

void job_start(struct node *n, struct database *db, struct job *job,
               void (*run)(struct job *), void (*done)(struct job *))
{
    assert(db->job == NULL);
    job->node = n;
    job->db = db;
    job->run = run;
    job->done = done;
    job->work.data = job;
    db->job = job;
    if (uv_queue_work(n->loop, &job->work, on_work, on_done) != 0) {
        db->job = NULL;
        node_fatal(n, "the thread pool takes no more work");
    }
}

void job_run_here(struct node *n, struct database *db, struct job *job,
                  void (*run)(struct job *), void (*done)(struct job *))
{
    assert(db->job == NULL);
    job->node = n;
    job->db = db;
    run(job);
    done(job);
    node_wake(n, db);
}
