/* Where leadership belongs, and how it moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/consensus/nodes.h"

static void a_node_that_stops_hands_its_groups_over_first(void **state)
{
    struct cluster *c = running_cluster(6);
    struct node *node = &c->nodes[1];
    unsigned changes;

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    assert_ptr_equal(leader_of(c, 1), node);
    changes = c->nodes[0].leader_changes[1];
    stop(node, 5000);
    /* No election was needed: there is a leader at once. */
    assert_true(all_agree_on_leaders(c));
    assert_non_null(leader_of(c, 1));
    assert_true(c->nodes[0].leader_changes[1] - changes <= 2);
    cluster_free(c);
}

static void leaders_go_back_to_where_they_belong(void **state)
{
    struct cluster *c = running_cluster(6);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    stop(&c->nodes[0], 0);
    must(c, all_agree_on_leaders, "two nodes lead all");
    start(&c->nodes[0]);
    must(c, leaders_are_placed, "leaders in their places again");
    cluster_free(c);
}

static void a_leader_that_was_moved_stays_there(void **state)
{
    struct cluster *c = running_cluster(3);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    assert_int_equal(groups_transfer(c->nodes[0].g, 1, 3), ERR_NOT_LEADER);
    assert_int_equal(groups_transfer(c->nodes[0].g, 0, 3), 0);
    wait_ms(c, 4000);
    assert_true(all_agree_on_leaders(c));
    assert_int_equal(groups_leader(c->nodes[1].g, 0), 3);
    awaited = propose(&c->nodes[0], 0, 100);
    must(c, all_have_awaited, "an entry");
    cluster_free(c);
}

static void prefer_everywhere(struct cluster *c, unsigned group, uint64_t to,
                              bool stand_in)
{
    for (unsigned i = 0; i < 3; i++) {
        if (c->nodes[i].g != NULL) {
            assert_int_equal(groups_prefer(c->nodes[i].g, group, to, stand_in),
                             0);
        }
    }
}

static bool third_leads_first_group(struct cluster *c)
{
    return all_agree_on_leaders(c) && leader_of(c, 0) == &c->nodes[2];
}

static bool first_leads_first_group(struct cluster *c)
{
    return all_agree_on_leaders(c) && leader_of(c, 0) == &c->nodes[0];
}

static void a_move_by_hand_outlives_the_usual_leader_not_its_own(void **state)
{
    struct cluster *c = running_cluster(3);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    prefer_everywhere(c, 0, 3, false);
    must(c, third_leads_first_group, "it was moved");
    stop(&c->nodes[0], 0);
    start(&c->nodes[0]);
    must(c, third_leads_first_group, "all are back");
    wait_ms(c, 4000);
    assert_ptr_equal(leader_of(c, 0), &c->nodes[2]);
    stop(&c->nodes[2], 0);
    must(c, first_leads_first_group, "it went home");
    cluster_free(c);
}

static void a_move_by_hand_is_forgotten_on_demand(void **state)
{
    struct cluster *c = running_cluster(3);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    prefer_everywhere(c, 0, 3, false);
    must(c, third_leads_first_group, "it was moved");
    prefer_everywhere(c, 0, 0, false);
    must(c, leaders_are_placed, "leaders in their places again");
    cluster_free(c);
}

static void a_stand_in_leads_until_the_usual_leader_is_back(void **state)
{
    struct cluster *c = running_cluster(3);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    stop(&c->nodes[0], 0);
    must(c, all_agree_on_leaders, "two nodes lead all");
    prefer_everywhere(c, 0, 3, true);
    must(c, third_leads_first_group, "the stand-in leads");
    start(&c->nodes[0]);
    must(c, leaders_are_placed, "leaders in their places again");
    cluster_free(c);
}

static void nothing_else_can_be_preferred(void **state)
{
    struct cluster *c = running_cluster(3);

    (void)state;
    must(c, leaders_are_placed, "leaders in their places");
    assert_int_equal(groups_prefer(c->nodes[0].g, 3, 1, false), ERR_NOT_FOUND);
    assert_int_equal(groups_prefer(c->nodes[0].g, 0, 9, false), ERR_NOT_FOUND);
    wait_ms(c, 1500);
    assert_true(leaders_are_placed(c));
    cluster_free(c);
}

/* ---- quorum ------------------------------------------------------------- */

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_that_stops_hands_its_groups_over_first),
        TEST(leaders_go_back_to_where_they_belong),
        TEST(a_leader_that_was_moved_stays_there),
        TEST(a_move_by_hand_outlives_the_usual_leader_not_its_own),
        TEST(a_move_by_hand_is_forgotten_on_demand),
        TEST(a_stand_in_leads_until_the_usual_leader_is_back),
        TEST(nothing_else_can_be_preferred),
    };

    log_set_level(getenv("MARMOT_TEST_LOG") != NULL ? LOG_DEBUG : LOG_ERROR);
    if (getenv("MARMOT_TEST_ONLY") != NULL) {
        cmocka_set_test_filter(getenv("MARMOT_TEST_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
