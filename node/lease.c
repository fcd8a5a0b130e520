/* The node's side of a lease: ask, renew, give back.
 *
 * A transaction that begins with the write lock must see whatever was
 * acknowledged anywhere before. Two rules make it so, together with a table
 * that has one holder at a time (lease_table.h):
 *
 * - A turn is granted, or kept, only while a lease is valid, and only when the
 *   log has been read up to the index that came with it. Whatever was
 *   acknowledged before the grant is below that index.
 * - A session is told at once that its transaction is accepted only while its
 *   node holds a valid lease from the leader of the term that the node is in:
 *   then nobody else has one, and who gets one later gets a later index. In any
 *   other case (the lease ran out or was given away in the middle, the leader
 *   changed) it is told when every grant made before has run out.
 *
 * A lease is counted from when it was asked for, so neither a slow network nor
 * a node that stood still makes it last longer than its leader believes. */
#include <string.h>

#include "node/database.h"
#include "node/lease_table.h"

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void wake_after(struct database *db, uint64_t us)
{
    db->env->wake_after(db->env->data, db, us);
}

static bool is_valid(const struct database *db)
{
    return db->lease.held && now(db) < db->lease.until_us;
}

/* Valid, and from the leader through whom commits are learned. */
static bool is_current(const struct database *db)
{
    return is_valid(db) &&
           db->lease.term == db->env->term(db->env->data, db->group);
}

bool lease_is_good(struct database *db)
{
    if (!is_valid(db) || (db->m != NULL && db->m->frozen)) {
        return false;
    }
    if (db->env->applied(db->env->data, db->group) < db->lease.index) {
        wake_after(db, 1000);
        return false;
    }
    return true;
}

uint64_t lease_answer_wait(struct database *db, uint64_t since_us)
{
    uint64_t wait = lease_outlived_us(db->env->times.lease_us);
    uint64_t age = now(db) - since_us;

    if (is_current(db) || age >= wait) {
        return 0;
    }
    wake_after(db, wait - age);
    return wait - age;
}

/* ---- what the leader says ------------------------------------------------ */

/* Times in questions are ours alone, also after a start. */
static uint64_t stamp_of(const struct database *db, uint64_t us)
{
    return us + db->env->start;
}

void lease_granted(struct database *db, const struct host_lease *l)
{
    uint64_t asked = l->stamp - db->env->start;
    uint64_t most = db->env->times.lease_us;
    uint64_t until = asked + (l->us < most ? l->us : most);
    bool same = db->lease.held && db->lease.epoch == l->epoch;

    if (asked > now(db) || l->epoch <= db->lease.released ||
        l->term != db->env->term(db->env->data, db->group) ||
        (db->lease.held && l->epoch < db->lease.epoch) ||
        (same && l->term == db->lease.term && until <= db->lease.until_us)) {
        return; /* late, or not to us as we are now */
    }
    if (!same) {
        db->lease.since_us = now(db);
        db->lease.recalled = false;
    }
    db->lease.held = true;
    db->lease.asked = false;
    db->lease.epoch = l->epoch;
    db->lease.index = l->index;
    db->lease.term = l->term;
    db->lease.until_us = until;
    db->env->wake(db->env->data, db);
}

void lease_recalled(struct database *db, uint64_t epoch)
{
    if (db->lease.held && db->lease.epoch == epoch) {
        db->lease.recalled = true;
        db->env->wake(db->env->data, db);
    }
}

void lease_leader_changed(struct database *db)
{
    db->lease.asked = false;
    db->env->wake(db->env->data, db);
}

/* ---- giving back --------------------------------------------------------- */

static void release(struct database *db)
{
    struct host_lease l = {.epoch = db->lease.epoch};
    uint64_t used_us = db->lease.used_us;

    slot_allow(db->slot, 0);
    memset(&db->lease, 0, sizeof db->lease);
    db->lease.released = l.epoch;
    db->lease.used_us = used_us;
    if (db->m == NULL) {
        return; /* the database was dropped, and its lease with it */
    }
    l.db = db->m->uuid;
    db->env->lease_send(db->env->data, db, HOST_LEASE_RELEASE, &l);
}

void lease_moved(struct database *db)
{
    uint64_t used_us = db->lease.used_us;

    slot_allow(db->slot, 0);
    memset(&db->lease, 0, sizeof db->lease);
    db->lease.used_us = used_us;
}

/* Does the end of its transaction depend on the session alone? */
static bool is_stuck(const struct database *db)
{
    enum turn turn = db->owner->turn;

    return turn == TURN_OWNED || turn == TURN_COMMITTING ||
           (turn == TURN_PROPOSING && !db->proposal->complete);
}

/* Somebody else asks: give the lease back at the end of the quantum, between
 * transactions. A holder that idles in a transaction for long loses it in the
 * middle; its commit will then be a conflict, if anybody else wrote. */
static void maybe_release(struct database *db)
{
    const struct db_times *times = &db->env->times;
    uint64_t held, idle;

    if (!db->lease.held || !db->lease.recalled) {
        return;
    }
    if (db->owner != NULL && is_stuck(db)) {
        idle = now(db) - db->owner->since_us;
        if (idle >= times->idle_us) {
            release(db);
        } else {
            wake_after(db, times->idle_us - idle);
        }
        return;
    }
    held = now(db) - db->lease.since_us;
    if (held < times->quantum_us) {
        wake_after(db, times->quantum_us - held);
    } else if (slot_claim(db) && slot_is_free(db) && !db->ordered.builds) {
        release(db);
    }
}

void lease_yield(struct database *db)
{
    if (db->lease.recalled &&
        now(db) - db->lease.since_us >= db->env->times.quantum_us) {
        maybe_release(db);
    }
}

/* ---- asking -------------------------------------------------------------- */

static bool is_used(struct database *db)
{
    if (db->owner != NULL || db->keeper != NULL || db->ordered.asks ||
        !list_empty(&db->waiters)) {
        db->lease.used_us = now(db);
    }
    return db->lease.used_us != 0 &&
           now(db) - db->lease.used_us < db->env->times.unused_us;
}

/* Is it time to ask? A lease that is in use is renewed in good time. */
static bool is_due(struct database *db)
{
    uint64_t half = db->env->times.lease_us / 2;
    uint64_t left = is_valid(db) ? db->lease.until_us - now(db) : 0;

    if (!db->lease.held) {
        return !list_empty(&db->waiters) || proposal_waits(db) ||
               db->ordered.asks;
    }
    if (!is_used(db) && !proposal_waits(db)) {
        return false;
    }
    if (is_current(db) && left > half) {
        wake_after(db, left - half);
        return false;
    }
    return true;
}

static void ask(struct database *db, uint64_t leader)
{
    struct host_lease l = {
        .db = db->m->uuid,
        .epoch = db->lease.held ? db->lease.epoch : 0,
        .term = db->env->term(db->env->data, db->group),
    };

    db->lease.asked = true;
    db->lease.asked_us = now(db);
    db->lease.asked_leader = leader;
    l.stamp = stamp_of(db, db->lease.asked_us);
    db->env->lease_send(db->env->data, db, HOST_LEASE_ASK, &l);
}

/* How long the same leader is not asked again. */
static uint64_t pause(const struct database *db)
{
    uint64_t again = db->env->times.ask_again_us;

    return db->lease.asked ? again : db->lease.held ? again / 2 : 0;
}

static void maybe_ask(struct database *db)
{
    uint64_t leader = db->env->leader(db->env->data, db->group);
    uint64_t age = now(db) - db->lease.asked_us;

    if (db->m == NULL || db->m->frozen || leader == 0 || !is_due(db)) {
        return;
    }
    if (leader != db->lease.asked_leader || age >= pause(db)) {
        ask(db, leader);
        age = 0;
    }
    wake_after(db, pause(db) - age);
}

void lease_step(struct database *db)
{
    maybe_release(db);
    maybe_ask(db);
}
