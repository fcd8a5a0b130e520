/* A transaction on its way into the log: taking it in, and its outcome. */
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

/* ---- taking it in -------------------------------------------------------- */

static void a_small_transaction_is_one_entry(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct entry e;

    guest_last(w, g, 2);
    guest_not_told(g);
    assert_int_equal(world_in_flight(w), 1);
    e = world_peek(w, 0);
    assert_int_equal(e.kind, ENTRY_TXN);
    assert_true(uuid_equal(&e.txn.db, &w->db.m->uuid));
    assert_true(position_equal(&e.txn.base, &w->db.m->position));
    assert_int_equal(e.txn.token.node, NODE_HERE);
    assert_int_equal(e.txn.token.start, w->env.start);
    assert_int_equal(e.txn.token.session, g->session.id);
    assert_int_equal(e.txn.db_pages, 3);
    assert_int_equal(e.txn.parts, 0);
    assert_int_equal(e.txn.pages.count, 1);
    assert_int_equal(e.txn.pages.page_size, WORLD_PAGE);
    assert_int_equal(e.txn.checksum, g->file.sum);
}

static void what_is_accepted_is_committed_at_the_new_position(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct world_message m;

    guest_last(w, g, 2);
    world_deliver_all(w);
    m = guest_told(g, SESSION_COMMITTED);
    assert_int_equal(m.position.txid, 1);
    assert_true(position_equal(&m.position, &w->db.m->position));
    assert_ptr_equal(w->db.owner, &g->session); /* it has yet to publish */
    w->lazy = true; /* all this is so at once, before the applier runs */
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_true(slot_is_free(&w->db));
    assert_int_equal(w->db.commits, 1);
    assert_true(position_equal(&w->db.applied, &w->db.m->position));
    assert_int_equal(w->db.applied_sum, w->log.sum);
    assert_int_equal(w->db.checksum.sum, w->log.sum);
    assert_true(list_empty(&w->db.pending));
}

static void parts_leave_as_they_come_and_the_last_counts_them(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct token token;

    for (uint32_t i = 0; i < 3; i++) {
        guest_part(w, g, 1 + i);
        assert_int_equal(world_in_flight(w), i + 1);
        assert_int_equal(world_peek(w, i).kind, ENTRY_PART);
        assert_int_equal(world_peek(w, i).txn.number, i);
    }
    guest_not_told(g);
    token = world_peek(w, 0).txn.token;
    guest_last(w, g, 4);
    assert_int_equal(world_in_flight(w), 4);
    assert_int_equal(world_peek(w, 3).kind, ENTRY_TXN);
    assert_int_equal(world_peek(w, 3).txn.parts, 3);
    assert_int_equal(world_peek(w, 3).txn.db_pages, 4);
    for (unsigned i = 0; i < 4; i++) {
        struct entry e = world_peek(w, i);
        assert_true(token_equal(&e.txn.token, &token));
        assert_true(position_equal(&e.txn.base, &w->db.m->position));
    }
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_int_equal(w->db.checksum.sum, w->log.sum);
    assert_int_equal(w->db.checksum.pages, 4);
}

static void a_transaction_that_shrinks_the_database_counts_what_is_left(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    /* beyond the end that it gives */
    guest_part_sized(w, g, 3, 1, WORLD_PAGE, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_int_equal(w->db.checksum.pages, 2);
    assert_int_equal(w->db.checksum.sum, w->log.sum);
    assert_int_equal(w->db.applied_sum, w->log.sum);
    assert_int_equal(w->db.applied_pages, 2);
}

static void the_first_transaction_of_an_empty_database_brings_its_page_size(
    void **state)
{
    struct world *w = world_open(0);
    struct guest *g = guest_owner(w);

    guest_part_sized(w, g, 1, 2, 4096, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    assert_int_equal(w->db.m->page_size, 4096);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_part_sized(w, g, 1, 1, WORLD_PAGE, 2);
    guest_failed(g, SESSION_FAILED, REASON_IO);
    world_close(w);
    (void)state;
}

static void each_attempt_has_a_token_of_its_own(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct token tokens[6];

    for (unsigned i = 0; i < 6; i++) {
        guest_last(w, g, 2);
        tokens[i] = world_peek(w, 0).txn.token;
        for (unsigned k = 0; k < i; k++) {
            assert_false(token_equal(&tokens[i], &tokens[k]));
        }
        if (i % 2 == 0) {
            world_deliver_all(w);
            guest_told(g, SESSION_COMMITTED);
        } else {
            world_foreign(w);
            world_deliver_all(w);
            guest_told(g, SESSION_CONFLICT);
        }
        guest_unlock(w, g, i % 2 == 0 ? UNLOCK_PUBLISHED : UNLOCK_NOTHING);
        if (i % 3 == 2) {
            g = guest_owner(w); /* another session */
        } else {
            guest_lock(w, g);
            guest_told(g, SESSION_GRANT);
        }
    }
}

/* ---- outcomes ------------------------------------------------------------ */

static void what_loses_the_race_is_a_conflict_and_a_late_copy_does_nothing(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_foreign(w);
    guest_told(g, SESSION_CONFLICT);
    assert_int_equal(g->session.turn, TURN_OWNED);
    assert_int_equal(w->db.conflicts, 1);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    guest_not_told(g);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_int_equal(w->file.sum, w->log.sum);
    assert_int_equal(w->db.commits, 0);
}

static void a_verdict_of_conflict_is_told(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct token token;

    guest_last(w, g, 2);
    token = world_peek(w, 0).txn.token;
    token.sequence++;
    proposal_decided(&w->db, &token, VERDICT_CONFLICT); /* not ours */
    guest_not_told(g);
    token.sequence--;
    proposal_decided(&w->db, &token, VERDICT_CONFLICT);
    guest_told(g, SESSION_CONFLICT);
    assert_null(w->db.proposal);
    assert_int_equal(g->session.turn, TURN_OWNED);
}

static void after_a_conflict_the_same_snapshot_conflicts_again(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_foreign(w);
    for (int i = 0; i < 3; i++) {
        guest_last(w, g, 2);
        guest_told(g, SESSION_CONFLICT);
    }
    guest_unlock(w, g, UNLOCK_NOTHING);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
}

static void what_is_overtaken_half_way_hears_it_at_its_end(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    world_foreign(w);
    guest_not_told(g);
    guest_part(w, g, 2);
    guest_not_told(g);
    guest_last(w, g, 3);
    guest_failed(g, SESSION_FAILED, REASON_BUSY);
    guest_not_told(g);
    assert_null(w->db.proposal);
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void an_unlock_half_way_drops_the_transaction(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *h = guest_open(w);

    guest_lock(w, h);
    guest_part(w, g, 2);
    guest_unlock(w, g, UNLOCK_NOTHING);
    guest_told(h, SESSION_GRANT);
    world_deliver_all(w);
    guest_last(w, h, 3);
    world_deliver_all(w);
    guest_told(h, SESSION_COMMITTED);
    guest_not_told(g);
    assert_int_equal(w->n_accepted, 1);
}

static void an_unlock_before_the_answer_leaves_the_transaction_to_the_log(
    void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w), *h = guest_open(w);

    guest_lock(w, h);
    guest_last(w, g, 2);
    guest_unlock(w, g, UNLOCK_NOTHING);
    guest_not_told(h);
    world_deliver_all(w);
    guest_not_told(g);
    assert_int_equal(guest_told(h, SESSION_GRANT).position.txid, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_small_transaction_is_one_entry),
        T(what_is_accepted_is_committed_at_the_new_position),
        T(parts_leave_as_they_come_and_the_last_counts_them),
        T(a_transaction_that_shrinks_the_database_counts_what_is_left),
        T(the_first_transaction_of_an_empty_database_brings_its_page_size),
        T(each_attempt_has_a_token_of_its_own),
        T(what_loses_the_race_is_a_conflict_and_a_late_copy_does_nothing),
        T(a_verdict_of_conflict_is_told),
        T(after_a_conflict_the_same_snapshot_conflicts_again),
        T(what_is_overtaken_half_way_hears_it_at_its_end),
        T(an_unlock_half_way_drops_the_transaction),
        T(an_unlock_before_the_answer_leaves_the_transaction_to_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
