/* The state machine as a snapshot, and from one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/unit/node/machine_world.h"
#include "wire/snapshot.h"

static struct buf snapshot_of(struct world *w)
{
    struct buf out;

    buf_init(&out, SNAPSHOT_BYTES_MAX);
    assert_int_equal(machine_snapshot(&w->machine, &out), 0);
    return out;
}

static void restore(struct world *w, const struct buf *from)
{
    assert_int_equal(machine_restore(&w->machine, from->data, from->len), 0);
}

/* What one machine says, the other one takes. */
static void carry(struct world *from, struct world *to)
{
    struct buf out = snapshot_of(from);

    restore(to, &out);
    buf_close(&out);
}

static void assert_equal(struct world *a, struct world *b)
{
    struct buf of_a = snapshot_of(a), of_b = snapshot_of(b);

    assert_int_equal(of_a.len, of_b.len);
    assert_memory_equal(of_a.data, of_b.data, of_a.len);
    buf_close(&of_a);
    buf_close(&of_b);
}

static void name_cluster(struct world *w)
{
    struct entry_cluster e = {.cluster = uuid_of(200), .shards = 16};
    struct buf out;

    buf_init(&out, 1000);
    entry_encode_cluster(&e, &out);
    apply(w, &out);
}

static void commit(struct world *w, struct machine_db *db, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        put_txn(w, db, db->position, 1000 + db->position.txid, 0);
    }
}

static void a_machine_made_from_a_snapshot_is_the_same(void **state)
{
    struct world *w = *state, other;
    struct machine_db *db = enroll(w, "main", 1), *got;

    name_cluster(w);
    enroll(w, "quiet", 2);
    commit(w, db, TOKEN_RING + 10);
    world_init(&other);
    carry(w, &other);
    assert_equal(w, &other);
    assert_int_equal(other.enrolled, 2);
    assert_int_equal(other.jumped, 0);
    assert_int_equal(other.named, 16);
    got = machine_find(&other.machine, "main");
    assert_non_null(got);
    assert_true(position_equal(&got->position, &db->position));
    assert_int_equal(got->pages, 2);
    assert_true(machine_holds(got, 1));
    machine_close(&other.machine);
}

/* The tokens travel, so that every node gives every old transaction the same
 * verdict. */
static void verdicts_are_the_same_behind_a_snapshot(void **state)
{
    struct world *w = *state, other;
    struct machine_db *db = enroll(w, "main", 1);
    struct position bases[TOKEN_RING + 12];

    for (unsigned i = 0; i < TOKEN_RING + 10; i++) {
        bases[i] = db->position;
        commit(w, db, 1);
    }
    world_init(&other);
    carry(w, &other);
    for (unsigned i = 0; i < TOKEN_RING + 10; i++) {
        put_txn(w, db, bases[i], 1000 + i, 0);
        put_txn(&other, db, bases[i], 1000 + i, 0);
        assert_int_equal(other.verdict, w->verdict);
        assert_int_equal(w->verdict,
                         i < 10 ? VERDICT_FORGOTTEN : VERDICT_REPEATED);
        put_txn(&other, db, bases[i], 5000, 0);
        assert_int_equal(other.verdict,
                         i < 10 ? VERDICT_FORGOTTEN : VERDICT_CONFLICT);
    }
    commit(w, db, 3);
    commit(&other, machine_find(&other.machine, "main"), 3);
    assert_equal(w, &other);
    machine_close(&other.machine);
}

static void a_short_ring_grows_on_behind_a_snapshot(void **state)
{
    struct world *w = *state, other;
    struct machine_db *db = enroll(w, "main", 1), *got;
    struct token token;
    uint64_t hash;

    commit(w, db, 3);
    world_init(&other);
    carry(w, &other);
    got = machine_find(&other.machine, "main");
    assert_false(machine_token(got, 0, &token, &hash));
    assert_true(machine_token(got, 1, &token, &hash));
    assert_int_equal(token.sequence, 1000);
    commit(&other, got, 2);
    commit(w, db, 2);
    assert_equal(w, &other);
    machine_close(&other.machine);
}

static void what_is_known_jumps_and_what_is_not_is_enrolled(void **state)
{
    struct world *w = *state, old;
    struct machine_db *db = enroll(w, "main", 1), *jumped;

    world_init(&old);
    jumped = enroll(&old, "main", 1);
    put_part(&old, jumped, 77, 0); /* too late, whatever it is */
    enroll(w, "late", 2);
    commit(w, db, 200);
    old.enrolled = 0;
    carry(w, &old);
    assert_int_equal(old.jumped, 1);
    assert_int_equal(old.enrolled, 1);
    assert_ptr_equal(machine_find(&old.machine, "main"), jumped);
    assert_int_equal(jumped->position.txid, 200);
    assert_true(list_empty(&jumped->parts));
    assert_equal(w, &old);
    machine_close(&old.machine);
}

static void parts_that_wait_put_it_off(void **state)
{
    struct world *w = *state;
    struct machine_db *db = enroll(w, "main", 1);
    struct buf out;

    enroll(w, "quiet", 2);
    put_part(w, db, 9, 0);
    buf_init(&out, SNAPSHOT_BYTES_MAX);
    assert_int_equal(machine_snapshot(&w->machine, &out), ERR_BUSY);
    assert_int_equal(out.len, 0);
    put_txn(w, db, db->position, 9, 1);
    assert_int_equal(machine_snapshot(&w->machine, &out), 0);
    buf_close(&out);
}

static void damage_changes_nothing(void **state)
{
    struct world *w = *state, other;
    struct machine_db *db = enroll(w, "main", 1);
    struct buf out;

    commit(w, db, 2);
    out = snapshot_of(w);
    world_init(&other);
    assert_int_not_equal(machine_restore(&other.machine, out.data, out.len - 1),
                         0);
    assert_int_equal(other.enrolled, 0);
    assert_true(list_empty(&other.machine.dbs));
    buf_close(&out);
    machine_close(&other.machine);
}

static void a_group_takes_as_many_databases_as_fit(void **state)
{
    struct world *w = *state, other;
    struct entry_enroll e = {.node = 1};
    char name[DB_NAME_MAX + 1];
    struct buf out;

    memset(name, 'x', sizeof name - 1);
    for (unsigned i = 0; i <= GROUP_DATABASES_MAX; i++) {
        snprintf(name + 120, 9, "%08u", i);
        e.db = (struct uuid){{(uint8_t)(i >> 8), (uint8_t)i, 1}};
        memcpy(e.name, name, sizeof e.name);
        buf_init(&out, PACKET_BYTES_MAX);
        entry_encode_enroll(&e, &out);
        apply(w, &out);
    }
    assert_int_equal(w->enrolled, GROUP_DATABASES_MAX);
    assert_int_equal(w->machine.ignored, 1);
    for (struct list *l = w->machine.dbs.next; l != &w->machine.dbs;
         l = l->next) {
        commit(w, LIST_ENTRY(l, struct machine_db, link), TOKEN_RING);
    }
    world_init(&other);
    carry(w, &other);
    assert_int_equal(other.enrolled, GROUP_DATABASES_MAX);
    assert_null(enroll(&other, "one-more", 250));
    machine_close(&other.machine);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_machine_made_from_a_snapshot_is_the_same),
        T(verdicts_are_the_same_behind_a_snapshot),
        T(a_short_ring_grows_on_behind_a_snapshot),
        T(what_is_known_jumps_and_what_is_not_is_enrolled),
        T(parts_that_wait_put_it_off),
        T(damage_changes_nothing),
        T(a_group_takes_as_many_databases_as_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
