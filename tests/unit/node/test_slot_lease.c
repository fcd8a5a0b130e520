/* The node's side of a lease: when it asks, how long it keeps, when it gives
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/fake_guest.h"

static int setup(void **state)
{
    *state = world_open(3);
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    return 0;
}

/* A transaction from its LOCK to its UNLOCK, while the lease is there. */
static void write_once(struct world *w, struct guest *g)
{
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
}

/* ---- asking -------------------------------------------------------------- */

static void a_lease_is_asked_for_only_when_somebody_waits(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    world_pass(w, 10000000);
    assert_int_equal(w->n_asked, 0);
    guest_lock(w, g);
    assert_int_equal(w->n_asked, 1);
}

static void a_lease_that_was_asked_for_in_vain_is_asked_for_again(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    w->woken = true;
    world_pass(w, w->env.times.ask_again_us - 1);
    assert_int_equal(w->n_asked, 1);
    world_pass(w, 10 * w->env.times.ask_again_us);
    assert_in_range(w->n_asked, 6, 11);
    world_grant(w, 1);
    guest_told(g, SESSION_GRANT);
}

static void nobody_is_asked_while_there_is_no_leader(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    world_lead(w, 0);
    guest_lock(w, g);
    world_pass(w, 10000000);
    assert_int_equal(w->n_asked, 0);
    world_lead(w, NODE_THERE);
    assert_int_equal(w->n_asked, 1);
}

static void nobody_is_asked_for_a_database_that_the_group_does_not_know(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);
    struct machine_db *m = w->db.m;

    w->db.m = NULL;
    w->db.state = DB_ENROLLING;
    guest_lock(w, g);
    world_pass(w, 10000000);
    assert_int_equal(w->n_asked, 0);
    w->db.m = m;
    w->db.state = DB_READY;
    w->woken = true;
    world_settle(w);
    assert_int_equal(w->n_asked, 1);
}

static void when_the_last_waiting_session_has_gone_nobody_is_asked(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    guest_close(w, g);
    w->n_asked = 0;
    world_pass(w, 10000000);
    assert_int_equal(w->n_asked, 0);
}

static void a_new_leader_is_asked_at_once(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_lead(w, NODE_THERE);
    assert_int_equal(w->n_asked, 2);
    world_grant(w, 1);
    guest_told(g, SESSION_GRANT);
}

static void after_a_change_of_leader_a_lease_is_good_until_it_has_run_out(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    w->mute = true;
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_lead(w, NODE_THERE);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_pass(w, w->env.times.lease_us);
    guest_lock(w, g);
    guest_not_told(g);
    world_grant(w, 1); /* the new leader counts from 1 again */
    guest_told(g, SESSION_GRANT);
}

/* ---- how long it is good ------------------------------------------------- */

static void a_lease_counts_from_when_it_was_asked_for(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->mute = true;
    guest_lock(w, g);
    w->now_us += w->env.times.lease_us - 1; /* a slow answer */
    world_answer(w, world_epoch(w, 1), w->applied);
    world_settle(w);
    guest_told(g, SESSION_GRANT);
    guest_unlock(w, g, UNLOCK_NOTHING);
    w->now_us++;
    guest_lock(w, g);
    guest_not_told(g);
}

static void an_answer_that_comes_too_late_is_good_for_nothing(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->mute = true;
    guest_lock(w, g);
    w->now_us += w->env.times.lease_us;
    world_answer(w, world_epoch(w, 1), w->applied);
    world_settle(w);
    guest_not_told(g);
    world_grant(w, 1); /* to the question that it asked next */
    guest_told(g, SESSION_GRANT);
}

static void a_lease_in_use_is_renewed_and_an_idle_one_is_not(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    unsigned renewed;

    world_pass(w, 3000000);
    assert_in_range(w->n_renewed, 10, 40);
    assert_true(lease_is_good(&w->db));
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_pass(w, w->env.times.unused_us + w->env.times.lease_us);
    assert_false(lease_is_good(&w->db));
    renewed = w->n_renewed;
    world_pass(w, 60000000);
    assert_int_equal(w->n_renewed, renewed);
}

/* The question was on its way when the lease was given back. */
static void a_lease_that_was_given_back_does_not_come_back(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_unlock(w, g, UNLOCK_NOTHING);
    world_recall(w, 1);
    world_pass(w, w->env.times.quantum_us);
    assert_int_equal(w->n_released, 1);
    guest_lock(w, g);
    world_grant(w, 1);
    guest_not_told(g);
    world_grant(w, 2);
    guest_told(g, SESSION_GRANT);
}

static void a_grant_of_another_term_is_ignored(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    struct host_lease old = {.epoch = world_epoch(w, 1),
                             .term = w->term,
                             .stamp = w->env.start + w->now_us,
                             .us = w->env.times.lease_us};

    guest_lock(w, g);
    world_lead(w, NODE_THERE);
    lease_granted(&w->db, &old);
    world_settle(w);
    guest_not_told(g);
}

/* ---- what a session may be told ------------------------------------------ */

/* Its lease was given away, so that others may have read without it. */
static void without_a_lease_a_commit_is_told_when_all_leases_have_run_out(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_recall(w, 1);
    world_pass(w, w->env.times.idle_us);
    assert_int_equal(w->n_released, 1);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_not_told(g);
    world_pass(w, w->env.times.lease_us);
    guest_not_told(g);
    world_pass(w, w->env.times.lease_us);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void with_a_lease_again_a_commit_is_told_at_once(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    w->mute = true;
    world_lead(w, NODE_THERE); /* the lease is good, but not this leader's */
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_not_told(g);
    w->ask.stamp = w->env.start + w->now_us;
    world_answer(w, w->db.lease.epoch, w->applied);
    world_settle(w);
    guest_told(g, SESSION_COMMITTED);
}

static void a_session_that_ends_untold_leaves_its_commit_to_the_applier(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *other = guest_open(w);

    w->mute = true;
    world_lead(w, NODE_THERE);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_not_told(g);
    guest_close(w, g);
    guest_lock(w, other);
    world_grant(w, 1);
    assert_int_equal(guest_told(other, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

/* ---- keeping ------------------------------------------------------------- */

static void a_lease_is_kept_until_somebody_else_asks(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_grant(w, 1);
    guest_told(g, SESSION_GRANT);
    guest_unlock(w, g, UNLOCK_NOTHING);
    for (int i = 0; i < 3; i++) {
        world_pass(w, 60000000);
        write_once(w, g);
    }
    assert_int_equal(w->n_asked, 1);
    assert_int_equal(w->n_released, 0);
}

static void a_lease_that_nobody_waits_for_any_more_is_kept_and_given_back(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    guest_close(w, g);
    world_grant(w, 5);
    world_pass(w, 60000000);
    assert_int_equal(w->n_released, 0);
    world_recall(w, 5);
    assert_int_equal(w->n_released, 1);
    assert_int_equal(w->released_epoch, 5);
    assert_false(w->db.lease.held);
}

/* ---- giving back --------------------------------------------------------- */

static void a_recalled_lease_is_given_back_at_the_end_of_its_quantum(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_grant(w, 7);
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_recall(w, 7);
    world_pass(w, w->env.times.quantum_us - 1);
    assert_int_equal(w->n_released, 0);
    world_pass(w, 1);
    assert_int_equal(w->n_released, 1);
    assert_int_equal(w->released_epoch, 7);
    world_pass(w, 1000000);
    assert_int_equal(w->n_released, 1);
}

/* A grant may come twice; it is the same one. */
static void a_repeated_grant_does_not_begin_a_new_quantum(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_grant(w, 7);
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_pass(w, w->env.times.quantum_us - 1);
    world_grant(w, 7);
    world_recall(w, 7);
    assert_int_equal(w->n_released, 0);
    world_pass(w, 1);
    assert_int_equal(w->n_released, 1);
}

static void a_new_grant_forgets_the_recall_of_the_old_one(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_grant(w, 7);
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_recall(w, 7);
    world_grant(w, 8);
    world_pass(w, 1000000);
    assert_int_equal(w->n_released, 0);
}

static void a_recall_of_another_grant_is_ignored(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_grant(w, 7);
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_recall(w, 6);
    world_pass(w, 1000000);
    assert_int_equal(w->n_released, 0);
    assert_true(w->db.lease.held);
}

static void within_the_quantum_the_node_s_own_sessions_go_on(void **state)
{
    struct world *w = *state;
    struct guest *a = guest_open(w), *b = guest_open(w);

    guest_lock(w, a);
    guest_lock(w, b);
    world_grant(w, 1);
    world_recall(w, 1);
    guest_unlock(w, a, UNLOCK_NOTHING);
    guest_told(b, SESSION_GRANT);
    assert_int_equal(w->n_released, 0);
}

static void after_the_quantum_the_other_node_has_its_turn_first(void **state)
{
    struct world *w = *state;
    struct guest *a = guest_open(w), *b = guest_open(w);

    guest_lock(w, a);
    guest_lock(w, b);
    world_grant(w, 1);
    world_recall(w, 1);
    world_pass(w, w->env.times.quantum_us);
    assert_int_equal(w->n_released, 0); /* a transaction is not cut short */
    guest_unlock(w, a, UNLOCK_NOTHING);
    assert_int_equal(w->n_released, 1);
    guest_not_told(b);
    assert_int_equal(w->n_asked, 2); /* for b, behind the other node */
    world_grant(w, 2);
    guest_told(b, SESSION_GRANT);
}

static void a_lease_is_not_given_back_while_a_transaction_is_undecided(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_recall(w, 1);
    world_pass(w, w->env.times.deadline_us + 1000000);
    guest_told(g, SESSION_UNKNOWN);
    guest_close(w, g);
    world_pass(w, 60000000);
    assert_int_equal(w->n_released, 0);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    assert_int_equal(w->n_released, 1);
}

/* Its transaction goes on; whether it still can commit, the log will say. */
static void a_holder_that_idles_in_a_transaction_loses_the_lease(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_recall(w, 1);
    world_pass(w, w->env.times.idle_us - 1);
    assert_int_equal(w->n_released, 0);
    world_pass(w, 1);
    assert_int_equal(w->n_released, 1);
    assert_ptr_equal(w->db.owner, &g->session);
    world_foreign(w);
    guest_last(w, g, 2);
    guest_told(g, SESSION_CONFLICT);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void a_holder_that_idled_may_still_commit_if_nobody_wrote(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_recall(w, 1);
    world_pass(w, w->env.times.idle_us);
    assert_int_equal(w->n_released, 1);
    guest_last(w, g, 2);
    world_deliver_all(w);
    world_grant(w, 2); /* it asks for it again, to be told at once */
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void an_idle_holder_keeps_a_lease_that_nobody_asks_for(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_pass(w, 10 * w->env.times.idle_us);
    assert_int_equal(w->n_released, 0);
    assert_ptr_equal(w->db.owner, &g->session);
}

static void an_offer_does_not_hold_up_the_other_nodes(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *g = guest_open(w);

    guest_lock(w, g);
    guest_park(w, g);
    guest_told(g, SESSION_PARKED);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(g, SESSION_OFFER);
    world_recall(w, 1);
    world_pass(w, w->env.times.quantum_us);
    assert_int_equal(w->n_released, 1);
    guest_lock(w, g); /* waits for the lease to come back */
    guest_not_told(g);
    world_grant(w, 2);
    guest_told(g, SESSION_GRANT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_lease_is_asked_for_only_when_somebody_waits),
        T(a_lease_that_was_asked_for_in_vain_is_asked_for_again),
        T(nobody_is_asked_while_there_is_no_leader),
        T(nobody_is_asked_for_a_database_that_the_group_does_not_know),
        T(when_the_last_waiting_session_has_gone_nobody_is_asked),
        T(a_new_leader_is_asked_at_once),
        T(after_a_change_of_leader_a_lease_is_good_until_it_has_run_out),
        T(a_lease_counts_from_when_it_was_asked_for),
        T(an_answer_that_comes_too_late_is_good_for_nothing),
        T(a_lease_in_use_is_renewed_and_an_idle_one_is_not),
        T(a_lease_that_was_given_back_does_not_come_back),
        T(a_grant_of_another_term_is_ignored),
        T(without_a_lease_a_commit_is_told_when_all_leases_have_run_out),
        T(with_a_lease_again_a_commit_is_told_at_once),
        T(a_session_that_ends_untold_leaves_its_commit_to_the_applier),
        T(a_lease_is_kept_until_somebody_else_asks),
        T(a_lease_that_nobody_waits_for_any_more_is_kept_and_given_back),
        T(a_recalled_lease_is_given_back_at_the_end_of_its_quantum),
        T(a_repeated_grant_does_not_begin_a_new_quantum),
        T(a_new_grant_forgets_the_recall_of_the_old_one),
        T(a_recall_of_another_grant_is_ignored),
        T(within_the_quantum_the_node_s_own_sessions_go_on),
        T(after_the_quantum_the_other_node_has_its_turn_first),
        T(a_lease_is_not_given_back_while_a_transaction_is_undecided),
        T(a_holder_that_idles_in_a_transaction_loses_the_lease),
        T(a_holder_that_idled_may_still_commit_if_nobody_wrote),
        T(an_idle_holder_keeps_a_lease_that_nobody_asks_for),
        T(an_offer_does_not_hold_up_the_other_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
