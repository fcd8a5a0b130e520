/* Databases that change their group or name, as this node sees it.
 *
 * What is decided is in the groups (machine_move.c). Here it is driven: every
 * node says when its file has what is to go, and the leader of the group that
 * it leaves proposes the next step. Nothing of that is remembered outside the
 * log, so that after a crash whoever leads goes on from what the log says.
 *
 * And the local database follows: from one group's state to another's. A node
 * reads its groups one by one, so it may see that a database has left before it
 * sees it arrive; meanwhile the database has a copy of its last state (limbo).
 * The group whose state is the newest has it: a chain of transactions is one,
 * wherever they were accepted.
 *
 * Leases. A lease that the old group has granted is valid for 0.3 s at most
 * and, when its index is that of MOVE or behind, only counts for who has read
 * MOVE, and then not at all (lease_is_good). Those before it have run out
 * when any node that has read MOVE has waited for lease_outlived_us: only then
 * the new group may take the database, and grant leases of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/lease_table.h"
#include "node/node.h"

#define LOOK_MS 50u
#define AGAIN_US 300000u    /* a step that is not seen yet is said again */
#define GIVE_UP_US 5000000u /* the files do not get there: it stays */
#define SEEK_AGAIN_US 200000u
#define PAUSE_US 10000000u /* before one that was refused is tried again */

static uint64_t now(const struct node *n)
{
    return n->env.now_us(n->env.data);
}

/* ---- the local database follows -------------------------------------------
 */

/* Who here is, or was before the start, this database? */
static struct database *local_of(struct node *n, const struct uuid *uuid)
{
    struct database *found = NULL;

    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->m != NULL && uuid_equal(&db->m->uuid, uuid)) {
            return db;
        }
        if (db->m == NULL && uuid_equal(&db->follows, uuid)) {
            found = db;
        }
    }
    return found;
}

/* Is it somebody else here, by what the groups say? */
static bool is_another(struct node *n, const struct database *db,
                       const struct uuid *uuid)
{
    const struct database *local = local_of(n, uuid);

    return local != NULL && local->m != NULL && local != db;
}

/* Is `a` a later state of the same database, or the one that goes on? */
static bool is_later(const struct machine_db *a, const struct machine_db *b)
{
    return b == NULL || a->position.txid > b->position.txid ||
           (a->position.txid == b->position.txid && b->frozen && !a->frozen);
}

static void end_limbo(struct database *db)
{
    free(db->limbo);
    db->limbo = NULL;
}

/* It had no group yet. */
static void meet(struct group_state *g, struct database *db,
                 struct machine_db *m)
{
    db->group = g->group;
    if (db->state == DB_ENROLLING) {
        db->state = DB_PLACING;
    }
    placing_enrolled(db, m);
    if (m->position.txid == 0 || db->placed) {
        return;
    }
    found_place(g, db, NULL); /* a snapshot has brought it */
    if (db->placed) {
        settle_note(g->node, db);
    }
}

void move_place(struct node *n, struct database *db)
{
    for (unsigned i = 0; i < n->options->shards && !db->placed; i++) {
        found_place(&n->group[i], db, NULL);
        found_place(&n->group[i], db, &db->old_base);
    }
}

/* It goes on in this group. */
static void change_group(struct group_state *g, struct database *db,
                         struct machine_db *m)
{
    struct node *n = g->node;

    log_info("moved", "db=%s name=%s from=%u to=%u txid=%" PRIu64, db->name,
             m->name, db->group, g->group, m->position.txid);
    settle_gone(n, db);
    db->old_base = db->base.position;
    move_place(n, db); /* what comes now may be far ahead of the file */
    db->group = g->group;
    placing_switched(db, m);
    end_limbo(db);
    lease_moved(db);
    proposal_moved(db);
    if (db->placed && db->applied.txid < m->position.txid) {
        settle_note(n, db); /* the log that it was found in may be forgotten */
    }
}

void move_attach(struct group_state *g, struct database *db,
                 struct machine_db *m)
{
    if (db->detaching || db->m == m || !is_later(m, db->m) ||
        is_another(g->node, db, &m->uuid)) {
        return;
    }
    if (db->m == NULL) {
        meet(g, db, m);
    } else {
        change_group(g, db, m);
    }
    db->caught_up = g->caught_up;
    node_wake(g->node, db);
}

bool move_follow(struct group_state *g, struct machine_db *m)
{
    struct database *db = local_of(g->node, &m->uuid);

    if (db != NULL) {
        move_attach(g, db, m);
    }
    return db != NULL;
}

static void seek(struct node *n, struct database *db, const struct uuid *uuid)
{
    const struct uuid wanted = *uuid; /* it may be part of what is freed */

    for (unsigned i = 0; i < n->options->shards; i++) {
        struct machine_db *m = machine_find_uuid(&n->group[i].machine, &wanted);
        if (m != NULL) {
            move_attach(&n->group[i], db, m);
        }
    }
}

bool move_all_caught_up(const struct node *n)
{
    for (unsigned i = 0; i < n->options->shards; i++) {
        if (!n->group[i].caught_up) {
            return false;
        }
    }
    return true;
}

/* Has it left a group for one that is still to be read? */
static bool is_awaited(const struct node *n, const struct uuid *uuid)
{
    for (unsigned i = 0; i < n->options->shards; i++) {
        const struct moves *v = &n->group[i].machine.moves;
        const struct move_left *left = moves_left(v, uuid);
        const struct move_decided *d;
        if (left == NULL) {
            continue;
        }
        d = left->to < n->options->shards
                ? moves_decided(&n->group[left->to].machine.moves, i)
                : NULL;
        if (d == NULL || d->number < left->number) {
            return true;
        }
    }
    return false;
}

bool move_waits(struct node *n, struct database *db)
{
    if (db->m != NULL || uuid_is_none(&db->follows)) {
        return false;
    }
    seek(n, db, &db->follows);
    if (db->m != NULL) {
        return false;
    }
    if (!move_all_caught_up(n) || is_awaited(n, &db->follows)) {
        db->env->wake_after(db->env->data, db, SEEK_AGAIN_US);
        return true;
    }
    memset(&db->follows, 0, sizeof db->follows); /* it was dropped */
    catalog_meet(n, db);
    return false;
}

/* Its group has let it go: until the other one is read. */
void move_left(struct group_state *g, struct machine_db *m, uint32_t to)
{
    struct database *db = m->local;
    struct machine_db *copy;

    if (db == NULL) {
        return;
    }
    copy = malloc(sizeof *copy);
    if (copy == NULL) {
        abort();
    }
    m->frozen = true; /* whatever it was: nothing follows it any more */
    *copy = *m;
    list_init(&copy->link);
    list_init(&copy->parts);
    m->local = NULL;
    end_limbo(db);
    db->limbo = db->m = copy;
    log_debug("left", "db=%s from=%u to=%u", db->name, g->group, to);
    seek(g->node, db, &copy->uuid);
    node_wake(g->node, db);
}

void move_step(struct node *n, struct database *db)
{
    if (db->limbo == NULL) {
        return;
    }
    seek(n, db, &db->limbo->uuid);
    if (db->limbo == NULL) {
        return;
    }
    if (move_all_caught_up(n) && !is_awaited(n, &db->limbo->uuid)) {
        catalog_dropped(n, db); /* where it went */
        end_limbo(db);
    } else {
        db->env->wake_after(db->env->data, db, SEEK_AGAIN_US);
    }
}

/* ---- steps -----------------------------------------------------------------
 */

static void propose(struct node *n, unsigned group, struct buf *out)
{
    size_t len = 0;
    void *bytes = out->err == 0 ? buf_take(out, &len) : NULL;

    if (bytes != NULL) {
        (void)groups_propose(n->groups, group, bytes, len); /* again, if lost */
    }
    buf_close(out);
}

static bool is_held(const struct moves *v, uint64_t node)
{
    for (unsigned i = 0; i < v->n_held; i++) {
        if (v->held[i] == node) {
            return true;
        }
    }
    return false;
}

/* The file has it all, also after a power loss, and it is written down where it
 * stands: the log that says so may be forgotten before that of the new group is
 * read. */
static bool has_all(struct node *n, struct database *db)
{
    const struct position *last = &db->m->position;

    if (db->state != DB_READY || !db->placed ||
        !position_equal(&db->applied, last)) {
        return false;
    }
    if (db->noted.valid && !db->note_failed &&
        position_equal(&db->noted.position, last)) {
        return true;
    }
    settle_note(n, db);
    return false;
}

static void say_held(struct group_state *g, struct machine_db *m)
{
    struct node *n = g->node;
    struct moves *v = &g->machine.moves;
    struct entry_move e = {
        .db = v->db, .number = v->number, .node = n->env.node_id};
    struct buf out;

    if (m->local == NULL || is_held(v, e.node) || !has_all(n, m->local) ||
        now(n) - g->move.held_us < AGAIN_US) {
        return;
    }
    g->move.held_us = now(n);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_held(&e, &out);
    propose(n, g->group, &out);
    FAILPOINT("move.held");
}

static bool is_member(const struct node *n, uint64_t id)
{
    for (unsigned i = 0; i < n->n_members; i++) {
        if (n->members[i].id == id && !n->members[i].leaving) {
            return true;
        }
    }
    return false;
}

/* Can the files of those who have said so stand for the log? */
static bool is_safe(const struct node *n, const struct moves *v,
                    const struct machine_db *m)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < n->env.voters; i++) {
        voters += is_held(v, n->voter_ids[i]);
    }
    if (voters > n->env.voters / 2) {
        return true;
    }
    for (unsigned i = 0; i < m->n_holders; i++) {
        if (is_member(n, m->holders[i]) && !is_held(v, m->holders[i])) {
            return false;
        }
    }
    return v->n_held > 0;
}

static void decide(struct group_state *g, bool adopt)
{
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    if (machine_encode_adopt(&g->machine, adopt, &out) == 0) {
        propose(g->node, g->machine.moves.to, &out);
    }
    buf_close(&out);
    FAILPOINT_IF(adopt, "move.adopt");
}

static void end(struct group_state *g, bool adopted)
{
    const struct moves *v = &g->machine.moves;
    struct entry_move e = {
        .db = v->db, .number = v->number, .adopted = adopted};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_moved(&e, &out);
    propose(g->node, g->group, &out);
    FAILPOINT("move.moved");
}

/* This node leads the group that is left. */
static void drive(struct group_state *g, const struct machine_db *m)
{
    struct node *n = g->node;
    const struct moves *v = &g->machine.moves;
    const struct move_decided *d =
        moves_decided(&n->group[v->to].machine.moves, g->group);
    bool decided = d != NULL && d->number >= v->number;
    uint64_t age = now(n) - g->move.since_us;
    bool due = now(n) - g->move.sent_us >= AGAIN_US;

    if (decided && (due || !g->move.ending)) {
        g->move.ending = true;
        if (!d->adopted) {
            g->move.pause_us = now(n) + PAUSE_US;
        }
        end(g, d->number == v->number && d->adopted);
    } else if (!decided && due && is_safe(n, v, m) &&
               age >= lease_outlived_us(n->env.times.lease_us)) {
        decide(g, true);
    } else if (!decided && due && age >= GIVE_UP_US) {
        decide(g, false);
    } else {
        return;
    }
    g->move.sent_us = now(n);
}

static void step(struct group_state *g)
{
    struct node *n = g->node;
    struct moves *v = &g->machine.moves;
    struct machine_db *m = machine_find_uuid(&g->machine, &v->db);

    if (m == NULL || v->to >= n->options->shards || n->groups == NULL ||
        n->stopping || !g->caught_up) {
        return;
    }
    say_held(g, m);
    if (groups_leader(n->groups, g->group) == n->env.node_id) {
        drive(g, m);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct node *n = timer->data;
    unsigned active = 0;

    for (unsigned i = 0; i < n->options->shards; i++) {
        if (n->group[i].machine.moves.active) {
            active++;
            step(&n->group[i]);
        }
    }
    for (unsigned i = 0; shards_active(n) && i < n->options->shards; i++) {
        shards_drive(&n->group[i]);
    }
    if ((active == 0 && !shards_active(n)) || n->stopping) {
        uv_timer_stop(timer);
    }
}

void move_wake(struct node *n)
{
    if (!n->stopping && !uv_is_active((uv_handle_t *)&n->move_timer)) {
        uv_timer_start(&n->move_timer, on_timer, 0, LOOK_MS);
    }
}

void move_init(struct node *n)
{
    uv_timer_init(n->loop, &n->move_timer);
    n->move_timer.data = n;
}

/* ---- what the machine says --------------------------------------------------
 */

static void begun(struct group_state *g)
{
    const struct moves *v = &g->machine.moves;

    g->move.number = v->number;
    g->move.since_us = now(g->node);
    g->move.sent_us = g->move.held_us = 0;
    g->move.ending = false;
    if (g->caught_up) {
        log_info("moving", "shard=%u to=%u name=%s", g->group, v->to, v->name);
    }
}

void move_changed(struct group_state *g)
{
    struct node *n = g->node;
    const struct moves *v = &g->machine.moves;
    struct database *db;

    if (v->active && g->move.number != v->number) {
        begun(g);
    }
    db = v->number == 0 ? NULL : local_of(n, &v->db);
    if (db != NULL && db->m != NULL) {
        seek(n, db, &v->db);
        proposal_moved(db);
        node_wake(n, db);
    }
    /* Also when it is another group's that was decided here. */
    move_wake(n);
}

void move_begin(struct group_state *g, const struct machine_db *m,
                const char *name, unsigned to)
{
    struct entry_move e = {
        .db = m->uuid, .number = g->machine.moves.number + 1, .group = to};
    struct buf out;

    snprintf(e.name, sizeof e.name, "%s", name);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_move(&e, &out);
    propose(g->node, g->group, &out);
}
