/* Mistakes made on purpose, in the code or its surroundings: random runs have
 * to notice each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cluster/sim.h"

#define MUTANT_SEEDS 300
/* A stretch of seeds in which files are behind often. */
#define NOTE_FIRST 51
#define NOTE_SEEDS 40

/* In a process of its own: a mistake may also end in an assertion. */
static bool is_noticed(uint64_t seed, enum sim_mutant mutant, unsigned off)
{
    struct sim_plan plan = sim_plan_of(seed);
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        plan.mutant = mutant;
        plan.off = off;
        signal(SIGSEGV, SIG_DFL); /* cmocka would go on with its tests */
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(0);
        }
        _exit(sim_run(&plan).violated ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status != 0;
}

/* Seed `first` was the first to notice it when this was written: with luck it
 * still is, and the search is short. */
static void assert_notice(enum sim_mutant mutant, unsigned off, uint64_t first)
{
    for (uint64_t seed = first; seed < first + MUTANT_SEEDS; seed++) {
        if (is_noticed(seed, mutant, off)) {
            print_message("noticed by seed %llu\n", (unsigned long long)seed);
            return;
        }
    }
    fail_msg("not noticed in %d runs", MUTANT_SEEDS);
}

static void assert_noticed(enum sim_mutant mutant)
{
    assert_notice(mutant, 0, 1);
}

static void a_swap_that_does_not_compare_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_BLIND_SWAP);
}

static void a_disk_that_acknowledges_early_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_EARLY_ACK);
}

static void votes_that_are_forgotten_are_noticed(void **state)
{
    (void)state;
    assert_notice(MUTANT_LOST_VOTE, 0, 41);
}

static void a_commit_resumed_without_a_fence_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_NO_FENCE);
}

static void an_unknown_outcome_called_a_failure_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_SAY_FAILED);
}

static void a_turn_that_shows_an_old_state_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_UNREAD_LOG);
}

static void a_snapshot_before_the_files_are_durable_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_NO_SETTLE);
}

static void a_sync_that_does_nothing_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_NO_SYNC);
}

static void a_stop_that_hands_nothing_over_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_NO_HANDOVER);
}

static void a_store_that_was_emptied_and_is_heard_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_ANY_STORE);
}

static void a_voter_without_the_log_is_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_EARLY_VOTER);
}

static void members_that_change_too_early_in_a_term_are_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_HASTY_CHANGE);
}

static void votes_of_nobody_are_noticed(void **state)
{
    (void)state;
    assert_noticed(MUTANT_STRAY_VOTE);
}

static void members_that_are_not_taken_back_are_noticed(void **state)
{
    (void)state;
    assert_notice(MUTANT_NONE, OFF_W12, 46);
}

/* Where a file stands is noted so that it need not be kept aside: a matter of
 * room and time, of no transaction. */
static void a_place_that_is_not_noted_costs_copies_only(void **state)
{
    uint64_t with = 0, without = 0;

    (void)state;
    for (uint64_t seed = NOTE_FIRST; seed < NOTE_FIRST + NOTE_SEEDS; seed++) {
        struct sim_plan plan = sim_plan_of(seed);
        with += sim_run(&plan).asides;
        plan.mutant = MUTANT_NO_NOTE;
        struct sim_report r = sim_run(&plan);
        if (r.violated) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, r.why);
        }
        without += r.asides;
    }
    assert_true(without > with + with / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_swap_that_does_not_compare_is_noticed),
        cmocka_unit_test(a_disk_that_acknowledges_early_is_noticed),
        cmocka_unit_test(votes_that_are_forgotten_are_noticed),
        cmocka_unit_test(a_commit_resumed_without_a_fence_is_noticed),
        cmocka_unit_test(an_unknown_outcome_called_a_failure_is_noticed),
        cmocka_unit_test(a_turn_that_shows_an_old_state_is_noticed),
        cmocka_unit_test(a_snapshot_before_the_files_are_durable_is_noticed),
        cmocka_unit_test(a_sync_that_does_nothing_is_noticed),
        cmocka_unit_test(a_stop_that_hands_nothing_over_is_noticed),
        cmocka_unit_test(a_store_that_was_emptied_and_is_heard_is_noticed),
        cmocka_unit_test(a_voter_without_the_log_is_noticed),
        cmocka_unit_test(members_that_change_too_early_in_a_term_are_noticed),
        cmocka_unit_test(votes_of_nobody_are_noticed),
        cmocka_unit_test(members_that_are_not_taken_back_are_noticed),
        cmocka_unit_test(a_place_that_is_not_noted_costs_copies_only),
    };

    cmocka_set_test_filter(getenv("MARMOT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
