/* Counts per upper bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/histogram.h"

static void a_value_is_counted_under_the_first_bound_that_holds_it(void **state)
{
    struct histogram h = {.sum_us = 0};

    (void)state;
    histogram_add(&h, 0);
    histogram_add(&h, 100);
    histogram_add(&h, 101);
    histogram_add(&h, 10000000);
    histogram_add(&h, 10000001);
    assert_int_equal(h.counts[0], 2);
    assert_int_equal(h.counts[1], 1);
    assert_int_equal(h.counts[HISTOGRAM_BUCKETS - 2], 1);
    assert_int_equal(h.counts[HISTOGRAM_BUCKETS - 1], 1);
    assert_int_equal(h.sum_us, 20000202);
}

static void bounds_rise(void **state)
{
    (void)state;
    for (unsigned i = 1; i < HISTOGRAM_BUCKETS - 1; i++) {
        assert_true(histogram_bounds_us[i] > histogram_bounds_us[i - 1]);
    }
}

static void merging_adds_everything(void **state)
{
    struct histogram a = {.sum_us = 0}, b = {.sum_us = 0};

    (void)state;
    histogram_add(&a, 5);
    histogram_add(&b, 5);
    histogram_add(&b, UINT32_MAX);
    histogram_merge(&a, &b);
    assert_int_equal(a.counts[0], 2);
    assert_int_equal(a.counts[HISTOGRAM_BUCKETS - 1], 1);
    assert_int_equal(a.sum_us, 10ull + UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_value_is_counted_under_the_first_bound_that_holds_it),
        cmocka_unit_test(bounds_rise),
        cmocka_unit_test(merging_adds_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
