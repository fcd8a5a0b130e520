/* The store's inside, for store.c (writing) and store_life.c (opening,
 * reading); nobody else includes this. */
#ifndef CONSENSUS_STORE_INTERNAL_H
#define CONSENSUS_STORE_INTERNAL_H

#include "consensus/store_db.h"

struct store {
    struct store_db db;
    struct store_options options;
    char *folder;
    struct store_group *loaded; /* by group, until taken; NULL: not read */
    uv_async_t wake;
    uv_timer_t idle; /* nothing was written for a while: a checkpoint is free */
    unsigned handles;
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t work;
    struct list queued, batch;
    size_t queued_bytes;
    uint64_t pushed, durable, syncs;
    uint64_t begun_us; /* the thread's work */
    struct histogram times;
    uint64_t batch_last;    /* sequence number of the last write in `batch` */
    uint64_t slow_until_ms; /* the thread writes until then */
    uint64_t full_until_ms; /* nothing is written until then */
    bool full;              /* the reserve is used up */
    bool busy;              /* the thread has the file */
    bool started, failed, said_so;
    void (*closed)(void *data);
    void *closed_data;
    /* under mutex */
    bool have_work, work_done, stop;
    enum store_work { WORK_WRITE, WORK_SWEEP, WORK_CHECKPOINT } kind;
    int rv;        /* of the work: an SQLite code */
    char why[256]; /* what SQLite said */
};

/* What nobody took. */
void store_forget_loaded(struct store *s);

#endif
