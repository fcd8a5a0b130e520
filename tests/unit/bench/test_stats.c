#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bench/goals.h"
#include "tests/bench/options.h"
#include "tests/bench/results.h"
#include "tests/bench/stats.h"

static bool near(double a, double b)
{
    return a - b < 1e-9 && b - a < 1e-9;
}

static void an_odd_number_of_values_has_one_in_the_middle(void **state)
{
    const double values[] = {9, 1, 5, 100, 2};
    struct spread s = stats_spread(values, 5);

    (void)state;
    assert_true(near(s.median, 5));
    assert_true(near(s.low, 1));
    assert_true(near(s.high, 100));
    assert_int_equal(s.n, 5);
    assert_true(near(values[0], 9)); /* the caller's order stays */
}

static void an_even_number_takes_the_mean_of_two(void **state)
{
    const double values[] = {4, 1, 3, 100};

    (void)state;
    assert_true(near(stats_spread(values, 4).median, 3.5));
}

static void no_values_and_one_too_many_are_no_accident(void **state)
{
    double values[STATS_VALUES_MAX + 1] = {0};

    (void)state;
    assert_int_equal(stats_spread(values, 0).n, 0);
    assert_true(near(stats_spread(values, 0).median, 0));
    for (int i = 0; i <= STATS_VALUES_MAX; i++) {
        values[i] = i;
    }
    assert_int_equal(stats_spread(values, STATS_VALUES_MAX + 1).n,
                     STATS_VALUES_MAX);
    assert_true(near(stats_spread(values, STATS_VALUES_MAX + 1).high,
                     STATS_VALUES_MAX - 1));
}

static void percentiles_are_values_that_occurred(void **state)
{
    float values[100];

    (void)state;
    for (int i = 0; i < 100; i++) {
        values[i] = (float)(100 - i);
    }
    stats_sort(values, 100);
    assert_true(near(stats_percentile(values, 100, 50), 50));
    assert_true(near(stats_percentile(values, 100, 99), 99));
    assert_true(near(stats_percentile(values, 100, 99.9), 100));
    assert_true(near(stats_percentile(values, 100, 0), 1));
    assert_true(near(stats_percentile(values, 1, 99), 1));
    assert_true(near(stats_percentile(values, 0, 50), 0));
}

static void a_control_outside_a_tenth_is_noise(void **state)
{
    const double quiet[] = {0.9, 1, 1.1}, low[] = {0.89}, high[] = {1.11};

    (void)state;
    assert_false(stats_noisy(quiet, 3));
    assert_true(stats_noisy(low, 1));
    assert_true(stats_noisy(high, 1));
    assert_true(stats_noisy(quiet, 0)); /* the control did not run */
}

static void a_control_that_is_right_on_average_only_is_noise(void **state)
{
    const double swings[] = {0.6, 0.8, 1, 1.3, 1.5};
    const double steady[] = {0.6, 0.95, 1, 1.05, 1.5};

    (void)state;
    assert_true(stats_noisy(swings, 5));
    assert_false(stats_noisy(steady, 5));
}

static void put(struct results *r, const char *arm, int round, double rate)
{
    results_open_line(r, "W1", arm, round);
    results_put(r, "rate", rate);
    results_close_line(r);
}

static void ratios_are_taken_within_a_round(void **state)
{
    struct results r = {0};
    struct spread s;

    (void)state;
    put(&r, ARM_SQLITE, 0, 100);
    put(&r, ARM_MARMOT, 0, 50);
    put(&r, ARM_MARMOT, 1, 10); /* before its base, as the order turns */
    put(&r, ARM_SQLITE, 1, 10);
    put(&r, ARM_SQLITE, 2, 1000);
    put(&r, ARM_MARMOT, 2, 100);
    put(&r, ARM_MARMOT, 3, 77); /* has no base */
    s = results_ratio(&r, "W1", ARM_MARMOT, ARM_SQLITE, "rate");
    assert_int_equal(s.n, 3);
    assert_true(near(s.median, 0.5));
    assert_true(near(s.low, 0.1));
    assert_true(near(s.high, 1));
    results_close(&r);
}

static void a_goal_is_judged_only_when_the_control_is_quiet(void **state)
{
    struct results r = {0};

    (void)state;
    assert_string_equal(goal_verdict(&goals[0], &r).text, "not measured");
    for (int round = 0; round < GOAL_ROUNDS_MIN; round++) {
        put(&r, ARM_SQLITE, round, 100);
        put(&r, ARM_MARMOT, round, 45);
    }
    assert_string_equal(goal_verdict(&goals[0], &r).text, "noisy");
    put(&r, ARM_CONTROL, 0, 105);
    put(&r, ARM_CONTROL, 1, 95);
    assert_string_equal(goal_verdict(&goals[0], &r).text, "target");
    put(&r, ARM_CONTROL, 2, 150);
    assert_string_equal(goal_verdict(&goals[0], &r).text, "target");
    put(&r, ARM_SQLITE, 3, 100);
    put(&r, ARM_CONTROL, 3, 150);
    assert_string_equal(goal_verdict(&goals[0], &r).text, "noisy");
    results_close(&r);
}

static void two_rounds_are_too_few_for_a_verdict(void **state)
{
    struct results r = {0};

    (void)state;
    for (int round = 0; round < GOAL_ROUNDS_MIN - 1; round++) {
        put(&r, ARM_SQLITE, round, 100);
        put(&r, ARM_MARMOT, round, 45);
        put(&r, ARM_CONTROL, round, 100);
    }
    assert_string_equal(goal_verdict(&goals[0], &r).text, "too few rounds");
    results_close(&r);
}

static const struct goal *goal_named(const char *name)
{
    for (size_t i = 0; i < goals_n; i++) {
        if (goals[i].name[1] == name[1] && goals[i].name[2] == name[2]) {
            return &goals[i];
        }
    }
    fail();
    return NULL;
}

static void some_goals_want_more_and_some_want_less(void **state)
{
    const struct goal *commits = goal_named("G1"), *syncs = goal_named("G9");

    (void)state;
    assert_string_equal(goal_level(commits, 0.24), "missed");
    assert_string_equal(goal_level(commits, 0.25), "must");
    assert_string_equal(goal_level(commits, 0.40), "target");
    assert_string_equal(goal_level(commits, 0.60), "moonshot");
    assert_string_equal(goal_level(syncs, 0.51), "missed");
    assert_string_equal(goal_level(syncs, 0.50), "must");
    assert_string_equal(goal_level(syncs, 0.15), "target");
    assert_string_equal(goal_level(syncs, 0.06), "moonshot");
}

static void a_name_is_listed_only_as_a_whole(void **state)
{
    (void)state;
    assert_true(options_listed("W1,W2-4,R1", "W1"));
    assert_true(options_listed("W1,W2-4,R1", "R1"));
    assert_false(options_listed("W1,W2-4,R1", "W2"));
    assert_false(options_listed("sqlite_again", "sqlite"));
    assert_false(options_listed("", "W1"));
    assert_false(options_listed(NULL, "W1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_odd_number_of_values_has_one_in_the_middle),
        cmocka_unit_test(an_even_number_takes_the_mean_of_two),
        cmocka_unit_test(no_values_and_one_too_many_are_no_accident),
        cmocka_unit_test(percentiles_are_values_that_occurred),
        cmocka_unit_test(a_control_outside_a_tenth_is_noise),
        cmocka_unit_test(a_control_that_is_right_on_average_only_is_noise),
        cmocka_unit_test(ratios_are_taken_within_a_round),
        cmocka_unit_test(a_goal_is_judged_only_when_the_control_is_quiet),
        cmocka_unit_test(two_rounds_are_too_few_for_a_verdict),
        cmocka_unit_test(some_goals_want_more_and_some_want_less),
        cmocka_unit_test(a_name_is_listed_only_as_a_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
