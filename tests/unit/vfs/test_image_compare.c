/* Is it the same content in other bytes, and what is it that lies at a path? */
#include "tests/unit/vfs/databases.h"

#include "base/err.h"
#include "vfs/apply.h"
#include "vfs/image.h"

/* ---- comparing content --------------------------------------------------- */

static const char base_sql[] =
    "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, v COLLATE NOCASE);"
    "CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
    "CREATE INDEX av ON a(v);"
    "CREATE VIRTUAL TABLE f USING fts5(body);"
    "CREATE VIEW x AS SELECT v FROM a;"
    "PRAGMA user_version=7;"
    "INSERT INTO a(v) VALUES('one'),('two'),(3.5),(NULL);"
    "INSERT INTO w VALUES('b',1),('a',2);"
    "INSERT INTO f VALUES('hello world');";

/* Make two databases by the base and one statement each; compare. */
static void compare_after(const char *here, const char *there, int want,
                          const char *text)
{
    char folder[PATH_MAX], one[PATH_MAX], other[PATH_MAX];
    char difference[256] = "";
    sqlite3 *db;

    make_folder(folder);
    join(one, folder, "a %?#.db");
    join(other, folder, "b.db");
    make_database(one, 4096, base_sql);
    make_database(other, 1024, base_sql);
    db = open_sql(one);
    run(db, here);
    sqlite3_close(db);
    db = open_sql(other);
    run(db, there);
    sqlite3_close(db);
    assert_int_equal(
        image_same_content(one, other, difference, sizeof difference), want);
    assert_string_equal(difference, text);
    assert_int_equal(count_files(folder, "db-"), 0);
    drop_folder(folder);
}

static void the_same_content_in_other_bytes_is_the_same(void **state)
{
    (void)state;
    compare_after("", "", 0, "");
    compare_after("INSERT INTO a(id,v) VALUES(9,'x'); ANALYZE; VACUUM",
                  "INSERT INTO a(id,v) VALUES(8,'y'),(9,'x');"
                  "DELETE FROM a WHERE id=8",
                  0, "");
}

static void the_first_difference_is_named(void **state)
{
    (void)state;
    compare_after("INSERT INTO a(v) VALUES(1)",
                  "INSERT INTO a(v) VALUES(1),(2),(3)", ERR_MISMATCH,
                  "table a: 5 rows here, 7 there");
    compare_after("UPDATE a SET v='ONE' WHERE id=1", "", ERR_MISMATCH,
                  "table a: row 1 of 4 differs");
    compare_after("UPDATE w SET v='1' WHERE k='b'", "", ERR_MISMATCH,
                  "table w: row 2 of 2 differs");
    compare_after("CREATE TABLE n(x)", "", ERR_MISMATCH,
                  "table n exists only here");
    compare_after("", "CREATE INDEX aaa ON a(id,v)", ERR_MISMATCH,
                  "index aaa exists only there");
    compare_after("", "DROP VIEW x", ERR_MISMATCH, "view x exists only here");
    compare_after("DROP VIEW x; CREATE VIEW x AS SELECT 1", "", ERR_MISMATCH,
                  "view x is declared differently");
    compare_after("PRAGMA user_version=8", "", ERR_MISMATCH,
                  "user_version is 8 here, 7 there");
    compare_after("", "PRAGMA application_id=1", ERR_MISMATCH,
                  "application_id is 0 here, 1 there");
    compare_after("INSERT INTO a(id) VALUES(99); DELETE FROM a WHERE id=99", "",
                  ERR_MISMATCH, "table sqlite_sequence: row 1 of 1 differs");
    compare_after("INSERT INTO f VALUES('more')", "", ERR_MISMATCH,
                  "table f_content: 2 rows here, 1 there");
}

static void tables_of_the_original_are_recognised(void **state)
{
    (void)state;
    compare_after("CREATE TABLE __marmot__a_change_log(x)", "", ERR_MISMATCH,
                  "table __marmot__a_change_log belongs to the original "
                  "Marmot: run that with -cleanup on this file first");
}

static void comparing_leaves_a_wal_as_it_is(void **state)
{
    char folder[PATH_MAX], path[PATH_MAX], model[PATH_MAX];
    char difference[256], crashed[PATH_MAX], wal[2][PATH_MAX + 8];
    sqlite3 *db;

    (void)state;
    make_folder(folder);
    join(path, folder, "app.db");
    join(model, folder, "model.db");
    make_database(path, 4096, "CREATE TABLE t(v); INSERT INTO t VALUES(0)");
    copy_file(path, model);
    db = open_sql(path);
    run(db, "INSERT INTO t(v) VALUES(1)");
    /* As after a crash: database and -wal without a -shm. */
    join(crashed, folder, "crashed.db");
    snprintf(wal[0], sizeof wal[0], "%s-wal", path);
    snprintf(wal[1], sizeof wal[1], "%s-wal", crashed);
    copy_file(path, crashed);
    copy_file(wal[0], wal[1]);
    assert_int_equal(
        image_same_content(crashed, model, difference, sizeof difference),
        ERR_MISMATCH);
    assert_string_equal(difference, "table t: 2 rows here, 1 there");
    assert_same_bytes(wal[0], wal[1]);
    assert_same_bytes(path, crashed);
    sqlite3_close(db);
    drop_folder(folder);
}

/* ---- what lies at a path ------------------------------------------------- */

static void assert_kind(const char *path, enum file_kind want, uint32_t size)
{
    enum file_kind kind;
    uint32_t page_size = 0;

    assert_int_equal(file_classify(path, &kind, &page_size), 0);
    assert_int_equal(kind, want);
    assert_int_equal(page_size, size);
}

static void what_lies_at_a_path_is_told(void **state)
{
    char folder[PATH_MAX], path[PATH_MAX], model[PATH_MAX];
    char journal[PATH_MAX + 16];
    sqlite3 *db;

    (void)state;
    make_folder(folder);
    join(path, folder, "app.db");
    join(model, folder, "model.db");
    make_database(model, 65536, "CREATE TABLE t(x)");
    assert_kind(path, FILE_MISSING, 0);
    assert_kind(folder, FILE_NOT_SQLITE, 0);
    spill(path, NULL, 0);
    assert_kind(path, FILE_EMPTY, 0);
    spill(path, (const uint8_t *)"SQLite format 3\0\020", 18);
    assert_kind(path, FILE_NOT_SQLITE, 0);
    assert_int_equal(unlink(path), 0);
    db = open_sql(path);
    run(db, "PRAGMA page_size=2048; CREATE TABLE t(x)");
    sqlite3_close(db);
    assert_kind(path, FILE_ROLLBACK, 2048);
    assert_int_equal(file_convert_to_wal(path), 0);
    assert_kind(path, FILE_WAL, 2048);
    assert_kind(model, FILE_WAL, 65536);
    /* A journal that is done with begins with zeros; a hot one does not. */
    snprintf(journal, sizeof journal, "%s-journal", path);
    spill(journal, (const uint8_t *)"\0\0\0\0", 4);
    assert_kind(path, FILE_WAL, 2048);
    spill(journal, (const uint8_t *)"\xd9\xd5\x05\xf9", 4);
    assert_kind(path, FILE_ROLLBACK, 2048);
    drop_folder(folder);
}

static void a_database_in_use_is_not_converted(void **state)
{
    char folder[PATH_MAX], path[PATH_MAX];
    sqlite3 *db;

    (void)state;
    make_folder(folder);
    join(path, folder, "app.db");
    db = open_sql(path);
    run(db,
        "CREATE TABLE t(x); INSERT INTO t VALUES(1); BEGIN;"
        "SELECT * FROM t");
    assert_int_equal(file_convert_to_wal(path), ERR_BUSY);
    run(db, "COMMIT");
    sqlite3_close(db);
    assert_kind(path, FILE_ROLLBACK, 4096);
    drop_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_content_in_other_bytes_is_the_same),
        cmocka_unit_test(the_first_difference_is_named),
        cmocka_unit_test(tables_of_the_original_are_recognised),
        cmocka_unit_test(comparing_leaves_a_wal_as_it_is),
        cmocka_unit_test(what_lies_at_a_path_is_told),
        cmocka_unit_test(a_database_in_use_is_not_converted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
