/* The state machine: databases that get another name, and go from one group to
 * another. Two machines, of group 1 and of group 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/unit/node/machine_world.h"
#include "wire/snapshot.h"

struct group {
    struct world w;
    unsigned renamed, adopted, left, moving, dropped;
    uint32_t left_to;
};

struct pair {
    struct group from, to;
};

/* The world is the first member of the group. */
static void on_renamed(void *data, struct machine_db *db)
{
    (void)db;
    ((struct group *)data)->renamed++;
}

static void on_adopted(void *data, struct machine_db *db)
{
    (void)db;
    ((struct group *)data)->adopted++;
}

static void on_left(void *data, struct machine_db *db, uint32_t to)
{
    struct group *g = data;

    assert_non_null(db);
    g->left++;
    g->left_to = to;
}

static void on_dropped(void *data, struct machine_db *db)
{
    (void)db;
    ((struct group *)data)->dropped++;
}

static void on_moving(void *data)
{
    ((struct group *)data)->moving++;
}

static void group_init(struct group *g, uint32_t number)
{
    memset(g, 0, sizeof *g);
    world_init(&g->w);
    g->w.machine.group = number;
    g->w.events.renamed = on_renamed;
    g->w.events.adopted = on_adopted;
    g->w.events.left = on_left;
    g->w.events.dropped = on_dropped;
    g->w.events.moving = on_moving;
}

static int pair_setup(void **state)
{
    struct pair *p = malloc(sizeof *p);

    assert_non_null(p);
    group_init(&p->from, 1);
    group_init(&p->to, 2);
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;

    machine_close(&p->from.w.machine);
    machine_close(&p->to.w.machine);
    free(p);
    return 0;
}

/* ---- entries ------------------------------------------------------------- */

static void put_move(struct group *g, uint8_t id, uint64_t number, uint32_t to,
                     const char *name)
{
    struct entry_move e = {.db = uuid_of(id), .number = number, .group = to};
    struct buf out;

    strcpy(e.name, name);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_move(&e, &out);
    apply(&g->w, &out);
}

static void put_held(struct group *g, uint64_t number, uint64_t node)
{
    struct entry_move e = {.db = uuid_of(1), .number = number, .node = node};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_held(&e, &out);
    apply(&g->w, &out);
}

static void put_moved(struct group *g, uint64_t number, bool adopted)
{
    struct entry_move e = {
        .db = uuid_of(1), .number = number, .adopted = adopted};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_moved(&e, &out);
    apply(&g->w, &out);
}

/* What group 1 has to say to group 2 now. */
static void keep_adopt(struct pair *p, bool adopt, struct buf *out)
{
    buf_init(out, PACKET_BYTES_MAX);
    assert_int_equal(machine_encode_adopt(&p->from.w.machine, adopt, out), 0);
}

static void put_again(struct group *g, const struct buf *out)
{
    assert_int_equal(machine_apply(&g->w.machine, out->data, out->len), 0);
}

static void put_adopt(struct pair *p, bool adopt)
{
    struct buf out;

    keep_adopt(p, adopt, &out);
    apply(&p->to.w, &out);
}

static struct machine_db *in(struct group *g, const char *name)
{
    return machine_find(&g->w.machine, name);
}

/* `old`, at its third transaction. */
static struct machine_db *with_rows(struct pair *p)
{
    struct machine_db *db = enroll(&p->from.w, "old", 1);

    for (uint64_t i = 1; i <= 3; i++) {
        put_txn(&p->from.w, db, db->position, i, 0);
    }
    return db;
}

/* ---- a new name ---------------------------------------------------------- */

static void a_new_name_in_the_same_group_counts_at_once(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p);

    put_move(&p->from, 1, 1, 1, "new");
    assert_ptr_equal(in(&p->from, "new"), db);
    assert_null(in(&p->from, "old"));
    assert_false(db->frozen);
    assert_int_equal(p->from.renamed, 1);
    put_txn(&p->from.w, db, db->position, 4, 0);
    assert_int_equal(db->position.txid, 4);
}

static void a_name_that_is_taken_is_not_given_again(void **state)
{
    struct pair *p = *state;

    with_rows(p);
    enroll(&p->from.w, "new", 2);
    put_move(&p->from, 1, 1, 1, "new");
    assert_int_equal(in(&p->from, "old")->uuid.b[0], 1);
    assert_int_equal(in(&p->from, "new")->uuid.b[0], 2);
    assert_int_equal(p->from.w.machine.ignored, 1);
}

static void a_copy_of_a_move_that_comes_late_does_nothing(void **state)
{
    struct pair *p = *state;

    with_rows(p);
    put_move(&p->from, 1, 1, 1, "new");
    put_move(&p->from, 1, 2, 1, "old");
    put_move(&p->from, 1, 1, 1, "new");
    assert_non_null(in(&p->from, "old"));
    put_move(&p->from, 1, 2, 2, "other");
    assert_false(in(&p->from, "old")->frozen);
}

/* ---- another group ------------------------------------------------------- */

static void what_is_frozen_stays_at_its_position(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p);
    struct position last = db->position, third;

    third = (struct position){2, db->ring[2].hash};
    put_move(&p->from, 1, 1, 2, "new");
    assert_true(db->frozen);
    put_txn(&p->from.w, db, last, 4, 0);
    assert_int_equal(p->from.w.verdict, VERDICT_FROZEN);
    put_part(&p->from.w, db, 4, 0);
    assert_true(list_empty(&db->parts));
    assert_true(position_equal(&db->position, &last));
    put_txn(&p->from.w, db, third, 3, 0); /* it was accepted before */
    assert_int_equal(p->from.w.verdict, VERDICT_REPEATED);
}

static void parts_that_wait_are_dropped_and_a_drop_is_refused(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p);
    struct entry_holds e = {.db = db->uuid, .node = 1};
    struct buf out;

    put_part(&p->from.w, db, 4, 0);
    put_move(&p->from, 1, 1, 2, "new");
    assert_true(list_empty(&db->parts));
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_drop(&e, &out);
    apply(&p->from.w, &out);
    assert_ptr_equal(in(&p->from, "old"), db);
}

static void one_is_on_its_way_at_a_time(void **state)
{
    struct pair *p = *state;

    with_rows(p);
    enroll(&p->from.w, "second", 2);
    put_move(&p->from, 1, 1, 2, "new");
    put_move(&p->from, 2, 2, 2, "newer");
    assert_false(in(&p->from, "second")->frozen);
    put_moved(&p->from, 1, false);
    put_move(&p->from, 2, 2, 2, "newer");
    assert_true(in(&p->from, "second")->frozen);
}

static void it_goes_on_in_the_other_group_where_it_was(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p), *there;
    struct position last = db->position, third = {2, db->ring[2].hash};

    put_move(&p->from, 1, 1, 2, "new");
    put_held(&p->from, 1, 7);
    put_held(&p->from, 1, 8);
    put_held(&p->from, 1, 7);
    put_adopt(p, true);
    there = in(&p->to, "new");
    assert_non_null(there);
    assert_int_equal(p->to.adopted, 1);
    assert_true(position_equal(&there->position, &last));
    assert_false(there->frozen);
    assert_int_equal(there->n_holders, 2);
    assert_true(machine_holds(there, 7) && machine_holds(there, 8));
    put_moved(&p->from, 1, true);
    assert_null(in(&p->from, "old"));
    assert_int_equal(p->from.left, 1);
    assert_int_equal(p->from.left_to, 2);
    put_txn(&p->to.w, there, third, 3, 0);
    assert_int_equal(p->to.w.verdict, VERDICT_REPEATED);
    put_txn(&p->to.w, there, last, 4, 0);
    assert_int_equal(there->position.txid, 4);
}

static void a_group_that_has_the_name_refuses_and_it_stays(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p);
    const struct move_decided *d;

    enroll(&p->to.w, "new", 9);
    put_move(&p->from, 1, 1, 2, "new");
    put_adopt(p, true);
    d = moves_decided(&p->to.w.machine.moves, 1);
    assert_non_null(d);
    assert_int_equal(d->number, 1);
    assert_false(d->adopted);
    put_moved(&p->from, 1, d->adopted);
    assert_false(db->frozen);
    put_txn(&p->from.w, db, db->position, 4, 0);
    assert_int_equal(db->position.txid, 4);
}

static void what_was_refused_is_never_taken(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p);
    struct buf late;

    put_move(&p->from, 1, 1, 2, "new");
    keep_adopt(p, true, &late);
    put_adopt(p, false);
    put_again(&p->to, &late);
    assert_null(in(&p->to, "new"));
    put_moved(&p->from, 1, false);
    put_again(&p->to, &late);
    assert_null(in(&p->to, "new"));
    assert_false(db->frozen);
    buf_close(&late);
}

static void what_was_taken_is_not_refused_any_more(void **state)
{
    struct pair *p = *state;

    with_rows(p);
    put_move(&p->from, 1, 1, 2, "new");
    put_adopt(p, true);
    put_adopt(p, false);
    assert_non_null(in(&p->to, "new"));
    assert_true(moves_decided(&p->to.w.machine.moves, 1)->adopted);
    assert_int_equal(p->to.adopted, 1);
}

static void a_late_copy_brings_nothing_back_to_life(void **state)
{
    struct pair *p = *state;
    struct entry_holds e = {.db = uuid_of(1), .node = 1};
    struct buf late, drop;

    with_rows(p);
    put_move(&p->from, 1, 1, 2, "new");
    keep_adopt(p, true, &late);
    put_again(&p->to, &late);
    put_moved(&p->from, 1, true);
    buf_init(&drop, PACKET_BYTES_MAX);
    entry_encode_drop(&e, &drop);
    apply(&p->to.w, &drop);
    put_again(&p->to, &late);
    assert_null(in(&p->to, "new"));
    assert_int_equal(p->to.adopted, 1);
    buf_close(&late);
}

static void an_end_of_another_move_ends_nothing(void **state)
{
    struct pair *p = *state;
    struct machine_db *db = with_rows(p);

    put_move(&p->from, 1, 1, 2, "new");
    put_moved(&p->from, 2, true);
    put_held(&p->from, 2, 7);
    assert_true(db->frozen);
    assert_int_equal(p->from.w.machine.moves.n_held, 0);
    put_moved(&p->from, 1, false);
    put_moved(&p->from, 1, true); /* a copy that says otherwise */
    assert_ptr_equal(in(&p->from, "old"), db);
}

/* ---- snapshots ----------------------------------------------------------- */

/* The group as a node that has read its snapshot alone. */
static void restore_into(struct group *g, const struct group *from)
{
    struct buf out;

    buf_init(&out, SNAPSHOT_BYTES_MAX);
    assert_int_equal(machine_snapshot(&from->w.machine, &out), 0);
    assert_int_equal(machine_restore(&g->w.machine, out.data, out.len), 0);
    buf_close(&out);
}

static void a_snapshot_keeps_what_is_under_way(void **state)
{
    struct pair *p = *state;
    static struct group other;
    struct machine_db *db;

    with_rows(p);
    put_move(&p->from, 1, 1, 2, "new");
    put_held(&p->from, 1, 7);
    group_init(&other, 1);
    restore_into(&other, &p->from);
    db = in(&other, "old");
    assert_true(db->frozen);
    assert_true(other.moving > 0);
    assert_int_equal(other.w.machine.moves.n_held, 1);
    assert_string_equal(other.w.machine.moves.name, "new");
    put_txn(&other.w, db, db->position, 4, 0);
    assert_int_equal(other.w.verdict, VERDICT_FROZEN);
    put_moved(&other, 1, true);
    assert_null(in(&other, "old"));
    machine_close(&other.w.machine);
}

static void a_snapshot_keeps_what_was_decided(void **state)
{
    struct pair *p = *state;
    static struct group other;
    struct buf late;

    with_rows(p);
    put_move(&p->from, 1, 1, 2, "new");
    keep_adopt(p, true, &late);
    put_adopt(p, false);
    group_init(&other, 2);
    restore_into(&other, &p->to);
    put_again(&other, &late);
    assert_null(in(&other, "new"));
    buf_close(&late);
    machine_close(&other.w.machine);
}

static void a_snapshot_tells_what_left_from_what_was_dropped(void **state)
{
    struct pair *p = *state;
    static struct group other;
    struct entry_holds e = {.db = uuid_of(2), .node = 1};
    struct buf drop;

    with_rows(p);
    enroll(&p->from.w, "second", 2);
    group_init(&other, 1);
    restore_into(&other, &p->from);
    put_move(&p->from, 1, 1, 2, "new");
    put_moved(&p->from, 1, true);
    buf_init(&drop, PACKET_BYTES_MAX);
    entry_encode_drop(&e, &drop);
    apply(&p->from.w, &drop);
    restore_into(&other, &p->from);
    assert_int_equal(other.left, 1);
    assert_int_equal(other.left_to, 2);
    assert_int_equal(other.dropped, 1);
    assert_int_equal(other.w.machine.n_dbs, 0);
    machine_close(&other.w.machine);
}

static void a_snapshot_tells_of_a_new_name(void **state)
{
    struct pair *p = *state;
    static struct group other;

    with_rows(p);
    group_init(&other, 1);
    restore_into(&other, &p->from);
    put_move(&p->from, 1, 1, 1, "new");
    restore_into(&other, &p->from);
    assert_int_equal(other.renamed, 1);
    assert_non_null(in(&other, "new"));
    machine_close(&other.w.machine);
}

/* ---- all orders ---------------------------------------------------------- */

/* Whoever leads may say anything that it once had reason to say, any number of
 * times: at most one group goes on with the database, and once the move has
 * ended just one does. */
static void whatever_comes_in_whatever_order_it_is_in_one_group(void **state)
{
    (void)state;
    srand(7);
    for (unsigned round = 0; round < 2000; round++) {
        struct pair *p;
        struct buf yes, no;
        const struct move_decided *d;
        unsigned live;

        pair_setup((void **)&p);
        with_rows(p);
        if (round % 3 == 0) {
            enroll(&p->to.w, "new", 9);
        }
        put_move(&p->from, 1, 1, 2, "new");
        keep_adopt(p, true, &yes);
        keep_adopt(p, false, &no);
        for (unsigned i = 0; i < 12; i++) {
            switch (rand() % 4) {
            case 0:
                put_again(&p->to, &yes);
                break;
            case 1:
                put_again(&p->to, &no);
                break;
            case 2: /* who leads repeats what was decided */
                d = moves_decided(&p->to.w.machine.moves, 1);
                if (d != NULL) {
                    put_moved(&p->from, 1, d->adopted);
                }
                break;
            default:
                put_move(&p->from, 1, 1, 2, "new");
                break;
            }
            live = 0;
            if (in(&p->from, "old") != NULL && !in(&p->from, "old")->frozen) {
                live++;
            }
            live += machine_find_uuid(&p->to.w.machine, &(struct uuid){{1}}) !=
                    NULL;
            assert_true(live <= 1);
            if (!p->from.w.machine.moves.active) {
                assert_int_equal(live, 1);
            }
        }
        buf_close(&yes);
        buf_close(&no);
        pair_teardown((void **)&p);
    }
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_name_in_the_same_group_counts_at_once),
        TEST(a_name_that_is_taken_is_not_given_again),
        TEST(a_copy_of_a_move_that_comes_late_does_nothing),
        TEST(what_is_frozen_stays_at_its_position),
        TEST(parts_that_wait_are_dropped_and_a_drop_is_refused),
        TEST(one_is_on_its_way_at_a_time),
        TEST(it_goes_on_in_the_other_group_where_it_was),
        TEST(a_group_that_has_the_name_refuses_and_it_stays),
        TEST(what_was_refused_is_never_taken),
        TEST(what_was_taken_is_not_refused_any_more),
        TEST(a_late_copy_brings_nothing_back_to_life),
        TEST(an_end_of_another_move_ends_nothing),
        TEST(a_snapshot_keeps_what_is_under_way),
        TEST(a_snapshot_keeps_what_was_decided),
        TEST(a_snapshot_tells_what_left_from_what_was_dropped),
        TEST(a_snapshot_tells_of_a_new_name),
        cmocka_unit_test(whatever_comes_in_whatever_order_it_is_in_one_group),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
