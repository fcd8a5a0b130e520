/* Parts of a transaction whose rest does not come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>

#include <cmocka.h>

#include "node/fence.h"
#include "tests/unit/node/machine_world.h"

#define SECOND 1000000u

struct fenced {
    struct world w;
    struct db_env env;
    struct machine_db *db;
    uint64_t now_us, leader;
    unsigned proposed;
    bool lost; /* what is proposed does not get into the log */
};

static uint64_t now(void *data)
{
    return ((struct fenced *)data)->now_us;
}

static uint64_t leader(void *data, unsigned group)
{
    assert_int_equal(group, 4);
    return ((struct fenced *)data)->leader;
}

static int propose(void *data, unsigned group, void *bytes, size_t len)
{
    struct fenced *f = data;

    assert_int_equal(group, 4);
    f->proposed++;
    if (!f->lost) {
        assert_int_equal(machine_apply(&f->w.machine, bytes, len), 0);
    }
    free(bytes);
    return 0;
}

static int fenced_setup(void **state)
{
    static struct fenced f;

    memset(&f, 0, sizeof f);
    world_init(&f.w);
    f.env = (struct db_env){.data = &f,
                            .node_id = 1,
                            .start = 5,
                            .now_us = now,
                            .leader = leader,
                            .propose = propose};
    f.now_us = 1000 * SECOND;
    f.leader = 1;
    f.db = enroll(&f.w, "main", 1);
    enroll(&f.w, "quiet", 2);
    put_txn(&f.w, f.db, f.db->position, 1, 0);
    *state = &f;
    return 0;
}

static int fenced_teardown(void **state)
{
    machine_close(&((struct fenced *)*state)->w.machine);
    return 0;
}

/* It is called every second. */
static void pass(struct fenced *f, unsigned seconds, bool pressing)
{
    while (seconds-- > 0) {
        fence_abandoned(&f->env, 4, &f->w.machine, pressing);
        f->now_us += SECOND;
    }
    fence_abandoned(&f->env, 4, &f->w.machine, pressing);
}

static void parts_are_dropped_after_a_minute_of_silence(void **state)
{
    struct fenced *f = *state;

    put_part(&f->w, f->db, 9, 0);
    pass(f, 59, false);
    assert_int_equal(f->proposed, 0);
    pass(f, 1, false);
    assert_int_equal(f->proposed, 1);
    assert_true(list_empty(&f->db->parts));
    assert_int_equal(f->db->position.txid, 2);
    assert_int_equal(f->db->pages, 2); /* as it was */
    assert_int_equal(f->db->checksum, 1);
    pass(f, 200, true);
    assert_int_equal(f->proposed, 1);
}

static void sooner_when_the_log_is_large(void **state)
{
    struct fenced *f = *state;

    put_part(&f->w, f->db, 9, 0);
    pass(f, 4, true);
    assert_int_equal(f->proposed, 0);
    pass(f, 1, true);
    assert_int_equal(f->proposed, 1);
}

static void a_transaction_that_goes_on_is_left_alone(void **state)
{
    struct fenced *f = *state;

    for (unsigned i = 0; i < 100; i++) {
        put_part(&f->w, f->db, 9, i % 50); /* some come again */
        pass(f, 4, true);
    }
    assert_int_equal(f->proposed, 0);
    put_txn(&f->w, f->db, f->db->position, 9, 50);
    assert_int_equal(f->w.accepted, 2);
    pass(f, 100, true);
    assert_int_equal(f->proposed, 0);
}

static void only_the_leader_s_node_does_it(void **state)
{
    struct fenced *f = *state;

    f->leader = 2;
    put_part(&f->w, f->db, 9, 0);
    pass(f, 100, true);
    assert_int_equal(f->proposed, 0);
    f->leader = 1; /* it has become it */
    pass(f, 5, true);
    assert_int_equal(f->proposed, 1);
}

static void one_that_is_lost_is_sent_again_and_counts_once(void **state)
{
    struct fenced *f = *state;

    put_part(&f->w, f->db, 9, 0);
    f->lost = true;
    pass(f, 10, true);
    assert_int_equal(f->proposed, 2);
    f->lost = false;
    pass(f, 5, true);
    assert_int_equal(f->proposed, 3);
    assert_int_equal(f->db->position.txid, 2);
}

/* A database without content must stay at its beginning (vfs/guest_create.c).
 */
static void one_without_content_only_loses_the_parts(void **state)
{
    struct fenced *f = *state;
    struct machine_db *quiet = machine_find(&f->w.machine, "quiet");

    put_part(&f->w, quiet, 9, 0);
    pass(f, 5, true);
    assert_int_equal(f->proposed, 1);
    assert_true(list_empty(&quiet->parts));
    assert_int_equal(quiet->position.txid, 0);
    put_part(&f->w, quiet, 10, 0); /* and the next ones are new */
    pass(f, 4, true);
    assert_int_equal(f->proposed, 1);
    pass(f, 1, true);
    assert_true(list_empty(&quiet->parts));
}

int main(void)
{
#define T(name) \
    cmocka_unit_test_setup_teardown(name, fenced_setup, fenced_teardown)
    const struct CMUnitTest tests[] = {
        T(parts_are_dropped_after_a_minute_of_silence),
        T(sooner_when_the_log_is_large),
        T(a_transaction_that_goes_on_is_left_alone),
        T(only_the_leader_s_node_does_it),
        T(one_that_is_lost_is_sent_again_and_counts_once),
        T(one_without_content_only_loses_the_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
