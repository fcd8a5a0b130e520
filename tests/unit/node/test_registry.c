#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "node/registry.h"

#define SHARDS 3u

static struct registry r;
static bool last_changed;

static struct member_info member(uint64_t id, uint8_t store, bool replica)
{
    struct member_info m = {.id = id, .replica = replica};

    m.store.b[0] = store;
    snprintf(m.address, sizeof m.address, "host-%u:1", (unsigned)id);
    return m;
}

/* Through the bytes of the log, as every node reads it. */
static bool say_list(enum members_action action, unsigned group,
                     const struct member_info *list, unsigned n)
{
    struct entry_members e = {.action = action, .group = group, .n = n};
    struct entry decoded;
    struct buf out;

    buf_init(&out, 1 << 20);
    assert_int_equal(entry_encode_members(&e, list, &out), 0);
    assert_int_equal(entry_decode(out.data, out.len, &decoded), 0);
    assert_int_equal(decoded.kind, ENTRY_MEMBERS);
    last_changed = registry_apply(&r, &decoded.members, SHARDS);
    buf_close(&out);
    return last_changed;
}

static bool say(enum members_action action, struct member_info m)
{
    return say_list(action, 0, &m, 1);
}

static bool left_by(unsigned group, struct member_info m)
{
    return say_list(MEMBERS_LEFT, group, &m, 1);
}

/* Voters 1 and 2, replica 3; the store of n begins with n. */
static int found(void **state)
{
    struct member_info list[] = {member(1, 1, false), member(2, 2, false),
                                 member(3, 3, true)};

    (void)state;
    memset(&r, 0, sizeof r);
    return say_list(MEMBERS_FOUND, 0, list, 3) ? 0 : -1;
}

static void take_out(struct member_info m)
{
    assert_true(say(MEMBERS_LEAVE, m));
    for (unsigned g = 0; g < SHARDS; g++) {
        assert_true(left_by(SHARDS - 1 - g, m));
    }
}

/* ---- coming -------------------------------------------------------------- */

static void only_the_first_founding_counts(void **state)
{
    struct member_info other = member(9, 9, false);

    (void)state;
    assert_int_equal(r.n, 3);
    assert_false(say_list(MEMBERS_FOUND, 0, &other, 1));
    assert_int_equal(r.n, 3);
    assert_null(registry_find(&r, 9));
}

static void nobody_joins_what_was_not_founded(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    assert_false(say(MEMBERS_SET, member(1, 1, false)));
    assert_int_equal(r.n, 0);
}

static void a_new_one_becomes_a_member(void **state)
{
    (void)state;
    assert_true(say(MEMBERS_SET, member(4, 4, false)));
    assert_int_equal(r.n, 4);
    assert_false(registry_find(&r, 4)->leaving);
}

static void a_member_moves_and_learns_its_store(void **state)
{
    struct member_info m = member(5, 0, false);

    (void)state;
    assert_true(say(MEMBERS_SET, m)); /* founded without its store */
    m = member(5, 5, false);
    snprintf(m.address, sizeof m.address, "elsewhere:2");
    assert_true(say(MEMBERS_SET, m));
    assert_int_equal(registry_find(&r, 5)->info.store.b[0], 5);
    assert_string_equal(registry_find(&r, 5)->info.address, "elsewhere:2");
    assert_int_equal(r.n, 4);
}

static void another_store_is_somebody_else(void **state)
{
    (void)state;
    assert_false(say(MEMBERS_SET, member(2, 99, false)));
    assert_int_equal(registry_find(&r, 2)->info.store.b[0], 2);
}

static void there_is_room_for_so_many(void **state)
{
    (void)state;
    for (uint64_t id = 4; id <= NODES_MAX; id++) {
        assert_true(say(MEMBERS_SET, member(id, (uint8_t)id, true)));
    }
    assert_int_equal(r.n, NODES_MAX);
    assert_false(say(MEMBERS_SET, member(NODES_MAX + 1, 77, true)));
    assert_int_equal(r.n, NODES_MAX);
}

/* ---- leaving ------------------------------------------------------------- */

static void a_leaving_one_is_gone_once_all_groups_say_so(void **state)
{
    struct member_info m = member(2, 2, false);

    (void)state;
    assert_false(left_by(0, m)); /* it is not leaving */
    assert_true(say(MEMBERS_LEAVE, m));
    assert_false(say(MEMBERS_LEAVE, m));
    assert_true(registry_find(&r, 2)->leaving);
    assert_false(registry_only_group_0(registry_find(&r, 2), SHARDS));
    assert_true(left_by(2, m));
    assert_false(left_by(2, m)); /* said again */
    assert_false(left_by(SHARDS, m));
    assert_true(left_by(1, m));
    assert_true(registry_only_group_0(registry_find(&r, 2), SHARDS));
    assert_false(registry_is_gone(&r, 2, &m.store));
    assert_true(left_by(0, m));
    assert_null(registry_find(&r, 2));
    assert_true(registry_is_gone(&r, 2, &m.store));
    assert_int_equal(r.n, 2);
    assert_non_null(registry_find(&r, 3));
}

static void a_leaving_one_neither_moves_nor_comes_back(void **state)
{
    (void)state;
    assert_true(say(MEMBERS_LEAVE, member(2, 2, false)));
    assert_false(say(MEMBERS_SET, member(2, 2, false)));
    assert_false(say(MEMBERS_SET, member(2, 22, false)));
    assert_true(registry_find(&r, 2)->leaving);
}

static void whoever_is_gone_comes_back_with_another_store_only(void **state)
{
    (void)state;
    take_out(member(2, 2, false));
    assert_false(say(MEMBERS_SET, member(2, 2, false)));
    assert_true(say(MEMBERS_SET, member(2, 22, false)));
    assert_false(registry_find(&r, 2)->leaving);
    assert_false(registry_only_group_0(registry_find(&r, 2), SHARDS));
}

/* What was proposed of the first one and was late. */
static void words_of_an_earlier_store_do_not_count(void **state)
{
    struct member_info before = member(2, 2, false);
    struct member_info now = member(2, 22, false);

    (void)state;
    take_out(before);
    assert_true(say(MEMBERS_SET, now));
    assert_false(say(MEMBERS_LEAVE, before));
    assert_false(registry_find(&r, 2)->leaving);
    assert_true(say(MEMBERS_LEAVE, now));
    assert_false(left_by(1, before));
    assert_true(left_by(1, now));
}

static void the_last_voter_stays(void **state)
{
    char why[128];

    (void)state;
    take_out(member(2, 2, false));
    assert_false(registry_may_leave(&r, 1, why, sizeof why));
    assert_non_null(strstr(why, "node 1 is the last voter"));
    assert_false(say(MEMBERS_LEAVE, member(1, 1, false)));
    assert_true(registry_may_leave(&r, 3, why, sizeof why));
    assert_false(registry_may_leave(&r, 9, why, sizeof why));
    assert_non_null(strstr(why, "not a member"));
}

static void of_two_leaving_voters_one_stays(void **state)
{
    (void)state;
    assert_true(say(MEMBERS_LEAVE, member(1, 1, false)));
    assert_false(say(MEMBERS_LEAVE, member(2, 2, false)));
    assert_false(registry_find(&r, 2)->leaving);
}

static void the_last_voter_does_not_become_a_replica(void **state)
{
    (void)state;
    assert_true(say(MEMBERS_SET, member(2, 2, true)));
    assert_false(say(MEMBERS_SET, member(1, 1, true)));
    assert_false(registry_find(&r, 1)->info.replica);
}

static void the_last_ones_that_left_are_remembered(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES_MAX + 2; i++) {
        assert_true(say(MEMBERS_SET, member(100 + i, 1, true)));
        take_out(member(100 + i, 1, true));
    }
    assert_int_equal(r.n_departed, NODES_MAX);
    assert_int_equal(r.departed[0].id, 102);
    assert_int_equal(r.departed[NODES_MAX - 1].id, 100 + NODES_MAX + 1);
}

/* ---- recovering ---------------------------------------------------------- */

static void alone_all_others_are_gone(void **state)
{
    struct member_info m = member(3, 3, false); /* a replica before */

    (void)state;
    assert_true(say(MEMBERS_LEAVE, m));
    assert_true(say(MEMBERS_ALONE, m));
    assert_int_equal(r.n, 1);
    assert_false(registry_find(&r, 3)->info.replica);
    assert_false(registry_find(&r, 3)->leaving);
    assert_int_equal(r.n_departed, 2);
    m = member(1, 1, false);
    assert_true(registry_is_gone(&r, 1, &m.store));
    assert_true(say(MEMBERS_SET, member(1, 11, false)));
}

#define founded(test) cmocka_unit_test_setup(test, found)

int main(void)
{
    const struct CMUnitTest tests[] = {
        founded(only_the_first_founding_counts),
        founded(nobody_joins_what_was_not_founded),
        founded(a_new_one_becomes_a_member),
        founded(a_member_moves_and_learns_its_store),
        founded(another_store_is_somebody_else),
        founded(there_is_room_for_so_many),
        founded(a_leaving_one_is_gone_once_all_groups_say_so),
        founded(a_leaving_one_neither_moves_nor_comes_back),
        founded(whoever_is_gone_comes_back_with_another_store_only),
        founded(words_of_an_earlier_store_do_not_count),
        founded(the_last_voter_stays),
        founded(of_two_leaving_voters_one_stays),
        founded(the_last_voter_does_not_become_a_replica),
        founded(the_last_ones_that_left_are_remembered),
        founded(alone_all_others_are_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
