/* How fast images go, how much is asked for at once, when it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "node/image_pace.h"

#define SECOND 1000000u

static void without_a_rate_nothing_waits(void **state)
{
    struct image_pace p = {.bytes_per_s = 0};

    (void)state;
    image_pace_spend(&p, SECOND, 1ull << 40);
    assert_int_equal(image_pace_wait(&p, SECOND), 0);
    assert_int_equal(image_pace_pages(&p, 4096), PART_BYTES_MAX / 4096);
}

/* Send parts as early as allowed: never more than the rate, and not less. */
static void what_is_spent_is_waited_for(void **state)
{
    struct image_pace p = {.bytes_per_s = 1000000};
    uint64_t now = 5 * SECOND, sent = 0;

    (void)state;
    assert_int_equal(image_pace_wait(&p, now), 0);
    while (now < 15 * SECOND) {
        uint64_t wait = image_pace_wait(&p, now);
        now += wait;
        if (wait == 0) {
            image_pace_spend(&p, now, 250000);
            sent += 250000;
        }
    }
    assert_in_range(sent, 10000000, 10000000 + 250000);
}

static void an_idle_time_is_not_saved_up(void **state)
{
    struct image_pace p = {.bytes_per_s = 1000000};

    (void)state;
    image_pace_spend(&p, 0, 1000000);
    image_pace_spend(&p, 100 * SECOND, 1000000);
    assert_int_equal(image_pace_wait(&p, 100 * SECOND), SECOND);
}

/* An answer must not outlast the asker's patience of three seconds. */
static void an_answer_takes_a_second_at_most(void **state)
{
    (void)state;
    for (uint64_t rate = IMAGE_RATE_MIN; rate < 1ull << 34; rate *= 3) {
        struct image_pace p = {.bytes_per_s = rate};
        for (uint32_t size = 512; size <= 65536; size *= 2) {
            uint32_t pages = image_pace_pages(&p, size);
            assert_in_range(pages, 1, PART_BYTES_MAX / size);
            image_pace_spend(&p, 0, (uint64_t)pages * size);
            assert_true(image_pace_wait(&p, 0) <= SECOND);
            p.free_us = 0;
        }
    }
}

static void ranges_grow_where_little_differs(void **state)
{
    uint32_t range = image_next_range(0, 0, 4096);

    (void)state;
    assert_int_equal(range, 1024);
    for (int i = 0; i < 20; i++) {
        uint32_t next = image_next_range(range, range, 4096);
        assert_true(next >= range && next <= IMAGE_RANGE_PAGES_MAX);
        range = next;
    }
    assert_int_equal(range, IMAGE_RANGE_PAGES_MAX);
    /* About as many as were covered, where more differ; then what the answers
     * to one request can bring. */
    assert_int_equal(image_next_range(range, 3000, 4096), 6000);
    assert_int_equal(image_next_range(6000, 1024, 4096), 2048);
    assert_int_equal(image_next_range(2048, 1024, 4096), 2048);
    assert_int_equal(image_next_range(range, 1, 4096), 1024);
    assert_int_equal(image_next_range(range, 64, 65536), 128);
}

static void progress_is_told_now_and_then(void **state)
{
    struct image_progress p;
    unsigned lines = 0;

    (void)state;
    image_progress_begin(&p, SECOND);
    for (unsigned i = 0; i <= 1000; i++) { /* in one second */
        lines += image_progress_due(&p, SECOND + i * 1000, i / 10);
    }
    assert_int_equal(lines, 10);
    image_progress_begin(&p, SECOND);
    lines = 0;
    for (unsigned i = 0; i <= 100; i++) { /* in 100 seconds, 1 % */
        lines += image_progress_due(&p, (1 + i) * SECOND, i / 100);
    }
    assert_int_equal(lines, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate_nothing_waits),
        cmocka_unit_test(what_is_spent_is_waited_for),
        cmocka_unit_test(an_idle_time_is_not_saved_up),
        cmocka_unit_test(an_answer_takes_a_second_at_most),
        cmocka_unit_test(ranges_grow_where_little_differs),
        cmocka_unit_test(progress_is_told_now_and_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
