/* The slot that a session keeps: taken again without a word, and taken back. */
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

/* A whole transaction of one that has the slot, up to the answer. */
static void commit(struct world *w, struct guest *g)
{
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

/* A session that has committed once and keeps the slot. The node has looked at
 * the file that it made and is at rest. */
static struct guest *keeper(struct world *w)
{
    struct guest *g = guest_owner(w);

    commit(w, g);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    assert_true(guest_keep(w, g));
    w->woken = true;
    world_settle(w);
    assert_int_equal(g->session.turn, TURN_KEEPING);
    return g;
}

/* Some event that has nothing to do with it. */
static void look(struct world *w)
{
    w->woken = true;
    world_settle(w);
}

/* ---- taken again --------------------------------------------------------- */

static void a_kept_slot_is_taken_again_without_a_question(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_false(slot_is_free(&w->db));
    assert_true(guest_retake(w, g));
    look(w);
    assert_int_equal(g->session.turn, TURN_OWNED);
    assert_ptr_equal(w->db.owner, &g->session);
    guest_not_told(g);
    commit(w, g);
    assert_int_equal(w->n_accepted, 2);
}

static void what_a_keeper_proposes_builds_on_what_it_published(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    w->lazy = true; /* the node sees nothing but the proposals */
    for (uint64_t i = 2; i < 6; i++) {
        assert_true(guest_retake(w, g));
        guest_last(w, g, 2 + (uint32_t)i % 2);
        world_deliver_all(w);
        assert_int_equal(guest_told(g, SESSION_COMMITTED).position.txid, i);
        assert_true(guest_keep(w, g));
    }
    slot_look(&w->db);
    assert_int_equal(w->db.applied.txid, 5);
    assert_int_equal(w->db.commits, 5);
    assert_int_equal(w->db.checksum.sum, w->log.sum);
    assert_true(list_empty(&w->db.pending));
}

static void what_was_published_without_a_word_is_noted(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    commit(w, g);
    assert_int_equal(w->db.applied.txid, 1);
    w->lazy = true;
    assert_true(guest_keep(w, g));
    slot_look(&w->db);
    assert_int_equal(w->db.applied.txid, 2);
    assert_int_equal(w->db.commits, 2);
    assert_int_equal(g->session.turn, TURN_KEEPING);
    assert_null(w->db.proposal);
}

static void left_and_taken_again_before_the_node_looked(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    commit(w, g);
    w->lazy = true;
    assert_true(guest_keep(w, g));
    assert_true(guest_retake(w, g));
    slot_look(&w->db);
    assert_int_equal(g->session.turn, TURN_OWNED);
    assert_int_equal(w->db.applied.txid, 2);
    assert_true(position_equal(&g->session.base, &w->db.m->position));
}

/* ---- taken back ---------------------------------------------------------- */

static void a_session_that_waits_gets_a_kept_slot_at_once(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_told(other, SESSION_GRANT);
    assert_false(guest_retake(w, g));
    assert_int_equal(g->session.turn, TURN_NONE);
    guest_lock(w, g); /* it asks as any other */
    guest_not_told(g);
    guest_unlock(w, other, UNLOCK_NOTHING);
    guest_told(g, SESSION_GRANT);
}

static void a_slot_in_use_is_given_up_when_somebody_waits(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w), *other = guest_open(w);

    assert_true(guest_retake(w, g));
    guest_lock(w, other);
    guest_not_told(other);
    commit(w, g);
    guest_not_told(other);
    assert_false(guest_keep(w, g)); /* wanted: it says so */
    assert_int_equal(guest_told(other, SESSION_GRANT).position.txid, 2);
    assert_false(guest_retake(w, g));
    assert_int_equal(w->file.sum, w->log.sum);
}

static void a_slot_is_not_kept_for_long(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    look(w);
    world_pass(w, w->env.times.keep_us / 2);
    assert_true(guest_keep(w, g));
    look(w);
    world_pass(w, w->env.times.keep_us - 1);
    assert_int_equal(g->session.turn, TURN_KEEPING);
    world_pass(w, 1 + w->env.times.keep_us);
    assert_int_equal(g->session.turn, TURN_NONE);
    assert_false(guest_retake(w, g));
    assert_true(slot_is_free(&w->db));
}

/* What it published is found even if it never says a word again. */
static void a_commit_of_a_silent_session_is_noted_in_time(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    world_pass(w, 10 * w->env.times.keep_us);
    commit(w, g);
    assert_true(guest_keep(w, g));
    world_pass(w, 3 * w->env.times.keep_us);
    assert_int_equal(w->db.applied.txid, 2);
    assert_true(slot_is_free(&w->db));
    assert_int_equal(w->n_foreign, 0);
}

static void nothing_is_appended_while_a_keeper_has_taken_the_slot(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    world_foreign(w);
    world_pass(w, 1000000);
    assert_int_equal(w->db.applied.txid, 1);
    guest_last(w, g, 2);
    guest_told(g, SESSION_CONFLICT);
    assert_false(guest_keep(w, g));
    assert_int_equal(w->db.applied.txid, 2);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void what_is_accepted_elsewhere_takes_a_kept_slot_back_first(
    void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    w->job_waits = true;
    world_foreign(w);
    assert_non_null(w->db.job);
    assert_false(guest_retake(w, g));
    world_job_done(w);
    world_settle(w);
    assert_int_equal(w->db.applied.txid, 2);
}

static void a_slot_is_not_kept_without_lease_or_quorum(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    w->mute = true;
    world_pass(w, w->env.times.lease_us);
    assert_false(guest_retake(w, g));
    guest_lock(w, g);
    guest_not_told(g);
    world_grant(w, 2);
    w->mute = false;
    guest_told(g, SESSION_GRANT);
    assert_true(guest_keep(w, g));
    look(w);
    w->fresh = false;
    look(w);
    assert_false(guest_retake(w, g));
}

/* Even when the node has stopped and cannot take it back. */
static void a_slot_is_not_kept_beyond_the_lease(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    w->mute = true;
    world_pass(w, w->env.times.lease_us - w->env.times.keep_us);
    assert_true(guest_keep(w, g));
    look(w);
    w->now_us = w->db.lease.until_us - 1;
    assert_true(guest_retake(w, g));
    assert_true(guest_leave(w, g, UNLOCK_NOTHING, true));
    w->now_us++;
    assert_false(guest_retake(w, g));
}

/* Its session is in a transaction all the time, and leaves it unseen. */
static void a_slot_is_not_kept_when_the_lease_was_given_away(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_recall(w, 1);
    world_pass(w, w->env.times.idle_us - 1);
    assert_int_equal(w->n_released, 0);
    world_pass(w, 1);
    assert_int_equal(w->n_released, 1);
    assert_true(guest_leave(w, g, UNLOCK_NOTHING, true));
    assert_false(guest_retake(w, g));
}

static void a_recalled_lease_is_given_back_although_the_slot_is_kept(
    void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    world_recall(w, 1);
    world_pass(w, w->env.times.quantum_us);
    assert_int_equal(w->n_released, 1);
    assert_false(guest_retake(w, g));
}

static void a_recalled_lease_waits_for_a_keeper_that_writes(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    world_recall(w, 1);
    world_pass(w, 10 * w->env.times.quantum_us);
    assert_int_equal(w->n_released, 0);
    commit(w, g);
    guest_keep(w, g);
    world_pass(w, 2 * w->env.times.keep_us);
    assert_int_equal(w->n_released, 1);
    assert_int_equal(w->db.applied.txid, 2);
}

static void a_keeper_that_asks_is_granted_as_any_other(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    guest_lock(w, g); /* it could not take what it had kept */
    guest_told(g, SESSION_GRANT);
    assert_ptr_equal(w->db.owner, &g->session);
}

/* It asks although it keeps: the node has not seen yet that it left. */
static void a_silent_session_that_asks_is_not_taken_for_an_owner(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    commit(w, g);
    w->lazy = true;
    assert_true(guest_keep(w, g));
    guest_lock(w, g);
    guest_not_told(g);
    world_turn(w);
    assert_int_equal(guest_told(g, SESSION_GRANT).position.txid, 2);
}

/* Its UNLOCK comes from somebody who, for all the node knows, only kept. */
static void a_keeper_that_takes_and_frees_the_slot_unseen_has_freed_it(
    void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    w->lazy = true;
    assert_false(guest_leave(w, g, UNLOCK_STALE, false));
    world_pass(w, 2 * w->env.times.keep_us);
    assert_true(slot_is_free(&w->db));
    assert_int_equal(g->session.turn, TURN_NONE);
}

/* Nothing was recorded: whether it has published, the file says. */
static void left_without_a_record_the_node_looks_at_the_file(void **state)
{
    for (int published = 0; published < 2; published++) {
        struct world *w = world_open(3);
        struct guest *g = keeper(w);

        assert_true(guest_retake(w, g));
        commit(w, g);
        if (published) {
            guest_publish(w, g);
        }
        assert_true(guest_leave(w, g, UNLOCK_NOTHING, true));
        look(w);
        assert_int_equal(w->db.applied.txid, 2);
        assert_null(w->db.proposal);
        assert_int_equal(w->n_foreign, 0);
        assert_int_equal(w->file.sum, w->log.sum);
        world_close(w);
    }
    (void)state;
}

/* ---- the end of a keeper ------------------------------------------------- */

static void a_keeper_that_ends_leaves_a_free_slot(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w), *other = guest_open(w);

    guest_close(w, g);
    assert_true(slot_is_free(&w->db));
    assert_false(guest_retake(w, g));
    guest_lock(w, other);
    guest_told(other, SESSION_GRANT);
    assert_int_equal(w->n_foreign, 0);
}

static void a_keeper_that_ends_after_publishing_has_published(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w);

    assert_true(guest_retake(w, g));
    commit(w, g);
    w->lazy = true;
    assert_true(guest_keep(w, g));
    guest_close(w, g);
    assert_int_equal(w->db.applied.txid, 2);
    assert_int_equal(w->db.commits, 2);
    assert_true(slot_is_free(&w->db));
}

static void a_keeper_that_ends_in_a_transaction_leaves_a_free_slot(void **state)
{
    struct world *w = *state;
    struct guest *g = keeper(w), *other = guest_open(w);

    assert_true(guest_retake(w, g));
    guest_close(w, g);
    assert_true(slot_is_free(&w->db));
    guest_lock(w, other);
    guest_told(other, SESSION_GRANT);
}

static void a_keeper_that_ends_before_publishing_makes_the_node_look(
    void **state)
{
    for (int published = 0; published < 2; published++) {
        struct world *w = world_open(3);
        struct guest *g = keeper(w), *other = guest_open(w);

        assert_true(guest_retake(w, g));
        commit(w, g);
        if (published) {
            guest_publish(w, g); /* and dies before it can say so */
        }
        guest_close(w, g);
        guest_lock(w, other);
        assert_int_equal(guest_told(other, SESSION_GRANT).position.txid, 2);
        assert_int_equal(w->file.sum, w->log.sum);
        assert_int_equal(w->db.checksum.sum, w->log.sum);
        assert_int_equal(w->n_foreign, 0);
        world_close(w);
    }
    (void)state;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_kept_slot_is_taken_again_without_a_question),
        T(what_a_keeper_proposes_builds_on_what_it_published),
        T(what_was_published_without_a_word_is_noted),
        T(left_and_taken_again_before_the_node_looked),
        T(a_session_that_waits_gets_a_kept_slot_at_once),
        T(a_slot_in_use_is_given_up_when_somebody_waits),
        T(a_slot_is_not_kept_for_long),
        T(a_commit_of_a_silent_session_is_noted_in_time),
        T(nothing_is_appended_while_a_keeper_has_taken_the_slot),
        T(what_is_accepted_elsewhere_takes_a_kept_slot_back_first),
        T(a_slot_is_not_kept_without_lease_or_quorum),
        T(a_slot_is_not_kept_beyond_the_lease),
        T(a_slot_is_not_kept_when_the_lease_was_given_away),
        T(a_recalled_lease_is_given_back_although_the_slot_is_kept),
        T(a_recalled_lease_waits_for_a_keeper_that_writes),
        T(a_keeper_that_asks_is_granted_as_any_other),
        T(a_silent_session_that_asks_is_not_taken_for_an_owner),
        T(a_keeper_that_takes_and_frees_the_slot_unseen_has_freed_it),
        T(left_without_a_record_the_node_looks_at_the_file),
        T(a_keeper_that_ends_leaves_a_free_slot),
        T(a_keeper_that_ends_after_publishing_has_published),
        T(a_keeper_that_ends_in_a_transaction_leaves_a_free_slot),
        T(a_keeper_that_ends_before_publishing_makes_the_node_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
