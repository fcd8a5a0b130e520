/* Sessions that act at random in the small world, and remember what they were
 * promised: every answer is checked when it comes, and every transaction that
 * is accepted later, against what its session was told.
 *
 * Header only; include after cmocka.h. */
#ifndef TESTS_UNIT_NODE_FAKE_PLAYER_H
#define TESTS_UNIT_NODE_FAKE_PLAYER_H

#include "tests/unit/node/fake_guest.h"

#define GUESTS 4
#define FATES_MAX 512

/* What a session knows about itself. */
enum mood {
    M_IDLE,
    M_ASKED,
    M_PARKING,
    M_PARKED,
    M_OWNS,
    M_SENDING,  /* parts, but not the last */
    M_PROPOSED, /* waits for the answer */
    M_PUBLISHES,
    M_RECORDED, /* has published, not yet left */
    M_DOUBTS,   /* told UNKNOWN: it may only leave */
    M_KEEPS     /* has left without a word */
};

/* What the world was told about an attempt to commit. */
enum fate { F_OPEN, F_NEVER, F_COMMITTED, F_DOUBT };

struct player {
    struct guest *guest;
    enum mood mood;
    bool word;         /* it knows of the slot word */
    bool tried;        /* proposed in this turn */
    uint64_t seen_sum; /* of the file when it left it */
    uint32_t first_page;
};

struct play {
    struct world *w;
    uint64_t random;
    struct player players[GUESTS];
    struct {
        struct token token;
        enum fate fate;
        bool accepted;
    } fates[FATES_MAX];
    unsigned n_fates;
    unsigned asks_answered;
    uint64_t epoch;
    bool break_next;      /* the next message meets a broken socket */
    unsigned n_told[256]; /* messages, by kind */
    unsigned n_retaken, n_asked_twice, n_without_quorum, n_beside;
    uint32_t active; /* so many of the players play */
};

static inline uint32_t pick(struct play *p, uint32_t n)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return (uint32_t)(p->random >> 33) % n;
}

/* ---- what was promised --------------------------------------------------- */

/* The fate of a token; a new one is open. */
static inline unsigned fate_of(struct play *p, const struct token *token)
{
    unsigned i = 0;

    while (i < p->n_fates && !token_equal(&p->fates[i].token, token)) {
        i++;
    }
    if (i == p->n_fates) {
        assert_true(i < FATES_MAX);
        p->fates[p->n_fates++].token = *token;
    }
    return i;
}

/* The session's latest attempt has this fate. */
static inline void seal(struct play *p, const struct guest *g, enum fate fate)
{
    const struct token token = {NODE_HERE, p->w->env.start, g->session.id,
                                g->sequence};
    unsigned i = fate_of(p, &token);

    assert_int_equal(p->fates[i].fate, F_OPEN);
    assert_false(p->fates[i].accepted && fate == F_NEVER);
    assert_true(p->fates[i].accepted || fate != F_COMMITTED);
    p->fates[i].fate = fate;
}

static inline void player_on_accept(struct world *w, const struct token *token)
{
    struct play *p = w->user;
    unsigned i;

    if (token->node != NODE_HERE) {
        return;
    }
    i = fate_of(p, token);
    assert_false(p->fates[i].accepted);
    assert_true(p->fates[i].fate == F_OPEN || p->fates[i].fate == F_DOUBT);
    p->fates[i].accepted = true;
    for (int k = 0; k < GUESTS; k++) {
        const struct player *who = &p->players[k];
        if (who->mood == M_PROPOSED && !who->guest->gone &&
            who->guest->session.id == token->session) {
            /* It built on what the log says. */
            assert_int_equal(who->guest->file.sum, w->log.sum);
        }
    }
}

/* ---- what a session is told ---------------------------------------------- */

static inline void player_on_grant(struct world *w, struct guest *g,
                                   const struct world_message *m)
{
    struct database *db = &w->db;

    assert_ptr_equal(db->owner, &g->session);
    assert_null(db->proposal);
    assert_true(db->job == NULL || db->job_beside);
    assert_false(db->look_again);
    assert_int_equal(db->state, DB_READY);
    assert_true(db->lease.held && w->fresh);
    assert_true(w->now_us < db->lease.until_us);
    assert_true(w->applied >= db->lease.index);
    assert_true(list_empty(&db->pending));
    assert_true(position_equal(&m->position, &db->m->position));
    assert_int_equal(w->file.sum, w->log.sum);
    assert_int_equal(db->checksum.sum, w->log.sum);
}

/* Nobody else holds a lease now that was granted before it was accepted. */
static inline void check_may_be_told(const struct world *w)
{
    const struct database *db = &w->db;
    bool here = db->lease.held && w->now_us < db->lease.until_us &&
                db->lease.term == w->term;

    assert_true(here ||
                w->now_us - db->proposal->accepted_us >= w->env.times.lease_us);
}

static inline void player_on_answer(struct play *p, struct player *who,
                                    const struct world_message *m)
{
    assert_int_equal(who->mood, M_PROPOSED);
    switch (m->kind) {
    case SESSION_COMMITTED:
        check_may_be_told(p->w);
        assert_true(position_equal(&m->position, &p->w->db.proposal->position));
        seal(p, who->guest, F_COMMITTED);
        who->mood = M_PUBLISHES;
        break;
    case SESSION_UNKNOWN:
        seal(p, who->guest, F_DOUBT);
        who->mood = M_DOUBTS;
        break;
    default:
        seal(p, who->guest, F_NEVER);
        who->mood = M_OWNS;
        break;
    }
}

/* Busy because it has the lock already, or because nobody could commit now. */
static inline void player_on_refusal(struct play *p, struct player *who,
                                     const struct world_message *m)
{
    const struct session *s = &who->guest->session;

    assert_int_equal(m->reason, REASON_BUSY);
    if (p->w->fresh) {
        assert_ptr_equal(p->w->db.owner, s);
        p->n_asked_twice++;
        return;
    }
    assert_string_equal(m->text, "no quorum: 1 of 3 reachable");
    p->n_without_quorum++;
    if (who->mood == M_ASKED && s->turn != TURN_WAITING) {
        /* Whoever is in the queue keeps its place there. */
        who->mood = s->turn == TURN_PARKED || s->turn == TURN_OFFERED ? M_PARKED
                                                                      : M_IDLE;
    }
}

static inline void player_leaves(struct play *p, struct player *who);

static inline void player_on_message(struct world *w, struct guest *g,
                                     const struct world_message *m)
{
    struct play *p = w->user;
    struct player *who = p->players;

    while (who->guest != g) {
        who++;
    }
    g->n_inbox = 0;
    p->n_told[m->kind]++;
    switch (m->kind) {
    case SESSION_GRANT:
        assert_true(who->mood == M_ASKED || who->mood == M_PARKING);
        player_on_grant(w, g, m);
        p->n_beside += w->db.job != NULL;
        who->mood = M_OWNS;
        who->tried = false;
        break;
    case SESSION_PARKED:
        assert_int_equal(who->mood, M_PARKING);
        who->mood = M_PARKED;
        break;
    case SESSION_OFFER:
        assert_int_equal(who->mood, M_PARKED);
        break;
    case SESSION_REFUSED:
        player_on_refusal(p, who, m);
        break;
    default:
        player_on_answer(p, who, m);
        break;
    }
    if (p->break_next) {
        p->break_next = false;
        player_leaves(p, who);
    }
}

static inline void player_on_release(struct world *w)
{
    const struct session *owner = w->db.owner;

    if (owner == NULL) {
        assert_true(slot_is_free(&w->db));
        return;
    }
    /* It has done nothing for long, and nothing but it can end its turn. */
    assert_true(w->now_us - owner->since_us >= w->env.times.idle_us);
    assert_true(owner->turn == TURN_OWNED || owner->turn == TURN_COMMITTING ||
                !w->db.proposal->complete);
}

/* ---- what a session does ------------------------------------------------- */

/* Its socket closes. What it proposed in full may still be accepted. */
static inline void player_leaves(struct play *p, struct player *who)
{
    struct guest *g = who->guest;

    if (who->mood == M_SENDING || who->mood == M_PROPOSED) {
        seal(p, g, who->mood == M_SENDING ? F_NEVER : F_DOUBT);
    } else if (who->mood == M_PUBLISHES && pick(p, 2) == 0) {
        guest_publish(p->w, g);
    }
    g->gone = true;
    slot_gone(&g->session);
    list_remove(&g->session.link);
    world_settle(p->w);
}

static inline void player_asks(struct play *p, struct player *who)
{
    who->mood = M_ASKED;
    guest_lock(p->w, who->guest);
}

/* Each page once, from a random one on; now and then the database shrinks. */
static inline void player_sends(struct play *p, struct player *who, bool last)
{
    uint32_t pages = p->w->log.pages, page;

    if (who->mood == M_OWNS) {
        who->first_page = 1 + pick(p, pages + 1);
    }
    page = who->first_page + who->guest->parts;
    who->mood = last ? M_PROPOSED : M_SENDING;
    who->tried = true;
    if (!last) {
        guest_part(p->w, who->guest, page);
    } else if (pick(p, 8) == 0) {
        guest_part_sized(p->w, who->guest, page, 1, WORLD_PAGE,
                         1 + pick(p, pages));
    } else {
        guest_last(p->w, who->guest, page);
    }
}

static inline void player_unlocks(struct play *p, struct player *who,
                                  enum unlock_kind kind)
{
    if (who->mood == M_SENDING || who->mood == M_PROPOSED) {
        seal(p, who->guest, who->mood == M_SENDING ? F_NEVER : F_DOUBT);
    }
    if (who->mood == M_PUBLISHES && kind != UNLOCK_PUBLISHED &&
        pick(p, 2) == 0) {
        guest_publish(p->w, who->guest); /* and forgets to say so */
    }
    who->mood = M_IDLE;
    who->guest->parts = 0;
    if (who->word) {
        guest_leave(p->w, who->guest, kind, false);
    } else {
        guest_unlock(p->w, who->guest, kind);
    }
}

static inline void player_keeps(struct play *p, struct player *who)
{
    bool kept;

    /* An event of its leaving may end it. */
    enum unlock_kind kind =
        who->mood == M_RECORDED ? UNLOCK_PUBLISHED : UNLOCK_NOTHING;

    who->seen_sum = p->w->file.sum;
    who->mood = M_IDLE;
    kept = guest_leave(p->w, who->guest, kind, true);
    if (kept) {
        who->mood = M_KEEPS;
    }
}

static inline void player_retakes(struct play *p, struct player *who)
{
    if (!guest_retake(p->w, who->guest)) {
        player_asks(p, who);
        return;
    }
    assert_true(p->w->db.job == NULL || p->w->db.job_beside);
    assert_int_equal(p->w->file.sum, who->seen_sum);
    p->n_retaken++;
    who->mood = M_OWNS;
    who->tried = false;
}

static inline void player_publishes(struct play *p, struct player *who)
{
    if (pick(p, 8) == 0) {
        player_unlocks(p, who, UNLOCK_NOTHING);
    } else if (who->word) {
        guest_record(p->w, who->guest);
        who->mood = M_RECORDED;
    } else {
        player_unlocks(p, who, UNLOCK_PUBLISHED);
    }
}

static inline void player_owns(struct play *p, struct player *who)
{
    switch (pick(p, 8)) {
    case 0:
        if (who->word) {
            player_keeps(p, who);
        } else {
            player_unlocks(p, who, UNLOCK_NOTHING);
        }
        break;
    case 1:
        player_unlocks(p, who, who->tried ? UNLOCK_NOTHING : UNLOCK_STALE);
        break;
    case 2:
        guest_lock(p->w, who->guest); /* it should know better */
        break;
    case 3:
    case 4:
        player_sends(p, who, false);
        break;
    default:
        player_sends(p, who, true);
        break;
    }
}

static inline void player_acts(struct play *p, struct player *who)
{
    if (who->guest == NULL || who->guest->gone) {
        *who =
            (struct player){.guest = guest_open(p->w), .word = pick(p, 2) == 0};
    }
    if (pick(p, 40) == 0) {
        player_leaves(p, who);
        return;
    }
    switch (who->mood) {
    case M_IDLE:
    case M_PARKED:
        if (pick(p, 3) == 0) {
            player_asks(p, who);
        }
        break;
    case M_ASKED:
        if (pick(p, 4) == 0) {
            guest_lock(p->w, who->guest); /* twice */
        } else {
            who->mood = M_PARKING;
            guest_park(p->w, who->guest);
        }
        break;
    case M_OWNS:
        player_owns(p, who);
        break;
    case M_SENDING:
        if (pick(p, 12) == 0) {
            player_unlocks(p, who, UNLOCK_NOTHING);
        } else {
            player_sends(p, who, pick(p, 2) == 0);
        }
        break;
    case M_PUBLISHES:
        player_publishes(p, who);
        break;
    case M_RECORDED:
        player_keeps(p, who);
        break;
    case M_KEEPS:
        player_retakes(p, who);
        break;
    case M_PROPOSED:
        if (pick(p, 20) == 0) {
            player_unlocks(p, who, UNLOCK_NOTHING); /* without waiting */
        }
        break;
    case M_DOUBTS:
        player_unlocks(p, who, UNLOCK_NOTHING);
        break;
    case M_PARKING: /* the answer comes at once */
        break;
    }
}

#endif
