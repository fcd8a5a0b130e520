/* The state machine: more groups, and which names are at home in one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "consensus/placement.h"
#include "tests/unit/node/machine_world.h"
#include "wire/snapshot.h"

enum { GROUPS = 6, FROM = 2, TO = 6 };

struct cluster {
    struct world groups[GROUPS];
    unsigned grown, exact, moving;
};

static struct cluster *the; /* the events have a world only */

static void on_shards(void *data, uint32_t shards, bool exact)
{
    (void)data;
    the->grown = shards;
    the->exact += exact;
}

static void on_moving(void *data)
{
    (void)data;
    the->moving++;
}

static void on_moved(void *data, struct machine_db *db)
{
    (void)data;
    (void)db;
}

static void on_members(void *data)
{
    (void)data;
}

static void on_left(void *data, struct machine_db *db, uint32_t to)
{
    (void)data;
    (void)db;
    (void)to;
}

static void begin_world(struct world *w, uint32_t number)
{
    world_init(w);
    w->machine.group = number;
    w->events.shards = on_shards;
    w->events.moving = on_moving;
    w->events.renamed = w->events.adopted = on_moved;
    w->events.left = on_left;
    w->events.members = on_members;
}

static void put_shards(struct world *w, enum shards_action action,
                       uint32_t group, uint32_t from, uint32_t to)
{
    struct entry_shards e = {action, group, from, to};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_shards(&e, &out);
    apply(w, &out);
}

static int begin_cluster(void **state)
{
    struct entry_cluster e = {.cluster = {{5}}, .shards = FROM};
    struct buf out;

    the = calloc(1, sizeof *the);
    assert_non_null(the);
    for (uint32_t g = 0; g < GROUPS; g++) {
        begin_world(&the->groups[g], g);
    }
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_cluster(&e, &out);
    apply(&the->groups[0], &out);
    the->groups[0].machine.registry.n = 1;
    the->groups[0].machine.registry.members[0].info =
        (struct member_info){.id = 1, .store = {{1}}, .address = "host:1"};
    *state = the;
    return 0;
}

static int end_cluster(void **state)
{
    struct cluster *c = *state;

    for (unsigned g = 0; g < GROUPS; g++) {
        machine_close(&c->groups[g].machine);
    }
    free(c);
    return 0;
}

/* A name that has these two homes. */
static const char *name_of(unsigned before, unsigned after)
{
    static char name[32];

    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof name, "n%u", i);
        if (placement_group(name, FROM) == before &&
            placement_group(name, TO) == after) {
            return name;
        }
    }
}

static void more_groups_are_decided_once(void **state)
{
    struct cluster *c = *state;
    struct machine *m = &c->groups[0].machine;

    put_shards(&c->groups[0], SHARDS_BEGIN, 0, FROM, TO);
    assert_int_equal(m->shards, TO);
    assert_int_equal(c->grown, TO);
    assert_int_equal(c->exact, 1);
    put_shards(&c->groups[0], SHARDS_BEGIN, 0, FROM, TO);
    put_shards(&c->groups[0], SHARDS_BEGIN, 0, TO, TO + 1); /* not ended */
    put_shards(&c->groups[1], SHARDS_BEGIN, 0, FROM, TO);
    assert_int_equal(m->shards, TO);
    assert_int_equal(c->exact, 1);
}

static void without_members_there_are_no_more_groups(void **state)
{
    struct cluster *c = *state;

    c->groups[0].machine.registry.n = 0;
    put_shards(&c->groups[0], SHARDS_BEGIN, 0, FROM, TO);
    assert_int_equal(c->groups[0].machine.shards, FROM);
}

static void it_ends_when_all_old_groups_are_done(void **state)
{
    struct cluster *c = *state;
    struct world *w = &c->groups[0];

    put_shards(w, SHARDS_DONE, 0, FROM, TO); /* of what? */
    put_shards(w, SHARDS_BEGIN, 0, FROM, TO);
    assert_false(machine_is_done(&w->machine, 0));
    put_shards(w, SHARDS_DONE, 1, FROM, TO);
    put_shards(w, SHARDS_DONE, 1, FROM, TO);
    put_shards(w, SHARDS_DONE, 4, FROM, TO); /* a new one */
    assert_int_equal(w->machine.moves.growing_from, FROM);
    put_shards(w, SHARDS_DONE, 0, FROM, TO);
    assert_int_equal(w->machine.moves.growing_from, 0);
    put_shards(w, SHARDS_BEGIN, 0, TO, TO + 1);
    assert_int_equal(w->machine.shards, TO + 1);
    assert_false(machine_is_done(&w->machine, 0));
}

static void a_rule_never_goes_back(void **state)
{
    struct cluster *c = *state;
    const struct moves *v = &c->groups[1].machine.moves;

    put_shards(&c->groups[1], SHARDS_RULE, 0, FROM, TO);
    put_shards(&c->groups[1], SHARDS_RULE, 0, TO, TO);
    put_shards(&c->groups[1], SHARDS_RULE, 0, FROM, TO);
    assert_int_equal(v->rule_from, TO);
    assert_int_equal(v->rule_to, TO);
    put_shards(&c->groups[1], SHARDS_RULE, 0, TO, TO + 2);
    assert_int_equal(v->rule_to, TO + 2);
}

static void a_name_begins_only_where_it_is_at_home_by_both(void **state)
{
    struct cluster *c = *state;
    struct world *w = &c->groups[1];

    put_shards(w, SHARDS_RULE, 0, FROM, TO);
    assert_null(enroll(w, name_of(1, 3), 1));
    assert_null(enroll(w, name_of(1, 5), 2));
    assert_non_null(enroll(w, name_of(1, 1), 3));
    /* Without a rule it takes what it is given. */
    assert_non_null(enroll(&c->groups[0], name_of(0, 2), 4));
    put_shards(&c->groups[5], SHARDS_RULE, 0, TO, TO);
    assert_non_null(enroll(&c->groups[5], name_of(1, 5), 5));
}

static void what_was_there_before_stays_until_it_moves(void **state)
{
    struct cluster *c = *state;
    struct world *w = &c->groups[1];
    struct machine_db *db = enroll(w, name_of(1, 3), 1);

    put_shards(w, SHARDS_RULE, 0, FROM, TO);
    put_txn(w, db, db->position, 1, 0);
    assert_int_equal(db->position.txid, 1);
}

/* A move to a new home keeps the name, another name must be free there. */
static void only_a_name_that_was_its_own_goes_to_the_new_home(void **state)
{
    struct cluster *c = *state;
    struct world *from = &c->groups[1], *to = &c->groups[3];
    char name[32];
    struct entry_move e = {.db = uuid_of(1), .number = 1, .group = 3};
    struct buf out;

    snprintf(name, sizeof name, "%s", name_of(1, 3));
    put_shards(from, SHARDS_RULE, 0, FROM, TO);
    put_shards(to, SHARDS_RULE, 0, FROM, TO);
    assert_null(enroll(from, name, 1));
    put_shards(to, SHARDS_RULE, 0, FROM, TO);
    begin_world(&c->groups[2], 1); /* as it was before the rule */
    from = &c->groups[2];
    assert_non_null(enroll(from, "other", 1));
    snprintf(e.name, sizeof e.name, "%s", name);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_move(&e, &out);
    apply(from, &out);
    buf_init(&out, PACKET_BYTES_MAX);
    assert_int_equal(machine_encode_adopt(&from->machine, true, &out), 0);
    apply(to, &out);
    assert_null(machine_find(&to->machine, name)); /* renamed: not at home */
    machine_close(&from->machine);
    begin_world(from, 1);
    assert_non_null(enroll(from, name, 1));
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_move(&e, &out);
    apply(from, &out);
    e.number = 2; /* the first one was decided: refused */
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_moved(&(struct entry_move){.db = e.db, .number = 1}, &out);
    apply(from, &out);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_move(&e, &out);
    apply(from, &out);
    buf_init(&out, PACKET_BYTES_MAX);
    assert_int_equal(machine_encode_adopt(&from->machine, true, &out), 0);
    apply(to, &out);
    assert_non_null(machine_find(&to->machine, name));
}

static void a_snapshot_keeps_the_growth_and_the_rule(void **state)
{
    struct cluster *c = *state;
    static struct world other;
    struct buf out;

    put_shards(&c->groups[0], SHARDS_BEGIN, 0, FROM, TO);
    put_shards(&c->groups[0], SHARDS_DONE, 1, FROM, TO);
    put_shards(&c->groups[0], SHARDS_RULE, 0, FROM, TO);
    begin_world(&other, 0); /* it has not read who the cluster is */
    c->exact = c->grown = 0;
    buf_init(&out, SNAPSHOT_BYTES_MAX);
    assert_int_equal(machine_snapshot(&c->groups[0].machine, &out), 0);
    assert_int_equal(machine_restore(&other.machine, out.data, out.len), 0);
    buf_close(&out);
    assert_int_equal(other.machine.shards, TO);
    assert_int_equal(c->grown, TO);
    assert_int_equal(c->exact, 0); /* the registry is a later one */
    assert_true(machine_is_done(&other.machine, 1));
    assert_false(machine_is_done(&other.machine, 0));
    assert_null(enroll(&other, name_of(0, 2), 1));
    machine_close(&other.machine);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, begin_cluster, end_cluster)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(more_groups_are_decided_once),
        TEST(without_members_there_are_no_more_groups),
        TEST(it_ends_when_all_old_groups_are_done),
        TEST(a_rule_never_goes_back),
        TEST(a_name_begins_only_where_it_is_at_home_by_both),
        TEST(what_was_there_before_stays_until_it_moves),
        TEST(only_a_name_that_was_its_own_goes_to_the_new_home),
        TEST(a_snapshot_keeps_the_growth_and_the_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
