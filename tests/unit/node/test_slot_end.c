/* How a turn ends: unlocking, and sessions that go away. */
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

/* ---- unlocking ----------------------------------------------------------- */

static void a_stale_snapshot_keeps_the_turn_for_a_moment(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_unlock(w, g, UNLOCK_STALE);
    assert_free(w);
    guest_not_told(g); /* it comes by itself */
    guest_not_told(other);
    world_pass(w, w->env.times.offer_us - 1);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_not_told(other);
}

static void a_stale_turn_that_is_not_taken_goes_to_the_next(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_unlock(w, g, UNLOCK_STALE);
    world_pass(w, w->env.times.offer_us);
    guest_told(other, SESSION_GRANT);
    assert_int_equal(g->session.turn, TURN_NONE);
    guest_not_told(g);
}

static void an_unlock_of_somebody_who_does_not_own_is_ignored(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *waiting = guest_open(w), *idle = guest_open(w);

    guest_lock(w, waiting);
    guest_unlock(w, waiting, UNLOCK_PUBLISHED);
    guest_unlock(w, idle, UNLOCK_STALE);
    assert_ptr_equal(w->db.owner, &owner->session);
    assert_int_equal(waiting->session.turn, TURN_WAITING);
    assert_int_equal(idle->session.turn, TURN_NONE);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(waiting, SESSION_GRANT);
}

static void published_without_a_commit_frees_the_slot_and_no_more(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_free(w);
    assert_int_equal(w->db.applied.txid, 0);
    assert_int_equal(w->db.commits, 0);
}

static void what_was_accepted_but_not_published_comes_by_the_applier(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *next = guest_open(w);

    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_lock(w, next);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_int_equal(guest_told(next, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
    assert_int_equal(w->db.checksum.sum, w->log.sum);
}

/* It may have published all the same: nothing is appended before a look. */
static void what_was_published_but_not_said_is_found_in_the_file(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *next = guest_open(w);

    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_publish(w, g);
    guest_lock(w, next);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_int_equal(guest_told(next, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->n_foreign, 0);
    assert_int_equal(w->db.checksum.sum, w->log.sum);
}

/* The node has no hand on it yet: it must open it. */
static void a_file_that_a_session_made_is_looked_at(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_deliver_all(w);
    w->lazy = true;
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_null(w->db.apply);
    assert_true(w->db.look_again);
}

/* ---- sessions that end --------------------------------------------------- */

static void a_waiting_session_that_ends_leaves_the_queue(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w);
    struct guest *waits = guest_open(w), *parks = parked(w);
    struct guest *last = guest_open(w);

    guest_lock(w, waits);
    guest_lock(w, last);
    guest_close(w, waits);
    guest_close(w, parks);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(last, SESSION_GRANT);
    assert_true(list_empty(&w->db.waiters));
}

static void an_offered_session_that_ends_frees_the_turn_at_once(void **state)
{
    struct world *w = *state;
    struct guest *g = offered(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_not_told(other);
    guest_close(w, g);
    guest_told(other, SESSION_GRANT);
}

static void an_owner_that_ends_frees_the_slot(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_close(w, g);
    guest_told(other, SESSION_GRANT);
}

static void a_session_that_ends_with_half_a_transaction_leaves_nothing(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_part(w, g, 2);
    guest_close(w, g);
    guest_told(other, SESSION_GRANT);
    assert_null(w->db.proposal);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 0);
}

/* The next one waits for the look; when it ends, the look is still due. */
static void its_end_does_not_cancel_the_look_at_a_new_file(void **state)
{
    struct world *w = *state;
    struct guest *maker = guest_owner(w), *next = guest_open(w);

    guest_last(w, maker, 2);
    world_deliver_all(w);
    guest_told(maker, SESSION_COMMITTED);
    w->lazy = true;
    guest_lock(w, next);
    guest_unlock(w, maker, UNLOCK_PUBLISHED);
    guest_not_told(next);
    guest_close(w, next);
    assert_true(w->db.look_again);
    w->job_waits = true;
    world_turn(w);
    assert_int_equal(w->job, JOB_SCAN);
    assert_non_null(w->db.job);
}

/* What it published is seen only after it has taken the slot again. */
static void nor_does_the_end_of_the_session_that_made_it(void **state)
{
    for (int writes = 0; writes < 2; writes++) {
        struct world *w = world_open(3);
        struct guest *maker = guest_owner(w);

        guest_last(w, maker, 2);
        world_deliver_all(w);
        guest_told(maker, SESSION_COMMITTED);
        w->lazy = true;
        assert_true(guest_keep(w, maker));
        assert_true(guest_retake(w, maker));
        slot_look(&w->db);
        assert_true(w->db.look_again);
        if (writes) {
            guest_part(w, maker, 2);
            assert_int_equal(maker->session.turn, TURN_PROPOSING);
        }
        guest_close(w, maker);
        assert_true(w->db.look_again);
        world_close(w);
    }
    (void)state;
}

static void a_session_that_ends_while_proposing_leaves_the_slot_undecided(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *other = guest_open(w);

    guest_lock(w, other);
    guest_last(w, g, 2);
    guest_close(w, g);
    world_pass(w, 30000000);
    guest_not_told(other);
    world_deliver_all(w);
    assert_int_equal(guest_told(other, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

/* Whether the commit frame was written cannot be known: the file says it. */
static void after_a_death_while_publishing_the_file_is_read_again(void **state)
{
    for (int published = 0; published < 2; published++) {
        struct world *w = world_open(3);
        struct guest *g = guest_owner(w), *other = guest_open(w);

        guest_last(w, g, 2);
        world_deliver_all(w);
        guest_told(g, SESSION_COMMITTED);
        guest_lock(w, other);
        if (published) {
            guest_publish(w, g);
        }
        guest_close(w, g);
        assert_int_equal(guest_told(other, SESSION_GRANT).position.txid, 1);
        assert_int_equal(w->db.checksum.sum, w->log.sum);
        assert_int_equal(w->file.sum, w->log.sum);
        assert_int_equal(w->n_foreign, 0);
        world_close(w);
    }
    (void)state;
}

static void an_idle_session_that_ends_disturbs_nobody(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *idle = guest_open(w);

    guest_close(w, idle);
    assert_ptr_equal(w->db.owner, &owner->session);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    assert_free(w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_stale_snapshot_keeps_the_turn_for_a_moment),
        T(a_stale_turn_that_is_not_taken_goes_to_the_next),
        T(an_unlock_of_somebody_who_does_not_own_is_ignored),
        T(published_without_a_commit_frees_the_slot_and_no_more),
        T(what_was_accepted_but_not_published_comes_by_the_applier),
        T(what_was_published_but_not_said_is_found_in_the_file),
        T(a_file_that_a_session_made_is_looked_at),
        T(a_waiting_session_that_ends_leaves_the_queue),
        T(an_offered_session_that_ends_frees_the_turn_at_once),
        T(an_owner_that_ends_frees_the_slot),
        T(a_session_that_ends_with_half_a_transaction_leaves_nothing),
        T(its_end_does_not_cancel_the_look_at_a_new_file),
        T(nor_does_the_end_of_the_session_that_made_it),
        T(a_session_that_ends_while_proposing_leaves_the_slot_undecided),
        T(after_a_death_while_publishing_the_file_is_read_again),
        T(an_idle_session_that_ends_disturbs_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
