/* An image as one transaction in the live WAL: what differs comes, readers see
 * all or nothing of it, and whatever ends it early leaves the old state. */
#include "tests/unit/vfs/image_pair.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char change_some[] =
    "UPDATE t SET v = randomblob(800) WHERE id % 10 = 0";

static uint32_t differing(const struct image_pair *p)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < p->there.sum.pages; i++) {
        count += i >= p->here.sum.pages ||
                 p->here.sum.hashes[i] != p->there.sum.hashes[i];
    }
    return count;
}

static void begin(struct image_pair *p, struct image_source **s,
                  struct image_patch **patch)
{
    assert_int_equal(
        image_source_open(p->there.a, &p->there.sum, 1, UINT32_MAX, s), 0);
    assert_int_equal(image_patch_open(p->here.a, &p->here.sum,
                                      image_source_pages(*s), patch),
                     0);
}

static void commit(struct image_pair *p, struct image_patch *patch)
{
    struct checksum sum, scanned;

    assert_int_equal(image_patch_commit(patch, p->there.sum.sum, &sum), 0);
    checksum_init(&scanned);
    assert_int_equal(checksum_scan(&scanned, p->here.a), 0);
    assert_int_equal(scanned.sum, p->there.sum.sum);
    assert_int_equal(scanned.pages, p->there.sum.pages);
    assert_int_equal(sum.sum, scanned.sum);
    assert_int_equal(sum.pages, scanned.pages);
    checksum_close(&scanned);
    checksum_close(&p->here.sum);
    p->here.sum = sum;
}

static void assert_same(struct image_pair *p)
{
    char here[PATH_MAX], there[PATH_MAX];

    assert_other_process(p->here.path, "PRAGMA integrity_check", "ok");
    memcpy(here, p->here.path, sizeof here);
    memcpy(there, p->there.path, sizeof there);
    side_close(&p->here);
    side_close(&p->there);
    assert_same_bytes(here, there);
}

static void whole(const char *here_sql, const char *there_sql)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;

    pair_open(&p, here_sql, there_sql);
    begin(&p, &s, &patch);
    assert_int_equal(transfer(s, patch, UINT32_MAX), differing(&p));
    commit(&p, patch);
    image_source_close(s);
    assert_same(&p);
    pair_close(&p);
}

static void only_what_differs_comes(void **state)
{
    (void)state;
    whole("", change_some);
    whole(change_some, "");
    whole("", ""); /* nothing at all */
}

static void it_grows_and_shrinks(void **state)
{
    (void)state;
    whole("", "INSERT INTO t SELECT id + 1000, v FROM t");
    whole("INSERT INTO t SELECT id + 1000, v FROM t", "");
    whole("", "DELETE FROM t WHERE id > 20; VACUUM");
}

static void readers_see_the_old_state_then_the_new_one(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;
    sqlite3 *reader;
    char answer[256];

    (void)state;
    pair_open(&p, "", "DELETE FROM t WHERE id > 100");
    reader = open_sql(p.here.path);
    begin(&p, &s, &patch);
    transfer(s, patch, UINT32_MAX);
    run(reader, "BEGIN");
    ask(reader, "SELECT count(*) FROM t", answer);
    assert_string_equal(answer, "300");
    commit(&p, patch);
    ask(reader, "SELECT count(*) FROM t", answer);
    assert_string_equal(answer, "300");
    assert_other_process(p.here.path, "SELECT count(*) FROM t", "100");
    run(reader, "COMMIT");
    ask(reader, "SELECT count(*) FROM t", answer);
    assert_string_equal(answer, "100");
    sqlite3_close(reader);
    image_source_close(s);
    assert_same(&p);
    pair_close(&p);
}

/* The sender has gone in the middle; the next one has a newer state, of another
 * size. */
static void another_sender_goes_on(const char *then)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;
    uint32_t first, second;
    sqlite3 *db;

    pair_open(&p, "", "UPDATE t SET v = randomblob(800) WHERE id % 2");
    begin(&p, &s, &patch);
    first = transfer(s, patch, 5 * MAX);
    image_source_close(s);
    side_close(&p.there);
    db = open_sql(p.there.path);
    run(db, then);
    sqlite3_close(db);
    side_open(&p.there);
    assert_int_equal(
        image_source_open(p.there.a, &p.there.sum, 1, UINT32_MAX, &s), 0);
    assert_int_equal(image_patch_resize(patch, image_source_pages(s)), 0);
    second = transfer(s, patch, UINT32_MAX);
    /* Those that both have changed come twice: the first and the last few. */
    assert_true(first >= 5 * MAX);
    assert_true(first + second <= differing(&p) + 20);
    commit(&p, patch);
    image_source_close(s);
    assert_same(&p);
    pair_close(&p);
}

static void another_sender_goes_on_with_another_state(void **state)
{
    (void)state;
    another_sender_goes_on("");
    another_sender_goes_on(
        "INSERT INTO t SELECT id + 1000, v FROM t WHERE id < 100");
    another_sender_goes_on("DELETE FROM t WHERE id > 150; VACUUM");
    another_sender_goes_on("UPDATE t SET v = randomblob(800) WHERE id < 4");
}

static void assert_old(struct image_pair *p)
{
    struct checksum scanned;

    checksum_init(&scanned);
    assert_int_equal(checksum_scan(&scanned, p->here.a), 0);
    assert_int_equal(scanned.sum, p->here.sum.sum);
    assert_int_equal(scanned.pages, p->here.sum.pages);
    checksum_close(&scanned);
    assert_other_process(p->here.path, "PRAGMA integrity_check", "ok");
}

static void a_wrong_image_can_be_put_right(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;
    struct checksum sum;
    uint8_t image[SIZE] = {7};

    (void)state;
    pair_open(&p, "", change_some);
    begin(&p, &s, &patch);
    transfer(s, patch, UINT32_MAX);
    assert_int_equal(image_patch_page(patch, 200, image), 0);
    assert_int_equal(image_patch_commit(patch, p.there.sum.sum, &sum),
                     ERR_MISMATCH);
    assert_int_equal(image_patch_page(patch, 0, image), ERR_CORRUPT);
    assert_int_equal(image_patch_page(patch, 100000, image), ERR_CORRUPT);
    assert_int_equal(image_patch_page(patch, 1, image), ERR_CORRUPT);
    assert_old(&p);
    assert_int_equal(transfer(s, patch, UINT32_MAX), 1);
    commit(&p, patch);
    image_source_close(s);
    assert_same(&p);
    pair_close(&p);
}

static void what_is_cancelled_leaves_the_old_state(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;
    char wal[PATH_MAX + 8];
    struct stat before, after;

    (void)state;
    pair_open(&p, "", "UPDATE t SET v = randomblob(800)");
    snprintf(wal, sizeof wal, "%s-wal", p.here.path);
    assert_int_equal(stat(wal, &before), 0);
    begin(&p, &s, &patch);
    transfer(s, patch, UINT32_MAX);
    assert_int_equal(stat(wal, &after), 0);
    assert_true(after.st_size > 200 * (off_t)SIZE);
    image_patch_cancel(patch);
    /* The room is given back, but for a header. */
    assert_int_equal(stat(wal, &after), 0);
    assert_true(after.st_size <= before.st_size + 32);
    assert_old(&p);
    image_source_close(s);
    begin(&p, &s, &patch);
    transfer(s, patch, UINT32_MAX);
    commit(&p, patch);
    image_source_close(s);
    assert_same(&p);
    pair_close(&p);
}

/* In a process of its own, which then is killed. */
static void a_death_leaves_the_old_state(void **state)
{
    struct image_pair p;
    pid_t child;
    int status;

    (void)state;
    pair_open(&p, "", "UPDATE t SET v = randomblob(800)");
    side_close(&p.here);
    side_close(&p.there);
    child = fork();
    if (child == 0) {
        struct image_source *s;
        struct image_patch *patch;
        side_open(&p.here);
        side_open(&p.there);
        begin(&p, &s, &patch);
        transfer(s, patch, UINT32_MAX);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    side_open(&p.here);
    side_open(&p.there);
    assert_true(p.here.sum.sum != p.there.sum.sum);
    assert_int_equal(differing(&p) > 290, 1);
    assert_old(&p);
    pair_close(&p);
}

static void without_room_nothing_changes(void **state)
{
    struct rlimit limit, before;
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;
    uint8_t image[SIZE] = {7};
    int err = 0;

    (void)state;
    pair_open(&p, "", "UPDATE t SET v = randomblob(800)");
    begin(&p, &s, &patch);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 200000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint32_t n = 2; n <= p.here.sum.pages && err == 0; n++) {
        err = image_patch_page(patch, n, image);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(err != 0);
    image_patch_cancel(patch);
    assert_old(&p);
    /* A size that cannot be. */
    assert_int_equal(
        image_patch_open(p.here.a, &p.here.sum, 0xfffffffe, &patch), ERR_FULL);
    image_source_close(s);
    pair_close(&p);
}

static void a_distrusted_page_comes_again(void **state)
{
    struct image_pair p;
    struct image_source *s;
    struct image_patch *patch;

    (void)state;
    pair_open(&p, "", "");
    begin(&p, &s, &patch);
    image_patch_distrust(patch, 17);
    image_patch_distrust(patch, 100);
    image_patch_distrust(patch, 0);
    image_patch_distrust(patch, 100000);
    assert_int_equal(transfer(s, patch, UINT32_MAX), 2);
    commit(&p, patch);
    image_source_close(s);
    assert_same(&p);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_differs_comes),
        cmocka_unit_test(it_grows_and_shrinks),
        cmocka_unit_test(readers_see_the_old_state_then_the_new_one),
        cmocka_unit_test(another_sender_goes_on_with_another_state),
        cmocka_unit_test(a_wrong_image_can_be_put_right),
        cmocka_unit_test(what_is_cancelled_leaves_the_old_state),
        cmocka_unit_test(a_death_leaves_the_old_state),
        cmocka_unit_test(without_room_nothing_changes),
        cmocka_unit_test(a_distrusted_page_comes_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
