/* Commits of a managed database, seen by the application and by a follower. */
#include "tests/unit/vfs/guest_fixture.h"

static void a_commit_reaches_the_follower_byte_for_byte(void **state)
{
    struct fixture *f = fixture_new("CREATE TABLE t(a)");
    sqlite3 *db = open_managed(f);

    (void)state;
    must(db, "INSERT INTO t VALUES (1)");
    settle(db);
    assert_int_equal(f->node.proposals, 1);
    assert_int_equal(f->node.unlocks[UNLOCK_PUBLISHED], 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM t"), 1);
    must(db, "INSERT INTO t VALUES (2)");
    assert_int_equal(f->node.txid, 2);
    assert_int_equal(f->node.hellos, 1);
    assert_same_bytes(f);
    sqlite3_close(db);
    assert_same_bytes(f);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_reaches_the_follower_byte_for_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
