/* What an image is sent from: which pages an asker lacks, and whether they are
 * what was written. */
#include "tests/unit/vfs/image_pair.h"

static const char nothing[] = "";

static void flip(const char *path, uint32_t page)
{
    int fd = open(path, O_RDWR), other;
    uint8_t byte;
    off_t at = (off_t)(page - 1) * SIZE + 700;

    other = dup(fd);
    assert_true(fd >= 0 && other >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(other);
    close(fd);
}

static uint32_t ask_range(struct image_source *s, uint32_t first,
                          uint32_t count, const uint8_t *have, int want,
                          struct image_found *found)
{
    uint32_t numbers[MAX];
    uint8_t images[MAX * SIZE];

    assert_int_equal(
        image_source_read(s, first, count, have, MAX, numbers, images, found),
        want);
    return want == 0 && found->count > 0 ? numbers[0] : 0;
}

static void an_asker_without_anything_gets_all(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_found found;
    uint8_t zeros[8 * 40] = {0};

    (void)state;
    pair_open(&p, nothing, nothing);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s), 0);
    assert_int_equal(ask_range(s, 5, 40, NULL, 0, &found), 5);
    assert_int_equal(found.count, MAX);
    assert_int_equal(found.covered, MAX);
    assert_int_equal(ask_range(s, 5, 40, zeros, 0, &found), 5);
    assert_int_equal(found.count, MAX);
    assert_int_equal(ask_range(s, 5, 3, NULL, 0, &found), 5);
    assert_int_equal(found.count, 3);
    image_source_close(s);
    pair_close(&p);
}

static void an_asker_with_everything_costs_no_read(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_found found;
    uint8_t *have;

    (void)state;
    pair_open(&p, nothing, nothing);
    have = request(&p.here.sum, 1, p.here.sum.pages);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s), 0);
    /* A damaged page that nobody needs is not even looked at. */
    flip(p.there.path, 50);
    assert_int_equal(ask_range(s, 1, image_source_pages(s), have, 0, &found),
                     0);
    assert_int_equal(found.count, 0);
    assert_int_equal(found.covered, image_source_pages(s));
    free(have);
    image_source_close(s);
    flip(p.there.path, 50);
    pair_close(&p);
}

static void a_damaged_page_does_not_leave(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_found found = {.covered = 77};

    (void)state;
    pair_open(&p, nothing, nothing);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s), 0);
    flip(p.there.path, 50);
    ask_range(s, 45, 10, NULL, ERR_MISMATCH, &found);
    assert_int_equal(found.damaged, 50);
    assert_int_equal(found.covered, 77); /* untouched */
    assert_int_equal(ask_range(s, 51, 10, NULL, 0, &found), 51);
    image_source_close(s);
    flip(p.there.path, 50);
    pair_close(&p);
}

static void a_range_that_is_not_there_is_refused(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_found found;
    uint32_t pages;

    (void)state;
    pair_open(&p, nothing, nothing);
    pages = p.there.sum.pages;
    assert_int_equal(image_source_open(p.there.a, &p.there.sum, 11, 20, &s), 0);
    ask_range(s, 10, 1, NULL, ERR_NOT_FOUND, &found);
    ask_range(s, 11, 21, NULL, ERR_NOT_FOUND, &found);
    ask_range(s, 31, 1, NULL, ERR_NOT_FOUND, &found);
    ask_range(s, UINT32_MAX, 2, NULL, ERR_NOT_FOUND, &found);
    ask_range(s, 30, UINT32_MAX, NULL, ERR_NOT_FOUND, &found);
    assert_int_equal(ask_range(s, 30, 1, NULL, 0, &found), 30);
    image_source_close(s);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, pages + 1, UINT32_MAX, &s),
        0);
    ask_range(s, pages + 1, 1, NULL, ERR_NOT_FOUND, &found);
    image_source_close(s);
    /* A table of another state. */
    assert_int_equal(checksum_resize(&p.there.sum, pages - 1), 0);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s),
        ERR_MISMATCH);
    pair_close(&p);
}

static void the_walk_finds_all_damage(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_found found;
    uint32_t numbers[8];

    (void)state;
    pair_open(&p, nothing, nothing);
    flip(p.there.path, 40);
    flip(p.there.path, 41);
    flip(p.there.path, 299);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s), 0);
    assert_int_equal(image_source_verify(s, 8, numbers, &found), 0);
    assert_int_equal(found.count, 3);
    assert_int_equal(found.covered, image_source_pages(s));
    assert_int_equal(numbers[0], 40);
    assert_int_equal(numbers[1], 41);
    assert_int_equal(numbers[2], 299);
    assert_int_equal(image_source_verify(s, 2, numbers, &found), 0);
    assert_int_equal(found.count, 2);
    image_source_close(s);
    assert_int_equal(image_source_open(p.there.a, &p.there.sum, 50, 100, &s),
                     0);
    assert_int_equal(image_source_verify(s, 8, numbers, &found), 0);
    assert_int_equal(found.count, 0);
    assert_int_equal(found.covered, 100);
    image_source_close(s);
    flip(p.there.path, 40);
    flip(p.there.path, 41);
    flip(p.there.path, 299);
    pair_close(&p);
}

/* The table is of the state that is read, whatever is written meanwhile. */
static void writers_do_not_change_what_is_read(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;
    struct image_found found;
    struct checksum sum;
    uint32_t numbers[8];
    uint8_t image[SIZE] = {9};

    (void)state;
    pair_open(&p, nothing, nothing);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s), 0);
    assert_int_equal(
        image_patch_open(p.there.a, &p.there.sum, p.there.sum.pages, &patch),
        0);
    for (uint32_t n = 20; n < 60; n++) {
        assert_int_equal(image_patch_page(patch, n, image), 0);
    }
    assert_int_equal(
        image_patch_commit(patch, image_patch_sum(patch)->sum, &sum), 0);
    assert_true(sum.sum != p.there.sum.sum);
    assert_int_equal(image_source_verify(s, 8, numbers, &found), 0);
    assert_int_equal(found.count, 0);
    assert_int_equal(ask_range(s, 20, 40, NULL, 0, &found), 20);
    image_source_close(s);
    checksum_close(&sum);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_asker_without_anything_gets_all),
        cmocka_unit_test(an_asker_with_everything_costs_no_read),
        cmocka_unit_test(a_damaged_page_does_not_leave),
        cmocka_unit_test(a_range_that_is_not_there_is_refused),
        cmocka_unit_test(the_walk_finds_all_damage),
        cmocka_unit_test(writers_do_not_change_what_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
