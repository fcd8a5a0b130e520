/* Clusters in libraft's own fixture (virtual time, simulated network and disk),
 * bare and with the guard filters: known ways to lose an acknowledged write,
 * and random faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <raft/fixture.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/filters.h"
#include "consensus/raft_peek.h"

#define SERVERS_MAX 5
#define VALUES_MAX 4096
#define NEVER_MS 1000000u

struct machine {
    uint64_t values[VALUES_MAX];
    unsigned n;
};

struct write {
    struct raft_apply req;
    struct write *next;
    uint64_t value;
    bool done;
    int status;
};

struct sim {
    struct raft_fixture fx;
    unsigned n;
    bool filtered;
    struct machine machines[SERVERS_MAX];
    struct raft_fsm fsms[SERVERS_MAX];
    struct filters filters[SERVERS_MAX];
    struct write *writes; /* the latest first */
};

/* ---- state machine ------------------------------------------------------ */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
                     void **result)
{
    struct machine *m = fsm->data;

    assert_true(m->n < VALUES_MAX);
    memcpy(&m->values[m->n++], buf->base, sizeof(uint64_t));
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                        unsigned *n)
{
    (void)fsm;
    (void)bufs;
    (void)n;
    return RAFT_BUSY;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    (void)buf;
    return RAFT_INVALID;
}

/* ---- the cluster -------------------------------------------------------- */

static void filter(struct sim *s, unsigned i)
{
    struct raft_fixture_server *server = &s->fx.servers[i];
    struct filters_options options = {.bytes_max = 1 << 20,
                                      .entries_max = 1000};

    filters_init(&s->filters[i], &server->raft, &server->io, &options);
    server->raft.io = &s->filters[i].io;
}

static struct sim *sim_new(unsigned n, bool filtered)
{
    struct sim *s = calloc(1, sizeof *s);
    struct raft_configuration conf;

    s->n = n;
    s->filtered = filtered;
    assert_int_equal(raft_fixture_initialize(&s->fx), 0);
    for (unsigned i = 0; i < n; i++) {
        s->fsms[i] = (struct raft_fsm){.version = 1,
                                       .data = &s->machines[i],
                                       .apply = fsm_apply,
                                       .snapshot = fsm_snapshot,
                                       .restore = fsm_restore};
        raft_fixture_grow(&s->fx, &s->fsms[i]);
        if (filtered) {
            filter(s, i);
        }
        raft_set_snapshot_threshold(raft_fixture_get(&s->fx, i), 1u << 30);
    }
    assert_int_equal(raft_fixture_configuration(&s->fx, n, &conf), 0);
    assert_int_equal(raft_fixture_bootstrap(&s->fx, &conf), 0);
    raft_configuration_close(&conf);
    assert_int_equal(raft_fixture_start(&s->fx), 0);
    return s;
}

static void sim_free(struct sim *s)
{
    struct write *w, *next;

    raft_fixture_close(&s->fx);
    for (w = s->writes; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
    free(s);
}

static struct raft *server(struct sim *s, unsigned i)
{
    return raft_fixture_get(&s->fx, i);
}

static void link_down(struct sim *s, unsigned a, unsigned b)
{
    raft_fixture_saturate(&s->fx, a, b);
    raft_fixture_saturate(&s->fx, b, a);
}

static void link_up(struct sim *s, unsigned a, unsigned b)
{
    raft_fixture_desaturate(&s->fx, a, b);
    raft_fixture_desaturate(&s->fx, b, a);
}

static void isolate(struct sim *s, unsigned i)
{
    for (unsigned k = 0; k < s->n; k++) {
        if (k != i) {
            link_down(s, i, k);
        }
    }
}

/* From its next timeout on: until then it still believes in its leader, and
 * would refuse to vote. */
static void never_stand(struct sim *s, unsigned i)
{
    raft_fixture_set_randomized_election_timeout(&s->fx, i, NEVER_MS);
}

static void may_stand(struct sim *s, unsigned i, unsigned after_ms)
{
    raft_fixture_set_randomized_election_timeout(&s->fx, i, after_ms);
    if (raft_state(server(s, i)) != RAFT_LEADER) {
        peek_set_timeout(server(s, i), after_ms);
    }
}

static void run_ms(struct sim *s, unsigned ms)
{
    raft_fixture_step_until_elapsed(&s->fx, ms);
}

static bool wait_state(struct sim *s, unsigned i, int state)
{
    return raft_fixture_step_until_state_is(&s->fx, i, state, 60000);
}

static void done(struct raft_apply *req, int status, void *result)
{
    struct write *w = req->data;

    (void)result;
    w->done = true;
    w->status = status;
}

static struct write *put(struct sim *s, unsigned i, uint64_t value)
{
    struct write *w = calloc(1, sizeof *w);
    struct raft_buffer buf = {.base = raft_malloc(8), .len = 8};
    int rv;

    memcpy(buf.base, &value, 8);
    w->value = value;
    w->req.data = w;
    w->next = s->writes;
    s->writes = w;
    rv = raft_apply(server(s, i), &w->req, &buf, 1, done);
    if (rv != 0) {
        raft_free(buf.base);
        w->done = true;
        w->status = rv;
    }
    return w;
}

static bool acknowledged(const struct write *w)
{
    return w->done && w->status == 0;
}

static bool has(const struct sim *s, unsigned i, uint64_t value)
{
    for (unsigned k = 0; k < s->machines[i].n; k++) {
        if (s->machines[i].values[k] == value) {
            return true;
        }
    }
    return false;
}

/* ---- an acknowledgement without a quorum -------------------------------- */

/* A (0) is cut off with entries of its own term 2. B (1) leads term 3, reaches
 * A, then loses C (2). A's answer to B names the end of A's own tail. A write
 * on B counts as stored on A, is acknowledged, and B dies. */
static bool loses_a_write_by_a_false_acknowledgement(bool filtered)
{
    struct sim *s = sim_new(3, filtered);
    struct write *w;
    unsigned answers;
    bool lost;

    raft_fixture_elect(&s->fx, 0);
    put(s, 0, 100);
    run_ms(s, 500);
    assert_true(has(s, 2, 100));
    isolate(s, 0);
    put(s, 0, 101);
    put(s, 0, 102);
    put(s, 0, 103);
    run_ms(s, 100);
    never_stand(s, 0);
    never_stand(s, 2);
    assert_true(wait_state(s, 0, RAFT_FOLLOWER));
    assert_true(wait_state(s, 1, RAFT_LEADER));
    run_ms(s, 300);
    link_up(s, 0, 1);
    answers = raft_fixture_n_send(&s->fx, 0, RAFT_IO_APPEND_ENTRIES_RESULT);
    while (raft_fixture_n_send(&s->fx, 0, RAFT_IO_APPEND_ENTRIES_RESULT) ==
           answers) {
        raft_fixture_step(&s->fx);
    }
    /* A's answer is on the wire. */
    link_down(s, 1, 2);
    w = put(s, 1, 777);
    for (unsigned k = 0; k < 400 && !w->done; k++) {
        raft_fixture_step(&s->fx);
    }
    raft_fixture_kill(&s->fx, 1);
    link_up(s, 0, 2);
    may_stand(s, 0, 3000); /* after C has given B up, or it would not vote */
    may_stand(s, 2, 2000);
    never_stand(s, 2);
    assert_true(wait_state(s, 0, RAFT_LEADER));
    put(s, 0, 104);
    run_ms(s, 5000);
    assert_true(acknowledged(w));
    lost = !has(s, 0, 777) || !has(s, 2, 777);
    sim_free(s);
    return lost;
}

static void a_false_acknowledgement_loses_nothing(void **state)
{
    (void)state;
    assert_true(loses_a_write_by_a_false_acknowledgement(false));
    assert_false(loses_a_write_by_a_false_acknowledgement(true));
}

/* ---- figure 8 of the Raft paper ----------------------------------------- */

/* Do two machines disagree on what both have applied? */
static bool disagree(const struct sim *s)
{
    const struct machine *most = &s->machines[0];

    for (unsigned i = 1; i < s->n; i++) {
        most = s->machines[i].n > most->n ? &s->machines[i] : most;
    }
    for (unsigned i = 0; i < s->n; i++) {
        const struct machine *m = &s->machines[i];
        if (memcmp(m->values, most->values, m->n * sizeof(uint64_t)) != 0) {
            return true;
        }
    }
    return false;
}

static void wait_leader_among(struct sim *s, unsigned first, unsigned last,
                              unsigned *leader)
{
    for (unsigned k = 0; k < 200000; k++) {
        raft_fixture_step(&s->fx);
        for (unsigned i = first; i <= last; i++) {
            if (raft_fixture_alive(&s->fx, i) &&
                raft_state(server(s, i)) == RAFT_LEADER) {
                *leader = i;
                return;
            }
        }
    }
    fail_msg("no leader");
}

/* X is of the first leader's term on 0 and 1; Y of a later one's on itself,
 * which dies. One of 0 and 1 leads again, and X reaches a third server: three
 * of five. If that commits it, the second leader, back again, still replaces
 * it with Y on those who did not hear of the commit. */
static bool replaces_a_committed_entry(bool filtered)
{
    struct sim *s = sim_new(5, filtered);
    unsigned second, again, others[2], n = 0;
    bool broken;

    raft_fixture_elect(&s->fx, 0);
    run_ms(s, 500);
    for (unsigned k = 2; k < 5; k++) {
        link_down(s, 0, k);
        link_down(s, 1, k);
    }
    put(s, 0, 'X');
    run_ms(s, 200);
    link_down(s, 0, 1);
    assert_true(wait_state(s, 0, RAFT_FOLLOWER));
    wait_leader_among(s, 2, 4, &second);
    for (unsigned k = 2; k < 5; k++) {
        if (k != second) {
            others[n++] = k;
            link_down(s, second, k);
        }
    }
    put(s, second, 'Y');
    run_ms(s, 100);
    raft_fixture_kill(&s->fx, second);
    link_up(s, 0, 1);
    link_up(s, 0, others[0]);
    link_up(s, 1, others[0]);
    link_down(s, others[0], others[1]);
    wait_leader_among(s, 0, 1, &again);
    /* Until its commit is known there and perhaps nowhere else. */
    for (unsigned k = 0; k < 2000 && !has(s, again, 'X'); k++) {
        raft_fixture_step(&s->fx);
    }
    raft_fixture_revive(&s->fx, second); /* this links it with everybody */
    isolate(s, 0);
    isolate(s, 1);
    never_stand(s, others[0]);
    never_stand(s, others[1]);
    link_up(s, others[0], others[1]);
    run_ms(s, 20000);
    if (raft_state(server(s, second)) == RAFT_LEADER) {
        put(s, second, 'Z');
        run_ms(s, 5000);
    }
    assert_true(has(s, again, 'X'));
    broken = disagree(s);
    sim_free(s);
    return broken;
}

static void an_old_entry_on_a_majority_is_not_yet_committed(void **state)
{
    (void)state;
    assert_true(replaces_a_committed_entry(false));
    assert_false(replaces_a_committed_entry(true));
}

/* ---- random faults ------------------------------------------------------ */

static unsigned draw(uint64_t *x, unsigned below)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return (unsigned)(*x % below);
}

static void something_happens(struct sim *s, uint64_t *seed)
{
    unsigned what = draw(seed, 1000), a = draw(seed, s->n);
    unsigned b = (a + 1 + draw(seed, s->n - 1)) % s->n;

    if (what < 3) {
        if (raft_fixture_saturated(&s->fx, a, b)) {
            raft_fixture_desaturate(&s->fx, a, b);
        } else {
            raft_fixture_saturate(&s->fx, a, b);
        }
    } else if (what < 4 && raft_fixture_alive(&s->fx, a)) {
        raft_fixture_kill(&s->fx, a);
    } else if (what < 6 && !raft_fixture_alive(&s->fx, a)) {
        raft_fixture_revive(&s->fx, a);
    } else if (what < 7) {
        raft_fixture_set_disk_latency(&s->fx, a, draw(seed, 200));
    } else if (what < 8) {
        raft_fixture_set_network_latency(&s->fx, a, draw(seed, 100));
    } else if (what < 60) {
        for (unsigned i = 0; i < s->n; i++) {
            if (raft_fixture_alive(&s->fx, i) &&
                raft_state(server(s, i)) == RAFT_LEADER) {
                uint64_t last = s->writes == NULL ? 1000 : s->writes->value;
                put(s, i, last + 1);
                break;
            }
        }
    }
}

static void heal(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (!raft_fixture_alive(&s->fx, i)) {
            raft_fixture_revive(&s->fx, i);
        }
        for (unsigned k = 0; k < s->n; k++) {
            if (k != i) {
                raft_fixture_desaturate(&s->fx, i, k);
            }
        }
        raft_fixture_set_disk_latency(&s->fx, i, 10);
        raft_fixture_set_network_latency(&s->fx, i, 15);
        raft_fixture_set_randomized_election_timeout(&s->fx, i, 1000 + 300 * i);
    }
}

static uint64_t capped, waited; /* in all runs: the filters had work */

static void random_faults(uint64_t seed)
{
    struct sim *s = sim_new(seed % 2 == 0 ? 3 : 5, true);
    uint64_t x = seed * 0x9e3779b97f4a7c15u | 1;
    unsigned acked = 0, leader;

    for (unsigned k = 0; k < 20000; k++) {
        something_happens(s, &x);
        raft_fixture_step(&s->fx);
        for (unsigned i = 0; i < s->n; i++) {
            assert_int_not_equal(raft_state(server(s, i)), RAFT_UNAVAILABLE);
        }
    }
    heal(s);
    run_ms(s, 20000);
    wait_leader_among(s, 0, s->n - 1, &leader);
    put(s, leader, 1);
    run_ms(s, 10000);
    assert_false(disagree(s));
    for (const struct write *w = s->writes; w != NULL; w = w->next) {
        if (acknowledged(w)) {
            acked++;
            for (unsigned i = 0; i < s->n; i++) {
                assert_true(has(s, i, w->value));
            }
        }
    }
    for (unsigned i = 0; i < s->n; i++) {
        capped += s->filters[i].count.capped;
        waited += s->filters[i].count.waited;
    }
    assert_true(acked > 50); /* it was not idle */
    sim_free(s);
}

static void random_faults_lose_nothing_and_all_agree(void **state)
{
    const char *from = getenv("MARMOT_TEST_SEED");
    uint64_t first = from == NULL ? 1 : strtoull(from, NULL, 10);
    uint64_t count = from == NULL ? 10 : 1;

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        random_faults(seed);
    }
    if (from == NULL) {
        assert_true(capped > 0 && waited > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_false_acknowledgement_loses_nothing),
        cmocka_unit_test(an_old_entry_on_a_majority_is_not_yet_committed),
        cmocka_unit_test(random_faults_lose_nothing_and_all_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
