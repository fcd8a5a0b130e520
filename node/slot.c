/* Who may write: the node's own queue of sessions. The node's lease is in
 * lease.c.
 *
 * A turn is granted only when the local file shows exactly the position that
 * the state machine has reached, so that the session builds on what is
 * committed. While any session has the slot nothing is appended to the file.
 * How a session takes and leaves it without a message is in keeping.c.
 *
 * A parked session sits in its application's busy handler and may never come
 * back, so its turn is only offered, for a short time. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/failpoint.h"
#include "node/database.h"

#define TO(s) (1u << TURN_##s)
static const unsigned may_become[] = {
    [TURN_NONE] = TO(WAITING) | TO(NONE),
    [TURN_WAITING] = TO(PARKED) | TO(OWNED) | TO(NONE),
    [TURN_PARKED] = TO(OFFERED) | TO(WAITING) | TO(NONE),
    [TURN_OFFERED] = TO(OWNED) | TO(NONE) | TO(WAITING),
    [TURN_OWNED] = TO(PROPOSING) | TO(NONE) | TO(OFFERED) | TO(KEEPING),
    [TURN_PROPOSING] = TO(COMMITTING) | TO(OWNED) | TO(NONE),
    [TURN_COMMITTING] = TO(NONE) | TO(KEEPING),
    [TURN_KEEPING] = TO(OWNED) | TO(NONE),
};

/* The only place where a session's state changes. */
void session_turn(struct session *s, enum turn next)
{
    assert(may_become[s->turn] & (1u << next));
    s->turn = next;
    s->since_us = s->db->env->now_us(s->db->env->data);
}

void session_refuse(struct session *s, uint8_t reason, const char *text)
{
    struct session_message m = {.kind = SESSION_REFUSED};

    m.refused.reason = reason;
    m.refused.text = text;
    m.refused.len = strlen(text);
    s->db->env->session_send(s->db->env->data, s, &m);
}

static void say(struct session *s, uint8_t kind)
{
    struct session_message m = {.kind = kind};

    s->db->env->session_send(s->db->env->data, s, &m);
}

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void wake(struct database *db)
{
    db->env->wake(db->env->data, db);
}

bool slot_is_free(const struct database *db)
{
    return db->owner == NULL && db->keeper == NULL && db->orphan == 0 &&
           db->proposal == NULL;
}

/* ---- turns --------------------------------------------------------------- */

static struct session *first_waiter(const struct database *db)
{
    struct list *l = list_first(&db->waiters);

    return l == NULL ? NULL : LIST_ENTRY(l, struct session, wait);
}

/* May the slot change hands now? The lease is checked by the caller. */
static bool file_is_current(const struct database *db)
{
    return db->state == DB_READY && (db->job == NULL || db->job_beside) &&
           !db->look_again && !db->node_waits && slot_is_free(db) &&
           list_empty(&db->pending) && db->m != NULL && !db->m->frozen &&
           position_equal(&db->applied, &db->m->position) &&
           placing_majority_holds(db);
}

static bool may_grant(struct database *db)
{
    const struct db_env *env = db->env;

    if (!file_is_current(db)) {
        return false;
    }
    if (!env->quorum_fresh(env->data, db->group)) {
        env->wake_after(env->data, db, 50000);
        return false;
    }
    return lease_is_good(db);
}

static void grant(struct database *db, struct session *s)
{
    struct session_message m = {.kind = SESSION_GRANT};

    list_remove(&s->wait);
    session_turn(s, TURN_OWNED);
    db->owner = s;
    slot_grant(db->slot, (uint32_t)s->id);
    s->base = db->applied;
    m.position = s->base;
    FAILPOINT("node.granted");
    db->env->session_send(db->env->data, s, &m);
    FAILPOINT("node.granted_sent");
}

static void offer(struct session *s)
{
    session_turn(s, TURN_OFFERED);
    say(s, SESSION_OFFER);
    s->db->env->wake_after(s->db->env->data, s->db, s->db->env->times.offer_us);
}

/* An offer that nobody took is over: on to the next. */
static void end_stale_offer(struct database *db)
{
    struct session *s = first_waiter(db);
    uint64_t age;

    if (s == NULL || s->turn != TURN_OFFERED) {
        return;
    }
    age = now(db) - s->since_us;
    if (age >= db->env->times.offer_us) {
        list_remove(&s->wait);
        session_turn(s, TURN_NONE);
    } else {
        db->env->wake_after(db->env->data, db, db->env->times.offer_us - age);
    }
}

void slot_step(struct database *db)
{
    struct session *s;

    end_stale_offer(db);
    lease_yield(db);
    s = first_waiter(db);
    if (s != NULL && s->turn != TURN_OFFERED && slot_claim(db) &&
        may_grant(db)) {
        if (s->turn == TURN_WAITING) {
            grant(db, s);
        } else {
            offer(s);
        }
    }
    lease_step(db);
    slot_keep_step(db);
}

/* ---- what a session says ------------------------------------------------- */

void slot_lock(struct session *s)
{
    struct database *db = s->db;
    char why[TEXT_MAX / 2];

    FAILPOINT("node.lock");
    if (db->env->replica) {
        session_refuse(s, REASON_READONLY,
                       "this node is a replica: write on a voter");
        return;
    }
    if (db->state == DB_REFUSED) {
        session_refuse(s, REASON_IO, db->why);
        return;
    }
    if (s->turn == TURN_OFFERED && may_grant(db) && first_waiter(db) == s) {
        grant(db, s);
        return;
    }
    if (database_disk_full(db, why, sizeof why)) {
        session_refuse(s, REASON_FULL, why);
        return;
    }
    if (!db->env->quorum_fresh(db->env->data, db->group)) {
        db->env->why_no_quorum(db->env->data, db->group, why, sizeof why);
        session_refuse(s, REASON_BUSY, why);
        return;
    }
    slot_look(db);
    if (db->keeper == s) {
        slot_claim(db);
    }
    if (db->owner == s) {
        /* A faulty guest: it is writing and asks again. */
        session_refuse(s, REASON_BUSY, "this session has the lock already");
        return;
    }
    if (s->turn == TURN_NONE) {
        list_push(&db->waiters, &s->wait);
    }
    if (s->turn != TURN_WAITING) {
        session_turn(s, TURN_WAITING);
    }
    wake(db);
}

void slot_park(struct session *s)
{
    if (s->turn == TURN_OWNED) {
        return; /* our GRANT is on its way and answers the PARK too */
    }
    if (s->turn == TURN_WAITING) {
        session_turn(s, TURN_PARKED);
    }
    say(s, SESSION_PARKED);
    wake(s->db);
}

static void unlocked(struct database *db, struct session *s, uint8_t kind)
{
    db->owner = NULL;
    if (slot_state_of(db->slot, (uint32_t)s->id) == SLOT_OWNED) {
        slot_clear(db->slot); /* a session that does not know of the word */
    }
    if (s->turn == TURN_OWNED && kind == UNLOCK_STALE) {
        session_turn(s, TURN_OFFERED);
        list_push_front(&db->waiters, &s->wait);
    } else {
        session_turn(s, TURN_NONE);
    }
}

void slot_unlock(struct session *s, const struct session_unlock *u)
{
    struct database *db = s->db;

    FAILPOINT("node.unlock");
    if (db->owner != s) {
        return; /* an UNLOCK that crossed something: nothing is held */
    }
    if (s->turn == TURN_COMMITTING && u->kind == UNLOCK_PUBLISHED) {
        proposal_published(db, &u->state);
    } else if (s->turn == TURN_COMMITTING) {
        /* told COMMITTED, yet not published: the applier does it */
        db->look_again = true;
        proposal_free(db);
    } else if (s->turn == TURN_PROPOSING) {
        db->proposal->session = NULL;
        if (!db->proposal->complete || db->proposal->accepted) {
            proposal_free(db); /* the applier has what was accepted */
        }
    }
    unlocked(db, s, u->kind);
    slot_step(db);
    wake(db);
}

void slot_gone(struct session *s)
{
    struct database *db = s->db;

    list_remove(&s->wait);
    slot_look(db);
    if (db->owner == s && s->turn == TURN_PROPOSING && db->proposal->complete &&
        !db->proposal->accepted) {
        db->proposal->session = NULL; /* it goes on without the session */
    } else if (db->owner == s && s->turn != TURN_OWNED) {
        /* After COMMITTED it may or may not have published: look at the file
         * before anything is appended to it. */
        db->look_again = db->look_again || s->turn == TURN_COMMITTING;
        proposal_free(db);
    }
    if (db->owner == s || db->keeper == s) {
        slot_owner_gone(db, s);
    }
    s->turn = TURN_NONE;
    wake(db);
}
