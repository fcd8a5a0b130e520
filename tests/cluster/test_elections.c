/* Elections that must come to an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/log.h"
#include "consensus/raft_peek.h"
#include "tests/cluster/stage.h"

enum { A, B, C };

/* ---- terms that differ --------------------------------------------------- */

/* B's candidacy is heard, but no vote for it. */
static bool no_votes_for_b(unsigned from, unsigned to,
                           const struct raft_message *m)
{
    (void)to;
    return from != B || m->type != RAFT_IO_REQUEST_VOTE ||
           m->request_vote.pre_vote;
}

/* B has the highest term and a short log, C a low term and the longest log:
 * nobody but C can be elected, and C has to learn B's term first. The core
 * answers a pre-vote with the candidate's own term. */
static void the_longest_log_wins_whatever_its_term(void **state)
{
    struct stage *t = stage_open(3, 0, A);
    uint64_t until;

    (void)state;
    stage_put(t, A, 1);
    stage_pass(t, 500 * MS);
    stage_isolate(t, A, false);
    stage_forget(t, C);
    t->script = no_votes_for_b;
    stage_may_stand(t, B);
    stage_pass(t, 20 * SECOND); /* a term at every attempt */
    t->calm = ~0u;
    node_kill(&t->sim->nodes[B], false);
    node_start(&t->sim->nodes[B]);
    stage_isolate(t, B, false);
    stage_link(t, A, C, true);
    stage_forget(t, C);
    assert_true(stage_elect(t, A));
    stage_put(t, A, 2);
    stage_pass(t, 500 * MS);
    assert_true(stage_has(t, 2));
    node_kill(&t->sim->nodes[A], false);
    assert_true(peek_term(sim_raft(&t->sim->nodes[B], 0)) >
                peek_term(sim_raft(&t->sim->nodes[C], 0)) + 1);
    t->script = NULL;
    stage_link(t, B, C, true);
    stage_may_stand(t, B);
    stage_may_stand(t, C);
    until = t->sim->now_us + 20 * SECOND;
    while (!stage_leads(t, C) && t->sim->now_us < until) {
        stage_pass(t, 100 * MS);
    }
    assert_true(stage_leads(t, C));
    stage_close(t);
}

/* ---- slow disks ---------------------------------------------------------- */

static bool somebody_leads(const struct sim *s, unsigned group)
{
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].leads[group] != 0) {
            return true;
        }
    }
    return false;
}

/* A vote takes a sync here and one there. */
static void a_slow_disk_keeps_nobody_from_being_elected(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + 1);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_plan plan = {.seed = seed, .voters = 3, .quiet = true};
        struct sim *s = sim_new(&plan);
        for (unsigned i = 0; i < s->n_nodes; i++) {
            s->nodes[i].disk.low_us = s->nodes[i].disk.high_us = 200 * MS;
            node_start_after(&s->nodes[i], draw(s, 300 * MS));
        }
        assert_true(sim_pass(s, 15 * SECOND));
        for (unsigned group = 0; group < SIM_SHARDS; group++) {
            assert_true(somebody_leads(s, group));
        }
        sim_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_log_wins_whatever_its_term),
        cmocka_unit_test(a_slow_disk_keeps_nobody_from_being_elected),
    };

    cmocka_set_test_filter(getenv("MARMOT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
