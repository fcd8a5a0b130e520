/* The paths of the pane. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "pane/route.h"

static struct route parsed(const char *path)
{
    struct route r;
    char why[512] = "";

    if (route_parse(path, &r, why, sizeof why) != 0) {
        fail_msg("%s: %s", path, why);
    }
    return r;
}

static void refused(const char *path, int code)
{
    struct route r = {.shard = 77};
    char why[512] = "";

    assert_int_equal(route_parse(path, &r, why, sizeof why), code);
    assert_int_equal(r.shard, 77);
    assert_true(strlen(why) > 0);
    assert_null(strchr(why, '\n'));
}

static void fixed_paths_are_known(void **state)
{
    (void)state;
    assert_int_equal(parsed("/").kind, ROUTE_PAGE);
    assert_int_equal(parsed("/health").kind, ROUTE_HEALTH);
    assert_int_equal(parsed("/info").kind, ROUTE_INFO);
    assert_int_equal(parsed("/status").kind, ROUTE_STATUS);
    assert_int_equal(parsed("/metrics").kind, ROUTE_METRICS);
    assert_int_equal(parsed("/events").kind, ROUTE_EVENTS);
    assert_int_equal(parsed("/shuffle").kind, ROUTE_SHUFFLE);
}

static void only_what_steers_is_a_change(void **state)
{
    (void)state;
    assert_true(parsed("/shuffle").changes);
    assert_true(parsed("/move/cluster/1/node/2").changes);
    assert_false(parsed("/status").changes);
    assert_false(parsed("/backup/main").changes);
}

static void a_move_names_a_shard_and_a_node(void **state)
{
    struct route r = parsed("/move/cluster/15/node/9223372036854775807");

    (void)state;
    assert_int_equal(r.kind, ROUTE_MOVE);
    assert_int_equal(r.shard, 15);
    assert_true(r.node == INT64_MAX);
    assert_int_equal(parsed("/move/cluster/0/node/1").shard, 0);
}

static void a_move_with_bad_numbers_is_refused(void **state)
{
    (void)state;
    refused("/move/cluster/x/node/1", -EINVAL);
    refused("/move/cluster//node/1", -EINVAL);
    refused("/move/cluster/-1/node/1", -EINVAL);
    refused("/move/cluster/+1/node/1", -EINVAL);
    refused("/move/cluster/ 1/node/1", -EINVAL);
    refused("/move/cluster/9223372036854775808/node/1", -EINVAL);
    refused("/move/cluster/99999999999999999999999/node/1", -EINVAL);
    refused("/move/cluster/1/node/", -EINVAL);
    refused("/move/cluster/1/node/0", -EINVAL);
    refused("/move/cluster/1/node/1x", -EINVAL);
    refused("/move/cluster/1/node/1/", -EINVAL);
    refused("/move/cluster/1", ERR_NOT_FOUND);
    refused("/move/cluster/1x/node/1", ERR_NOT_FOUND);
}

static void a_backup_and_a_verification_name_a_database(void **state)
{
    char path[200] = "/backup/";

    (void)state;
    assert_string_equal(parsed("/backup/a.B-9_").name, "a.B-9_");
    memset(path + 8, 'x', DB_NAME_MAX);
    assert_int_equal(strlen(parsed(path).name), DB_NAME_MAX);
    path[8 + DB_NAME_MAX] = 'x';
    refused(path, -EINVAL);
    assert_int_equal(parsed("/verify/a").kind, ROUTE_VERIFY);
    assert_true(parsed("/verify/a").changes);
    refused("/verify/", -EINVAL);
    refused("/backup/", -EINVAL);
    refused("/backup/a/b", -EINVAL);
    refused("/backup/a b", -EINVAL);
    refused("/backup/\xc3\xa4", -EINVAL);
}

static void anything_else_is_not_found(void **state)
{
    (void)state;
    refused("", ERR_NOT_FOUND);
    refused("//", ERR_NOT_FOUND);
    refused("/Status", ERR_NOT_FOUND);
    refused("/status/", ERR_NOT_FOUND);
    refused("/statusx", ERR_NOT_FOUND);
    refused("/../status", ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_paths_are_known),
        cmocka_unit_test(only_what_steers_is_a_change),
        cmocka_unit_test(a_move_names_a_shard_and_a_node),
        cmocka_unit_test(a_move_with_bad_numbers_is_refused),
        cmocka_unit_test(a_backup_and_a_verification_name_a_database),
        cmocka_unit_test(anything_else_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
