/* The VFS as the default: what LD_PRELOAD makes of it. */
#include <unistd.h>

#include "tests/unit/vfs/guest_fixture.h"

#define SETUP "CREATE TABLE t(a); INSERT INTO t VALUES (1)"

static int become_default(void **state)
{
    (void)state;
    return marmot_register(1);
}

static bool beside(const struct fixture *f, const char *suffix)
{
    char path[128];

    snprintf(path, sizeof path, "%s%s", f->path, suffix);
    return access(path, F_OK) == 0;
}

static void an_unmanaged_database_is_left_to_sqlite(void **state)
{
    struct fixture *f = fixture_empty();
    sqlite3 *db = open_with(f->path, NULL);

    (void)state;
    assert_int_equal(number_of(db, "PRAGMA busy_timeout"), 0);
    must(db, SETUP);
    assert_string_equal(text_of(db, "PRAGMA journal_mode"), "delete");
    assert_string_equal(text_of(db, "PRAGMA locking_mode = exclusive"),
                        "exclusive");
    assert_string_equal(text_of(db, "PRAGMA journal_mode = truncate"),
                        "truncate");
    must(db, "INSERT INTO t VALUES (2)");
    assert_true(beside(f, "-journal"));
    assert_string_equal(text_of(db, "PRAGMA locking_mode = normal"), "normal");
    assert_string_equal(text_of(db, "PRAGMA journal_mode = wal"), "wal");
    must(db, "INSERT INTO t VALUES (3)");
    assert_true(beside(f, "-wal"));
    assert_string_equal(text_of(db, "PRAGMA wal_checkpoint"), "0");
    sqlite3_close(db);
    assert_false(beside(f, "-wal"));
    assert_false(beside(f, "-shm"));
    fixture_free(f);
}

static void an_unmanaged_database_can_be_required_not_to_open(void **state)
{
    struct fixture *f = fixture_plain(SETUP);
    sqlite3 *db;

    (void)state;
    setenv("MARMOT_REQUIRE", "1", 1);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_CANTOPEN);
    sqlite3_close(db);
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    must(db, "CREATE TEMP TABLE x(a)");
    sqlite3_close(db);
    serve(f);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    sqlite3_close(db);
    unsetenv("MARMOT_REQUIRE");
    fixture_free(f);
}

static void a_handle_becomes_managed_when_it_meets_the_node(void **state)
{
    struct fixture *f = fixture_plain(SETUP);
    sqlite3 *db = open_with(f->path, NULL);
    sqlite3 *node = open_with(f->path, "unix");

    (void)state;
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    must(node, "BEGIN IMMEDIATE"); /* stands for the node's locks */
    serve(f);
    assert_int_equal(try_sql(db, "INSERT INTO t VALUES (2)"), SQLITE_BUSY);
    must(node, "ROLLBACK");
    must(db, "INSERT INTO t VALUES (2)");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    assert_string_equal(text_of(db, "PRAGMA wal_checkpoint"), "1");
    sqlite3_close(db);
    sqlite3_close(node);
    assert_same_bytes(f);
    fixture_free(f);
}

static void an_empty_file_that_became_managed_is_not_written_alone(void **state)
{
    struct fixture *f = fixture_empty();
    sqlite3 *db = open_with(f->path, NULL);

    (void)state;
    assert_int_equal(number_of(db, "SELECT count(*) FROM sqlite_schema"), 0);
    serve(f);
    must(db, SETUP);
    must(db, "INSERT INTO t VALUES (2)");
    settle(db);
    assert_int_equal(f->node.proposals, 3);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

static void a_handle_from_rollback_mode_follows_the_node_to_wal(void **state)
{
    struct fixture *f = fixture_empty();
    sqlite3 *db = open_with(f->path, NULL);
    sqlite3 *node;
    size_t len;

    (void)state;
    must(db, SETUP);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    node = open_with(f->path, "unix");
    assert_string_equal(text_of(node, "PRAGMA journal_mode = wal"), "wal");
    must(node, "PRAGMA wal_checkpoint(TRUNCATE)");
    f->node.page_size = 4096;
    sqlite3_close(node);
    len = recovered(f, &f->node.bytes);
    f->node.pages = (uint32_t)(len / 4096);
    serve(f);
    node = open_with(f->path, "unix");
    must(node, "BEGIN IMMEDIATE");
    assert_int_equal(try_sql(db, "INSERT INTO t VALUES (2)"), SQLITE_BUSY);
    must(node, "ROLLBACK");
    must(db, "INSERT INTO t VALUES (3)");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    assert_same_bytes(f);
    sqlite3_close(node);
    sqlite3_close(db);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unmanaged_database_is_left_to_sqlite),
        cmocka_unit_test(an_unmanaged_database_can_be_required_not_to_open),
        cmocka_unit_test(a_handle_becomes_managed_when_it_meets_the_node),
        cmocka_unit_test(
            an_empty_file_that_became_managed_is_not_written_alone),
        cmocka_unit_test(a_handle_from_rollback_mode_follows_the_node_to_wal),
    };

    return cmocka_run_group_tests(tests, become_default, NULL);
}
