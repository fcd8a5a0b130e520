/* Random runs of the whole cluster; test_mutants.c shows that they can fail.
 *
 * MARMOT_TEST_SEED=N starts at another seed; build/tests/cluster/sim shows one
 * seed's trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/cluster/sim.h"

#define SEEDS 50

static uint64_t first_seed(void)
{
    const char *text = getenv("MARMOT_TEST_SEED");

    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static void nothing_is_lost_in_fifty_runs(void **state)
{
    uint64_t commits = 0, deaths = 0, stops = 0, members = 0, wipes = 0,
             snapshots = 0, installs = 0;

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + SEEDS; seed++) {
        struct sim_plan plan = sim_plan_of(seed);
        struct sim_report r = sim_run(&plan);
        if (r.violated) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, r.why);
        }
        commits += r.commits;
        deaths += r.kills + r.power_cuts + r.disk_failures;
        stops += r.stops;
        members += r.joins + r.removals + r.moves;
        wipes += r.wipes;
        snapshots += r.snapshots;
        installs += r.installs;
    }
    assert_true(commits > 50 * SEEDS); /* they were not idle, */
    assert_true(deaths > 3 * SEEDS);   /* nor safe, */
    assert_true(stops > SEEDS);
    assert_true(members > SEEDS);
    assert_true(wipes > SEEDS / 10);
    assert_true(snapshots > 10 * SEEDS); /* nor did they keep all */
    assert_true(installs > SEEDS);
}

static void a_seed_is_a_run(void **state)
{
    uint64_t before = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim_plan plan = sim_plan_of(seed);
        struct sim_report a = sim_run(&plan), b = sim_run(&plan);
        assert_true(a.hash == b.hash);
        assert_true(a.events == b.events);
        assert_true(a.hash != before);
        before = a.hash;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_in_fifty_runs),
        cmocka_unit_test(a_seed_is_a_run),
    };

    cmocka_set_test_filter(getenv("MARMOT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
