/* The capture of WAL writes, fed by hand, and the pages of a new database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "vfs/guest_capture.h"
#include "vfs/guest_new.h"

#define PAGE 512
#define PAGES_MAX 64

/* What was proposed, and a WAL that is an array of frames. */
struct recorder {
    struct capture c;
    struct capture_answer answer;
    int refuse;
    unsigned proposals;
    uint32_t db_pages, count, last_frame;
    uint32_t numbers[PAGES_MAX];
    uint8_t firsts[PAGES_MAX]; /* first byte of each image */
    uint8_t wal[PAGES_MAX][PAGE];
};

static int note_proposal(void *arg, const struct proposal *p, uint32_t frame)
{
    struct recorder *r = arg;
    uint8_t image[PAGE];

    r->proposals++;
    r->db_pages = p->db_pages;
    r->count = p->count;
    r->last_frame = frame;
    for (uint32_t i = 0; i < p->count && i < PAGES_MAX; i++) {
        r->numbers[i] = p->pages[i].number;
        if (p->pages[i].image == NULL) {
            assert_int_equal(p->read(p->arg, p->pages[i].frame, image), 0);
        }
        r->firsts[i] =
            p->pages[i].image == NULL ? image[0] : p->pages[i].image[0];
    }
    return r->refuse;
}

static int read_wal(void *arg, uint32_t frame, uint8_t *image)
{
    struct recorder *r = arg;

    memcpy(image, r->wal[frame], PAGE);
    return 0;
}

static struct recorder *recorder_new(void)
{
    struct recorder *r = calloc(1, sizeof *r);
    struct capture_hooks hooks = {note_proposal, read_wal, r};

    capture_init(&r->c, &hooks);
    return r;
}

static void recorder_free(struct recorder *r)
{
    capture_close(&r->c);
    free(r);
}

static int64_t frame_at(uint32_t frame)
{
    return 32 + (int64_t)(frame - 1) * (24 + PAGE);
}

static enum capture_step header(struct recorder *r, uint32_t frame,
                                uint32_t page, uint32_t db_pages)
{
    uint8_t bytes[24] = {0};

    put_be32(bytes, page);
    put_be32(bytes + 4, db_pages);
    capture_write(&r->c, bytes, sizeof bytes, frame_at(frame), &r->answer);
    return r->answer.step;
}

static enum capture_step page(struct recorder *r, uint32_t frame, uint8_t fill)
{
    uint8_t bytes[PAGE];

    memset(bytes, fill, sizeof bytes);
    capture_write(&r->c, bytes, sizeof bytes, frame_at(frame) + 24, &r->answer);
    if (r->answer.step == CAPTURE_PASS || r->answer.step == CAPTURE_JOIN) {
        memcpy(r->wal[frame], bytes, PAGE);
    }
    return r->answer.step;
}

static void write_frame(struct recorder *r, uint32_t frame, uint32_t number,
                        uint8_t fill)
{
    assert_int_equal(header(r, frame, number, 0), CAPTURE_HELD);
    assert_int_equal(page(r, frame, fill), CAPTURE_JOIN);
}

static void commit(struct recorder *r, uint32_t frame, uint32_t number,
                   uint8_t fill, uint32_t db_pages)
{
    assert_int_equal(header(r, frame, number, db_pages), CAPTURE_HELD);
    assert_int_equal(page(r, frame, fill), CAPTURE_JOIN);
    assert_true(r->answer.commit);
}

static void header_and_page_are_written_together(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, PAGE);
    commit(r, 5, 3, 'x', 9);
    assert_int_equal(r->answer.len, 24 + PAGE);
    assert_int_equal(r->answer.offset, frame_at(5));
    assert_int_equal(get_be32(r->answer.bytes), 3);
    assert_int_equal(r->answer.bytes[24], 'x');
    assert_int_equal(r->last_frame, 5);
    assert_true(capture_unlock(&r->c));
    recorder_free(r);
}

static void the_last_frame_of_a_page_counts(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, PAGE);
    write_frame(r, 1, 7, 'a');
    write_frame(r, 2, 2, 'b');
    assert_int_equal(page(r, 2, 'B'), CAPTURE_PASS); /* in place */
    write_frame(r, 3, 9, 'c');                       /* beyond the new size */
    commit(r, 4, 7, 'A', 8);
    assert_int_equal(r->count, 2);
    assert_int_equal(r->db_pages, 8);
    assert_int_equal(r->numbers[0], 2);
    assert_int_equal(r->firsts[0], 'B');
    assert_int_equal(r->numbers[1], 7);
    assert_int_equal(r->firsts[1], 'A');
    recorder_free(r);
}

static void a_lower_frame_takes_back_what_came_after_it(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, PAGE);
    write_frame(r, 1, 1, 'a');
    write_frame(r, 2, 2, 'b');
    write_frame(r, 3, 3, 'c');
    write_frame(r, 2, 4, 'd');
    assert_int_equal(page(r, 3, 'z'), CAPTURE_FAIL);
    commit(r, 3, 5, 'e', 5);
    assert_int_equal(r->count, 3);
    assert_int_equal(r->numbers[0], 1);
    assert_int_equal(r->numbers[1], 4);
    assert_int_equal(r->numbers[2], 5);
    recorder_free(r);
}

static void images_beyond_the_bound_are_read_back(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    r->c.buffered_max = 3 * PAGE;
    capture_lock(&r->c, PAGE);
    for (uint32_t i = 1; i <= 20; i++) {
        write_frame(r, i, i, (uint8_t)i);
    }
    assert_int_equal(page(r, 2, 'X'), CAPTURE_PASS);
    write_frame(r, 20, 30, 'Y');
    commit(r, 21, 3, 'Z', 30);
    assert_int_equal(r->count, 20);
    assert_int_equal(r->firsts[0], 1);
    assert_int_equal(r->firsts[1], 'X');
    assert_int_equal(r->firsts[2], 'Z');
    assert_int_equal(r->numbers[19], 30);
    assert_int_equal(r->firsts[19], 'Y');
    recorder_free(r);
}

static void a_refused_transaction_is_not_written(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    r->refuse = ERR_CONFLICT;
    capture_lock(&r->c, PAGE);
    assert_int_equal(header(r, 1, 1, 1), CAPTURE_HELD);
    assert_int_equal(page(r, 1, 'a'), CAPTURE_FAIL);
    assert_true(r->answer.commit);
    assert_int_equal(r->answer.err, ERR_CONFLICT);
    assert_int_equal(header(r, 1, 1, 1), CAPTURE_FAIL);
    assert_int_equal(r->proposals, 1);
    assert_false(capture_unlock(&r->c));
    recorder_free(r);
}

static void after_acceptance_everything_passes(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, PAGE);
    commit(r, 1, 1, 'a', 1);
    assert_int_equal(header(r, 1, 1, 1), CAPTURE_PASS);
    assert_int_equal(page(r, 2, 'p'), CAPTURE_PASS);
    assert_int_equal(r->proposals, 1);
    recorder_free(r);
}

static void a_write_without_the_lock_fails(void **state)
{
    struct recorder *r = recorder_new();

    (void)state;
    assert_int_equal(header(r, 1, 1, 1), CAPTURE_FAIL);
    capture_lock(&r->c, PAGE);
    capture_unlock(&r->c);
    assert_int_equal(page(r, 1, 'a'), CAPTURE_FAIL);
    recorder_free(r);
}

static void writes_that_fit_no_frame_fail(void **state)
{
    static const uint8_t bytes[PAGE];
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, PAGE);
    assert_int_equal(page(r, 1, 'a'), CAPTURE_FAIL); /* no header before */
    capture_write(&r->c, bytes, 24, frame_at(2) + 1, &r->answer);
    assert_int_equal(r->answer.step, CAPTURE_FAIL);
    capture_write(&r->c, bytes, 100, frame_at(1) + 24, &r->answer);
    assert_int_equal(r->answer.step, CAPTURE_FAIL);
    write_frame(r, 4, 1, 'a');
    assert_int_equal(header(r, 3, 1, 0), CAPTURE_FAIL); /* somebody else's */
    assert_int_equal(header(r, 6, 1, 0), CAPTURE_FAIL); /* leaves a gap */
    capture_lock(&r->c, 0);
    assert_int_equal(header(r, 1, 1, 0), CAPTURE_FAIL); /* no page size */
    recorder_free(r);
}

static void a_new_log_brings_its_page_size(void **state)
{
    uint8_t wal_header[32] = {0};
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, 0);
    put_be32(wal_header + 8, PAGE);
    capture_write(&r->c, wal_header, sizeof wal_header, 0, &r->answer);
    assert_int_equal(r->answer.step, CAPTURE_PASS);
    commit(r, 1, 1, 'a', 1);
    assert_int_equal(r->count, 1);
    recorder_free(r);
}

static void frames_without_a_checksum_are_remembered(void **state)
{
    uint8_t bytes[24] = {0};
    uint8_t image[PAGE] = {0};
    struct recorder *r = recorder_new();

    (void)state;
    capture_lock(&r->c, PAGE);
    put_be32(bytes, 1);
    bytes[23] = 1; /* a checksum */
    capture_write(&r->c, bytes, 24, frame_at(1), &r->answer);
    capture_write(&r->c, image, PAGE, frame_at(1) + 24, &r->answer);
    write_frame(r, 2, 2, 'a');
    assert_false(capture_unsummed(&r->c, 0));
    assert_false(capture_unsummed(&r->c, 1));
    assert_true(capture_unsummed(&r->c, 2));
    assert_true(capture_unsummed(&r->c, 99));
    assert_int_equal(capture_last(&r->c), 2);
    recorder_free(r);
}

/* ---- a database that is being created ------------------------------------ */

static void held_pages_are_read_back_with_holes_as_zeros(void **state)
{
    struct guest_new n;
    struct proposal p;
    uint8_t image[PAGE];
    uint8_t bytes[3 * PAGE];

    (void)state;
    guest_new_init(&n);
    guest_new_begin(&n);
    assert_int_equal(guest_new_read(&n, bytes, 16, 0), ERR_SHORT);
    memset(image, 'a', PAGE);
    assert_int_equal(guest_new_write(&n, image, PAGE, 0), 0);
    assert_int_equal(guest_new_write(&n, image, PAGE, 2 * PAGE), 0);
    assert_int_equal(n.size, 3 * PAGE);
    assert_int_equal(guest_new_read(&n, bytes, 3 * PAGE, 0), 0);
    assert_int_equal(bytes[PAGE - 1], 'a');
    assert_int_equal(bytes[PAGE], 0);
    assert_int_equal(bytes[2 * PAGE], 'a');
    assert_int_equal(guest_new_read(&n, bytes, 16, 3 * PAGE - 8), ERR_SHORT);
    assert_int_equal(bytes[7], 'a');
    assert_int_equal(bytes[8], 0);
    assert_int_equal(guest_new_proposal(&n, &p), 0);
    assert_int_equal(p.count, 3);
    assert_int_equal(p.pages[0].image[18], 2);
    assert_int_equal(p.pages[1].image[0], 0);
    free((void *)(uintptr_t)p.pages);
    guest_new_truncate(&n, PAGE);
    assert_int_equal(guest_new_read(&n, bytes, PAGE, PAGE), ERR_SHORT);
    guest_new_close(&n);
}

static void a_new_database_has_a_largest_size(void **state)
{
    static const uint8_t image[65536];
    struct guest_new n;

    (void)state;
    guest_new_init(&n);
    guest_new_begin(&n);
    assert_int_equal(
        guest_new_write(&n, image, 65536, (int64_t)TXN_BYTES_MAX - 65536), 0);
    assert_int_equal(guest_new_write(&n, image, 65536, (int64_t)TXN_BYTES_MAX),
                     ERR_FULL);
    assert_int_equal(guest_new_write(&n, image, 512, 0), ERR_CORRUPT);
    assert_int_equal(guest_new_write(&n, image, 65536, 17), ERR_CORRUPT);
    guest_new_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_and_page_are_written_together),
        cmocka_unit_test(the_last_frame_of_a_page_counts),
        cmocka_unit_test(a_lower_frame_takes_back_what_came_after_it),
        cmocka_unit_test(images_beyond_the_bound_are_read_back),
        cmocka_unit_test(a_refused_transaction_is_not_written),
        cmocka_unit_test(after_acceptance_everything_passes),
        cmocka_unit_test(a_write_without_the_lock_fails),
        cmocka_unit_test(writes_that_fit_no_frame_fail),
        cmocka_unit_test(a_new_log_brings_its_page_size),
        cmocka_unit_test(frames_without_a_checksum_are_remembered),
        cmocka_unit_test(held_pages_are_read_back_with_holes_as_zeros),
        cmocka_unit_test(a_new_database_has_a_largest_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
