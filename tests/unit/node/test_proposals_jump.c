/* A snapshot takes the state machine past the base of a transaction that is on
 * its way: what its session is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/fake_guest.h"

/* Another node's state machine, which has read more of the log. */
struct ahead {
    struct machine machine;
    struct machine_events events;
    struct machine_db *db;
    uint64_t sequence;
};

static void on_db(void *data, struct machine_db *m)
{
    (void)data;
    (void)m;
}

static void on_accepted(void *data, struct machine_db *m,
                        const struct machine_accept *a)
{
    (void)data;
    (void)m;
    (void)a;
}

static void on_decided(void *data, struct machine_db *m,
                       const struct token *token, enum machine_verdict v)
{
    (void)data;
    (void)m;
    (void)token;
    (void)v;
}

/* As node/events.c has it. */
static void on_jumped(void *data, struct machine_db *m)
{
    struct world *w = data;

    assert_ptr_equal(m->local, &w->db);
    placing_jumped(&w->db);
    proposal_jumped(&w->db);
}

static int setup(void **state)
{
    struct world *w = world_open(3);

    w->events.jumped = on_jumped;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    return 0;
}

static void carry(struct machine *from, struct machine *to)
{
    struct buf out;

    buf_init(&out, SNAPSHOT_BYTES_MAX);
    assert_int_equal(machine_snapshot(from, &out), 0);
    assert_int_equal(machine_restore(to, out.data, out.len), 0);
    buf_close(&out);
}

static void ahead_open(struct ahead *a, struct world *w)
{
    memset(a, 0, sizeof *a);
    a->events = (struct machine_events){.data = a,
                                        .enrolled = on_db,
                                        .jumped = on_db,
                                        .accepted = on_accepted,
                                        .decided = on_decided};
    machine_init(&a->machine, &a->events);
    carry(&w->machine, &a->machine);
    a->db = machine_find(&a->machine, "main");
}

static void ahead_reads(struct ahead *a, const void *bytes, size_t len)
{
    struct position before = a->db->position;

    assert_int_equal(machine_apply(&a->machine, bytes, len), 0);
    assert_int_equal(a->db->position.txid, before.txid + 1);
}

/* The session's transaction is in the log that the other one has read. */
static void ahead_reads_ours(struct ahead *a, struct world *w)
{
    struct world_entry *e =
        LIST_ENTRY(list_first(&w->flight), struct world_entry, link);

    ahead_reads(a, e->bytes, e->len);
}

static void ahead_reads_others(struct ahead *a, unsigned n)
{
    while (n-- > 0) {
        struct entry_txn e = {.db = a->db->uuid,
                              .base = a->db->position,
                              .token = {NODE_THERE, 9, 9, ++a->sequence},
                              .db_pages = a->db->pages,
                              .checksum = a->sequence,
                              .pages = {.page_size = WORLD_PAGE}};
        struct buf out;
        buf_init(&out, PACKET_BYTES_MAX);
        assert_int_equal(entry_encode_txn(ENTRY_TXN, &e, NULL, NULL, &out), 0);
        ahead_reads(a, out.data, out.len);
        buf_close(&out);
    }
}

/* Its snapshot comes here. Nothing but the joint itself runs. */
static void jump(struct world *w, struct ahead *a)
{
    w->lazy = true;
    carry(&a->machine, &w->machine);
    assert_true(position_equal(&w->db.m->position, &a->db->position));
    machine_close(&a->machine);
}

static void ours_was_accepted(struct world *w, unsigned others)
{
    struct guest *g = guest_owner(w);
    struct world_message m;
    struct ahead a;

    guest_last(w, g, 2);
    ahead_open(&a, w);
    ahead_reads_ours(&a, w);
    ahead_reads_others(&a, others);
    jump(w, &a);
    m = guest_told(g, SESSION_COMMITTED);
    assert_int_equal(m.position.txid, 1);
    assert_ptr_equal(w->db.owner, &g->session); /* it has yet to publish */
    assert_true(w->db.proposal->accepted);
}

static void what_was_accepted_on_the_way_is_committed(void **state)
{
    ours_was_accepted(*state, 0);
}

static void however_much_came_after_it(void **state)
{
    ours_was_accepted(*state, TOKEN_RING - 1);
}

static void its_session_publishes_and_the_file_is_behind_then(void **state)
{
    struct world *w = *state;

    ours_was_accepted(w, 5);
    guest_unlock(w, w->guests, UNLOCK_PUBLISHED);
    assert_int_equal(w->db.applied.txid, 1);
    assert_null(w->db.proposal);
    assert_true(placing_behind(&w->db));
}

static void what_was_overtaken_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct ahead a;

    guest_last(w, g, 2);
    ahead_open(&a, w);
    ahead_reads_others(&a, 3);
    jump(w, &a);
    (void)guest_told(g, SESSION_CONFLICT);
    assert_null(w->db.proposal);
}

static void what_is_older_than_the_ring_is_unknown(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct ahead a;

    guest_last(w, g, 2);
    ahead_open(&a, w);
    ahead_reads_ours(&a, w);
    ahead_reads_others(&a, TOKEN_RING);
    jump(w, &a);
    (void)guest_told(g, SESSION_UNKNOWN);
    assert_null(w->db.proposal);
}

static void half_a_transaction_fails_at_its_last_part(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct ahead a;

    guest_part(w, g, 2);
    ahead_open(&a, w);
    ahead_reads_others(&a, 1);
    jump(w, &a);
    guest_not_told(g);
    guest_last(w, g, 3);
    (void)guest_failed(g, SESSION_FAILED, REASON_BUSY);
}

static void a_snapshot_that_brings_nothing_decides_nothing(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct ahead a;

    guest_last(w, g, 2);
    ahead_open(&a, w);
    jump(w, &a);
    guest_not_told(g);
    w->lazy = false;
    world_deliver_all(w);
    (void)guest_told(g, SESSION_COMMITTED);
}

static void what_was_decided_before_is_not_decided_again(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    struct ahead a;

    guest_last(w, g, 2);
    ahead_open(&a, w);
    ahead_reads_ours(&a, w);
    ahead_reads_others(&a, 2);
    w->lazy = true;
    world_deliver_all(w);
    (void)guest_told(g, SESSION_COMMITTED);
    jump(w, &a);
    guest_not_told(g);
    assert_true(w->db.proposal->accepted);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_was_accepted_on_the_way_is_committed),
        T(however_much_came_after_it),
        T(its_session_publishes_and_the_file_is_behind_then),
        T(what_was_overtaken_is_a_conflict),
        T(what_is_older_than_the_ring_is_unknown),
        T(half_a_transaction_fails_at_its_last_part),
        T(a_snapshot_that_brings_nothing_decides_nothing),
        T(what_was_decided_before_is_not_decided_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
