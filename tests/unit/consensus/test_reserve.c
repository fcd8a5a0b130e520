#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consensus/reserve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char folder[] = "/tmp/marmot-reserve-XXXXXX";
static char file[sizeof folder + 32];

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(file, sizeof file, "%s/store.reserve", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    reserve_release(folder);
    return rmdir(folder);
}

/* Of the file on the disk; -1: there is none. */
static long long allocated(void)
{
    struct stat st;

    return stat(file, &st) == 0 ? (long long)st.st_blocks * 512 : -1;
}

static void the_reserve_has_real_blocks(void **state)
{
    (void)state;
    assert_int_equal(reserve_make(folder), 0);
    assert_true(allocated() >= RESERVE_BYTES);
    assert_int_equal(reserve_make(folder), 0); /* it is there */
}

static void it_is_given_up_and_made_again(void **state)
{
    (void)state;
    reserve_release(folder);
    assert_int_equal(allocated(), -1);
    reserve_release(folder); /* nothing to give up */
    assert_int_equal(reserve_make(folder), 0);
    assert_true(allocated() >= RESERVE_BYTES);
}

static void a_short_one_is_made_whole(void **state)
{
    (void)state;
    assert_int_equal(truncate(file, 4096), 0);
    assert_int_equal(reserve_make(folder), 0);
    assert_true(allocated() >= RESERVE_BYTES);
}

static void a_missing_folder_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(reserve_make("/tmp/marmot-no-such-folder"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reserve_has_real_blocks),
        cmocka_unit_test(it_is_given_up_and_made_again),
        cmocka_unit_test(a_short_one_is_made_whole),
        cmocka_unit_test(a_missing_folder_is_an_error),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
