/* The packets of a verification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "wire/verify.h"

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 4096);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static struct verify_answer full(void)
{
    struct verify_answer a = {.db.b = {1, 2, 3},
                              .id = 4,
                              .position = {5, 6},
                              .expected = 7,
                              .found = 8,
                              .pages = 9,
                              .done = 10,
                              .damaged = 1000,
                              .state = VERIFY_DONE,
                              .n_listed = VERIFY_LISTED_MAX};

    for (uint32_t i = 0; i < VERIFY_LISTED_MAX; i++) {
        a.listed[i] = 100 + i;
    }
    return a;
}

static void a_question_comes_back(void **state)
{
    struct verify_ask sent = {.db.b = {9, 8}, .id = 77}, got;
    struct buf *out = *state;

    assert_int_equal(verify_ask_encode(&sent, out), 0);
    assert_int_equal(out->len, 24);
    assert_int_equal(verify_ask_decode(out->data, 24, &got), 0);
    assert_true(uuid_equal(&got.db, &sent.db));
    assert_int_equal(got.id, 77);
    assert_int_equal(verify_ask_decode(out->data, 23, &got), ERR_CORRUPT);
    assert_int_equal(verify_ask_decode(out->data, 25, &got), ERR_CORRUPT);
}

static void an_answer_comes_back(void **state)
{
    struct verify_answer sent = full(), got = {.id = 0};
    struct buf *out = *state;

    assert_int_equal(verify_answer_encode(&sent, out), 0);
    assert_int_equal(out->len, 72 + 4 * VERIFY_LISTED_MAX);
    assert_int_equal(verify_answer_decode(out->data, out->len, &got), 0);
    assert_memory_equal(&got, &sent, sizeof got);
}

static void an_answer_has_the_documented_layout(void **state)
{
    struct verify_answer a = full();
    struct buf *out = *state;

    a.n_listed = 1;
    assert_int_equal(verify_answer_encode(&a, out), 0);
    assert_int_equal(out->len, 76);
    assert_int_equal(out->data[16], 4);
    assert_int_equal(out->data[24], 5);
    assert_int_equal(out->data[32], 6);
    assert_int_equal(out->data[40], 7);
    assert_int_equal(out->data[48], 8);
    assert_int_equal(out->data[56], 9);
    assert_int_equal(out->data[60], 10);
    assert_int_equal(out->data[64] + 256 * out->data[65], 1000);
    assert_int_equal(out->data[68], VERIFY_DONE);
    assert_int_equal(out->data[72], 100);
}

static void what_is_no_answer_is_corrupt(void **state)
{
    struct verify_answer a = full(), got = {.id = 42};
    struct buf *out = *state;

    assert_int_equal(verify_answer_encode(&a, out), 0);
    (void)buf_append(out, "1234", 4);
    for (size_t len = 0; len < 72; len++) {
        assert_int_equal(verify_answer_decode(out->data, len, &got),
                         ERR_CORRUPT);
    }
    assert_int_equal(verify_answer_decode(out->data, 74, &got), ERR_CORRUPT);
    /* one page more than may be named */
    assert_int_equal(verify_answer_decode(out->data, out->len, &got),
                     ERR_CORRUPT);
    out->data[68] = VERIFY_FAILED + 1;
    assert_int_equal(verify_answer_decode(out->data, 72, &got), ERR_CORRUPT);
    assert_int_equal(got.id, 42);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_question_comes_back),
        T(an_answer_comes_back),
        T(an_answer_has_the_documented_layout),
        T(what_is_no_answer_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
