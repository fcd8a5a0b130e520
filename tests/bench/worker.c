/* What a worker does between the starting shot and the end of its time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "tests/bench/crew.h"
#include "tests/bench/process.h"

#define BUSY_TRIES_MAX 100000
#define ERRORS_MAX 100 /* afterwards a worker gives up */
#define WATCH_US 30
#define BATCH_ROWS 1000
#define LAG_WAIT_US 5000000

struct worker {
    struct crew_memory *memory;
    struct seat *seat;
    float *sample;
    struct client client;
    uint64_t random;
    int64_t first, last; /* TASK_DELETE: the rows that are left */
    int64_t next;        /* TASK_ACKS */
    uint64_t excluded_us;
    char text[TEXT_BYTES];
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* Different each time, and no easier to compress than hexadecimal digits. */
static const char *next_text(struct worker *w)
{
    for (size_t i = 0; i < TEXT_BYTES; i += 10) {
        uint64_t r = next_random(w);
        for (size_t j = i; j < i + 10; j++, r >>= 4) {
            w->text[j] = "0123456789ABCDEF"[r & 15];
        }
    }
    return w->text;
}

/* One transaction, tried again while the database is busy. */
static int run(struct worker *w, enum op op, int64_t number, int64_t *answer)
{
    const char *text = statements[op].text ? next_text(w) : NULL;
    int64_t unused;
    int err = -EBUSY;

    for (int i = 0; err == -EBUSY && i < BUSY_TRIES_MAX; i++) {
        err = client_run(&w->client, op, number, text,
                         answer != NULL ? answer : &unused);
        if (err == -EBUSY) {
            w->seat->busy++;
            sleep_us(200 + next_random(w) % 800);
        }
    }
    if (err != 0) {
        w->seat->errors++;
        memcpy(w->seat->why, w->client.why, sizeof w->seat->why);
    }
    return err;
}

/* The row to delete next; makes new ones, outside the measured time. */
static int find_row(struct worker *w)
{
    uint64_t from = clock_us();
    int err = 0;

    if (w->first > 0 && ++w->first <= w->last) {
        return 0;
    }
    err = run(w, OP_FIRST, 0, &w->first);
    if (err == 0 && w->first == 0) {
        err = run(w, OP_FILL, w->seat->rows, NULL);
        if (err == 0) {
            err = run(w, OP_FIRST, 0, &w->first);
        }
    }
    if (err == 0) {
        err = run(w, OP_LAST, 0, &w->last);
    }
    w->excluded_us += clock_us() - from;
    return err;
}

static int one_op(struct worker *w)
{
    int64_t row;

    switch (w->seat->task) {
    case TASK_INSERT:
    case TASK_WRITES:
        return run(w, OP_INSERT, (int64_t)(next_random(w) % 1000000000), NULL);
    case TASK_FILL:
        return run(w, OP_FILL, w->seat->rows, NULL);
    case TASK_BATCHES:
        return run(w, OP_FILL, BATCH_ROWS, NULL);
    case TASK_DELETE:
        return run(w, OP_DELETE, w->first, NULL);
    case TASK_ACKS:
        return run(w, OP_INSERT, -++w->next, NULL);
    default:
        row = 1 + (int64_t)(next_random(w) % (uint64_t)w->seat->rows);
        return run(w, w->seat->task == TASK_READ ? OP_READ : OP_UPDATE, row,
                   NULL);
    }
}

static void note(struct worker *w, double us)
{
    if (w->seat->samples < SAMPLES_MAX) {
        w->sample[w->seat->samples++] = (float)us;
    }
}

/* Is there another transaction to do? */
static bool more(const struct worker *w, uint64_t now, uint64_t end)
{
    if (w->seat->task == TASK_WRITES || w->seat->task == TASK_BATCHES) {
        return w->seat->ops < (uint64_t)w->seat->rows;
    }
    return now < end;
}

/* Transactions one after another. */
static int stream(struct worker *w)
{
    uint64_t begin = clock_us(), now = begin, ack = begin;
    struct seat *s = w->seat;
    int err = 0;

    w->excluded_us = 0;
    while (more(w, now, begin + s->us)) {
        if (s->task == TASK_DELETE && (err = find_row(w)) != 0) {
            break;
        }
        uint64_t from = clock_ns(CLOCK_MONOTONIC), ns;
        err = one_op(w);
        ns = clock_ns(CLOCK_MONOTONIC);
        now = ns / 1000;
        note(w, err == 0 ? (double)(ns - from) / 1000 : -1.0);
        if (err == 0) {
            s->ops++;
            if (now - ack > s->gap_us) {
                s->gap_us = now - ack;
            }
            ack = now;
        } else if (s->task == TASK_ACKS || s->errors < ERRORS_MAX) {
            sleep_us(1000);
        } else {
            break;
        }
    }
    s->elapsed_us = now - begin - w->excluded_us;
    if (s->task == TASK_ACKS || (s->ops > 0 && s->errors < ERRORS_MAX)) {
        return 0; /* the errors are counted */
    }
    return err;
}

static int lag(struct worker *w)
{
    struct crew_memory *m = w->memory;
    uint64_t end = clock_us() + w->seat->us;
    int err = 0;

    while (clock_us() < end) {
        int64_t last;
        err = run(w, OP_INSERT, 1, NULL);
        uint64_t committed_us = clock_us();
        if (err != 0 || (err = run(w, OP_LAST, 0, &last)) != 0) {
            return err;
        }
        m->committed = last;
        while (m->seen < last) {
            if (clock_us() > committed_us + LAG_WAIT_US) {
                snprintf(w->seat->why, sizeof w->seat->why,
                         "a commit did not show on a follower");
                return -ETIMEDOUT;
            }
            sleep_us(WATCH_US);
        }
        uint64_t seen_us = m->seen_us;
        note(w, seen_us > committed_us ? (double)(seen_us - committed_us) : 0);
        w->seat->ops++;
        sleep_us(1000 + next_random(w) % 1000);
    }
    return 0;
}

static int watch(struct worker *w)
{
    int64_t last = w->memory->seen;
    int err;

    while ((err = run(w, OP_LAST, 0, &last)) == 0) {
        if (last > w->memory->seen) {
            w->memory->seen_us = clock_us();
            w->memory->seen = last;
        }
        sleep_us(WATCH_US);
    }
    return err;
}

static int work(struct worker *w)
{
    switch (w->seat->task) {
    case TASK_LAG:
        return lag(w);
    case TASK_WATCH:
        return watch(w);
    default:
        return stream(w);
    }
}

/* Connect and do what the first transaction of a connection does alone. */
static int prepare(struct worker *w)
{
    int64_t last;
    int err = client_open(&w->client, &w->seat->target);

    if (err == -EBUSY) {
        err = -EIO;
    }
    if (err != 0) {
        memcpy(w->seat->why, w->client.why, sizeof w->seat->why);
        return err;
    }
    err = run(w, OP_LAST, 0, &last);
    if (err == 0 && w->seat->task != TASK_READ && w->seat->task != TASK_WATCH) {
        err = run(w, OP_INSERT, 0, NULL);
    }
    if (err == 0 && w->seat->task == TASK_WATCH) {
        w->memory->seen = last;
    }
    w->seat->busy = 0;
    return err;
}

int worker_main(const char *seat)
{
    char *rest;
    int fd = (int)strtol(seat, &rest, 10), i = atoi(rest + 1), err;
    struct worker w = {.random = 88172645463325252u + (unsigned)i * 7919u};

    w.memory =
        mmap(NULL, sizeof *w.memory, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (w.memory == MAP_FAILED || i < 0 || i >= CREW_MAX) {
        return 2;
    }
    (void)prctl(PR_SET_TIMERSLACK, 1);
    w.seat = &w.memory->seat[i];
    w.sample = w.memory->sample[i];
    err = prepare(&w);
    if (err == 0) {
        w.seat->ready = 1;
        while (w.memory->start_us == 0 || clock_us() < w.memory->start_us) {
            sleep_us(200);
        }
        uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        err = work(&w);
        w.seat->cpu_us = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1000;
    }
    client_close(&w.client);
    return err == 0 ? 0 : 1;
}
