/* A session asks what became of a transaction whose answer was lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/fake_guest.h"

/* Of a former life of this node. */
static const struct token lost = {NODE_HERE, 66, 5, 3};

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

/* A copy of the transaction that was lost, on its way into the log. */
static void copy_in_flight(struct world *w)
{
    struct entry_txn e = {.db = w->db.m->uuid,
                          .base = w->db.m->position,
                          .token = lost,
                          .db_pages = w->log.pages,
                          .pages = {.page_size = WORLD_PAGE, .count = 1}};
    static const uint8_t image[WORLD_PAGE] = {42};
    const uint32_t number = 2;
    uint64_t hash = page_hash(number, image, WORLD_PAGE);
    struct buf out;

    e.checksum = checksum_preview(&w->log, &number, &hash, 1, e.db_pages);
    buf_init(&out, PACKET_BYTES_MAX);
    assert_int_equal(entry_encode_txn(ENTRY_TXN, &e, &number, image, &out), 0);
    list_push(&w->flight, &world_entry(out.data, out.len)->link);
    buf_close(&out);
}

static void ask(struct world *w, struct guest *g, struct position base)
{
    struct session_resume r = {.token = lost, .base = base};

    resume_begin(&g->session, &r);
    world_settle(w);
}

static struct guest *asking(struct world *w, struct position base)
{
    struct guest *g = guest_open(w);

    ask(w, g, base);
    return g;
}

/* It may be told once nobody can hold a lease from before. */
static struct world_message told_committed(struct world *w, struct guest *g)
{
    guest_not_told(g);
    world_pass(w, 2 * w->env.times.lease_us);
    return guest_told(g, SESSION_COMMITTED);
}

static void what_was_accepted_is_committed(void **state)
{
    struct world *w = *state;
    struct position base = w->db.m->position, after;
    struct world_message m;
    struct guest *g;

    copy_in_flight(w);
    world_deliver_all(w);
    after = w->db.m->position;
    world_foreign(w);
    g = asking(w, base);
    m = told_committed(w, g);
    assert_true(position_equal(&m.position, &after));
    assert_int_equal(world_in_flight(w), 0);
}

static void what_lost_the_race_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct position base = w->db.m->position;

    world_foreign(w);
    guest_told(asking(w, base), SESSION_CONFLICT);
    assert_int_equal(world_in_flight(w), 0);
}

static void what_is_undecided_is_decided_by_a_fence(void **state)
{
    struct world *w = *state;
    struct guest *g = asking(w, w->db.m->position);

    guest_not_told(g);
    assert_int_equal(world_in_flight(w), 1);
    assert_int_equal(world_peek(w, 0).txn.pages.count, 0);
    copy_in_flight(w); /* comes late */
    world_deliver_all(w);
    guest_told(g, SESSION_CONFLICT);
    assert_int_equal(w->n_accepted, 1);
    assert_int_equal(w->log.pages, 3); /* the fence changed no page */
    assert_int_equal(w->file.sum, w->log.sum);
    assert_true(position_equal(&w->db.applied, &w->db.m->position));
}

static void a_copy_that_comes_before_the_fence_is_committed(void **state)
{
    struct world *w = *state;
    struct guest *g;

    copy_in_flight(w);
    g = asking(w, w->db.m->position);
    assert_int_equal(world_in_flight(w), 2);
    world_deliver(w);
    assert_int_equal(told_committed(w, g).position.txid, 1);
    world_deliver_all(w);
    guest_not_told(g);
    assert_int_equal(w->n_accepted, 1);
    assert_int_equal(w->file.sum, w->log.sum);
}

static void a_fence_that_is_lost_is_proposed_again(void **state)
{
    struct world *w = *state;
    struct guest *g = asking(w, w->db.m->position);

    w->woken = true;
    world_settle(w);
    assert_int_equal(world_in_flight(w), 1); /* not at every occasion */
    world_lose_all(w);
    world_pass(w, 2 * w->env.times.propose_again_us - 1);
    assert_int_equal(world_in_flight(w), 1);
    world_lose_all(w);
    world_lead(w, NODE_THERE);
    assert_int_equal(world_in_flight(w), 1);
    world_deliver_all(w);
    guest_told(g, SESSION_CONFLICT);
}

static void without_a_leader_the_fence_waits(void **state)
{
    struct world *w = *state;
    struct guest *g;

    world_lead(w, 0);
    g = asking(w, w->db.m->position);
    world_pass(w, 5000000);
    guest_not_told(g);
    world_lead(w, NODE_THERE);
    assert_true(world_in_flight(w) >= 1);
    world_deliver_all(w);
    guest_told(g, SESSION_CONFLICT);
}

/* Its own proposal lives on without a session: its outcome is the answer. */
static void what_this_node_still_proposes_needs_no_fence(void **state)
{
    for (int wins = 0; wins < 2; wins++) {
        struct world *w = world_open(3);
        struct guest *g = guest_owner(w), *again = guest_open(w);
        struct session_resume r = {.base = w->db.m->position};

        guest_last(w, g, 2);
        r.token = world_peek(w, 0).txn.token;
        guest_close(w, g);
        resume_begin(&again->session, &r);
        world_pass(w, 5000000);
        guest_not_told(again);
        for (unsigned i = 0; i < world_in_flight(w); i++) {
            assert_int_equal(world_peek(w, i).txn.pages.count, 1);
        }
        if (!wins) {
            world_foreign(w);
        }
        world_deliver_all(w);
        world_pass(w, 2 * w->env.times.lease_us);
        guest_told(again, wins ? SESSION_COMMITTED : SESSION_CONFLICT);
        assert_int_equal(w->n_accepted, 1);
        assert_int_equal(w->file.sum, w->log.sum);
        world_close(w);
    }
    (void)state;
}

static void nothing_is_said_before_the_log_has_been_read(void **state)
{
    struct world *w = *state;
    struct position base = w->db.m->position;
    struct guest *g;

    world_foreign(w);
    w->db.caught_up = false;
    g = asking(w, base);
    world_pass(w, 5000000);
    guest_not_told(g);
    assert_int_equal(world_in_flight(w), 0);
    w->db.caught_up = true;
    w->woken = true;
    world_settle(w);
    guest_told(g, SESSION_CONFLICT);
}

static void what_the_log_does_not_remember_is_unknown(void **state)
{
    struct world *w = *state;
    struct position base = w->db.m->position;

    for (unsigned i = 0; i < TOKEN_RING; i++) {
        world_foreign(w);
    }
    guest_told(asking(w, base), SESSION_CONFLICT); /* just remembered */
    world_foreign(w);
    guest_told(asking(w, base), SESSION_UNKNOWN);
}

static void what_was_built_on_another_history_is_unknown(void **state)
{
    struct world *w = *state;
    struct position other = w->db.m->position;

    other.hash ^= 1;
    guest_told(asking(w, other), SESSION_UNKNOWN);
    other.txid = 9; /* the log is not there yet */
    guest_told(asking(w, other), SESSION_UNKNOWN);
    assert_int_equal(world_in_flight(w), 0);
}

static void the_first_transaction_of_an_empty_database_is_unknown(void **state)
{
    struct world *w = world_open(0);

    guest_told(asking(w, w->db.m->position), SESSION_UNKNOWN);
    assert_int_equal(world_in_flight(w), 0);
    world_close(w);
    (void)state;
}

static void who_has_gone_is_not_answered(void **state)
{
    struct world *w = *state;
    struct guest *g = asking(w, w->db.m->position);

    guest_close(w, g);
    world_deliver_all(w);
    world_lose_all(w);
    world_pass(w, 10000000);
    assert_int_equal(world_in_flight(w), 0); /* no more fences for it */
}

static void each_of_several_is_answered_once(void **state)
{
    struct world *w = *state;
    struct position base = w->db.m->position;
    struct guest *a = asking(w, base), *b = asking(w, base);

    world_deliver_all(w);
    guest_told(a, SESSION_CONFLICT);
    guest_told(b, SESSION_CONFLICT);
    world_pass(w, 10000000);
    guest_not_told(a);
    guest_not_told(b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_was_accepted_is_committed),
        T(what_lost_the_race_is_a_conflict),
        T(what_is_undecided_is_decided_by_a_fence),
        T(a_copy_that_comes_before_the_fence_is_committed),
        T(a_fence_that_is_lost_is_proposed_again),
        T(without_a_leader_the_fence_waits),
        T(what_this_node_still_proposes_needs_no_fence),
        T(nothing_is_said_before_the_log_has_been_read),
        T(what_the_log_does_not_remember_is_unknown),
        T(what_was_built_on_another_history_is_unknown),
        T(the_first_transaction_of_an_empty_database_is_unknown),
        T(who_has_gone_is_not_answered),
        T(each_of_several_is_answered_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
