#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/err.h"

static void every_code_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int a = ERR_CORRUPT; a < ERR_LAST; a++) {
        assert_non_null(err_str(a));
        assert_string_not_equal(err_str(a), "");
        assert_null(strstr(err_str(a), "Unknown"));
        for (int b = ERR_CORRUPT; b < a; b++) {
            assert_string_not_equal(err_str(a), err_str(b));
        }
    }
}

static void a_negative_errno_has_the_text_of_the_system(void **state)
{
    (void)state;
    assert_string_equal(err_str(-ENOENT), strerror(ENOENT));
}

static void anything_else_has_a_text_too(void **state)
{
    static const int codes[] = {1, INT_MAX, ERR_LAST, ERR_CORRUPT - 1, 0};

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_non_null(err_str(codes[i]));
        assert_string_not_equal(err_str(codes[i]), "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_text_of_its_own),
        cmocka_unit_test(a_negative_errno_has_the_text_of_the_system),
        cmocka_unit_test(anything_else_has_a_text_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
