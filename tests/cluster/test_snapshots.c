/* Logs that are shortened, step by step: group 0, which has the first
 * database. Random runs meet the same and more (test_runs.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "tests/cluster/stage.h"
#include "wire/raft_message.h"

#define KEEP 16u
#define LONG_US (120 * SECOND)

enum { A, B, C };

static struct raft *core(struct stage *t, unsigned a)
{
    return sim_raft(&t->sim->nodes[a], 0);
}

static void assert_fine(const struct stage *t)
{
    if (t->sim->report.violated) {
        fail_msg("%s", t->sim->report.why);
    }
}

/* Entries of no database, one after the other. */
static void put_many(struct stage *t, unsigned a, uint64_t first, unsigned n)
{
    for (uint64_t value = first; value < first + n; value++) {
        stage_put(t, a, value);
        stage_pass(t, 20 * MS);
    }
    assert_fine(t);
}

static void pass_until_applied(struct stage *t, unsigned a, raft_index index)
{
    for (unsigned i = 0; i < 200 && peek_applied(core(t, a)) < index; i++) {
        stage_pass(t, 100 * MS);
    }
    assert_fine(t);
    assert_true(peek_applied(core(t, a)) >= index);
}

/* ---- the log ------------------------------------------------------------- */

static void a_log_is_shortened_everywhere(void **state)
{
    struct stage *t = stage_open_short(3, KEEP, A);

    (void)state;
    put_many(t, A, 1, 100);
    stage_pass(t, 2 * SECOND);
    for (unsigned i = A; i <= C; i++) {
        assert_true(peek_last(core(t, i)) + 1 - peek_first(core(t, i)) <=
                    2 * KEEP);
    }
    assert_int_equal(t->sim->report.installs, 0);
    for (unsigned i = A; i <= C; i++) { /* and is read again */
        node_kill(&t->sim->nodes[i], true);
        node_start(&t->sim->nodes[i]);
    }
    stage_pass(t, SECOND);
    assert_true(stage_elect(t, A));
    put_many(t, A, 200, 3);
    pass_until_applied(t, C, peek_last(core(t, A)));
    stage_close(t);
}

/* What `from` would send: its last snapshot, now. */
static void hand_in(struct stage *t, unsigned from, unsigned to)
{
    const struct store_snapshot *s =
        &t->sim->nodes[from].node.groups->groups[0]->io.snapshot;
    struct raft_io_group *io = &t->sim->nodes[to].node.groups->groups[0]->io;
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT,
                             .server_id = from + 1};
    struct raft_install_snapshot *install = &m.install_snapshot;

    install->term = peek_term(core(t, from));
    install->last_index = s->index;
    install->last_term = s->term;
    install->conf_index = s->conf_index;
    install->data.len = s->data_len;
    install->data.base = raft_malloc(s->data_len);
    memcpy(install->data.base, s->data, s->data_len);
    assert_int_equal(raft_conf_decode(s->conf, s->conf_len, &install->conf), 0);
    io->recv(&io->raw, &m);
}

/* C's appends are not on its disk when the snapshot comes, and then are. */
static void a_snapshot_waits_for_appends_in_flight(void **state)
{
    struct stage *t = stage_open_short(3, KEEP, A);

    (void)state;
    put_many(t, A, 1, 3);
    t->sim->nodes[C].disk.stopped = true;
    put_many(t, A, 10, 3);
    assert_true(sim_filters(&t->sim->nodes[C], 0)->appends > 0);
    stage_isolate(t, C, false);
    put_many(t, A, 20, 80);
    hand_in(t, A, C);
    stage_pass(t, SECOND);
    assert_false(peek_installing(core(t, C)));
    assert_int_equal(t->sim->report.installs, 0);
    disk_resume(&t->sim->nodes[C]);
    stage_pass(t, SECOND);
    assert_int_equal(t->sim->report.installs, 1);
    stage_isolate(t, C, true);
    pass_until_applied(t, C, peek_last(core(t, A)));
    assert_int_equal(t->sim->report.installs, 1);
    stage_close(t);
}

/* A takes a snapshot that waits for its files. It is no longer leader when it
 * may be stored, and lacks entries that nobody has any more: the snapshot of
 * the new leader has to wait for its own. */
static void a_leader_steps_down_while_its_snapshot_waits(void **state)
{
    struct stage *t = stage_open_short(3, KEEP, A);
    uint64_t taken;

    (void)state;
    t->sim->unsettled = 1u << A;
    put_many(t, A, 1, 40);
    stage_pass(t, SECOND);
    assert_true(peek_snapshotting(core(t, A)));
    assert_int_equal(peek_snapshot(core(t, A)), 0);
    stage_isolate(t, A, false);
    stage_put(t, A, 666);
    stage_forget(t, C);
    assert_true(stage_elect(t, B));
    put_many(t, B, 100, 60);
    stage_isolate(t, A, true);
    stage_pass(t, 8 * SECOND);
    assert_true(peek_first(core(t, B)) > peek_last(core(t, A)) + 1);
    assert_int_equal(t->sim->report.installs, 0);
    assert_true(peek_snapshotting(core(t, A)));
    taken = t->sim->report.snapshots;
    t->sim->unsettled = 0;
    groups_settled(t->sim->nodes[A].node.groups, 0);
    node_turn_soon(&t->sim->nodes[A]);
    stage_pass(t, 100 * MS);
    assert_true(t->sim->report.snapshots > taken);
    pass_until_applied(t, A, peek_last(core(t, B)));
    assert_true(t->sim->report.installs > 0);
    assert_false(stage_has(t, 666));
    stage_close(t);
}

/* B is elected while C installs what A sent. Before, C dies in the middle of
 * it, and is as it was. */
static void leaders_change_during_an_install(void **state)
{
    struct stage *t = stage_open_short(3, KEEP, A);
    raft_index last;

    (void)state;
    put_many(t, A, 1, 3);
    last = peek_last(core(t, C));
    node_kill(&t->sim->nodes[C], false); /* nobody keeps what it lacks */
    put_many(t, A, 10, 60);
    t->sim->unsettled = 1u << C;
    node_start(&t->sim->nodes[C]);
    stage_pass(t, 2 * SECOND);
    assert_true(peek_installing(core(t, C)));
    node_kill(&t->sim->nodes[C], true);
    node_start(&t->sim->nodes[C]);
    stage_pass(t, 30 * MS);
    assert_int_equal(peek_last(core(t, C)), last);
    stage_pass(t, 5 * SECOND);
    assert_true(peek_installing(core(t, C)));
    stage_link(t, A, C, false);
    assert_int_equal(groups_transfer(t->sim->nodes[A].node.groups, 0, B + 1),
                     0);
    stage_pass(t, 2 * SECOND);
    assert_true(stage_leads(t, B));
    assert_int_equal(peek_term(core(t, C)), peek_term(core(t, B)));
    assert_true(peek_installing(core(t, C)));
    assert_int_equal(t->sim->report.installs, 0);
    t->sim->unsettled = 0;
    groups_settled(t->sim->nodes[C].node.groups, 0);
    node_turn_soon(&t->sim->nodes[C]);
    put_many(t, B, 100, 3);
    pass_until_applied(t, C, peek_last(core(t, B)));
    stage_close(t);
}

/* ---- the database -------------------------------------------------------- */

static struct stage *open_with_guests(void)
{
    struct stage *t = stage_open_short(3, KEEP, A);

    t->sim->calm = true;
    t->sim->rest_us = 200;
    t->sim->answer_us = LONG_US;
    for (unsigned i = A; i <= C; i++) {
        t->sim->nodes[i].node.env.times.deadline_us = LONG_US;
        guests_init(&t->sim->nodes[i]);
    }
    return t;
}

static void write_many(struct stage *t, unsigned a, unsigned n)
{
    struct guest *g = t->sim->nodes[a].guests[0];

    for (unsigned i = 0; i < n; i++) {
        guest_ask(g);
    }
    for (unsigned i = 0; i < 3000 && !guest_is_idle(g); i++) {
        stage_pass(t, 100 * MS);
        assert_fine(t);
    }
    assert_true(guest_is_idle(g));
}

/* From or to it nothing passes. */
static void cut_off(struct stage *t, unsigned a, bool blocked)
{
    for (unsigned b = A; b <= C; b++) {
        if (a != b) {
            net_block(t->sim, a, b, blocked);
            net_block(t->sim, b, a, blocked);
            net_break(t->sim, a, b);
        }
    }
}

static void pass_until_ready(struct stage *t, unsigned a)
{
    const struct database *db = &t->sim->nodes[a].dbs[0];

    for (unsigned i = 0; i < 600; i++) {
        if (db->state == DB_READY &&
            db->m->position.txid == check_txid(t->sim, 0) &&
            position_equal(&db->applied, &db->m->position)) {
            return;
        }
        stage_pass(t, 100 * MS);
        assert_fine(t);
    }
    fail_msg("node %u does not come up to the others", a + 1);
}

/* C's commit is accepted when C is cut off, and `more` others follow. */
static void lose_an_answer(struct stage *t, unsigned more)
{
    uint64_t txid;

    write_many(t, A, 5);
    write_many(t, C, 2);
    pass_until_ready(t, C);
    txid = check_txid(t->sim, 0);
    guest_ask(t->sim->nodes[C].guests[0]);
    for (unsigned i = 0; i < 100000 && check_txid(t->sim, 0) == txid; i++) {
        stage_pass(t, 100);
    }
    assert_int_equal(check_txid(t->sim, 0), txid + 1);
    assert_false(guest_is_idle(t->sim->nodes[C].guests[0]));
    cut_off(t, C, true);
    write_many(t, A, more);
    assert_true(t->sim->report.snapshots > 0);
    assert_int_equal(t->sim->report.installs, 0);
    cut_off(t, C, false);
    pass_until_ready(t, C);
    assert_true(t->sim->report.installs > 0);
    assert_true(t->sim->report.catchups > 0);
}

static void a_commit_is_told_by_a_snapshot(void **state)
{
    struct stage *t = open_with_guests();
    struct guest *g;

    (void)state;
    lose_an_answer(t, 40);
    g = t->sim->nodes[C].guests[0];
    assert_int_equal(guest_commits(g), 3);
    assert_int_equal(t->sim->report.unknown, 0);
    assert_int_equal(t->sim->report.asides, 0);
    write_many(t, C, 1);
    stage_close(t);
}

static void a_token_that_is_too_old_is_unknown(void **state)
{
    struct stage *t = open_with_guests();

    (void)state;
    lose_an_answer(t, TOKEN_RING + 10);
    assert_int_equal(t->sim->report.unknown, 1);
    assert_int_equal(t->sim->report.asides, 0);
    stage_close(t);
}

/* Nobody has all of the log, and each time the one that was there all along
 * dies next, with what its disk did not have. */
static void nodes_are_away_in_turn(void **state)
{
    struct stage *t = open_with_guests();

    (void)state;
    write_many(t, A, 5);
    for (unsigned i = 0; i < 6; i++) {
        unsigned away = (C + i) % 3, next = (away + 1) % 3,
                 third = (away + 2) % 3;
        uint64_t installs = t->sim->report.installs;
        node_kill(&t->sim->nodes[away], true);
        if (!stage_leads(t, next)) {
            stage_forget(t, third);
            assert_true(stage_elect(t, next));
        }
        write_many(t, next, 40);
        node_start(&t->sim->nodes[away]);
        pass_until_ready(t, away);
        assert_true(t->sim->report.installs > installs);
    }
    for (unsigned i = A; i <= C; i++) {
        pass_until_ready(t, i);
    }
    assert_int_equal(t->sim->report.asides, 0);
    stage_close(t);
}

/* B's file is gone, and nobody gives it another one: what it lacks of the log,
 * which others may need, stays. */
static void a_node_without_its_file_forgets_nothing(void **state)
{
    struct stage *t = open_with_guests();
    raft_index first;

    (void)state;
    write_many(t, A, 60);
    pass_until_ready(t, B);
    pass_until_ready(t, C);
    node_kill(&t->sim->nodes[B], false);
    memset(&t->sim->nodes[B].files[0], 0, sizeof t->sim->nodes[B].files[0]);
    t->sim->no_images = true;
    node_start(&t->sim->nodes[B]);
    stage_pass(t, 2 * SECOND);
    first = peek_first(core(t, B));
    write_many(t, A, 60);
    put_many(t, A, 1, 10);
    assert_true(peek_first(core(t, A)) > first);
    assert_int_equal(t->sim->report.installs, 0);
    assert_int_equal(peek_first(core(t, B)), first);
    t->sim->no_images = false;
    pass_until_ready(t, B);
    put_many(t, A, 100, 10);
    stage_pass(t, SECOND);
    assert_true(peek_first(core(t, B)) > first);
    stage_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_is_shortened_everywhere),
        cmocka_unit_test(a_snapshot_waits_for_appends_in_flight),
        cmocka_unit_test(a_leader_steps_down_while_its_snapshot_waits),
        cmocka_unit_test(leaders_change_during_an_install),
        cmocka_unit_test(a_commit_is_told_by_a_snapshot),
        cmocka_unit_test(a_token_that_is_too_old_is_unknown),
        cmocka_unit_test(nodes_are_away_in_turn),
        cmocka_unit_test(a_node_without_its_file_forgets_nothing),
    };

    cmocka_set_test_filter(getenv("MARMOT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
