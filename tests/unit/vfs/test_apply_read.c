/* Single pages against what a snapshot reads, in whatever state file and WAL
 * are. */
#include "tests/unit/vfs/pair.h"

#include "base/err.h"
#include "vfs/apply_internal.h"

static const uint32_t sizes[] = {512, 4096, 65536};

static void assert_zeros(struct pair *p, uint32_t number)
{
    static const uint8_t zeros[65536];
    uint8_t *image = malloc(65536);

    assert_non_null(image);
    memset(image, 0x77, 65536);
    assert_int_equal(apply_read(p->a, number, image), 0);
    assert_memory_equal(image, zeros, p->source.page_size);
    free(image);
}

/* Returns how many pages there are. */
static uint32_t assert_as_a_snapshot(struct pair *p)
{
    uint32_t size = p->source.page_size, pages;
    uint8_t *want = malloc(size), *image = malloc(size);
    struct page_reader *r;

    assert_true(want != NULL && image != NULL);
    assert_int_equal(page_reader_open(p->a, &r), 0);
    pages = page_reader_count(r);
    for (uint32_t n = 1; n <= pages; n++) {
        memset(image, 0x77, size);
        assert_int_equal(page_reader_get(r, n, want), 0);
        assert_int_equal(apply_read(p->a, n, image), 0);
        assert_memory_equal(image, want, size);
    }
    page_reader_close(r);
    free(want);
    free(image);
    return pages;
}

static void every_page_is_that_of_a_snapshot(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct pair p;
        pair_start(&p, sizes[s], 2);
        pair_open(&p);
        assert_as_a_snapshot(&p);
        for (size_t i = 0; i < sizeof workload / sizeof *workload; i++) {
            run(p.source.db, workload[i]);
            follow(&p);
            assert_as_a_snapshot(&p);
            if (i % 3 == 2) {
                assert_int_equal(apply_checkpoint(p.a, i % 2 == 0), 0);
                assert_as_a_snapshot(&p);
            }
        }
        assert_identical(&p);
        pair_end(&p);
    }
}

/* Written back as far as a reader allows, then all of it, then started over;
 * and pages that the old and the new part of the WAL hold. */
static void a_wal_that_is_partly_written_back(void **state)
{
    uint32_t frames, backfilled;
    char answer[256];
    sqlite3 *reader;
    struct pair p;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    reader = open_sql(p.follower);
    for (int round = 0; round < 3; round++) {
        run(p.source.db, workload[1]);
        follow(&p);
        run(reader, "BEGIN");
        ask(reader, "SELECT count(*) FROM t", answer);
        run(p.source.db, "UPDATE t SET v=randomblob(100) WHERE id%3=1");
        assert_int_equal(follow(&p), 1);
        assert_as_a_snapshot(&p);
        assert_int_equal(apply_checkpoint(p.a, true), 0);
        apply_frames(p.a, &frames, &backfilled);
        assert_in_range(backfilled, 1, frames - 1);
        assert_as_a_snapshot(&p);
        run(reader, "COMMIT");
        assert_int_equal(apply_checkpoint(p.a, false), 0);
        apply_frames(p.a, &frames, &backfilled);
        assert_int_equal(backfilled, frames);
        assert_as_a_snapshot(&p);
        run(p.source.db, "UPDATE t SET v=randomblob(100) WHERE id%5=1");
        assert_int_equal(follow(&p), 1);
        assert_as_a_snapshot(&p);
        if (round == 1) {
            assert_int_equal(apply_checkpoint(p.a, true), 0);
            apply_frames(p.a, &frames, &backfilled);
            assert_int_equal(frames, 0);
            assert_as_a_snapshot(&p);
        }
    }
    sqlite3_close(reader);
    assert_identical(&p);
    pair_end(&p);
}

static void beyond_the_end_of_the_file_there_are_zeros(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint8_t *image = malloc(sizes[s]);
        struct wal_state after;
        struct pair p;
        uint32_t pages;

        assert_non_null(image);
        pair_start(&p, sizes[s], 0);
        pair_open(&p);
        pages = apply_pages(p.a);
        assert_zeros(&p, pages + 1);
        assert_zeros(&p, 0xfffffffe);
        /* What it grows by is in the WAL, or nowhere. */
        memset(image, 3, sizes[s]);
        assert_int_equal(apply_begin(p.a, pages + 2), 0);
        assert_int_equal(apply_page(p.a, pages + 2, image), 0);
        assert_int_equal(apply_commit(p.a, &after), 0);
        for (int reset = 0; reset < 3; reset++) {
            assert_int_equal(assert_as_a_snapshot(&p), pages + 2);
            assert_zeros(&p, pages + 1);
            assert_zeros(&p, pages + 3);
            assert_int_equal(apply_checkpoint(p.a, reset > 0), 0);
        }
        assert_int_equal(apply_close(p.a, false), 0);
        free(image);
        pair_end(&p);
    }
}

static void what_is_not_committed_is_not_read(void **state)
{
    uint8_t before[1024], image[1024], other[1024];
    struct wal_state after;
    struct pair p;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    assert_int_equal(apply_read(p.a, 2, before), 0);
    memset(other, 9, sizeof other);
    for (int commit = 0; commit < 2; commit++) {
        assert_int_equal(apply_begin(p.a, 1100), 0);
        for (uint32_t n = 2; n <= 1100; n++) { /* more than is kept back */
            assert_int_equal(apply_page(p.a, n, other), 0);
        }
        assert_int_equal(apply_read(p.a, 2, image), 0);
        assert_memory_equal(image, before, sizeof image);
        if (commit) {
            assert_int_equal(apply_commit(p.a, &after), 0);
        } else {
            apply_abort(p.a);
        }
        assert_int_equal(apply_read(p.a, 2, image), 0);
        assert_memory_equal(image, commit ? other : before, sizeof image);
    }
    assert_int_equal(apply_close(p.a, false), 0);
    pair_end(&p);
}

/* A transaction that is larger than its cache: SQLite writes frames, and their
 * entries in the index, before it commits. */
static void nor_what_a_session_has_spilled(void **state)
{
    uint32_t frames, backfilled;
    struct pair p;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    run(p.source.db, workload[1]);
    follow(&p);
    apply_frames(p.a, &frames, &backfilled);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(wal_index_reserve(&p.a->index, frames + i), 0);
        assert_int_equal(wal_index_append(&p.a->index, frames, frames + i, i),
                         0);
    }
    assert_as_a_snapshot(&p);
    assert_int_equal(apply_close(p.a, false), 0);
    pair_end(&p);
}

/* As a session leaves it that dies in the middle. */
static void a_header_that_is_being_written_is_busy(void **state)
{
    uint8_t image[1024], byte;
    char name[PATH_MAX + 8];
    struct pair p;
    int fd;

    (void)state;
    pair_start(&p, 1024, 0);
    pair_open(&p);
    run(p.source.db, workload[0]);
    follow(&p);
    snprintf(name, sizeof name, "%s-shm", p.follower);
    fd = open(name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int torn = 0; torn < 2; torn++) { /* and whole again */
        assert_int_equal(pread(fd, &byte, 1, 17), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, 17), 1);
        assert_int_equal(apply_read(p.a, 2, image), torn ? 0 : ERR_BUSY);
    }
    assert_int_equal(apply_close(p.a, false), 0);
    close(fd);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_is_that_of_a_snapshot),
        cmocka_unit_test(a_wal_that_is_partly_written_back),
        cmocka_unit_test(beyond_the_end_of_the_file_there_are_zeros),
        cmocka_unit_test(what_is_not_committed_is_not_read),
        cmocka_unit_test(nor_what_a_session_has_spilled),
        cmocka_unit_test(a_header_that_is_being_written_is_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
