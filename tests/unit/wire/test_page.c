/* What sizes a database can have, and the hash of a page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <xxhash.h>

#include "wire/page.h"

static void a_page_size_is_a_power_of_two_from_512_to_65536(void **state)
{
    (void)state;
    for (uint32_t size = 512; size <= 65536; size *= 2) {
        assert_true(page_size_valid(size));
        assert_false(page_size_valid(size + 1));
        assert_false(page_size_valid(size - 1));
    }
    assert_false(page_size_valid(0));
    assert_false(page_size_valid(256));
    assert_false(page_size_valid(131072));
}

static void page_numbers_count_from_1(void **state)
{
    (void)state;
    assert_false(page_number_valid(0));
    assert_true(page_number_valid(1));
    assert_true(page_number_valid(PAGE_NUMBER_MAX));
    assert_false(page_number_valid(PAGE_NUMBER_MAX + 1));
}

static void a_database_grows_by_the_pages_written_and_the_lock_page(
    void **state)
{
    (void)state;
    assert_true(page_growth_valid(0, 0, 0));
    assert_true(page_growth_valid(10, 3, 14));
    assert_false(page_growth_valid(10, 3, 15));
    assert_true(page_growth_valid(10, 0, 1));
    assert_false(page_growth_valid(0, 1, PAGE_NUMBER_MAX));
}

/* Sums must not wrap around: 16 TiB in pages of 4096 bytes are legitimate. */
static void the_largest_database_may_still_change(void **state)
{
    (void)state;
    assert_true(page_growth_valid(PAGE_NUMBER_MAX, 1, PAGE_NUMBER_MAX));
    assert_true(page_growth_valid(PAGE_NUMBER_MAX - 1, 1, PAGE_NUMBER_MAX));
    assert_true(page_growth_valid(0, PAGE_NUMBER_MAX, PAGE_NUMBER_MAX));
    assert_true(page_growth_valid(UINT32_MAX, UINT32_MAX, 5));
}

static void a_page_hash_depends_on_number_and_content(void **state)
{
    uint8_t image[512] = {1};
    uint64_t hash = page_hash(3, image, sizeof image);

    (void)state;
    assert_true(hash == XXH3_64bits_withSeed(image, sizeof image, 3));
    assert_true(hash != page_hash(4, image, sizeof image));
    image[511] = 1;
    assert_true(hash != page_hash(3, image, sizeof image));
}

static void the_lock_page_counts_as_zero(void **state)
{
    static const uint8_t image[65536];

    (void)state;
    for (uint32_t size = 512; size <= 65536; size *= 2) {
        uint32_t number = 0x40000000 / size + 1;

        assert_true(page_hash(number, image, size) == 0);
        assert_true(page_hash(number - 1, image, size) != 0);
        assert_true(page_hash(number + 1, image, size) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_size_is_a_power_of_two_from_512_to_65536),
        cmocka_unit_test(page_numbers_count_from_1),
        cmocka_unit_test(
            a_database_grows_by_the_pages_written_and_the_lock_page),
        cmocka_unit_test(the_largest_database_may_still_change),
        cmocka_unit_test(a_page_hash_depends_on_number_and_content),
        cmocka_unit_test(the_lock_page_counts_as_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
