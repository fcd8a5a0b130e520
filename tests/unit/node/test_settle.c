/* When the log may forget entries: the files must be there, and durable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/job.h"
#include "tests/unit/node/place.h"

struct settling {
    bool note_fails;
    struct place *p;
    struct node node;
    struct group_state group;
    uint64_t now_us;
    struct job *job;
    unsigned settled, notes, lost;
    struct position noted;
};

static struct settling *it; /* for the stand-ins below */

/* ---- stand-ins, at the link ---------------------------------------------- */

void contact_note(struct node *n, struct database *db)
{
    (void)n;
    it->notes++;
    it->noted = db->applied;
    db->note_failed = it->note_fails;
}

void groups_settled(struct groups *g, unsigned group)
{
    (void)g;
    (void)group;
    it->settled++;
}

uint64_t groups_log_bytes(const struct groups *g)
{
    (void)g;
    return 0;
}

void job_start(struct node *n, struct database *db, struct job *job,
               void (*run)(struct job *), void (*done)(struct job *))
{
    assert_null(it->job);
    job->node = n;
    job->db = db;
    job->run = run;
    job->done = done;
    db->job = it->job = job;
}

void node_fatal(struct node *n, const char *why)
{
    (void)n;
    fail_msg("%s", why);
}

void writeback_lost(struct node *n, const struct database *db)
{
    (void)n;
    (void)db;
    it->lost++;
}

void node_wake(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

static uint64_t now_us(void *data)
{
    (void)data;
    return it->now_us;
}

static void wake_after(void *data, struct database *db, uint64_t us)
{
    (void)data;
    (void)db;
    (void)us;
}

/* ---- the scene ----------------------------------------------------------- */

static int setup(void **state)
{
    void *place;

    it = calloc(1, sizeof *it);
    assert_non_null(it);
    assert_int_equal(place_setup(&place), 0);
    it->p = place;
    it->now_us = 1000000;
    it->p->env.now_us = now_us;
    it->p->env.wake_after = wake_after;
    it->node.group = &it->group;
    it->group.caught_up = true;
    list_init(&it->group.found);
    list_init(&it->node.databases);
    list_push(&it->node.databases, &it->p->db.link);
    it->p->db.m = &it->p->m;
    it->p->m.position.txid = 50;
    place_scan(it->p, 150);
    placing_applied(&it->p->db, &it->p->m.position, 150, PLACE_PAGES);
    it->p->db.state = DB_READY;
    it->p->db.apply = (struct apply *)(void *)it; /* there is a file */
    *state = it->p;
    return 0;
}

static int teardown(void **state)
{
    list_remove(&it->p->db.link);
    if (it->job != NULL) {
        it->job->done(it->job); /* frees it */
    }
    free(it);
    return place_teardown(state);
}

static void step(void)
{
    settle_step(&it->node, &it->p->db);
}

static void finish_sync(void)
{
    struct job *job = it->job;

    assert_non_null(job);
    it->job = NULL;
    it->p->db.job = NULL;
    job->done(job); /* without a disk */
    step();
}

/* A transaction that the file does not have yet. */
static struct pending *wait_for(struct database *db, uint64_t txid)
{
    struct pending *pending = calloc(1, sizeof *pending);

    assert_non_null(pending);
    pending->position.txid = txid;
    list_push(&db->pending, &pending->link);
    return pending;
}

/* ---- snapshots of this node ---------------------------------------------- */

static void a_file_is_synced_before_the_log_forgets(void **state)
{
    struct place *p = *state;

    settle_begin(&it->node, 0, false);
    step();
    assert_int_equal(it->settled, 0);
    finish_sync();
    assert_int_equal(it->settled, 1);
    assert_int_equal(p->db.durable.txid, 50);
    assert_int_equal(it->notes, 0);
}

static void a_sync_that_fails_stops_the_node_and_the_log_is_kept(void **state)
{
    (void)state;
    settle_begin(&it->node, 0, false);
    step();
    assert_non_null(it->job);
    it->job->rv = ERR_IO;
    finish_sync();
    assert_int_equal(it->lost, 1);
    assert_int_equal(it->settled, 0);
    assert_null(it->job);
}

static void what_is_pending_is_appended_before(void **state)
{
    struct place *p = *state;
    const struct position after = {.txid = 51};

    wait_for(&p->db, 51);
    p->m.position = after;
    p->db.durable = p->db.applied; /* all that is there is durable */
    settle_begin(&it->node, 0, false);
    step();
    assert_int_equal(it->settled, 0);
    assert_null(it->job);
    placing_applied(&p->db, &after, 151, PLACE_PAGES);
    pending_drop(&p->db, 51);
    step();
    finish_sync();
    assert_int_equal(it->settled, 1);
}

/* Its applied position equals the durable one, but it is not where it should
 * be: the log that has the rest must not go. */
static void a_file_that_is_still_being_placed_holds_the_log(void **state)
{
    struct place *p = *state;

    settle_begin(&it->node, 0, false);
    wait_for(&p->db, 51);
    p->m.position.txid = 51;
    p->db.state = DB_PLACING;
    p->db.durable = p->db.applied;
    step();
    assert_int_equal(it->settled, 0);
}

static void a_file_that_a_session_made_is_opened_and_synced_first(void **state)
{
    struct place *p = *state;

    p->db.apply = NULL;
    p->db.look_again = true;
    settle_begin(&it->node, 0, false);
    step();
    step();
    assert_int_equal(it->settled, 0);
    p->db.apply = (struct apply *)(void *)it;
    step();
    finish_sync();
    assert_int_equal(it->settled, 1);
}

static void a_file_that_is_being_fetched_holds_the_log(void **state)
{
    struct place *p = *state;

    settle_begin(&it->node, 0, false);
    p->db.state = DB_FETCHING;
    step();
    assert_int_equal(it->settled, 0);
}

static void no_snapshot_is_taken_without_the_files(void **state)
{
    struct place *p = *state;

    assert_true(settle_may_take(&it->node, 0));
    p->m.position.txid = 60; /* an install went past the file */
    assert_false(settle_may_take(&it->node, 0));
    p->m.position.txid = 50;
    p->db.state = DB_FETCHING;
    assert_false(settle_may_take(&it->node, 0));
    p->db.state = DB_PLACING;
    assert_false(settle_may_take(&it->node, 0));
    p->db.state = DB_READY;
    it->group.caught_up = false;
    assert_false(settle_may_take(&it->node, 0));
}

static void of_an_empty_database_there_is_nothing_to_lose(void **state)
{
    struct place *p = *state;

    p->m.position.txid = p->m.pages = 0;
    p->db.state = DB_FETCHING;
    p->db.placed = false;
    assert_true(settle_may_take(&it->node, 0));
    settle_begin(&it->node, 0, false);
    step();
    assert_int_equal(it->settled, 1);
}

/* ---- snapshots of a peer ------------------------------------------------- */

static void a_received_one_waits_for_where_the_file_stands(void **state)
{
    (void)state;
    settle_begin(&it->node, 0, true);
    step();
    assert_int_equal(it->settled, 0);
    finish_sync();
    assert_int_equal(it->settled, 1);
    assert_int_equal(it->notes, 1);
    assert_int_equal(it->noted.txid, 50);
}

/* No room for the member file, say: without it the file would be a stranger's
 * at the next start. */
static void a_note_that_fails_is_written_again(void **state)
{
    (void)state;
    it->note_fails = true;
    settle_begin(&it->node, 0, true);
    step();
    finish_sync();
    assert_int_equal(it->notes, 1);
    assert_int_equal(it->settled, 0);
    it->note_fails = false;
    step();
    assert_int_equal(it->notes, 2);
    assert_int_equal(it->settled, 1);
}

/* Noted is what is durable, not what came after the sync began. */
static void what_is_noted_is_durable(void **state)
{
    struct place *p = *state;
    const struct position after = {.txid = 51};

    settle_begin(&it->node, 0, true);
    step();
    placing_applied(&p->db, &after, 151, PLACE_PAGES);
    finish_sync();
    assert_int_equal(it->notes, 0);
    finish_sync();
    assert_int_equal(it->noted.txid, 51);
    assert_int_equal(it->settled, 1);
}

static void what_is_pending_is_waited_for_but_not_long(void **state)
{
    struct place *p = *state;

    wait_for(&p->db, 51);
    p->m.position.txid = 51;
    settle_begin(&it->node, 0, true);
    step();
    finish_sync();
    assert_int_equal(it->settled, 0);
    it->now_us += 1000000; /* somebody keeps the write lock */
    step();
    assert_int_equal(it->settled, 1);
    assert_int_equal(it->noted.txid, 50);
}

static void a_received_one_does_not_wait_for_a_file_that_is_fetched(
    void **state)
{
    struct place *p = *state;

    p->db.state = DB_FETCHING;
    settle_begin(&it->node, 0, true);
    step();
    assert_int_equal(it->settled, 1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_file_is_synced_before_the_log_forgets),
        T(a_sync_that_fails_stops_the_node_and_the_log_is_kept),
        T(what_is_pending_is_appended_before),
        T(a_file_that_is_still_being_placed_holds_the_log),
        T(a_file_that_a_session_made_is_opened_and_synced_first),
        T(a_file_that_is_being_fetched_holds_the_log),
        T(no_snapshot_is_taken_without_the_files),
        T(of_an_empty_database_there_is_nothing_to_lose),
        T(a_received_one_waits_for_where_the_file_stands),
        T(a_note_that_fails_is_written_again),
        T(what_is_noted_is_durable),
        T(what_is_pending_is_waited_for_but_not_long),
        T(a_received_one_does_not_wait_for_a_file_that_is_fetched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
