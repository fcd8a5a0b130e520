/* Images: written, verified, and put in the place of whatever was there. */
#include "tests/unit/vfs/databases.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/err.h"
#include "vfs/apply.h"
#include "vfs/image.h"
#include "wire/entry.h"

struct place {
    char folder[PATH_MAX];
    char path[PATH_MAX];  /* the database that an image comes to */
    char model[PATH_MAX]; /* a file with the image's bytes */
    uint32_t page_size;
};

static const char model_sql[] =
    "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v);"
    "CREATE INDEX i ON t(v);"
    "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<500)"
    " INSERT INTO t(v) SELECT randomblob(100) FROM n;";

static void place_open(struct place *p, uint32_t page_size)
{
    make_folder(p->folder);
    join(p->path, p->folder, "app.db");
    join(p->model, p->folder, "model.db");
    p->page_size = page_size;
    make_database(p->model, page_size, model_sql);
}

static void place_close(struct place *p)
{
    drop_folder(p->folder);
}

/* An image with the model's pages, last page first. */
static struct image_writer *make_image(const struct place *p,
                                       uint64_t *checksum)
{
    struct image_writer *w;
    size_t len;
    uint8_t *bytes = slurp(p->model, &len);
    uint32_t pages = (uint32_t)(len / p->page_size);

    *checksum = 0;
    assert_int_equal(image_writer_open(p->path, p->page_size, pages, &w), 0);
    for (uint32_t n = pages; n > 0; n--) {
        const uint8_t *image = bytes + (size_t)(n - 1) * p->page_size;
        assert_int_equal(image_writer_page(w, n, image), 0);
        *checksum ^= page_hash(n, image, p->page_size);
    }
    assert_int_equal(image_writer_sum(w)->sum, *checksum);
    free(bytes);
    return w;
}

static int install(const struct place *p, int keep_aside, char *aside)
{
    uint64_t checksum;
    struct image_writer *w = make_image(p, &checksum);
    int err = image_writer_install(w, checksum, keep_aside, aside);

    if (err != 0) {
        image_writer_cancel(w);
    }
    assert_false(file_exists(p->path, ".marmot-image"));
    return err;
}

static void an_image_appears_where_nothing_was(void **state)
{
    struct place p;
    struct stat st;
    char name[PATH_MAX + 8];

    (void)state;
    place_open(&p, 4096);
    assert_int_equal(chmod(p.folder, 0750), 0);
    /* What a database that is gone left behind must not be read as ours. */
    snprintf(name, sizeof name, "%s-wal", p.path);
    spill(name, (const uint8_t *)"left over", 9);
    assert_int_equal(install(&p, 1, name), 0);
    assert_string_equal(name, "");
    assert_false(file_exists(p.path, "-wal"));
    assert_same_bytes(p.model, p.path);
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_other_process(p.path, "PRAGMA integrity_check", "ok");
    assert_int_equal(count_files(p.folder, "before-marmot"), 0);
    place_close(&p);
}

static void an_image_fills_an_empty_file(void **state)
{
    struct place p;
    struct stat before, after;

    (void)state;
    place_open(&p, 1024);
    spill(p.path, NULL, 0);
    assert_int_equal(chmod(p.path, 0604), 0);
    assert_int_equal(stat(p.path, &before), 0);
    assert_int_equal(install(&p, 1, NULL), 0);
    assert_int_equal(stat(p.path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(after.st_mode & 0777, 0604);
    assert_same_bytes(p.model, p.path);
    assert_other_process(p.path, "SELECT count(*) FROM t", "500");
    place_close(&p);
}

static void an_install_that_was_cut_short_counts_as_empty(void **state)
{
    struct place p;
    uint8_t zeros[8192] = {0};
    enum file_kind kind;
    uint32_t page_size;
    uint64_t checksum;
    struct image_writer *w;

    (void)state;
    place_open(&p, 4096);
    spill(p.path, zeros, sizeof zeros);
    assert_int_equal(file_classify(p.path, &kind, &page_size), 0);
    assert_int_equal(kind, FILE_NOT_SQLITE);
    w = make_image(&p, &checksum);
    assert_int_equal(file_classify(p.path, &kind, &page_size), 0);
    assert_int_equal(kind, FILE_EMPTY);
    assert_int_equal(image_writer_install(w, checksum, 0, NULL), 0);
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

/* The old content has to be in the file kept aside, WAL included. */
static void assert_kept(const struct place *p, const char *aside,
                        const char *count)
{
    char prefix[PATH_MAX + 32];

    snprintf(prefix, sizeof prefix, "%s.before-marmot-20", p->path);
    assert_int_equal(strncmp(aside, prefix, strlen(prefix)), 0);
    assert_other_process(aside, "PRAGMA integrity_check", "ok");
    assert_other_process(aside, "SELECT count(*) FROM old", count);
}

static const char old_sql[] =
    "CREATE TABLE old(v);"
    "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<2000)"
    " INSERT INTO old SELECT randomblob(100) FROM n;";

static void an_image_replaces_a_database_in_place(void **state)
{
    struct place p;
    struct stat before, after;
    char aside[PATH_MAX], again[PATH_MAX];
    sqlite3 *reader;
    char answer[256];

    (void)state;
    place_open(&p, 4096);
    make_database(p.path, 4096, old_sql);
    assert_int_equal(stat(p.path, &before), 0);
    /* A reader with a snapshot, and a WAL with content. */
    reader = open_sql(p.path);
    run(reader,
        "PRAGMA wal_autocheckpoint=0; INSERT INTO old VALUES(1); BEGIN");
    ask(reader, "SELECT count(*) FROM old", answer);
    assert_string_equal(answer, "2001");
    assert_int_equal(install(&p, 1, aside), 0);
    assert_int_equal(stat(p.path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    ask(reader, "SELECT count(*) FROM old", answer);
    assert_string_equal(answer, "2001");
    run(reader, "COMMIT");
    ask(reader, "SELECT count(*) FROM t", answer);
    assert_string_equal(answer, "500");
    sqlite3_close(reader);
    assert_same_bytes(p.model, p.path);
    assert_kept(&p, aside, "2001");
    /* Another one in the same second gets a name of its own. */
    assert_int_equal(install(&p, 1, again), 0);
    assert_string_not_equal(aside, again);
    assert_int_equal(install(&p, 0, NULL), 0);
    assert_int_equal(count_files(p.folder, "before-marmot"), 2);
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

/* The copy of the old database still fits, the image does not. */
static void no_room_for_the_image_changes_nothing(void **state)
{
    struct rlimit limit, before;
    struct place p;
    struct image_writer *w;
    uint64_t checksum;

    (void)state;
    place_open(&p, 1024);
    make_database(p.path, 1024, "CREATE TABLE old(v)");
    w = make_image(&p, &checksum);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 40000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_true(image_writer_install(w, checksum, 1, NULL) != 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(count_files(p.folder, "before-marmot"), 0);
    assert_other_process(p.path, "SELECT count(*) FROM old", "0");
    assert_int_equal(image_writer_install(w, checksum, 0, NULL), 0);
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

static void an_image_grows_a_small_database(void **state)
{
    struct place p;

    (void)state;
    place_open(&p, 512);
    make_database(p.path, 512, "CREATE TABLE old(v)");
    assert_int_equal(install(&p, 0, NULL), 0);
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

static void another_page_size_is_replaced_by_rename(void **state)
{
    struct place p;
    char aside[PATH_MAX];
    struct stat before, after;

    (void)state;
    place_open(&p, 4096);
    make_database(p.path, 1024, old_sql);
    assert_int_equal(chmod(p.path, 0600), 0);
    assert_int_equal(stat(p.path, &before), 0);
    assert_int_equal(install(&p, 1, aside), 0);
    assert_int_equal(stat(p.path, &after), 0);
    assert_int_equal(after.st_mode & 0777, 0600);
    assert_int_not_equal(before.st_ino, after.st_ino);
    assert_same_bytes(p.model, p.path);
    assert_kept(&p, aside, "2000");
    assert_int_equal(count_files(p.folder, "app.db-"), 0);
    place_close(&p);
}

static void a_rollback_mode_database_is_replaced_by_rename(void **state)
{
    struct place p;
    char aside[PATH_MAX];
    sqlite3 *db;

    (void)state;
    place_open(&p, 4096);
    db = open_sql(p.path);
    run(db, old_sql);
    sqlite3_close(db);
    assert_int_equal(install(&p, 1, aside), 0);
    assert_same_bytes(p.model, p.path);
    assert_kept(&p, aside, "2000");
    place_close(&p);
}

/* In a process of its own: hold the database with `sql` while `p` is tried. */
static void install_beside(const struct place *p, const char *sql, int want)
{
    int ready[2], done[2], status;
    char c = 0;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    child = fork();
    if (child == 0) {
        sqlite3 *db;
        c = (char)(sqlite3_open(p->path, &db) == SQLITE_OK &&
                   sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
        (void)!write(ready[1], &c, 1);
        (void)!read(done[0], &c, 1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 1);
    assert_int_equal(install(p, 1, NULL), want);
    assert_int_equal(write(done[1], &c, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(done[i]);
    }
}

static void a_database_in_use_is_left_alone(void **state)
{
    struct place p;
    char mode[256];

    (void)state;
    place_open(&p, 4096);
    make_database(p.path, 4096, old_sql);
    install_beside(&p, "BEGIN IMMEDIATE", ERR_BUSY);
    assert_other_process(p.path, "SELECT count(*) FROM old", "2000");
    assert_int_equal(unlink(p.path), 0);
    /* Another page size needs the file for itself. */
    make_database(p.path, 1024, old_sql);
    install_beside(&p, "BEGIN; SELECT * FROM old LIMIT 1", ERR_BUSY);
    assert_other_process(p.path, "SELECT count(*) FROM old", "2000");
    ask_other_process(p.path, "PRAGMA journal_mode", mode);
    assert_string_equal(mode, "wal");
    /* An empty file that somebody is about to write. */
    assert_int_equal(unlink(p.path), 0);
    spill(p.path, NULL, 0);
    install_beside(&p, "BEGIN IMMEDIATE", ERR_BUSY);
    assert_int_equal(count_files(p.folder, "before-marmot"), 0);
    assert_int_equal(install(&p, 1, NULL), 0);
    place_close(&p);
}

static void a_wrong_image_is_refused(void **state)
{
    struct place p;
    struct image_writer *w;
    uint64_t checksum;
    uint8_t image[4096] = "SQLite format 3";

    (void)state;
    place_open(&p, 4096);
    w = make_image(&p, &checksum);
    assert_int_equal(image_writer_install(w, checksum ^ 1, 0, NULL),
                     ERR_MISMATCH);
    assert_int_equal(image_writer_page(w, 0, image), ERR_CORRUPT);
    assert_int_equal(image_writer_page(w, 100000, image), ERR_CORRUPT);
    /* The last image of a page counts. */
    assert_int_equal(image_writer_page(w, 1, image), 0);
    assert_true(image_writer_sum(w)->sum != checksum);
    assert_int_equal(image_writer_install(w, image_writer_sum(w)->sum, 0, NULL),
                     ERR_CORRUPT); /* page 1 is not in WAL mode */
    image_writer_cancel(w);
    assert_int_equal(image_writer_open(p.path, 1000, 1, &w), ERR_CORRUPT);
    assert_int_equal(image_writer_open(p.path, 4096, 0, &w), ERR_CORRUPT);
    assert_int_equal(image_writer_open(p.path, 65536, 0xfffffffe, &w),
                     ERR_FULL);
    assert_int_equal(count_files(p.folder, "app.db"), 0);
    /* Something that is no database stays. */
    spill(p.path, (const uint8_t *)"hello, this is text", 19);
    assert_int_equal(install(&p, 1, NULL), ERR_CORRUPT);
    place_close(&p);
}

/* The model's pages first..last into `w`. */
static void write_some(const struct place *p, struct image_writer *w,
                       uint32_t first, uint32_t last)
{
    size_t len;
    uint8_t *bytes = slurp(p->model, &len);

    for (uint32_t n = first; n <= last; n++) {
        assert_int_equal(
            image_writer_page(w, n, bytes + (size_t)(n - 1) * p->page_size), 0);
    }
    free(bytes);
}

static uint32_t model_pages(const struct place *p)
{
    struct stat st;

    assert_int_equal(stat(p->model, &st), 0);
    return (uint32_t)(st.st_size / p->page_size);
}

static uint64_t model_hash(const struct place *p, uint32_t number)
{
    size_t len;
    uint8_t *bytes = slurp(p->model, &len);
    uint64_t hash = page_hash(
        number, bytes + (size_t)(number - 1) * p->page_size, p->page_size);

    free(bytes);
    return hash;
}

static void what_was_received_outlives_the_writer(void **state)
{
    struct place p;
    struct image_writer *w;
    const struct checksum *sum;
    uint32_t pages;
    uint64_t checksum;

    (void)state;
    place_open(&p, 1024);
    pages = model_pages(&p);
    image_writer_cancel(make_image(&p, &checksum));
    assert_int_equal(image_writer_resume(p.path, 1024, pages, NULL, &w), 0);
    sum = image_writer_sum(w);
    assert_int_equal(sum->pages, pages);
    assert_int_equal(sum->hashes[4], 0); /* nothing yet */
    write_some(&p, w, 1, 20);
    image_writer_keep(w);
    assert_true(file_exists(p.path, ".marmot-image"));

    assert_int_equal(image_writer_resume(p.path, 1024, pages, NULL, &w), 0);
    sum = image_writer_sum(w);
    for (uint32_t n = 1; n <= 20; n++) {
        assert_int_equal(sum->hashes[n - 1], model_hash(&p, n));
    }
    assert_int_not_equal(sum->hashes[20], model_hash(&p, 21));
    write_some(&p, w, 21, pages);
    assert_int_equal(image_writer_install(w, checksum, 0, NULL), 0);
    assert_same_bytes(p.model, p.path);
    assert_false(file_exists(p.path, ".marmot-image"));
    place_close(&p);
}

static void an_image_changes_its_size_on_the_way(void **state)
{
    struct place p;
    struct image_writer *w;
    uint32_t pages;
    uint64_t checksum;

    (void)state;
    place_open(&p, 1024);
    pages = model_pages(&p);
    image_writer_cancel(make_image(&p, &checksum));
    /* What is left there is longer, then it is too short, then right. */
    assert_int_equal(image_writer_resume(p.path, 1024, pages + 9, NULL, &w), 0);
    write_some(&p, w, 1, pages);
    image_writer_keep(w);
    assert_int_equal(image_writer_resume(p.path, 1024, pages - 5, NULL, &w), 0);
    assert_int_equal(image_writer_sum(w)->pages, pages - 5);
    assert_int_equal(image_writer_resize(w, pages), 0);
    assert_int_equal(image_writer_sum(w)->hashes[pages - 1], 0);
    assert_int_equal(image_writer_resize(w, 0), ERR_CORRUPT);
    assert_int_equal(image_writer_resize(w, 0xfffffffe), ERR_FULL);
    assert_int_equal(image_writer_sum(w)->pages, pages);
    write_some(&p, w, pages - 4, pages);
    assert_int_equal(image_writer_install(w, checksum, 0, NULL), 0);
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

static void an_image_begins_with_the_database_that_is_here(void **state)
{
    struct place p;
    struct image_writer *w;
    struct apply *a;
    sqlite3 *db;
    uint32_t pages, lacking = 0;

    (void)state;
    place_open(&p, 1024);
    pages = model_pages(&p);
    copy_file(p.model, p.path);
    db = open_sql(p.path);
    run(db, "UPDATE t SET v = randomblob(100) WHERE id = 250");
    sqlite3_close(db);
    assert_int_equal(apply_open(p.path, &a), 0);
    assert_int_equal(image_writer_resume(p.path, 1024, pages, a, &w), 0);
    for (uint32_t n = 1; n <= pages; n++) {
        if (image_writer_sum(w)->hashes[n - 1] != model_hash(&p, n)) {
            write_some(&p, w, n, n);
            lacking++;
        }
    }
    assert_in_range(lacking, 1, 10);
    assert_int_equal(apply_close(a, false), 0);
    assert_int_equal(image_writer_install(w, image_writer_sum(w)->sum, 0, NULL),
                     0);
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

/* A death between link and unlink leaves the database under two names. */
static void the_database_itself_is_not_taken_for_a_leftover(void **state)
{
    struct place p;
    struct image_writer *w;
    char temp[PATH_MAX + 16];

    (void)state;
    place_open(&p, 1024);
    snprintf(temp, sizeof temp, "%s.marmot-image", p.path);
    copy_file(p.model, p.path);
    assert_int_equal(link(p.path, temp), 0);
    assert_int_equal(image_writer_resume(p.path, 1024, 10, NULL, &w), 0);
    assert_int_equal(image_writer_sum(w)->hashes[0], 0);
    image_writer_cancel(w);
    assert_int_equal(link(p.path, temp), 0);
    assert_int_equal(image_writer_open(p.path, 1024, 10, &w), 0);
    image_writer_cancel(w);
    assert_same_bytes(p.model, p.path);
    assert_int_equal(link(p.path, temp), 0);
    image_forget(p.path);
    assert_false(file_exists(p.path, ".marmot-image"));
    assert_same_bytes(p.model, p.path);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_appears_where_nothing_was),
        cmocka_unit_test(an_image_fills_an_empty_file),
        cmocka_unit_test(an_install_that_was_cut_short_counts_as_empty),
        cmocka_unit_test(an_image_replaces_a_database_in_place),
        cmocka_unit_test(no_room_for_the_image_changes_nothing),
        cmocka_unit_test(an_image_grows_a_small_database),
        cmocka_unit_test(another_page_size_is_replaced_by_rename),
        cmocka_unit_test(a_rollback_mode_database_is_replaced_by_rename),
        cmocka_unit_test(a_database_in_use_is_left_alone),
        cmocka_unit_test(a_wrong_image_is_refused),
        cmocka_unit_test(what_was_received_outlives_the_writer),
        cmocka_unit_test(an_image_changes_its_size_on_the_way),
        cmocka_unit_test(an_image_begins_with_the_database_that_is_here),
        cmocka_unit_test(the_database_itself_is_not_taken_for_a_leftover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
