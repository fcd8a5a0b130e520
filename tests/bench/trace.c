/* T: where the time of a serial commit goes.
 *
 * From the system calls that the probe saw in the application and in the three
 * nodes, on one clock:
 *
 *   application   send .                                            . receive
 *   leader              read, send, send, [store], sync ... read, write
 *   follower                    read, [store], sync, send
 *
 * A commit lasts from one proposal that the leader reads from its application
 * to the next. The steps from to_first_send to proposal_hop follow one another
 * and fill that time; hops go from the begin of one side's call to the end of
 * the other's, so they hold the wake-up. Of the two followers the one that
 * answers first counts. What is put is the median of each step, so the steps
 * need not add up to the period. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/probe.h"
#include "tests/bench/probe_file.h"
#include "tests/bench/special.h"

#define COMMITS_MAX 20000
#define DATA_BYTES 600 /* a message that carries pages has more */
#define GRACE_MS 60000

enum step {
    PERIOD,
    TO_FIRST_SEND,
    SEND,
    TO_SYNC,
    SYNC,
    QUORUM_WAIT,
    TO_ANSWER,
    ANSWER_HOP,
    APPLICATION,
    PROPOSAL_HOP,
    TO_FOLLOWER,
    FOLLOWER_TO_SYNC,
    FOLLOWER_SYNC,
    FOLLOWER_REPLY,
    STEPS
};

static const char *const step_names[STEPS] = {
    "period",        "to_first_send",  "send",        "to_sync",
    "sync",          "quorum_wait",    "to_answer",   "answer_hop",
    "application",   "proposal_hop",   "to_follower", "follower_to_sync",
    "follower_sync", "follower_reply",
};

struct view {
    const struct probe *probe;
    uint64_t at, end; /* of its events */
};

struct trace {
    struct view node[CLUSTER_NODES_MAX];
    struct view application;
    int leader, nodes;
    float *us[STEPS];
    size_t commits;
};

/* What to look for. */
struct pattern {
    enum probe_call call;
    enum probe_on on;
    uint32_t bytes; /* at least */
};

static const struct pattern proposal_out = {PROBE_WRITE, PROBE_UNIX,
                                            DATA_BYTES};
static const struct pattern proposal_in = {PROBE_READ, PROBE_UNIX, DATA_BYTES};
static const struct pattern answer_out = {PROBE_WRITE, PROBE_UNIX, 1};
static const struct pattern answer_in = {PROBE_READ, PROBE_UNIX, 1};
static const struct pattern data_out = {PROBE_WRITE, PROBE_TCP, DATA_BYTES};
static const struct pattern data_in = {PROBE_READ, PROBE_TCP, DATA_BYTES};
static const struct pattern ack_out = {PROBE_WRITE, PROBE_TCP, 1};
static const struct pattern ack_in = {PROBE_READ, PROBE_TCP, 1};
static const struct pattern synced = {PROBE_SYNC, PROBE_FILE, 0};

static uint64_t end_of(const struct probe_event *e)
{
    return e->begin_ns + e->ns;
}

/* The first such call that began within [from, to), or NULL. */
static const struct probe_event *find(struct view *v,
                                      const struct pattern *pattern,
                                      uint64_t from, uint64_t to)
{
    for (uint64_t i = v->at; i < v->end; i++) {
        const struct probe_event *e = &v->probe->event[i % PROBE_EVENTS];
        if (e->begin_ns >= to) {
            return NULL;
        }
        if (e->begin_ns >= from && e->call == pattern->call &&
            e->on == pattern->on && e->bytes >= pattern->bytes) {
            return e;
        }
    }
    return NULL;
}

/* Forget what began before. */
static void forget(struct view *v, uint64_t before)
{
    while (v->at < v->end &&
           v->probe->event[v->at % PROBE_EVENTS].begin_ns < before) {
        v->at++;
    }
}

static void put(struct trace *t, enum step step, uint64_t from, uint64_t to)
{
    t->us[step][t->commits] = to > from ? (float)(to - from) / 1000 : 0;
}

/* The follower that answers first. False if neither is seen to. */
static bool follower_steps(struct trace *t, uint64_t sent, uint64_t next)
{
    const struct probe_event *best[3] = {NULL, NULL, NULL};

    for (int i = 0; i < t->nodes; i++) {
        struct view *v = &t->node[i];
        const struct probe_event *in, *s, *out;
        if (i == t->leader || (in = find(v, &data_in, sent, next)) == NULL ||
            (s = find(v, &synced, end_of(in), next)) == NULL ||
            (out = find(v, &ack_out, end_of(s), next)) == NULL) {
            continue;
        }
        if (best[2] == NULL || out->begin_ns < best[2]->begin_ns) {
            best[0] = in;
            best[1] = s;
            best[2] = out;
        }
    }
    if (best[2] == NULL) {
        return false;
    }
    put(t, TO_FOLLOWER, sent, end_of(best[0]));
    put(t, FOLLOWER_TO_SYNC, end_of(best[0]), best[1]->begin_ns);
    put(t, FOLLOWER_SYNC, best[1]->begin_ns, end_of(best[1]));
    put(t, FOLLOWER_REPLY, end_of(best[1]), end_of(best[2]));
    return true;
}

/* From the answer that the leader writes to the proposal that it reads next. */
static bool application_steps(struct trace *t, const struct probe_event *out,
                              uint64_t next)
{
    struct view *v = &t->application;
    const struct probe_event *in = find(v, &answer_in, out->begin_ns, next);
    const struct probe_event *sent =
        in == NULL ? NULL : find(v, &proposal_out, end_of(in), next);

    if (sent == NULL) {
        return false;
    }
    put(t, ANSWER_HOP, out->begin_ns, end_of(in));
    put(t, APPLICATION, end_of(in), sent->begin_ns);
    put(t, PROPOSAL_HOP, sent->begin_ns, next);
    return true;
}

/* The commit that began at `from`, before the next one at `next`. */
static void one_commit(struct trace *t, uint64_t from, uint64_t next)
{
    struct view *l = &t->node[t->leader];
    const struct probe_event *first, *last, *other, *s, *ack, *out;
    uint64_t done;

    if ((first = find(l, &data_out, from, next)) == NULL ||
        (s = find(l, &synced, from, next)) == NULL ||
        (out = find(l, &answer_out, end_of(s), next)) == NULL ||
        !application_steps(t, out, next) ||
        !follower_steps(t, first->begin_ns, next)) {
        return;
    }
    other = find(l, &data_out, end_of(first), next);
    last = other != NULL && other->begin_ns < s->begin_ns ? other : first;
    ack = find(l, &ack_in, end_of(first), out->begin_ns);
    done = ack != NULL && end_of(ack) > end_of(s) ? end_of(ack) : end_of(s);
    put(t, PERIOD, from, next);
    put(t, TO_FIRST_SEND, from, first->begin_ns);
    put(t, SEND, first->begin_ns, end_of(last));
    put(t, TO_SYNC, end_of(last), s->begin_ns);
    put(t, SYNC, s->begin_ns, end_of(s));
    put(t, QUORUM_WAIT, end_of(s), done);
    put(t, TO_ANSWER, done, out->begin_ns);
    t->commits++;
}

static void all_commits(struct trace *t)
{
    struct view *l = &t->node[t->leader];
    const struct probe_event *e = find(l, &proposal_in, 0, UINT64_MAX);

    while (e != NULL && t->commits < COMMITS_MAX) {
        uint64_t from = end_of(e);
        e = find(l, &proposal_in, from, UINT64_MAX);
        if (e != NULL) {
            one_commit(t, from, end_of(e));
            for (int i = 0; i < t->nodes; i++) {
                forget(&t->node[i], from);
            }
            forget(&t->application, from);
        }
    }
}

/* The application has a probe too. */
static int measure(struct special_run *run, const char *counters,
                   double *commits)
{
    char both[2 * CLUSTER_PATH_MAX];
    struct arm *a = run->arm;
    struct seat *seat;
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0) {
        return err;
    }
    seat = arm_add(a, &crew, 0, -1);
    seat->task = TASK_INSERT;
    snprintf(both, sizeof both, "%s/bench/libprobe.so %s", a->options->build,
             a->library);
    crew.preload[0] = both;
    (void)setenv(PROBE_ENV, counters, 1);
    err = crew_start(&crew, &run->why);
    (void)unsetenv(PROBE_ENV);
    if (err == 0) {
        crew_go(&crew);
        err = crew_wait(&crew, 1,
                        (unsigned)(a->options->seconds * 1000) + GRACE_MS,
                        &run->why);
    }
    *commits = (double)seat->ops;
    crew_close(&crew);
    return err;
}

static int view(struct view *v, const struct probe *p)
{
    v->probe = p;
    if (p == NULL) {
        return -EIO;
    }
    v->end = p->events;
    v->at = v->end > PROBE_EVENTS ? v->end - PROBE_EVENTS : 0;
    return 0;
}

static int open_views(struct trace *t, const struct cluster *c,
                      const char *counters)
{
    int err = view(&t->application, probe_open(counters));

    t->nodes = c->nodes;
    for (int i = 0; i < c->nodes && err == 0; i++) {
        err = view(&t->node[i], probe_open_node(c, i));
    }
    return err;
}

static void close_views(struct trace *t)
{
    for (int i = 0; i < t->nodes; i++) {
        if (t->node[i].probe != NULL) {
            probe_close(t->node[i].probe);
        }
    }
    if (t->application.probe != NULL) {
        probe_close(t->application.probe);
    }
}

/* All transactions of the application, not only those that were traced. */
static void put_application(const struct trace *t, double commits,
                            struct results *r)
{
    const struct probe *p = t->application.probe;

    results_put(r, "application_writes",
                (double)p->count[PROBE_WRITE][PROBE_FILE].calls / commits);
    results_put(r, "application_syncs",
                (double)p->count[PROBE_SYNC][PROBE_FILE].calls / commits);
}

static void put_steps(struct trace *t, double commits, struct results *r)
{
    results_put(r, "commits", (double)t->commits);
    for (int i = 0; i < STEPS; i++) {
        stats_sort(t->us[i], t->commits);
        results_put(r, step_names[i],
                    stats_percentile(t->us[i], t->commits, 50));
    }
    if (commits > 0) {
        put_application(t, commits, r);
    }
}

int special_trace(struct special_run *run)
{
    struct trace t = {.leader = arm_writer_node(run->arm, 0)};
    char counters[CLUSTER_PATH_MAX];
    double commits = 0;
    int err;

    snprintf(counters, sizeof counters, "%s/application", run->arm->folder);
    err = measure(run, counters, &commits);
    for (int i = 0; i < STEPS; i++) {
        t.us[i] = calloc(COMMITS_MAX, sizeof **t.us);
        err = t.us[i] == NULL ? -ENOMEM : err;
    }
    if (err == 0) {
        err = open_views(&t, &run->arm->cluster, counters);
    }
    if (err == 0) {
        all_commits(&t);
        put_steps(&t, commits, run->results);
    } else {
        run->why = "the writer failed, or the probe did";
    }
    for (int i = 0; i < STEPS; i++) {
        free(t.us[i]);
    }
    close_views(&t);
    return err;
}
