#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/number_set.h"

static struct number_set set;

/* Fill a set with multiples of `step`; each is new once and known afterwards.
 */
static void fill(uint32_t count, uint32_t step)
{
    number_set_init(&set, count);
    for (uint32_t i = 1; i <= count; i++) {
        assert_true(number_set_add(&set, i * step));
    }
    for (uint32_t i = 1; i <= count; i++) {
        assert_false(number_set_add(&set, i * step));
    }
}

static void numbers_are_new_once(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= NUMBER_SET_MAX; count = 2 * count) {
        fill(count, 1);
        fill(count, 3);
    }
}

/* Steps that are powers of two fall onto few of the slots. */
static void collisions_are_told_apart(void **state)
{
    (void)state;
    for (uint32_t step = 2; step <= 1u << 20; step *= 2) {
        fill(NUMBER_SET_MAX, step);
    }
}

static void what_is_no_page_number_is_refused(void **state)
{
    (void)state;
    number_set_init(&set, 4);
    assert_false(number_set_add(&set, 0));
    assert_false(number_set_add(&set, UINT32_MAX));
    assert_true(number_set_add(&set, UINT32_MAX - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_new_once),
        cmocka_unit_test(collisions_are_told_apart),
        cmocka_unit_test(what_is_no_page_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
