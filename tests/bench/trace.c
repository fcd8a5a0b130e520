/* T: where the time of a serial commit goes.
 *
 * From the system calls that the probe saw in the three nodes, on one clock:
 *
 *   application --> leader: read, send, send, [store], sync .... read, answer
 *                             \-> follower: read, [store], sync, send -/
 *
 * A commit lasts from one proposal that the leader reads from its application
 * to the next. Of the two followers the one that answers first counts. Steps
 * are medians, so they need not add up to the period. */
#include <errno.h>
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
    APPLICATION,
    TO_FIRST_SEND,
    SEND,
    TO_SYNC,
    SYNC,
    TO_FOLLOWER,
    FOLLOWER_TO_SYNC,
    FOLLOWER_SYNC,
    FOLLOWER_REPLY,
    QUORUM_WAIT,
    TO_ANSWER,
    STEPS
};

static const char *const step_names[STEPS] = {
    "period",        "application",    "to_first_send", "send",
    "to_sync",       "sync",           "to_follower",   "follower_to_sync",
    "follower_sync", "follower_reply", "quorum_wait",   "to_answer",
};

struct view {
    const struct probe *probe;
    uint64_t at, end; /* of its events */
};

struct trace {
    struct view node[CLUSTER_NODES_MAX];
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

static const struct pattern proposal = {PROBE_READ, PROBE_UNIX, DATA_BYTES};
static const struct pattern answer = {PROBE_WRITE, PROBE_UNIX, 1};
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

/* The commit that began at `from`, before the next one at `next`. */
static void one_commit(struct trace *t, uint64_t from, uint64_t next)
{
    struct view *l = &t->node[t->leader];
    const struct probe_event *first, *last, *other, *s, *ack, *out;
    uint64_t done;

    if ((first = find(l, &data_out, from, next)) == NULL ||
        (s = find(l, &synced, from, next)) == NULL ||
        (out = find(l, &answer, end_of(s), next)) == NULL) {
        return;
    }
    other = find(l, &data_out, end_of(first), next);
    last = other != NULL && other->begin_ns < s->begin_ns ? other : first;
    ack = find(l, &ack_in, end_of(first), out->begin_ns);
    if (!follower_steps(t, first->begin_ns, next)) {
        return;
    }
    done = ack != NULL && end_of(ack) > end_of(s) ? end_of(ack) : end_of(s);
    put(t, PERIOD, from, next);
    put(t, APPLICATION, end_of(out), next);
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
    const struct probe_event *e = find(l, &proposal, 0, UINT64_MAX);

    while (e != NULL && t->commits < COMMITS_MAX) {
        uint64_t from = end_of(e);
        e = find(l, &proposal, from, UINT64_MAX);
        if (e != NULL) {
            one_commit(t, from, end_of(e));
            for (int i = 0; i < t->nodes; i++) {
                forget(&t->node[i], from);
            }
        }
    }
}

static int measure(struct special_run *run)
{
    struct arm *a = run->arm;
    struct crew crew;
    int err = crew_init(&crew);

    if (err != 0) {
        return err;
    }
    arm_add(a, &crew, 0, -1)->task = TASK_INSERT;
    err = crew_start(&crew, &run->why);
    if (err == 0) {
        crew_go(&crew);
        err = crew_wait(&crew, 1,
                        (unsigned)(a->options->seconds * 1000) + GRACE_MS,
                        &run->why);
    }
    crew_close(&crew);
    return err;
}

static int open_views(struct trace *t, const struct cluster *c)
{
    t->nodes = c->nodes;
    for (int i = 0; i < c->nodes; i++) {
        struct view *v = &t->node[i];
        v->probe = probe_open(c, i);
        if (v->probe == NULL) {
            return -EIO;
        }
        v->end = v->probe->events;
        v->at = v->end > PROBE_EVENTS ? v->end - PROBE_EVENTS : 0;
    }
    return 0;
}

int special_trace(struct special_run *run)
{
    struct trace t = {.leader = arm_writer_node(run->arm, 0)};
    int err = measure(run);

    for (int i = 0; i < STEPS; i++) {
        t.us[i] = calloc(COMMITS_MAX, sizeof **t.us);
        err = t.us[i] == NULL ? -ENOMEM : err;
    }
    if (err == 0) {
        err = open_views(&t, &run->arm->cluster);
    }
    if (err == 0) {
        all_commits(&t);
        results_put(run->results, "commits", (double)t.commits);
    }
    for (int i = 0; i < STEPS && err == 0; i++) {
        stats_sort(t.us[i], t.commits);
        results_put(run->results, step_names[i],
                    stats_percentile(t.us[i], t.commits, 50));
    }
    for (int i = 0; i < STEPS; i++) {
        free(t.us[i]);
    }
    for (int i = 0; i < t.nodes; i++) {
        if (t.node[i].probe != NULL) {
            probe_close(t.node[i].probe);
        }
    }
    if (err != 0) {
        run->why = "the writer failed, or the probe did";
    }
    return err;
}
