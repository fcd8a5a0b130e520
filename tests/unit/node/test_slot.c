/* Who may write: turns, grants, offers, parked sessions. */
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

static void assert_free(const struct world *w)
{
    assert_null(w->db.owner);
    assert_null(w->db.proposal);
    assert_true(slot_is_free(&w->db));
}

/* A session that was told to wait in its busy handler. */
static struct guest *parked(struct world *w)
{
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    guest_not_told(g);
    guest_park(w, g);
    guest_told(g, SESSION_PARKED);
    return g;
}

/* A parked session whose turn has come; nobody else has the slot. */
static struct guest *offered(struct world *w)
{
    struct guest *owner = guest_owner(w);
    struct guest *g = parked(w);

    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(g, SESSION_OFFER);
    return g;
}

/* ---- grants -------------------------------------------------------------- */

static void the_first_who_asks_gets_the_slot_at_the_position(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);
    struct world_message m;

    world_foreign(w);
    guest_lock(w, g);
    world_grant(w, 1);
    m = guest_told(g, SESSION_GRANT);
    assert_int_equal(m.position.txid, 1);
    assert_true(position_equal(&m.position, &w->db.m->position));
    assert_ptr_equal(w->db.owner, &g->session);
    guest_not_told(g);
}

static void the_slot_goes_round_in_the_order_of_asking(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *g[3];

    for (int i = 0; i < 3; i++) {
        g[i] = guest_open(w);
        guest_lock(w, g[i]);
    }
    for (int i = 0; i < 3; i++) {
        guest_not_told(g[i]);
        guest_unlock(w, owner, UNLOCK_NOTHING);
        guest_told(g[i], SESSION_GRANT);
        owner = g[i];
    }
    guest_unlock(w, owner, UNLOCK_NOTHING);
    assert_free(w);
}

static void the_next_owner_builds_on_what_the_last_one_published(void **state)
{
    struct world *w = *state;
    struct guest *first = guest_owner(w), *second = guest_open(w);
    struct world_message m;

    guest_lock(w, second);
    guest_last(w, first, 2);
    world_deliver_all(w);
    guest_told(first, SESSION_COMMITTED);
    guest_not_told(second);
    guest_unlock(w, first, UNLOCK_PUBLISHED);
    m = guest_told(second, SESSION_GRANT);
    assert_true(position_equal(&m.position, &w->db.m->position));
    assert_int_equal(m.position.txid, 1);
}

static void a_second_lock_of_a_waiting_session_changes_nothing(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *a = guest_open(w), *b = guest_open(w);

    guest_lock(w, a);
    guest_lock(w, b);
    guest_lock(w, a);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(a, SESSION_GRANT);
    guest_not_told(a);
    guest_not_told(b);
    guest_unlock(w, a, UNLOCK_NOTHING);
    guest_told(b, SESSION_GRANT);
    guest_unlock(w, b, UNLOCK_NOTHING);
    guest_not_told(a); /* it was in the queue once */
}

/* A faulty guest in each of the three states of an owner. */
static void an_owner_that_asks_again_is_refused_and_keeps_the_slot(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_lock(w, g);
    guest_failed(g, SESSION_REFUSED, REASON_BUSY);
    assert_int_equal(g->session.turn, TURN_OWNED);
    guest_last(w, g, 2);
    guest_lock(w, g);
    guest_failed(g, SESSION_REFUSED, REASON_BUSY);
    assert_int_equal(g->session.turn, TURN_PROPOSING);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_lock(w, g);
    guest_failed(g, SESSION_REFUSED, REASON_BUSY);
    assert_int_equal(g->session.turn, TURN_COMMITTING);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_free(w);
}

static void a_replica_refuses_every_writer(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->env.replica = true;
    guest_lock(w, g);
    guest_failed(g, SESSION_REFUSED, REASON_READONLY);
    assert_int_equal(g->session.turn, TURN_NONE);
    assert_true(list_empty(&w->db.waiters));
}

static void a_refused_database_says_why(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->db.state = DB_REFUSED;
    strcpy(w->db.why, "it is another one");
    guest_lock(w, g);
    assert_string_equal(guest_failed(g, SESSION_REFUSED, REASON_IO).text,
                        "it is another one");
    assert_int_equal(g->session.turn, TURN_NONE);
}

/* ---- what a grant waits for ---------------------------------------------- */

static void nothing_is_granted_before_the_lease_is_there(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_pass(w, 60000000);
    guest_not_told(g);
    world_grant(w, 1);
    guest_told(g, SESSION_GRANT);
}

static void nothing_is_granted_before_the_local_copy_is_ready(void **state)
{
    static const enum db_state not_yet[] = {DB_OPENING, DB_ENROLLING,
                                            DB_FETCHING};
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    for (size_t i = 0; i < sizeof not_yet / sizeof not_yet[0]; i++) {
        w->db.state = not_yet[i];
        world_grant(w, 1);
        world_pass(w, 1000000);
        guest_not_told(g);
    }
    w->db.state = DB_PLACING;
    w->woken = true;
    world_settle(w);
    guest_told(g, SESSION_GRANT);
}

static void nothing_is_granted_while_a_job_uses_the_file(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->job_waits = true;
    world_foreign(w);
    assert_non_null(w->db.job);
    guest_lock(w, g);
    world_grant(w, 1);
    guest_not_told(g);
    world_job_done(w);
    world_settle(w);
    assert_int_equal(guest_told(g, SESSION_GRANT).position.txid, 1);
}

/* Writing the WAL back needs no slot, as long as it does not start over. */
static void turns_go_on_while_the_wal_is_written_back(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *g = guest_open(w);

    guest_lock(w, g);
    w->job_waits = w->backfill_due = w->woken = true;
    world_settle(w);
    assert_non_null(w->db.job);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(g, SESSION_GRANT);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    assert_non_null(w->db.job);
}

/* To start the WAL over, the node takes the slot as soon as it is left, before
 * whoever waits for it. */
static void the_node_s_turn_comes_before_that_of_the_next_session(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *g = guest_open(w);

    guest_lock(w, g);
    w->job_waits = w->reset_due = w->woken = true;
    world_settle(w);
    assert_null(w->db.job); /* not while somebody writes */
    w->lazy = true;
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_not_told(g);
    world_turn(w);
    assert_non_null(w->db.job);
    guest_not_told(g);
    world_job_done(w);
    world_turn(w);
    guest_told(g, SESSION_GRANT);
}

static void a_turn_that_the_node_no_longer_needs_goes_to_the_next(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *g = guest_open(w);

    guest_lock(w, g);
    w->reset_due = w->woken = true;
    world_settle(w);
    w->reset_due = false;
    w->woken = true;
    world_settle(w);
    w->lazy = true;
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(g, SESSION_GRANT);
}

static void nothing_is_granted_while_the_file_lacks_a_transaction(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *g = guest_open(w);

    guest_lock(w, g);
    world_foreign(w); /* the lease was not exclusive after all */
    w->job_waits = true;
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_not_told(g);
    assert_int_equal(w->db.applied.txid, 0);
    w->job_waits = false;
    world_job_done(w);
    world_settle(w);
    assert_int_equal(guest_told(g, SESSION_GRANT).position.txid, 1);
}

static void nothing_is_granted_on_another_position_than_the_group_s(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->db.applied.hash ^= 1;
    guest_lock(w, g);
    world_grant(w, 1);
    world_pass(w, 1000000);
    guest_not_told(g);
    w->db.applied.hash ^= 1;
    w->woken = true;
    world_settle(w);
    guest_told(g, SESSION_GRANT);
}

static void nothing_is_granted_before_a_majority_holds_the_content(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->db.m->n_holders = 1;
    guest_lock(w, g);
    world_grant(w, 1);
    guest_not_told(g);
    world_holds(w, 3);
    world_settle(w);
    guest_told(g, SESSION_GRANT);
}

/* Refused, and why in words. */
static void refused_without_a_quorum(struct guest *g)
{
    assert_string_equal(guest_failed(g, SESSION_REFUSED, REASON_BUSY).text,
                        "no quorum: 1 of 3 reachable");
    guest_not_told(g);
}

static void without_a_quorum_a_lock_is_refused_at_once_with_the_reason(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    world_grant(w, 1);
    w->fresh = false;
    w->lazy = true; /* in the call itself */
    guest_lock(w, g);
    refused_without_a_quorum(g);
    assert_int_equal(g->session.turn, TURN_NONE);
    assert_true(list_empty(&w->db.waiters));
    w->fresh = true;
    world_pass(w, 5000000);
    guest_not_told(g); /* it must ask again */
    guest_lock(w, g);
    world_turn(w);
    guest_told(g, SESSION_GRANT);
}

static void who_waits_already_is_granted_soon_after_the_quorum_is_back(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    w->fresh = false;
    world_grant(w, 1);
    world_pass(w, 5000000);
    guest_not_told(g);
    w->fresh = true; /* nothing tells the database */
    world_pass(w, 100000);
    guest_told(g, SESSION_GRANT);
}

static void nothing_is_granted_before_the_lease_s_position_is_applied(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    world_grant_at(w, 1, w->applied + 2);
    world_pass(w, 1000000);
    guest_not_told(g);
    w->applied++;
    world_pass(w, 1000000);
    guest_not_told(g);
    w->applied++; /* an entry of another database: nothing tells ours */
    world_pass(w, 10000);
    guest_told(g, SESSION_GRANT);
}

/* ---- parked sessions ----------------------------------------------------- */

static void a_waiting_session_may_park_and_is_offered_its_turn(void **state)
{
    struct world *w = *state;
    struct guest *g = offered(w);

    guest_not_told(g);
    assert_int_equal(g->session.turn, TURN_OFFERED);
    assert_free(w);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    assert_ptr_equal(w->db.owner, &g->session);
}

static void a_grant_that_crosses_a_park_is_its_answer(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_park(w, g);
    guest_not_told(g);
    assert_int_equal(g->session.turn, TURN_OWNED);
}

static void nobody_else_is_granted_while_a_turn_is_offered(void **state)
{
    struct world *w = *state;
    struct guest *g = offered(w), *other = guest_open(w);

    guest_lock(w, other);
    world_pass(w, w->env.times.offer_us - 1);
    guest_not_told(other);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_unlock(w, g, UNLOCK_NOTHING);
    guest_told(other, SESSION_GRANT);
}

static void an_offer_that_nobody_takes_goes_to_the_next(void **state)
{
    struct world *w = *state;
    struct guest *g = offered(w), *other = guest_open(w);

    guest_lock(w, other);
    world_pass(w, w->env.times.offer_us);
    guest_told(other, SESSION_GRANT);
    assert_int_equal(g->session.turn, TURN_NONE);
    guest_lock(w, g); /* too late: at the end of the line */
    guest_not_told(g);
    guest_unlock(w, other, UNLOCK_NOTHING);
    guest_told(g, SESSION_GRANT);
}

static void offers_go_round_when_none_of_the_parked_comes(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *a = parked(w), *b = parked(w);

    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(a, SESSION_OFFER);
    world_pass(w, w->env.times.offer_us - 1);
    guest_not_told(b);
    world_pass(w, 1);
    guest_told(b, SESSION_OFFER);
    world_pass(w, w->env.times.offer_us);
    assert_true(list_empty(&w->db.waiters));
    guest_not_told(a);
    guest_not_told(b);
    assert_free(w);
}

static void a_parked_session_that_asks_again_waits_in_its_place(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *a = parked(w), *b = guest_open(w);

    guest_lock(w, b);
    guest_lock(w, a);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(a, SESSION_GRANT); /* not an offer: it is there */
    guest_not_told(b);
}

static void an_offer_that_can_no_longer_be_kept_becomes_a_wait_in_front(
    void **state)
{
    struct world *w = *state;
    struct guest *g = offered(w), *other = guest_open(w);

    guest_lock(w, other);
    w->mute = true;
    w->db.lease.until_us = w->now_us; /* it has run out */
    guest_lock(w, g);
    guest_not_told(g);
    world_pass(w, 2 * w->env.times.offer_us); /* it waits, it is not offered */
    guest_not_told(other);
    world_grant(w, 2);
    guest_told(g, SESSION_GRANT);
    guest_not_told(other);
}

static void an_offer_without_a_quorum_is_refused_and_ends_in_its_time(
    void **state)
{
    struct world *w = *state;
    struct guest *g = offered(w), *other = guest_open(w);

    guest_lock(w, other);
    w->fresh = false;
    guest_lock(w, g);
    refused_without_a_quorum(g);
    world_pass(w, 2 * w->env.times.offer_us);
    guest_not_told(other);
    assert_int_equal(g->session.turn, TURN_NONE);
    w->fresh = true;
    world_pass(w, 100000);
    guest_told(other, SESSION_GRANT);
    guest_not_told(g);
}

static void a_parked_session_keeps_its_place_without_a_quorum(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *a = parked(w), *b = guest_open(w);

    guest_lock(w, b);
    w->fresh = false;
    guest_lock(w, a);
    refused_without_a_quorum(a);
    w->fresh = true;
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(a, SESSION_OFFER);
    guest_not_told(b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_first_who_asks_gets_the_slot_at_the_position),
        T(the_slot_goes_round_in_the_order_of_asking),
        T(the_next_owner_builds_on_what_the_last_one_published),
        T(a_second_lock_of_a_waiting_session_changes_nothing),
        T(an_owner_that_asks_again_is_refused_and_keeps_the_slot),
        T(a_replica_refuses_every_writer),
        T(a_refused_database_says_why),
        T(nothing_is_granted_before_the_lease_is_there),
        T(nothing_is_granted_before_the_local_copy_is_ready),
        T(nothing_is_granted_while_a_job_uses_the_file),
        T(turns_go_on_while_the_wal_is_written_back),
        T(the_node_s_turn_comes_before_that_of_the_next_session),
        T(a_turn_that_the_node_no_longer_needs_goes_to_the_next),
        T(nothing_is_granted_while_the_file_lacks_a_transaction),
        T(nothing_is_granted_on_another_position_than_the_group_s),
        T(nothing_is_granted_before_a_majority_holds_the_content),
        T(without_a_quorum_a_lock_is_refused_at_once_with_the_reason),
        T(who_waits_already_is_granted_soon_after_the_quorum_is_back),
        T(nothing_is_granted_before_the_lease_s_position_is_applied),
        T(a_waiting_session_may_park_and_is_offered_its_turn),
        T(a_grant_that_crosses_a_park_is_its_answer),
        T(nobody_else_is_granted_while_a_turn_is_offered),
        T(an_offer_that_nobody_takes_goes_to_the_next),
        T(offers_go_round_when_none_of_the_parked_comes),
        T(a_parked_session_that_asks_again_waits_in_its_place),
        T(an_offer_that_can_no_longer_be_kept_becomes_a_wait_in_front),
        T(an_offer_without_a_quorum_is_refused_and_ends_in_its_time),
        T(a_parked_session_keeps_its_place_without_a_quorum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
