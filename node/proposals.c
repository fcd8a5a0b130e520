/* A transaction on its way into the log, once its parts are here
 * (proposal_parts.c).
 *
 * The outcome is only ever read from the state machine. A copy that left this
 * node may be appended at any later time, so the same token is proposed again
 * after every change of leader and now and then, which the compare-and-swap
 * makes harmless, until the state machine has moved past its base. A session
 * that waited longer than the deadline is told "outcome unknown"; the proposal
 * then goes on without it, and no lock is granted until it is decided. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "node/database.h"

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

bool proposal_is(const struct database *db, const struct token *token)
{
    return db->proposal != NULL && token_equal(&db->proposal->token, token);
}

void proposal_free(struct database *db)
{
    struct proposal *p = db->proposal;

    if (p == NULL) {
        return;
    }
    for (uint32_t i = 0; i < p->n_entries; i++) {
        free(p->entries[i].bytes);
    }
    free(p->entries);
    free(p->numbers);
    free(p->hashes);
    free(p);
    db->proposal = NULL;
    db->env->wake(db->env->data, db);
}

/* ---- answers to the session ---------------------------------------------- */

static void answer(struct proposal *p, struct session_message *m)
{
    struct session *s = p->session;

    if (s == NULL) {
        return;
    }
    if (m->kind != SESSION_COMMITTED) {
        session_turn(s, TURN_OWNED); /* it rolls back, then unlocks */
        p->session = NULL;
    } else {
        session_turn(s, TURN_COMMITTING);
    }
    s->db->env->session_send(s->db->env->data, s, m);
}

void proposal_fail(struct proposal *p, uint8_t reason, const char *text)
{
    struct session_message m = {.kind = SESSION_FAILED};

    m.refused.reason = reason;
    m.refused.text = text;
    m.refused.len = strlen(text);
    answer(p, &m);
}

/* Nothing of it was or will be accepted. */
static void conflict(struct database *db)
{
    struct session_message m = {.kind = SESSION_CONFLICT};

    answer(db->proposal, &m);
    db->conflicts++;
    proposal_free(db);
}

/* ---- sending ------------------------------------------------------------- */

static int send_entry(struct database *db, struct proposal_entry *entry)
{
    void *copy = malloc(entry->len);

    if (copy == NULL) {
        return ERR_FULL;
    }
    memcpy(copy, entry->bytes, entry->len);
    return db->env->propose(db->env->data, db->group, copy, entry->len);
}

/* Propose what has not been proposed to this leader yet. Surely failed only
 * while no copy of the ENTRY_TXN has left: parts alone do nothing. */
static void send_all(struct database *db)
{
    struct proposal *p = db->proposal;
    int rv = 0;

    FAILPOINT_IF(!p->sent, "node.proposal");
    while (p->n_sent < p->n_entries) {
        bool last = p->complete && p->n_sent == p->n_entries - 1;
        rv = send_entry(db, &p->entries[p->n_sent]);
        if (rv != 0) {
            break;
        }
        p->n_sent++;
        p->sent_us = now(db);
        p->sent = p->sent || last;
        FAILPOINT_IF(last, "node.proposed");
    }
    if (rv == ERR_FULL && !p->sent) {
        p->bad = true;
        p->bad_reason = REASON_FULL;
        if (p->complete) {
            proposal_fail(
                p, REASON_FULL,
                "the log of this node is full: it cannot be shortened yet");
            proposal_free(db);
        }
    }
}

static void send_again(struct proposal *p)
{
    p->n_sent = 0;
}

void proposal_leader_changed(struct database *db)
{
    if (db->proposal != NULL && !db->proposal->accepted) {
        db->env->wake(db->env->data, db);
    }
}

/* Large ones take their time; proposing them again too early would only queue
 * the same bytes twice. */
static uint64_t allowance_us(const struct proposal *p)
{
    return p->raw_bytes / COMMIT_BYTES_PER_MS * 1000u;
}

/* The session has waited long enough. What never left this node has surely
 * failed; anything else goes on without the session. */
static void past_deadline(struct database *db)
{
    struct proposal *p = db->proposal;
    struct session_message m = {.kind = SESSION_UNKNOWN};

    if (!p->sent) {
        proposal_fail(p, REASON_BUSY, "no quorum before the deadline");
        proposal_free(db);
    } else {
        answer(p, &m);
    }
}

/* Look again when it is to be proposed again, or at the deadline. */
static void plan_next(struct database *db, uint64_t t)
{
    const struct db_times *times = &db->env->times;
    const struct proposal *p = db->proposal;
    uint64_t next = times->propose_again_us;
    uint64_t end;

    if (p == NULL) {
        return;
    }
    end = p->since_us + times->deadline_us + allowance_us(p);
    if (p->session != NULL && end > t && end - t < next) {
        next = end - t;
    }
    db->env->wake_after(db->env->data, db, next);
}

bool proposal_waits(const struct database *db)
{
    const struct proposal *p = db->proposal;

    return p != NULL && p->accepted && p->session != NULL &&
           p->session->turn == TURN_PROPOSING;
}

static void answer_accepted(struct database *db)
{
    struct proposal *p = db->proposal;
    struct session_message m = {.kind = SESSION_COMMITTED,
                                .position = p->position};

    if (lease_answer_wait(db, p->accepted_us) == 0) {
        histogram_add(&db->commit_times, now(db) - p->since_us);
        FAILPOINT("node.committed");
        answer(p, &m);
        FAILPOINT("node.answered");
    }
}

void proposal_step(struct database *db)
{
    struct proposal *p = db->proposal;
    const struct db_times *times = &db->env->times;
    uint64_t leader, t;

    if (proposal_waits(db)) {
        answer_accepted(db);
        return;
    }
    if (p == NULL || p->accepted || p->bad) {
        return;
    }
    if (!position_equal(&p->base, &db->m->position)) {
        proposal_overtaken(db);
        return;
    }
    t = now(db);
    leader = db->env->leader(db->env->data, db->group);
    if (leader != 0 && leader != p->sent_leader) {
        p->sent_leader = leader;
        send_again(p);
    } else if (p->sent &&
               t - p->sent_us >= times->propose_again_us + allowance_us(p)) {
        send_again(p);
    }
    if (leader != 0) {
        send_all(db);
    }
    p = db->proposal;
    if (p == NULL || !p->complete) {
        return;
    }
    if (p->session != NULL &&
        t - p->since_us >= times->deadline_us + allowance_us(p)) {
        past_deadline(db);
    }
    plan_next(db, t);
}

/* ---- outcomes ------------------------------------------------------------ */

void proposal_accepted(struct database *db, const struct position *position)
{
    struct proposal *p = db->proposal;

    p->accepted = true;
    p->position = *position;
    p->accepted_us = now(db);
    if (p->session == NULL) {
        proposal_free(db); /* the applier appends it as any other */
        return;
    }
    answer_accepted(db);
    if (proposal_waits(db)) {
        db->env->wake(db->env->data, db); /* to ask for the lease */
    }
}

void proposal_decided(struct database *db, const struct token *token,
                      enum machine_verdict verdict)
{
    struct session_message unknown = {.kind = SESSION_UNKNOWN};

    if (!proposal_is(db, token) || db->proposal->accepted) {
        return;
    }
    switch (verdict) {
    case VERDICT_CONFLICT:
        conflict(db);
        break;
    case VERDICT_INCOMPLETE:
        send_again(db->proposal);
        db->env->wake(db->env->data, db);
        break;
    case VERDICT_REPEATED:  /* seen as accepted before: cannot be ours */
    case VERDICT_FORGOTTEN: /* the session was told "unknown" long ago */
        answer(db->proposal, &unknown);
        proposal_free(db);
        break;
    case VERDICT_FROZEN: /* proposed again when it is not (proposal_moved) */
        break;
    }
}

void proposal_overtaken(struct database *db)
{
    struct proposal *p = db->proposal;

    if (p != NULL && !p->accepted && p->base.txid < db->m->position.txid) {
        if (p->complete) {
            conflict(db);
        } else {
            p->bad = true; /* answered at its last part */
            p->bad_reason = REASON_BUSY;
        }
    }
}
