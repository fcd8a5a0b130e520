/* The applier on a disk whose syncs fail: what was to be written may be lost,
 * though the next sync would succeed. */
#include "tests/unit/vfs/front_vfs.h"
#include "tests/unit/vfs/pair.h"

#include "base/err.h"

static int syncs;
static int writes_to_db;

static void count_sync(int which)
{
    (void)which;
    syncs++;
}

static void count_write(int which, const void *bytes, size_t len, uint64_t at)
{
    (void)bytes;
    (void)len;
    (void)at;
    writes_to_db += which == ON_DB;
}

static void stand_there(struct pair *p, sqlite3_vfs *vfs)
{
    front.sync = count_sync;
    front.write = count_write;
    stand_in_front(vfs, "unix");
    pair_start(p, 1024, 0);
    run(p->source.db, workload[1]);
    pair_open(p);
    assert_int_equal(follow(p), 1);
    syncs = writes_to_db = 0;
}

/* It fails for good: no sync, no page and no reset any more, also at the stop.
 * Opened again the copy is what it was. */
static void assert_nothing_goes_on(struct pair *p, sqlite3_vfs *vfs)
{
    uint32_t frames, backfilled;

    syncs = writes_to_db = 0;
    assert_int_equal(apply_checkpoint(p->a, true), ERR_IO);
    assert_int_equal(apply_checkpoint(p->a, false), ERR_IO);
    assert_int_equal(apply_sync(p->a), ERR_IO);
    apply_frames(p->a, &frames, &backfilled);
    assert_true(frames > 0);
    assert_int_equal(backfilled, 0);
    assert_int_equal(apply_close(p->a, true), ERR_IO);
    assert_int_equal(syncs, 0);
    assert_int_equal(writes_to_db, 0);
    assert_true(file_exists(p->follower, "-wal"));
    pair_open(p);
    assert_int_equal(follow(p), 0);
    run(p->source.db, workload[2]);
    assert_int_equal(follow(p), 1);
    assert_identical(p);
    pair_end(p);
    sqlite3_vfs_unregister(vfs);
}

static void after_a_failed_sync_of_the_wal_no_page_is_written_back(void **state)
{
    struct pair p;
    sqlite3_vfs vfs;

    (void)state;
    stand_there(&p, &vfs);
    front.failing_syncs = 1;
    assert_int_equal(apply_checkpoint(p.a, true), ERR_IO);
    assert_int_equal(syncs, 1);
    assert_int_equal(writes_to_db, 0);
    assert_nothing_goes_on(&p, &vfs);
}

static void fail_the_next_but_one(int which)
{
    count_sync(which);
    front.failing_syncs = which == ON_DB;
}

static void after_a_failed_sync_of_the_database_the_wal_stays(void **state)
{
    struct pair p;
    sqlite3_vfs vfs;

    (void)state;
    stand_there(&p, &vfs);
    front.sync = fail_the_next_but_one;
    assert_int_equal(apply_checkpoint(p.a, true), ERR_IO);
    assert_int_equal(syncs, 2);
    front.sync = count_sync;
    assert_nothing_goes_on(&p, &vfs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            after_a_failed_sync_of_the_wal_no_page_is_written_back),
        cmocka_unit_test(after_a_failed_sync_of_the_database_the_wal_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
