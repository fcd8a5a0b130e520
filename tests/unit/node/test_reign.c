/* How long ago a leader surely led. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/reign.h"

enum { TERM = 7, NOW = 1000 };

/* Voter number i has the id i + 1. */
static const uint64_t ids[] = {1, 2, 3, 4, 5};

static struct reign with(unsigned n, const uint64_t *heard)
{
    struct reign r;

    reign_begin(&r, TERM);
    for (unsigned i = 0; i < n; i++) {
        reign_heard(&r, ids[i], TERM, heard[i], NOW);
    }
    return r;
}

static void who_votes_alone_leads_now(void **state)
{
    const struct reign r = with(0, NULL);

    (void)state;
    assert_int_equal(reign_since(&r, ids, 1, 1, NOW), NOW);
}

static void a_new_leader_has_no_proof(void **state)
{
    const struct reign r = with(0, NULL);

    (void)state;
    assert_int_equal(reign_since(&r, ids, 2, 1, NOW), 0);
    assert_int_equal(reign_since(&r, ids, 3, 2, NOW), 0);
}

static void the_last_of_a_majority_decides(void **state)
{
    const uint64_t heard[] = {300, 0, 500, 200, 400};
    const struct reign r = with(5, heard);

    (void)state;
    assert_int_equal(reign_since(&r, ids, 2, 2, NOW), 300);
    assert_int_equal(reign_since(&r, ids, 3, 2, NOW), 500);
    assert_int_equal(reign_since(&r, ids, 4, 2, NOW), 300);
    assert_int_equal(reign_since(&r, ids, 5, 2, NOW), 400);
}

static void an_answer_that_was_overtaken_takes_nothing_back(void **state)
{
    const uint64_t heard[] = {0, 500};
    struct reign r = with(2, heard);

    (void)state;
    reign_heard(&r, 2, TERM, 300, NOW);
    assert_int_equal(reign_since(&r, ids, 2, 1, NOW), 500);
}

static void what_cannot_be_an_answer_proves_nothing(void **state)
{
    struct reign r = with(0, NULL);

    (void)state;
    reign_heard(&r, 2, TERM - 1, 500, NOW); /* of another term */
    reign_heard(&r, 2, TERM + 1, 500, NOW);
    reign_heard(&r, 2, TERM, NOW + 1, NOW); /* not asked yet */
    reign_heard(&r, 9, TERM, 500, NOW);     /* no voter */
    assert_int_equal(reign_since(&r, ids, 2, 1, NOW), 0);
}

static void a_leader_that_does_not_vote_needs_a_majority_of_others(void **state)
{
    const uint64_t heard[] = {300, 500, 400};
    const struct reign r = with(3, heard);

    (void)state;
    assert_int_equal(reign_since(&r, ids, 3, 5, NOW), 400);
    assert_int_equal(reign_since(&r, ids, 1, 5, NOW), 300);
}

static void of_more_nodes_than_there_can_be_the_latest_count(void **state)
{
    struct reign r = with(0, NULL);

    (void)state;
    for (uint64_t i = 0; i <= NODES_MAX; i++) {
        reign_heard(&r, 100 + i, TERM, 100 + i, NOW);
    }
    reign_heard(&r, 2, TERM, 500, NOW);
    assert_int_equal(reign_since(&r, ids, 2, 1, NOW), 500);
}

static void a_proof_is_of_one_term(void **state)
{
    const uint64_t heard[] = {500, 500, 500};
    struct reign r = with(3, heard);

    (void)state;
    reign_begin(&r, TERM + 1);
    assert_int_equal(reign_since(&r, ids, 3, 1, NOW), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_votes_alone_leads_now),
        cmocka_unit_test(a_new_leader_has_no_proof),
        cmocka_unit_test(the_last_of_a_majority_decides),
        cmocka_unit_test(an_answer_that_was_overtaken_takes_nothing_back),
        cmocka_unit_test(what_cannot_be_an_answer_proves_nothing),
        cmocka_unit_test(
            a_leader_that_does_not_vote_needs_a_majority_of_others),
        cmocka_unit_test(of_more_nodes_than_there_can_be_the_latest_count),
        cmocka_unit_test(a_proof_is_of_one_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
