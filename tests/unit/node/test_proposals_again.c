/* A transaction whose way into the log is hard: leaders change, copies are
 * lost or late, the deadline passes, the log is full. */
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

/* A session that proposes three entries; none has arrived yet. */
static struct guest *proposing(struct world *w)
{
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    guest_part(w, g, 2);
    guest_last(w, g, 3);
    assert_int_equal(world_in_flight(w), 3);
    return g;
}

/* All three are on their way (again), in order. */
static void assert_all_in_flight(struct world *w)
{
    assert_int_equal(world_in_flight(w), 3);
    assert_int_equal(world_peek(w, 0).txn.number, 0);
    assert_int_equal(world_peek(w, 1).txn.number, 1);
    assert_int_equal(world_peek(w, 2).kind, ENTRY_TXN);
}

/* The transaction that was told UNKNOWN, and whose session has gone. */
static void in_doubt(struct world *w)
{
    struct guest *g = proposing(w);

    world_lose_all(w);
    world_lead(w, 0);
    world_pass(w, w->env.times.deadline_us + w->env.times.propose_again_us);
    guest_told(g, SESSION_UNKNOWN);
    guest_close(w, g);
    world_lead(w, NODE_THERE);
}

/* ---- again --------------------------------------------------------------- */

static void a_new_leader_gets_all_entries_again(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_lose_all(w);
    world_lead(w, NODE_THERE);
    assert_all_in_flight(w);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    assert_int_equal(w->n_accepted, 1);
}

static void a_new_leader_alone_is_reason_enough(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_lose_all(w);
    w->leader = NODE_THERE;
    proposal_leader_changed(&w->db);
    world_settle(w);
    assert_all_in_flight(w);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void without_a_leader_the_entries_wait_for_the_next(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_lose_all(w);
    world_lead(w, 0);
    world_pass(w, 2000000);
    assert_int_equal(world_in_flight(w), 0);
    world_lead(w, NODE_HERE); /* the same one as before */
    world_pass(w, w->env.times.propose_again_us);
    assert_true(world_in_flight(w) >= 3);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    assert_int_equal(w->n_accepted, 1);
}

static void parts_that_a_former_leader_had_are_not_taken_for_sent(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    world_lose_all(w);
    world_lead(w, NODE_THERE);
    guest_part(w, g, 2);
    guest_last(w, g, 3);
    assert_all_in_flight(w);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void what_is_not_decided_is_proposed_again_now_and_then(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_lose_all(w);
    world_pass(w, w->env.times.propose_again_us - 1);
    assert_int_equal(world_in_flight(w), 0);
    world_pass(w, w->env.times.propose_again_us);
    assert_all_in_flight(w);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void every_copy_but_one_does_nothing(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_pass(w, 5 * w->env.times.propose_again_us);
    assert_in_range(world_in_flight(w), 9, 18);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    guest_told(g, SESSION_COMMITTED);
    guest_not_told(g);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_true(slot_is_free(&w->db));
    world_pass(w, 60000000);
    assert_int_equal(world_in_flight(w), 0);
}

static void a_late_copy_of_an_old_transaction_does_nothing_to_a_new_one(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_pass(w, 2 * w->env.times.propose_again_us - 1);
    assert_int_equal(world_in_flight(w), 2);
    world_deliver(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_last(w, g, 3);
    world_deliver(w); /* the old copy */
    guest_not_told(g);
    assert_int_equal(g->session.turn, TURN_PROPOSING);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    assert_int_equal(w->n_accepted, 2);
}

/* The log lost a part on the way: the verdict brings all of it back. */
static void an_incomplete_transaction_is_proposed_again(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);
    struct list *second = w->flight.next->next;

    list_remove(second);
    free(LIST_ENTRY(second, struct world_entry, link));
    world_deliver(w);
    world_deliver(w);
    guest_not_told(g);
    assert_all_in_flight(w);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

/* 8 MiB take longer than a page, and are not queued twice meanwhile. */
static void large_transactions_have_more_time(void **state)
{
    const uint32_t size = 65536, count = PART_BYTES_MAX / size;
    const uint64_t more = 2000000; /* 8 MiB at 4 MiB/s */
    struct world *w = world_open(0);
    struct guest *g = guest_owner(w);

    for (uint32_t i = 0; i < 8; i++) {
        guest_part_sized(w, g, 1 + i * count, count, size,
                         i == 7 ? 8 * count : 0);
    }
    world_lose_all(w);
    world_pass(w, w->env.times.propose_again_us + more - 1);
    assert_int_equal(world_in_flight(w), 0);
    world_pass(w, 1 + w->env.times.propose_again_us);
    assert_int_equal(world_in_flight(w), 8);
    world_pass(
        w, w->env.times.deadline_us - 2 * w->env.times.propose_again_us - 1);
    guest_not_told(g);
    world_pass(w, 1 + w->env.times.propose_again_us);
    guest_told(g, SESSION_UNKNOWN);
    world_close(w);
    (void)state;
}

/* ---- the deadline -------------------------------------------------------- */

static void at_the_deadline_the_outcome_is_unknown(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_pass(w, w->env.times.deadline_us - 1);
    guest_not_told(g);
    world_pass(w, 1 + w->env.times.propose_again_us);
    guest_told(g, SESSION_UNKNOWN);
    assert_int_equal(g->session.turn, TURN_OWNED);
    world_pass(w, 60000000);
    guest_not_told(g);
}

static void what_is_unknown_keeps_the_slot_until_it_is_accepted(void **state)
{
    struct world *w = *state;
    struct guest *next = guest_open(w);

    in_doubt(w);
    guest_lock(w, next);
    world_grant(w, 2);
    world_pass(w, 120000000);
    guest_not_told(next);
    assert_false(slot_is_free(&w->db));
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    assert_int_equal(guest_told(next, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void what_is_unknown_keeps_the_slot_until_it_has_lost(void **state)
{
    struct world *w = *state;
    struct guest *next = guest_open(w);

    in_doubt(w);
    guest_lock(w, next);
    world_grant(w, 2);
    world_foreign(w);
    assert_int_equal(guest_told(next, SESSION_GRANT).position.txid, 1);
    world_deliver_all(w); /* the copies */
    assert_int_equal(w->n_accepted, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

/* No other transaction has come in between: only the verdict tells. */
static void a_verdict_on_what_is_unknown_frees_the_slot_at_once(void **state)
{
    struct world *w = *state;
    struct guest *next = guest_open(w);
    struct token token;

    in_doubt(w);
    token = world_peek(w, 0).txn.token;
    guest_lock(w, next);
    world_grant(w, 2);
    guest_not_told(next);
    world_lose_all(w);
    proposal_decided(&w->db, &token, VERDICT_CONFLICT);
    world_settle(w);
    guest_told(next, SESSION_GRANT);
}

static void what_is_unknown_goes_on_being_proposed(void **state)
{
    struct world *w = *state;

    in_doubt(w);
    for (int i = 0; i < 20; i++) {
        world_lose_all(w);
        world_pass(w, 2 * w->env.times.propose_again_us);
        assert_true(world_in_flight(w) >= 3);
        assert_int_equal(world_peek(w, 0).txn.number, 0);
    }
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    assert_true(slot_is_free(&w->db));
}

static void a_session_that_was_told_unknown_may_unlock_and_wait_again(
    void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_pass(w, w->env.times.deadline_us + w->env.times.propose_again_us);
    guest_told(g, SESSION_UNKNOWN);
    guest_unlock(w, g, UNLOCK_NOTHING);
    guest_lock(w, g);
    guest_not_told(g);
    world_deliver_all(w);
    assert_int_equal(guest_told(g, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void accepted_at_last_while_the_session_still_rolls_back(void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    world_pass(w, w->env.times.deadline_us + w->env.times.propose_again_us);
    guest_told(g, SESSION_UNKNOWN);
    world_deliver_all(w);
    guest_not_told(g); /* nobody waits any more */
    assert_ptr_equal(w->db.owner, &g->session);
    assert_int_equal(w->db.applied.txid, 0); /* not beside a session */
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_int_equal(w->db.applied.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

/* ---- no leader, no room -------------------------------------------------- */

static void what_never_left_the_node_has_failed_at_the_deadline(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_lead(w, 0);
    guest_part(w, g, 1);
    guest_last(w, g, 2);
    world_pass(w, w->env.times.deadline_us - 1);
    guest_not_told(g);
    world_pass(w, 1 + w->env.times.propose_again_us);
    guest_failed(g, SESSION_FAILED, REASON_BUSY);
    world_lead(w, NODE_HERE);
    world_pass(w, 60000000);
    assert_int_equal(world_in_flight(w), 0);
    guest_last(w, g, 3); /* another attempt, another token */
    assert_int_equal(world_in_flight(w), 1);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

/* Parts alone do nothing: it is still certain that it failed. */
static void when_only_parts_have_left_it_has_failed_at_the_deadline(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    world_lead(w, 0);
    guest_last(w, g, 2);
    world_pass(w, w->env.times.deadline_us + w->env.times.propose_again_us);
    guest_failed(g, SESSION_FAILED, REASON_BUSY);
    world_lead(w, NODE_HERE);
    world_pass(w, 60000000);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 0);
}

static void a_leader_in_time_saves_what_had_to_wait(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_lead(w, 0);
    guest_last(w, g, 2);
    world_pass(w, w->env.times.deadline_us - 1000000);
    world_lead(w, NODE_THERE);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void a_link_that_takes_nothing_for_a_while_only_delays(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    w->propose_rv = ERR_NO_LEADER; /* known, but not reachable */
    guest_part(w, g, 1);
    guest_last(w, g, 2);
    world_pass(w, 3000000);
    guest_not_told(g);
    w->propose_rv = 0;
    world_pass(w, w->env.times.propose_again_us);
    assert_int_equal(world_in_flight(w), 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void a_full_log_refuses_the_transaction(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct world_message m;

    w->propose_rv = ERR_FULL;
    guest_last(w, g, 2);
    m = guest_failed(g, SESSION_FAILED, REASON_FULL);
    assert_non_null(strstr(m.text, "log"));
    assert_null(w->db.proposal);
    w->propose_rv = 0;
    world_pass(w, 60000000);
    assert_int_equal(world_in_flight(w), 0);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void a_log_that_fills_half_way_refuses_it_at_the_end(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    w->propose_rv = ERR_FULL;
    guest_part(w, g, 2);
    guest_not_told(g);
    w->propose_rv = 0; /* too late: a part is missing */
    guest_last(w, g, 3);
    guest_failed(g, SESSION_FAILED, REASON_FULL);
    assert_null(w->db.proposal);
    world_pass(w, 60000000);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 0);
}

/* A copy has left and may still be accepted: "full" would be a guess. */
static void a_log_that_fills_after_the_proposal_left_decides_nothing(
    void **state)
{
    struct world *w = *state;
    struct guest *g = proposing(w);

    w->propose_rv = ERR_FULL;
    world_lead(w, NODE_THERE);
    world_pass(w, 5 * w->env.times.propose_again_us);
    guest_not_told(g);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void a_log_that_fills_while_the_outcome_is_unknown_decides_nothing(
    void **state)
{
    struct world *w = *state;

    in_doubt(w);
    world_lose_all(w);
    w->propose_rv = ERR_FULL;
    world_pass(w, 60000000);
    assert_false(slot_is_free(&w->db));
    w->propose_rv = 0;
    world_pass(w, 2 * w->env.times.propose_again_us);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    assert_true(slot_is_free(&w->db));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_new_leader_gets_all_entries_again),
        T(a_new_leader_alone_is_reason_enough),
        T(without_a_leader_the_entries_wait_for_the_next),
        T(parts_that_a_former_leader_had_are_not_taken_for_sent),
        T(what_is_not_decided_is_proposed_again_now_and_then),
        T(every_copy_but_one_does_nothing),
        T(a_late_copy_of_an_old_transaction_does_nothing_to_a_new_one),
        T(an_incomplete_transaction_is_proposed_again),
        T(large_transactions_have_more_time),
        T(at_the_deadline_the_outcome_is_unknown),
        T(what_is_unknown_keeps_the_slot_until_it_is_accepted),
        T(what_is_unknown_keeps_the_slot_until_it_has_lost),
        T(a_verdict_on_what_is_unknown_frees_the_slot_at_once),
        T(what_is_unknown_goes_on_being_proposed),
        T(a_session_that_was_told_unknown_may_unlock_and_wait_again),
        T(accepted_at_last_while_the_session_still_rolls_back),
        T(what_never_left_the_node_has_failed_at_the_deadline),
        T(when_only_parts_have_left_it_has_failed_at_the_deadline),
        T(a_leader_in_time_saves_what_had_to_wait),
        T(a_link_that_takes_nothing_for_a_while_only_delays),
        T(a_full_log_refuses_the_transaction),
        T(a_log_that_fills_half_way_refuses_it_at_the_end),
        T(a_log_that_fills_after_the_proposal_left_decides_nothing),
        T(a_log_that_fills_while_the_outcome_is_unknown_decides_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
