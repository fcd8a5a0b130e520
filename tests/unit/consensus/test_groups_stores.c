/* Nodes and stores that the others do not let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/consensus/nodes.h"

static void the_third_is_refused(struct cluster *c, const char *text)
{
    struct node *third = &c->nodes[2];
    char why[1024];

    wait_ms(c, 3000);
    groups_why_no_quorum(third->g, 0, why, sizeof why);
    print_message("%s\n", why);
    assert_non_null(strstr(why, text));
    assert_int_equal(third->peers_up, 0);
    assert_int_equal(groups_leader(third->g, 0), 0);
    assert_int_equal(third->fatal[0], 0); /* it goes on trying */
    assert_false(groups_quorum_fresh(third->g, 0));
    stop(third, 0);
    awaited = propose(&c->nodes[0], 0, 10);
    assert_true(awaited != 0);
    must(c, all_have_awaited, "an entry of the other two");
}

static void a_wiped_store_may_not_come_back(void **state)
{
    struct cluster *c = running_cluster(1);

    (void)state;
    stop(&c->nodes[2], 0);
    run_command("rm -rf", c->nodes[2].folder, "");
    start(&c->nodes[2]);
    the_third_is_refused(c,
                         "node 3 joined with another store; its votes are "
                         "gone: remove and add it again");
    cluster_free(c);
}

static void an_old_copy_of_a_store_may_not_come_back(void **state)
{
    struct cluster *c = running_cluster(1);
    struct node *third = &c->nodes[2];
    char copy[128];

    (void)state;
    snprintf(copy, sizeof copy, "%s/copy", c->folder);
    stop(third, 0);
    run_command("cp -r", third->folder, copy);
    start(third);
    must(c, all_caught_up, "the third node");
    must(c, all_peers_up, "all connections");
    stop(third, 0);
    run_command("rm -rf", third->folder, "");
    run_command("cp -r", copy, third->folder);
    start(third); /* as often as the other one */
    the_third_is_refused(c, "old copy of its store");
    cluster_free(c);
}

static void a_copied_folder_is_no_other_node(void **state)
{
    struct cluster *c = cluster_new(3, 1);
    struct node *third = &c->nodes[2];
    char why[512] = "";

    (void)state;
    start(&c->nodes[1]);
    stop(&c->nodes[1], 0);
    run_command("cp -r", c->nodes[1].folder, third->folder);
    assert_int_equal(try_start(third, why, sizeof why), ERR_MISMATCH);
    assert_non_null(strstr(why, "belongs to node 2"));
    third->g = NULL;
    cluster_free(c);
}

static void nodes_with_other_shards_or_members_are_refused(void **state)
{
    struct cluster *c = cluster_new(3, 2);

    (void)state;
    start(&c->nodes[0]);
    start(&c->nodes[1]);
    c->shards = 3;
    for (unsigned i = 0; i < 3; i++) {
        c->nodes[i].values[2] = malloc(ENTRIES_MAX * sizeof(uint64_t));
    }
    start(&c->nodes[2]);
    c->shards = 2;
    c->n = 2; /* to look at */
    must(c, all_agree_on_leaders, "two agree");
    c->n = 3;
    the_third_is_refused(c, "-shards");
    for (unsigned i = 0; i < 3; i++) {
        free(c->nodes[i].values[2]);
    }
    run_command("rm -rf", c->nodes[2].folder, "");
    c->replica[2] = true;
    start(&c->nodes[2]);
    the_third_is_refused(c, "names the members 1,2,3/replica");
    cluster_free(c);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_wiped_store_may_not_come_back),
        TEST(an_old_copy_of_a_store_may_not_come_back),
        TEST(a_copied_folder_is_no_other_node),
        TEST(nodes_with_other_shards_or_members_are_refused),
    };

    log_set_level(getenv("MARMOT_TEST_LOG") != NULL ? LOG_DEBUG : LOG_ERROR);
    if (getenv("MARMOT_TEST_ONLY") != NULL) {
        cmocka_set_test_filter(getenv("MARMOT_TEST_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
