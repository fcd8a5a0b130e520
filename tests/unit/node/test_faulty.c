/* Sessions that break the protocol, stop or die in the middle, and options that
 * would do harm much later: the node goes on, and nothing is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/options.h"
#include "tests/unit/node/fake_guest.h"

static int setup(void **state)
{
    *state = world_open(3);
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    return 0;
}

/* A faulty session proposes again before it has unlocked: only that is
 * refused. */
static void a_proposal_after_unknown_does_not_stop_the_node(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_pass(w, w->env.times.deadline_us + 2000000);
    guest_told(g, SESSION_UNKNOWN);
    guest_last(w, g, 3);
    guest_failed(g, SESSION_FAILED, REASON_IO);
    assert_non_null(w->db.proposal); /* the one in doubt */
    world_deliver_all(w);
    assert_int_equal(w->n_accepted, 1);
    assert_null(w->db.proposal);
}

/* A session that dies with the slot does not make the node forget that it has
 * to open a file that a session made, and until then nobody is granted a
 * turn. */
static void a_death_does_not_cancel_the_look_at_a_new_file(void **state)
{
    struct world *w = *state;
    struct guest *maker = guest_owner(w), *next = guest_open(w);

    guest_last(w, maker, 2);
    world_deliver_all(w);
    guest_told(maker, SESSION_COMMITTED);
    w->lazy = true;
    assert_true(guest_keep(w, maker));
    assert_true(guest_retake(w, maker));
    guest_lock(w, next);
    guest_part(w, maker, 2); /* of its next transaction */
    assert_int_equal(maker->session.turn, TURN_PROPOSING);
    assert_true(w->db.look_again);
    guest_close(w, maker);
    assert_true(w->db.look_again);
    w->job_waits = true;
    world_turn(w);
    assert_int_equal(w->job, JOB_SCAN);
    guest_not_told(next);
    world_job_done(w);
    world_turn(w);
    guest_told(next, SESSION_GRANT);
}

/* However many sessions wait for each other, the node's own jobs on the file
 * come to their turn. */
static void the_node_has_its_turn_too(void **state)
{
    struct world *w = *state;
    struct guest *g[2] = {guest_owner(w), guest_open(w)};

    w->lazy = true; /* as few looks as possible */
    for (int i = 0; i < 1000; i++) {
        struct guest *owner = g[i % 2], *next = g[1 - i % 2];
        guest_lock(w, next);
        w->reset_due = true;
        world_turn(w);
        guest_unlock(w, owner, UNLOCK_NOTHING);
        world_turn(w);
        assert_false(w->reset_due);
        guest_told(next, SESSION_GRANT);
    }
}

/* It would be hashed twice, and no other node could apply the transaction. */
static void a_page_in_two_parts_is_refused(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 2);
    guest_last(w, g, 2);
    guest_failed(g, SESSION_FAILED, REASON_IO);
}

/* Also in the first transaction, which brings the page size. */
static void parts_of_different_page_sizes_are_refused(void **state)
{
    struct world *w = world_open(0);
    struct guest *g = guest_owner(w);

    guest_part_sized(w, g, 1, 1, 4096, 0);
    guest_part_sized(w, g, 2, 1, 512, 2);
    guest_failed(g, SESSION_FAILED, REASON_IO);
    world_close(w);
    (void)state;
}

static void overtaken_half_way_is_not_called_malformed(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 1);
    world_foreign(w);
    guest_last(w, g, 3);
    assert_non_null(strstr(guest_failed(g, SESSION_FAILED, REASON_BUSY).text,
                           "another transaction came first"));
}

/* Not up to a second later, when it would be proposed again anyway: guests do
 * not wait for ever. */
static void the_answer_comes_at_the_deadline(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    world_lead(w, 0);
    world_pass(w, 12345);
    guest_last(w, g, 2);
    world_pass(w, 300000);
    w->woken = true; /* anything: a peer, a packet, a job */
    world_settle(w);
    world_pass(w, w->env.times.deadline_us - 300000);
    guest_failed(g, SESSION_FAILED, REASON_BUSY);
}

/* A session may stop (SIGSTOP, a debugger) wherever its transaction depends on
 * it alone; other nodes get the lease all the same. */
static void a_session_that_stops_while_publishing_loses_the_lease(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    world_recall(w, 1);
    world_pass(w, 3600000000u);
    assert_int_equal(w->n_released, 1);
}

static void a_session_that_stops_half_way_loses_the_lease(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_part(w, g, 2);
    world_recall(w, 1);
    world_pass(w, 3600000000u);
    assert_int_equal(w->n_released, 1);
}

/* docs/ARCHITECTURE.md: "Without a majority the answer is BUSY at once." */
static void without_a_majority_lock_is_refused_at_once(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);

    w->fresh = false;
    guest_lock(w, g);
    guest_failed(g, SESSION_REFUSED, REASON_BUSY);
}

/* A turn is not granted on a file that has to be read again. */
static void nothing_is_granted_before_the_look(void **state)
{
    struct world *w = *state;
    struct guest *owner = guest_owner(w), *g = guest_open(w);

    guest_lock(w, g);
    guest_park(w, g);
    guest_told(g, SESSION_PARKED);
    guest_unlock(w, owner, UNLOCK_NOTHING);
    guest_told(g, SESSION_OFFER);
    w->lazy = true;
    w->db.look_again = true; /* as applier.c does after batch_create */
    guest_lock(w, g);
    guest_not_told(g);
    world_turn(w);
    assert_false(w->db.look_again);
    guest_told(g, SESSION_GRANT);
}

/* The slot file outlives the log: after a cold start a transaction may have a
 * number that the record in the slot file shows already. So a start of the node
 * forgets the record together with the word. */
static void a_record_of_an_earlier_life_is_no_publication(void **state)
{
    struct world *w = *state;
    struct guest *g, *other = guest_open(w);

    w->db.slot->record.txid = 1; /* left by the former life */
    slot_reset(w->db.slot);
    g = guest_owner(w);
    guest_last(w, g, 2);
    world_deliver_all(w);
    guest_told(g, SESSION_COMMITTED);
    guest_close(w, g); /* dies before it has published */
    guest_lock(w, other);
    guest_told(other, SESSION_GRANT);
    assert_int_equal(w->file.sum, w->log.sum); /* the commit is in the file */
}

/* The sequence in a token is the guest's word. One that came twice would give
 * one token to two different entries, and the verdict on a late copy of the
 * first would be taken for that on the second. */
static void a_sequence_that_comes_twice_is_refused(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_pass(w, 1500000); /* a second copy */
    assert_int_equal(world_in_flight(w), 2);
    world_deliver(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    g->sequence--; /* 1 again */
    guest_last(w, g, 3);
    guest_failed(g, SESSION_FAILED, REASON_IO);
}

/* Nor does the late copy disturb anybody. */
static void a_sequence_that_comes_twice_does_not_stop_the_node(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    guest_last(w, g, 2);
    world_pass(w, 1500000);
    world_deliver(w);
    guest_told(g, SESSION_COMMITTED);
    guest_unlock(w, g, UNLOCK_PUBLISHED);
    guest_lock(w, g);
    guest_told(g, SESSION_GRANT);
    g->sequence--;
    guest_last(w, g, 3);
    guest_failed(g, SESSION_FAILED, REASON_IO);
    assert_true(world_deliver(w)); /* the old copy: REPEATED */
    guest_not_told(g);
    assert_int_equal(w->n_accepted, 1);
    guest_unlock(w, g, UNLOCK_NOTHING);
    assert_true(slot_is_free(&w->db));
}

/* One session may ask twice. */
static void each_fence_has_a_token_of_its_own(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_open(w);
    struct session_resume r = {.token = {1, 66, 5, 3}};

    for (int i = 0; i < 2; i++) {
        r.base = w->db.m->position;
        resume_begin(&g->session, &r);
        world_settle(w);
        world_deliver_all(w);
        guest_told(g, SESSION_CONFLICT);
    }
}

/* What is wrong with these options; "" when nothing is. In static memory. */
static const char *parse(const char *name, const char *value)
{
    static char why[1024];
    char *argv[] = {(char *)"marmot",    (char *)"-node-id",
                    (char *)"1",         (char *)"-db-path",
                    (char *)"/tmp/a.db", (char *)name,
                    (char *)value,       NULL};
    struct options o;
    int rv = options_parse(&o, 7, argv, why, sizeof why);

    options_close(&o);
    return rv == 0 ? "" : why;
}

/* wire/entry.c refuses these names: such a database would wait for ever and
 * say nothing. */
static void names_that_the_log_refuses_are_refused(void **state)
{
    (void)state;
    assert_string_equal(parse("-db-path", "...=/tmp/b.db"), "");
    assert_string_not_equal(parse("-db-path", "..=/tmp/b.db"), "");
    assert_string_not_equal(parse("-db-path", ".=/tmp/b.db"), "");
}

static void a_name_that_begins_like_loopback_needs_insecure(void **state)
{
    (void)state;
    assert_string_equal(parse("-bind", "127.0.0.1:8610"), "");
    assert_non_null(strstr(parse("-bind", "127.example.com:8610"), "insecure"));
}

static void a_long_path_gives_a_whole_raft_path_or_an_error(void **state)
{
    char path[PATH_MAX], expected[PATH_MAX + 8];
    char *argv[] = {(char *)"marmot",
                    (char *)"-node-id",
                    (char *)"1",
                    (char *)"-db-path",
                    path,
                    NULL};
    struct options o;
    const size_t fits = sizeof o.raft_path - 65;
    char why[8192];

    (void)state;
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[fits] = '\0';
    assert_int_equal(options_parse(&o, 5, argv, why, sizeof why), 0);
    snprintf(expected, sizeof expected, "%s-raft", path);
    assert_string_equal(o.raft_path, expected);
    options_close(&o);
    path[fits] = 'x';
    path[fits + 1] = '\0';
    assert_int_equal(options_parse(&o, 5, argv, why, sizeof why), -1);
    assert_non_null(strstr(why, "-raft-path"));
    options_close(&o);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_death_does_not_cancel_the_look_at_a_new_file),
        T(the_node_has_its_turn_too),
        T(a_page_in_two_parts_is_refused),
        T(parts_of_different_page_sizes_are_refused),
        T(overtaken_half_way_is_not_called_malformed),
        T(the_answer_comes_at_the_deadline),
        T(a_session_that_stops_while_publishing_loses_the_lease),
        T(a_session_that_stops_half_way_loses_the_lease),
        T(without_a_majority_lock_is_refused_at_once),
        T(nothing_is_granted_before_the_look),
        T(a_record_of_an_earlier_life_is_no_publication),
        T(a_sequence_that_comes_twice_is_refused),
        T(each_fence_has_a_token_of_its_own),
        T(names_that_the_log_refuses_are_refused),
        T(a_name_that_begins_like_loopback_needs_insecure),
        T(a_long_path_gives_a_whole_raft_path_or_an_error),
        T(a_sequence_that_comes_twice_does_not_stop_the_node),
        T(a_proposal_after_unknown_does_not_stop_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
