/* The registry as part of the state machine of group 0, and of its snapshot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "node/machine.h"
#include "node/registry.h"

#define SHARDS 4u

struct world {
    struct machine machine;
    struct machine_events events;
    unsigned changes, named;
};

static void on_cluster(void *data, const struct entry_cluster *e)
{
    (void)e;
    ((struct world *)data)->named++;
}

static void on_members(void *data)
{
    ((struct world *)data)->changes++;
}

static void on_shards(void *data, uint32_t shards, bool exact)
{
    (void)data;
    (void)exact;
    assert_int_equal(shards, SHARDS);
}

static void init(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->events = (struct machine_events){.data = w,
                                        .cluster = on_cluster,
                                        .members = on_members,
                                        .shards = on_shards};
    machine_init(&w->machine, &w->events);
}

static void apply(struct world *w, struct buf *out)
{
    assert_int_equal(out->err, 0);
    assert_int_equal(machine_apply(&w->machine, out->data, out->len), 0);
    buf_close(out);
}

static struct member_info member(uint64_t id)
{
    struct member_info m = {.id = id};

    m.store.b[0] = (uint8_t)id;
    snprintf(m.address, sizeof m.address, "host:%u", (unsigned)id);
    return m;
}

static void say(struct world *w, enum members_action action, unsigned group,
                uint64_t first, unsigned n)
{
    struct entry_members e = {.action = action, .group = group, .n = n};
    struct member_info list[NODES_MAX];
    struct buf out;

    for (unsigned i = 0; i < n; i++) {
        list[i] = member(first + i);
    }
    buf_init(&out, 1 << 20);
    entry_encode_members(&e, list, &out);
    apply(w, &out);
}

/* A named cluster of nodes 1 to 3; 4 was one, 3 is about to go. */
static void fill(struct world *w)
{
    struct entry_cluster e = {.cluster = {{1}}, .shards = SHARDS};
    struct buf out;

    init(w);
    buf_init(&out, 4096);
    entry_encode_cluster(&e, &out);
    apply(w, &out);
    say(w, MEMBERS_FOUND, 0, 1, 4);
    say(w, MEMBERS_LEAVE, 0, 4, 1);
    for (unsigned g = 0; g < SHARDS; g++) {
        say(w, MEMBERS_LEFT, g, 4, 1);
    }
    say(w, MEMBERS_LEAVE, 0, 3, 1);
    say(w, MEMBERS_LEFT, 2, 3, 1);
}

static void changes_are_told_and_repetitions_are_not(void **state)
{
    struct world w;

    (void)state;
    fill(&w);
    assert_int_equal(w.changes, 2 + SHARDS + 2);
    say(&w, MEMBERS_LEFT, 2, 3, 1);
    say(&w, MEMBERS_FOUND, 0, 1, 2);
    assert_int_equal(w.changes, 2 + SHARDS + 2);
    assert_int_equal(w.machine.ignored, 2);
    machine_close(&w.machine);
}

static void a_snapshot_brings_the_registry(void **state)
{
    struct world from, to;
    struct member_info fourth = member(4);
    const struct registered *leaving;
    struct buf out;

    (void)state;
    fill(&from);
    init(&to);
    buf_init(&out, 1 << 20);
    assert_int_equal(machine_snapshot(&from.machine, &out), 0);
    assert_int_equal(machine_restore(&to.machine, out.data, out.len), 0);
    assert_int_equal(to.machine.registry.n, 3);
    assert_true(registry_is_gone(&to.machine.registry, 4, &fourth.store));
    assert_true(to.changes > 0); /* the node hears of it */
    leaving = registry_find(&to.machine.registry, 3);
    assert_true(leaving->leaving);
    say(&to, MEMBERS_LEFT, 1, 3, 1);
    say(&to, MEMBERS_LEFT, 3, 3, 1);
    assert_true(registry_only_group_0(registry_find(&to.machine.registry, 3),
                                      SHARDS)); /* it knew of group 2 */
    say(&to, MEMBERS_LEFT, 0, 3, 1);
    assert_int_equal(to.machine.registry.n, 2);
    buf_close(&out);
    machine_close(&from.machine);
    machine_close(&to.machine);
}

static void a_snapshot_is_the_same_on_every_node(void **state)
{
    struct world from, to;
    struct buf one, two;

    (void)state;
    fill(&from);
    init(&to);
    buf_init(&one, 1 << 20);
    buf_init(&two, 1 << 20);
    assert_int_equal(machine_snapshot(&from.machine, &one), 0);
    assert_int_equal(machine_restore(&to.machine, one.data, one.len), 0);
    assert_int_equal(machine_snapshot(&to.machine, &two), 0);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    buf_close(&one);
    buf_close(&two);
    machine_close(&from.machine);
    machine_close(&to.machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_told_and_repetitions_are_not),
        cmocka_unit_test(a_snapshot_brings_the_registry),
        cmocka_unit_test(a_snapshot_is_the_same_on_every_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
