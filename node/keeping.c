/* The slot word: what sessions do without a message (vfs/slot_word.h).
 *
 * A session that leaves the slot keeps it as long as nobody else wants it, so a
 * program that writes alone asks once and then only proposes. The node looks at
 * the word whenever it decides anything about the database, and takes the slot
 * back before it lets anybody else write or touches the file itself. */
#include <string.h>

#include "node/database.h"

/* Of a session whose connection is closed while it still writes. */
#define ORPHAN_US 2000u

static uint32_t number_of(const struct session *s)
{
    return (uint32_t)s->id;
}

/* Has the transaction that `s` was told COMMITTED for been published? */
static bool has_published(struct database *db, const struct session *s,
                          struct wal_state *state)
{
    return s->turn == TURN_COMMITTING &&
           slot_recorded(db->slot, db->proposal->position.txid, state);
}

void slot_left(struct database *db, struct session *s)
{
    struct wal_state state;

    if (has_published(db, s, &state)) {
        proposal_published(db, &state);
    } else if (s->turn == TURN_COMMITTING) {
        db->look_again = true; /* it must be found in the file, or added */
        proposal_free(db);
    }
    session_turn(s, TURN_KEEPING);
    db->owner = NULL;
    db->keeper = s;
}

/* `s` has taken again what it kept. */
static void has_retaken(struct database *db, struct session *s)
{
    session_turn(s, TURN_OWNED);
    s->base = db->applied;
    db->keeper = NULL;
    db->owner = s;
}

static void no_longer_kept(struct database *db)
{
    session_turn(db->keeper, TURN_NONE);
    db->keeper = NULL;
}

static void look_at_owner(struct database *db)
{
    struct session *s = db->owner;
    enum slot_state word = slot_state_of(db->slot, number_of(s));
    struct wal_state state;

    if (s->turn != TURN_OWNED && s->turn != TURN_COMMITTING) {
        return;
    }
    if (word == SLOT_KEPT) {
        slot_left(db, s);
    } else if (word == SLOT_OWNED && has_published(db, s, &state)) {
        /* Left and taken again, or about to be left. */
        slot_left(db, s);
        has_retaken(db, s);
    }
    /* FREE: its UNLOCK is on its way and says more. */
}

static void look_at_keeper(struct database *db)
{
    struct session *s = db->keeper;
    enum slot_state word = slot_state_of(db->slot, number_of(s));

    if (word == SLOT_OWNED) {
        has_retaken(db, s);
    } else if (word == SLOT_FREE) {
        no_longer_kept(db);
    }
}

static void look_at_orphan(struct database *db)
{
    if (slot_state_of(db->slot, db->orphan) == SLOT_OWNED &&
        slot_session_lives(db->slot_fd, db->orphan)) {
        db->env->wake_after(db->env->data, db, ORPHAN_US);
        return;
    }
    slot_clear(db->slot);
    db->orphan = 0;
}

void slot_look(struct database *db)
{
    if (db->orphan != 0) {
        look_at_orphan(db);
    } else if (db->owner != NULL) {
        look_at_owner(db);
    } else if (db->keeper != NULL) {
        look_at_keeper(db);
    }
}

bool slot_claim(struct database *db)
{
    struct session *s;

    slot_look(db);
    s = db->owner != NULL ? db->owner : db->keeper;
    if (s == NULL) {
        return db->orphan == 0;
    }
    switch (slot_take_back(db->slot, number_of(s))) {
    case SLOT_HELD:
        if (db->keeper != NULL) {
            has_retaken(db, s);
        }
        return false;
    case SLOT_LEFT:
        return false; /* until its UNLOCK is here */
    case SLOT_TAKEN:
        if (db->owner != NULL) {
            slot_left(db, s); /* it left after we looked */
        }
        no_longer_kept(db);
        return true;
    }
    return false;
}

/* A session without its connection may still be in the middle of something: a
 * rollback cleans the wal-index. Nobody has the slot until it has left it or
 * died. */
void slot_owner_gone(struct database *db, struct session *s)
{
    uint32_t number = number_of(s);

    db->owner = db->keeper = NULL;
    if (slot_state_of(db->slot, number) == SLOT_OWNED &&
        slot_session_lives(db->slot_fd, number)) {
        db->orphan = number;
        db->env->wake_after(db->env->data, db, ORPHAN_US);
    } else if (slot_state_of(db->slot, number) != SLOT_FREE) {
        slot_clear(db->slot);
    }
}

/* Nothing speaks against keeping it, as far as the node knows? */
static bool may_keep(struct database *db)
{
    const struct db_env *env = db->env;

    return !database_disk_full(db, NULL, 0) && db->state == DB_READY &&
           !db->look_again && list_empty(&db->pending) &&
           env->quorum_fresh(env->data, db->group) && lease_is_good(db);
}

/* A node that is stopped, or hears nobody, must not be the last to know that
 * others write: what it knows now counts for twice the time after which it
 * would look again, and never longer than the lease. */
static void allow(struct database *db)
{
    uint64_t until =
        db->env->now_us(db->env->data) + 2 * db->env->times.keep_us;

    if ((db->owner != NULL || db->keeper != NULL) && may_keep(db)) {
        slot_allow(db->slot,
                   until < db->lease.until_us ? until : db->lease.until_us);
    }
}

void slot_keep_step(struct database *db)
{
    uint64_t keep = db->env->times.keep_us, kept;

    allow(db);

    if (db->keeper != NULL) {
        kept = db->env->now_us(db->env->data) - db->keeper->since_us;
        if (kept >= keep || !may_keep(db)) {
            if (slot_claim(db)) {
                db->env->wake(db->env->data, db); /* to start the WAL over */
            }
        } else {
            keep -= kept;
        }
    }
    /* An owner may have left without a word, after COMMITTED soon. */
    if (db->keeper != NULL ||
        (db->owner != NULL && db->owner->turn == TURN_COMMITTING)) {
        db->env->wake_after(db->env->data, db, keep);
    } else if (db->owner != NULL) {
        db->env->wake_after(db->env->data, db, 10 * keep);
    }
}
