/* Which databases are managed, how they are found, and what their handles are
 * not allowed. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/vfs/guest_fixture.h"

#define SETUP "CREATE TABLE t(a); INSERT INTO t VALUES (1)"

static int open_code(const char *name)
{
    sqlite3 *db;
    int rc = sqlite3_open_v2(
        name, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
        "marmot");

    sqlite3_close(db);
    return rc;
}

static int open_code_of(const struct fixture *f, const char *parameter)
{
    char name[256];

    snprintf(name, sizeof name, "file:%s?%s", f->path, parameter);
    return open_code(name);
}

static void an_unmanaged_database_is_not_opened_when_marmot_was_asked_for(
    void **state)
{
    struct fixture *f = fixture_plain(SETUP);
    char missing[128];

    (void)state;
    assert_int_equal(open_code(f->path), SQLITE_CANTOPEN);
    snprintf(missing, sizeof missing, "%s/missing.db", f->dir);
    assert_int_equal(open_code(missing), SQLITE_CANTOPEN);
    assert_int_equal(access(missing, F_OK), -1);
    assert_int_equal(open_code(":memory:"), SQLITE_OK);
    assert_int_equal(open_code(""), SQLITE_OK);
    fixture_free(f);
}

static void uris_that_go_past_the_locks_are_refused(void **state)
{
    struct fixture *f = fixture_new(SETUP);

    (void)state;
    assert_int_equal(open_code_of(f, "immutable=1"), SQLITE_CANTOPEN);
    assert_int_equal(open_code_of(f, "nolock=1"), SQLITE_CANTOPEN);
    assert_int_equal(open_code_of(f, "nolock=0&mode=ro"), SQLITE_OK);
    fixture_free(f);
}

static void a_symbolic_link_leads_to_the_same_database(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    char link[128];
    sqlite3 *db;

    (void)state;
    snprintf(link, sizeof link, "%s/link.db", f->dir);
    assert_int_equal(symlink("app.db", link), 0);
    db = open_with(link, "marmot");
    must(db, "INSERT INTO t VALUES (2)");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

static void a_path_longer_than_a_socket_address_works(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    char folder[256];
    char path[300];
    char command[1400];
    sqlite3 *db;

    (void)state;
    snprintf(folder, sizeof folder, "%s/%0150d", f->dir, 7);
    snprintf(path, sizeof path, "%s/app.db", folder);
    snprintf(command, sizeof command,
             "mkdir '%s' && mv '%s' '%s' && mv '%s-marmot' '%s-marmot'", folder,
             f->path, path, f->path, path);
    assert_int_equal(system(command), 0);
    db = open_with(path, "marmot");
    must(db, "INSERT INTO t VALUES (2)");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    sqlite3_close(db);
    fixture_free(f);
}

static void the_hello_names_the_file_that_was_opened(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    struct stat st;

    (void)state;
    settle(db);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(f->node.hello.inode, st.st_ino);
    assert_int_equal(f->node.hello.dev, st.st_dev);
    assert_int_equal(f->node.hello.pid, getpid());
    assert_false(f->node.hello.empty);
    sqlite3_close(db);
    fixture_free(f);
}

static void reading_never_talks_to_the_node(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    FAKE(&f->node, f->node.never_connect = true);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
    sqlite3_close(db);
    assert_int_equal(f->node.hellos, 0);
    fixture_free(f);
}

static void journal_and_locking_mode_stay_as_they_must(void **state)
{
    static const char *const modes[] = {"delete", "memory", "off", "truncate",
                                        "wal"};
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    char sql[128];

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s", modes[i]);
        assert_string_equal(text_of(db, sql), "wal");
    }
    assert_string_equal(text_of(db, "PRAGMA journal_mode"), "wal");
    assert_string_equal(text_of(db, "PRAGMA locking_mode = exclusive"),
                        "normal");
    assert_string_equal(text_of(db, "PRAGMA locking_mode"), "normal");
    must(db, "INSERT INTO t VALUES (2)");
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

static void nobody_but_the_node_checkpoints_or_deletes_the_wal(void **state)
{
    static const char *const kinds[] = {"PASSIVE", "FULL", "RESTART",
                                        "TRUNCATE"};
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    char sql[128];
    char wal[128];
    struct stat st;

    (void)state;
    must(db, "PRAGMA wal_autocheckpoint = 1; PRAGMA journal_size_limit = 0");
    sqlite3_busy_timeout(db, 0);
    for (int i = 0; i < 20; i++) {
        must(db, "INSERT INTO t VALUES (zeroblob(5000))");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        snprintf(sql, sizeof sql, "PRAGMA wal_checkpoint(%s)", kinds[i]);
        assert_string_equal(text_of(db, sql), "1");
    }
    sqlite3_close(db);
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(stat(wal, &st), 0);
    assert_true(st.st_size > 20 * 5000);
    assert_same_bytes(f);
    fixture_free(f);
}

static void pragmas_ask_the_node(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "INSERT INTO t VALUES (2)");
    assert_string_equal(text_of(db, "PRAGMA marmot_position"), "1:abc");
    assert_string_equal(text_of(db, "PRAGMA marmot_status"), "role=fake");
    assert_string_equal(text_of(db, "PRAGMA marmot_wait = '1'"), "ok");
    assert_string_equal(text_of(db, "PRAGMA marmot_wait('1:abc,100')"), "ok");
    assert_string_equal(text_of(db, "PRAGMA marmot_wait = '2,50'"), "timeout");
    assert_int_equal(try_sql(db, "PRAGMA marmot_wait = 'x'"), SQLITE_ERROR);
    assert_int_equal(try_sql(db, "PRAGMA marmot_wait = '1,'"), SQLITE_ERROR);
    assert_int_equal(try_sql(db, "PRAGMA marmot_wait"), SQLITE_ERROR);
    stop_serving(f);
    assert_int_equal(try_sql(db, "PRAGMA marmot_position"), SQLITE_ERROR);
    assert_non_null(strstr(sqlite3_errmsg(db), "no node is running"));
    sqlite3_close(db);
    fixture_free(f);
}

static void a_busy_timeout_is_set_only_where_the_application_set_none(
    void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    assert_int_equal(number_of(db, "PRAGMA busy_timeout"), 5000);
    sqlite3_busy_timeout(db, 17);
    assert_int_equal(number_of(db, "PRAGMA busy_timeout"), 17);
    sqlite3_close(db);
    db = open_with(":memory:", "marmot");
    assert_int_equal(number_of(db, "PRAGMA busy_timeout"), 0);
    sqlite3_close(db);
    fixture_free(f);
}

static void two_attached_databases_are_both_replicated(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    struct fixture *g = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    char sql[160];

    (void)state;
    snprintf(sql, sizeof sql, "ATTACH '%s' AS g", g->path);
    must(db, sql);
    must(db,
         "BEGIN; INSERT INTO main.t VALUES (2); INSERT INTO g.t VALUES (3);"
         "COMMIT");
    must(db, "INSERT INTO g.t SELECT a FROM main.t");
    assert_string_equal(text_of(db, "PRAGMA g.journal_mode = delete"), "wal");
    text_of(db, "PRAGMA g.marmot_status");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    assert_int_equal(g->node.proposals, 2);
    assert_same_bytes(f);
    assert_same_bytes(g);
    sqlite3_close(db);
    fixture_free(f);
    fixture_free(g);
}

static void exclusive_mode_by_way_of_another_database_is_refused(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_with(":memory:", "marmot");
    char sql[160];

    (void)state;
    snprintf(sql, sizeof sql, "ATTACH '%s' AS f", f->path);
    must(db, sql);
    try_sql(db, "PRAGMA locking_mode = exclusive");
    try_sql(db, "PRAGMA journal_mode = delete");
    assert_int_equal(try_sql(db, "INSERT INTO f.t VALUES (2)"), SQLITE_BUSY);
    assert_int_equal(f->node.proposals, 0);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

/* Runs in the child: exit status 0 when it could not write. */
static void child_of(sqlite3 *db)
{
    int rc = sqlite3_exec(db, "INSERT INTO t VALUES (99); COMMIT", 0, 0, 0);

    sqlite3_close(db);
    _exit(rc == SQLITE_OK ? 1 : 0);
}

static void a_forked_child_does_not_disturb_its_parent(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    int status;
    pid_t child;

    (void)state;
    must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2)");
    child = fork();
    if (child == 0) {
        child_of(db);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(db, "COMMIT");
    must(db, "INSERT INTO t VALUES (3)");
    settle(db);
    assert_int_equal(f->node.proposals, 2);
    assert_int_equal(f->node.hellos, 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 3);
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

static void a_forked_child_may_open_the_database_itself(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    int status;
    pid_t child;

    (void)state;
    must(db, "INSERT INTO t VALUES (2)");
    child = fork();
    if (child == 0) {
        sqlite3 *own = open_managed(f);
        int rc = sqlite3_exec(own, "INSERT INTO t VALUES (3)", 0, 0, 0);
        sqlite3_close(own);
        _exit(rc);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(db, "INSERT INTO t VALUES (4)");
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 4);
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

/* Without libc, so that nobody tells the library of it. */
static void a_child_that_nobody_announced_is_noticed(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);
    int status;
    pid_t child;

    (void)state;
    must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2)");
    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
    if (child == 0) {
        sqlite3 *own = open_managed(f); /* makes it no owner of the other */
        sqlite3_close(own);
        child_of(db);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(db, "COMMIT");
    assert_int_equal(f->node.proposals, 1);
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

static void mapped_reads_see_what_was_committed(void **state)
{
    struct fixture *f = fixture_new(SETUP);
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "PRAGMA mmap_size = 1000000");
    for (int i = 0; i < 10; i++) {
        must(db, "INSERT INTO t VALUES (zeroblob(3000))");
    }
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 11);
    assert_same_bytes(f);
    sqlite3_close(db);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            an_unmanaged_database_is_not_opened_when_marmot_was_asked_for),
        cmocka_unit_test(uris_that_go_past_the_locks_are_refused),
        cmocka_unit_test(a_symbolic_link_leads_to_the_same_database),
        cmocka_unit_test(a_path_longer_than_a_socket_address_works),
        cmocka_unit_test(the_hello_names_the_file_that_was_opened),
        cmocka_unit_test(reading_never_talks_to_the_node),
        cmocka_unit_test(journal_and_locking_mode_stay_as_they_must),
        cmocka_unit_test(nobody_but_the_node_checkpoints_or_deletes_the_wal),
        cmocka_unit_test(pragmas_ask_the_node),
        cmocka_unit_test(
            a_busy_timeout_is_set_only_where_the_application_set_none),
        cmocka_unit_test(two_attached_databases_are_both_replicated),
        cmocka_unit_test(exclusive_mode_by_way_of_another_database_is_refused),
        cmocka_unit_test(a_forked_child_does_not_disturb_its_parent),
        cmocka_unit_test(a_forked_child_may_open_the_database_itself),
        cmocka_unit_test(a_child_that_nobody_announced_is_noticed),
        cmocka_unit_test(mapped_reads_see_what_was_committed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
