/* The state machine: compare-and-swap on the position, tokens, parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/machine.h"

#define PAGE 512u

struct world {
    struct machine machine;
    struct machine_events events;
    unsigned enrolled, accepted, decided, held, named;
    unsigned parts; /* of the last accepted transaction */
    enum machine_verdict verdict;
};

static void on_cluster(void *data, const struct entry_cluster *e)
{
    struct world *w = data;

    w->named += e->shards;
}

static void on_enrolled(void *data, struct machine_db *db)
{
    struct world *w = data;

    (void)db;
    w->enrolled++;
}

static void on_holds(void *data, struct machine_db *db, uint64_t node)
{
    struct world *w = data;

    assert_true(machine_holds(db, node));
    w->held++;
}

static void on_accepted(void *data, struct machine_db *db,
                        const struct machine_accept *a)
{
    struct world *w = data;

    assert_true(position_equal(&a->position, &db->position));
    w->parts = 0;
    for (struct list *l = a->parts->next; l != a->parts; l = l->next) {
        assert_int_equal(LIST_ENTRY(l, struct machine_part, link)->number,
                         w->parts);
        w->parts++;
    }
    w->accepted++;
}

static void on_decided(void *data, struct machine_db *db,
                       const struct token *token, enum machine_verdict verdict)
{
    struct world *w = data;

    (void)db;
    (void)token;
    w->decided++;
    w->verdict = verdict;
}

static int setup(void **state)
{
    static struct world w;

    memset(&w, 0, sizeof w);
    w.events = (struct machine_events){.data = &w,
                                       .cluster = on_cluster,
                                       .enrolled = on_enrolled,
                                       .holds = on_holds,
                                       .accepted = on_accepted,
                                       .decided = on_decided};
    machine_init(&w.machine, &w.events);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    machine_close(&w->machine);
    return 0;
}

static void apply(struct world *w, struct buf *out)
{
    assert_int_equal(out->err, 0);
    assert_int_equal(machine_apply(&w->machine, out->data, out->len), 0);
    buf_close(out);
}

static struct uuid uuid_of(uint8_t n)
{
    struct uuid u = {{n}};

    return u;
}

static struct machine_db *enroll(struct world *w, const char *name, uint8_t id)
{
    struct entry_enroll e = {.db = uuid_of(id), .node = 1};
    struct buf out;

    strcpy(e.name, name);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_enroll(&e, &out);
    apply(w, &out);
    return machine_find(&w->machine, name);
}

static struct token token_of(uint64_t sequence)
{
    return (struct token){1, 77, 3, sequence};
}

static void put(struct world *w, enum entry_kind kind, struct entry_txn e)
{
    static const uint8_t image[PAGE];
    const uint32_t number = e.number + 2;
    struct buf out;

    e.pages.page_size = PAGE;
    e.pages.count = 1;
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_txn(kind, &e, &number, image, &out);
    apply(w, &out);
}

/* It brings one page, and so does each part. */
static void put_sized(struct world *w, const struct machine_db *db,
                      uint64_t sequence, uint32_t parts, uint32_t db_pages)
{
    put(w, ENTRY_TXN,
        (struct entry_txn){.db = db->uuid,
                           .base = db->position,
                           .token = token_of(sequence),
                           .db_pages = db_pages,
                           .parts = parts,
                           .checksum = sequence});
}

static void put_txn(struct world *w, const struct machine_db *db,
                    struct position base, uint64_t sequence, uint32_t parts)
{
    struct machine_db at = {.uuid = db->uuid, .position = base};

    put_sized(w, &at, sequence, parts, 2);
}

static void put_part(struct world *w, const struct machine_db *db,
                     uint64_t sequence, uint32_t number)
{
    put(w, ENTRY_PART,
        (struct entry_txn){.db = db->uuid,
                           .base = db->position,
                           .token = token_of(sequence),
                           .number = number});
}

static void the_first_to_enroll_a_name_wins(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    assert_ptr_equal(enroll(w, "main", 2), db);
    assert_int_equal(w->enrolled, 1);
    assert_int_equal(db->uuid.b[0], 1);
    assert_int_equal(w->machine.ignored, 1);
}

static void a_transaction_on_the_position_is_accepted(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_txn(w, db, db->position, 1, 0);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(db->position.txid, 1);
    assert_int_equal(db->pages, 2);
    assert_int_equal(db->checksum, 1);
    put_txn(w, db, db->position, 2, 0);
    assert_int_equal(db->position.txid, 2);
}

static void a_transaction_on_an_old_position_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position, after;

    put_txn(w, db, start, 1, 0);
    after = db->position;
    put_txn(w, db, start, 2, 0);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_true(position_equal(&db->position, &after));
    assert_int_equal(w->accepted, 1);
}

static void equal_txid_with_another_hash_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position forged = db->position;

    forged.hash ^= 1;
    put_txn(w, db, forged, 1, 0);
    assert_int_equal(w->decided, 1);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_int_equal(w->accepted, 0);
}

static void the_same_token_twice_counts_once(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position;

    put_txn(w, db, start, 1, 0);
    put_txn(w, db, start, 1, 0);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(w->verdict, VERDICT_REPEATED);
}

static void what_is_older_than_the_ring_is_forgotten_not_a_conflict(
    void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position;

    for (uint64_t i = 1; i <= TOKEN_RING; i++) {
        put_txn(w, db, db->position, i, 0);
    }
    put_txn(w, db, start, 1, 0);
    assert_int_equal(w->verdict, VERDICT_REPEATED); /* just in the ring */
    put_txn(w, db, db->position, TOKEN_RING + 1, 0);
    put_txn(w, db, start, 1, 0);
    assert_int_equal(w->verdict, VERDICT_FORGOTTEN);
}

static void parts_come_in_order_whatever_the_log_s_order(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 1);
    put_part(w, db, 9, 0);
    put_part(w, db, 9, 1); /* proposed again */
    put_txn(w, db, db->position, 9, 2);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(w->parts, 2);
    assert_true(list_empty(&db->parts));
}

static void a_missing_part_is_incomplete_and_can_still_be_accepted(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 1);
    put_txn(w, db, db->position, 9, 2);
    assert_int_equal(w->verdict, VERDICT_INCOMPLETE);
    assert_int_equal(w->accepted, 0);
    put_part(w, db, 9, 0);
    put_txn(w, db, db->position, 9, 2);
    assert_int_equal(w->accepted, 1);
}

static void a_size_must_follow_from_the_pages_given(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct position start = db->position;

    put_sized(w, db, 1, 0, 0xfffffffe);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    put_sized(w, db, 2, 0, 1 + TXN_UNWRITTEN_PAGES_MAX + 1);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    assert_int_equal(w->decided, 2);
    assert_int_equal(w->accepted, 0);
    assert_true(position_equal(&db->position, &start));
    put_sized(w, db, 3, 0, 1 + TXN_UNWRITTEN_PAGES_MAX);
    assert_int_equal(w->accepted, 1);
    put_sized(w, db, 4, 0, 1); /* shrinking is free */
    assert_int_equal(w->accepted, 2);
    assert_int_equal(db->pages, 1);
}

static void the_pages_of_all_parts_count_for_the_size(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 9, 0);
    put_part(w, db, 9, 1);
    put_part(w, db, 9, 2); /* not counted: the transaction names two */
    put_part(w, db, 7, 0); /* nor somebody else's */
    put_sized(w, db, 9, 2, 3 + TXN_UNWRITTEN_PAGES_MAX + 1);
    assert_int_equal(w->verdict, VERDICT_CONFLICT);
    put_part(w, db, 10, 0);
    put_part(w, db, 10, 1);
    put_sized(w, db, 10, 2, 3 + TXN_UNWRITTEN_PAGES_MAX);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(w->parts, 2);
}

static void parts_of_the_losers_are_dropped_at_acceptance(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);

    put_part(w, db, 5, 0);
    put_txn(w, db, db->position, 6, 0);
    assert_true(list_empty(&db->parts));
}

static void a_holder_counts_once(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct entry_holds e = {.db = db->uuid, .node = 2};

    for (int i = 0; i < 2; i++) {
        struct buf out;
        buf_init(&out, PACKET_BYTES_MAX);
        entry_encode_holds(&e, &out);
        apply(w, &out);
    }
    assert_int_equal(w->held, 2);
    assert_int_equal(db->n_holders, 2); /* node 1 enrolled it */
}

static void noise_and_strangers_are_no_ops(void **state)
{
    struct world *w = *state;
    struct machine_db stranger = {.uuid = uuid_of(9)};

    put_txn(w, &stranger, (struct position){0, 0}, 1, 0);
    assert_int_equal(machine_apply(&w->machine, "\xc1\x00", 2), 0);
    assert_int_equal(w->machine.ignored, 2);
    assert_int_equal(w->accepted + w->decided + w->enrolled, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_first_to_enroll_a_name_wins),
        T(a_transaction_on_the_position_is_accepted),
        T(a_transaction_on_an_old_position_is_a_conflict),
        T(equal_txid_with_another_hash_is_a_conflict),
        T(the_same_token_twice_counts_once),
        T(what_is_older_than_the_ring_is_forgotten_not_a_conflict),
        T(parts_come_in_order_whatever_the_log_s_order),
        T(a_missing_part_is_incomplete_and_can_still_be_accepted),
        T(a_size_must_follow_from_the_pages_given),
        T(the_pages_of_all_parts_count_for_the_size),
        T(parts_of_the_losers_are_dropped_at_acceptance),
        T(a_holder_counts_once),
        T(noise_and_strangers_are_no_ops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
