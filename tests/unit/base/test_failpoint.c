#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>

/* In every build, not only in the one with points. */
#ifndef MARMOT_FAILPOINTS
#define MARMOT_FAILPOINTS
#endif
#include "base/failpoint.c"

static char armed[64];

/* What a child does under these rules: its exit status, or 128 + signal. */
static int child(const char *fail, int (*run)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        setenv("MARMOT_FAIL", fail, 1);
        setenv("MARMOT_FAIL_WHEN", armed, 1);
        freopen("/dev/null", "w", stderr);
        _exit(run());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A bit for each of four passages that failed. */
static int pass_four(void)
{
    int failed = 0;

    for (int i = 0; i < 4; i++) {
        failed |= FAILPOINT_ERROR("store.begin", 1, 0) << i;
    }
    return failed;
}

static int pass_unarmed_then_armed(void)
{
    int failed;

    unlink(armed);
    failed = FAILPOINT_ERROR("store.begin", 1, 0);
    fclose(fopen(armed, "w"));
    return failed | FAILPOINT_ERROR("store.begin", 1, 0) << 1;
}

static int pass_unknown(void)
{
    FAILPOINT("no.such");
    return 0;
}

static int pass_conditional(void)
{
    FAILPOINT_IF(false, "store.begin");
    return FAILPOINT_ERROR("store.begin", 1, 0);
}

static int pass_slowly(void)
{
    struct timespec begun, now;

    clock_gettime(CLOCK_MONOTONIC, &begun);
    FAILPOINT("store.begin");
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - begun.tv_sec) * 1000 +
                       (now.tv_nsec - begun.tv_nsec) / 1000000 >=
                   20
               ? 0
               : 1;
}

static void the_passage_that_is_named_fails(void **state)
{
    (void)state;
    assert_int_equal(child("store.begin:1:error", pass_four), 1);
    assert_int_equal(child("store.begin:3:error", pass_four), 4);
    assert_int_equal(child("store.commit:1:error", pass_four), 0);
    assert_int_equal(child("store.begin:5:error", pass_four), 0);
}

static void a_plus_means_that_one_and_all_later(void **state)
{
    (void)state;
    assert_int_equal(child("store.begin:2+:error", pass_four), 14);
}

static void several_rules_act_together(void **state)
{
    (void)state;
    assert_int_equal(
        child("store.begin:1:error,store.begin:4:error", pass_four), 9);
}

static void kill_is_a_death_by_signal(void **state)
{
    (void)state;
    assert_int_equal(child("store.begin:2:kill", pass_four), 128 + SIGKILL);
}

static void delay_waits(void **state)
{
    (void)state;
    assert_int_equal(child("store.begin:1:delay=20", pass_slowly), 0);
}

static void passages_count_only_while_the_switch_is_there(void **state)
{
    (void)state;
    assert_int_equal(child("store.begin:1:error", pass_unarmed_then_armed), 2);
}

static void a_passage_whose_condition_fails_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(child("store.begin:1:error", pass_conditional), 1);
}

static void what_cannot_be_understood_aborts(void **state)
{
    static const char *const bad[] = {
        "store.begin",        "store.begin:0:kill", "store.begin:x:kill",
        "store.begin:1:kil",  "store.begin:1:",     "no.such:1:kill",
        "store.begin:1:kill;"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(child(bad[i], pass_four), 128 + SIGABRT);
    }
    assert_int_equal(child("", pass_unknown), 128 + SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_passage_that_is_named_fails),
        cmocka_unit_test(a_plus_means_that_one_and_all_later),
        cmocka_unit_test(several_rules_act_together),
        cmocka_unit_test(kill_is_a_death_by_signal),
        cmocka_unit_test(delay_waits),
        cmocka_unit_test(passages_count_only_while_the_switch_is_there),
        cmocka_unit_test(a_passage_whose_condition_fails_does_not_count),
        cmocka_unit_test(what_cannot_be_understood_aborts),
    };
    int failed, fd;

    snprintf(armed, sizeof armed, "/tmp/marmot-armed-XXXXXX");
    fd = mkstemp(armed);
    close(fd);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(armed);
    return failed;
}
