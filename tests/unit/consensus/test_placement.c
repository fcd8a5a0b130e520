#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "consensus/groups.h"

/* Nodes of all versions must agree where a database lives: these numbers never
 * change. */
static void a_database_keeps_its_group(void **state)
{
    (void)state;
    assert_int_equal(placement_group("main", 16), 5);
    assert_int_equal(placement_group("app", 16), 0);
    assert_int_equal(placement_group("app", 1024), 800);
    assert_int_equal(placement_group("anything", 1), 0);
}

static void many_databases_use_all_groups(void **state)
{
    unsigned count[16] = {0};
    char name[16];

    (void)state;
    for (unsigned i = 0; i < 1600; i++) {
        snprintf(name, sizeof name, "db%u", i);
        count[placement_group(name, 16)]++;
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_in_range(count[i], 50, 150);
    }
}

static void leaders_are_spread_over_the_voters(void **state)
{
    const uint64_t voters[] = {2, 5, 9};

    (void)state;
    assert_int_equal(placement_leader(0, voters, 3), 2);
    assert_int_equal(placement_leader(1, voters, 3), 5);
    assert_int_equal(placement_leader(2, voters, 3), 9);
    assert_int_equal(placement_leader(3, voters, 3), 2);
    assert_int_equal(placement_leader(7, voters, 1), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_database_keeps_its_group),
        cmocka_unit_test(many_databases_use_all_groups),
        cmocka_unit_test(leaders_are_spread_over_the_voters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
