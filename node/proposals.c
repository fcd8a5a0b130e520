/* A transaction on its way into the log.
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
#include "wire/entry.h"
#include "wire/page.h"

#define ENTRY_BYTES_MAX (PACKET_BYTES_MAX - 4096u)

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

static void fail(struct proposal *p, uint8_t reason, const char *text)
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

/* ---- taking it in -------------------------------------------------------- */

static struct proposal *proposal_new(struct session *s, uint64_t sequence)
{
    struct proposal *p = calloc(1, sizeof *p);

    if (p == NULL) {
        return NULL;
    }
    s->sequence = sequence;
    p->session = s;
    p->base = s->base;
    p->token.node = s->db->env->node_id;
    p->token.start = s->db->env->start;
    p->token.session = s->id;
    p->token.sequence = sequence;
    p->since_us = now(s->db);
    return p;
}

static int add_pages(struct proposal *p, const struct session_propose *m)
{
    uint32_t need = p->n_pages + m->count;

    if (need > p->cap_pages) {
        uint32_t cap = need > 2 * p->cap_pages ? need : 2 * p->cap_pages;
        uint32_t *numbers = realloc(p->numbers, cap * sizeof *numbers);
        uint64_t *hashes;
        if (numbers == NULL) {
            return -ENOMEM;
        }
        p->numbers = numbers;
        hashes = realloc(p->hashes, cap * sizeof *hashes);
        if (hashes == NULL) {
            return -ENOMEM;
        }
        p->hashes = hashes;
        p->cap_pages = cap;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        uint32_t number = get_le32(m->numbers + 4 * (size_t)i);
        const uint8_t *image = m->images + (size_t)i * m->page_size;
        /* Ascending over all parts: no page comes twice. */
        if (number == 0 ||
            (p->n_pages > 0 && number <= p->numbers[p->n_pages - 1]) ||
            (number == 1 && (image[18] != 2 || image[19] != 2))) {
            return ERR_CORRUPT;
        }
        p->numbers[p->n_pages] = number;
        p->hashes[p->n_pages++] = page_hash(number, image, m->page_size);
    }
    p->raw_bytes += (uint64_t)m->count * m->page_size;
    return p->raw_bytes > TXN_BYTES_MAX ? ERR_TOO_BIG : 0;
}

static int add_entry(struct database *db, struct proposal *p,
                     const struct session_propose *m)
{
    struct entry_txn e = {
        .db = db->m->uuid,
        .base = p->base,
        .token = p->token,
        .pages = {.page_size = m->page_size, .count = m->count}};
    struct proposal_entry *entries;
    struct buf out;
    int rv;

    if (p->n_entries > TXN_PARTS_MAX) {
        return ERR_TOO_BIG;
    }
    if (m->last) {
        e.db_pages = m->db_pages;
        e.parts = p->n_entries;
        e.checksum = checksum_preview(&db->checksum, p->numbers, p->hashes,
                                      p->n_pages, m->db_pages);
    } else {
        e.number = p->n_entries;
    }
    entries = realloc(p->entries, (p->n_entries + 1) * sizeof *entries);
    if (entries == NULL) {
        return -ENOMEM;
    }
    p->entries = entries;
    buf_init(&out, ENTRY_BYTES_MAX);
    rv = entry_encode_txn(m->last ? ENTRY_TXN : ENTRY_PART, &e,
                          p->numbers + p->n_pages - m->count, m->images, &out);
    if (rv != 0) {
        buf_close(&out);
        return rv;
    }
    entries[p->n_entries].bytes = buf_take(&out, &entries[p->n_entries].len);
    p->n_entries++;
    return 0;
}

static uint8_t reason_of(int rv)
{
    return rv == ERR_TOO_BIG || rv == ERR_FULL ? REASON_FULL : REASON_IO;
}

/* Page sizes agree, or this is the first transaction of an empty database. */
static bool page_size_fits(const struct database *db,
                           const struct session_propose *m)
{
    return m->page_size >= 512 && m->page_size <= 65536 &&
           (m->page_size & (m->page_size - 1)) == 0 &&
           (db->m->page_size == 0 || db->m->page_size == m->page_size);
}

static int take_part(struct session *s, const struct session_propose *m)
{
    struct database *db = s->db;
    struct proposal *p = db->proposal;
    int rv;

    if (p->n_entries == 0) {
        p->page_size = m->page_size;
    }
    if (!page_size_fits(db, m) || m->page_size != p->page_size ||
        m->number != p->n_entries || (m->last && m->db_pages == 0)) {
        return ERR_CORRUPT;
    }
    rv = add_pages(p, m);
    if (rv == 0) {
        rv = add_entry(db, p, m);
    }
    /* Every node keeps memory for this size. */
    if (rv == 0 && m->last &&
        !page_growth_valid(db->m->pages, p->n_pages, m->db_pages)) {
        rv = ERR_CORRUPT;
    }
    if (rv == 0 && m->last) {
        p->db_pages = m->db_pages;
        p->complete = true;
    }
    return rv;
}

static const char *text_of(uint8_t reason)
{
    return reason == REASON_FULL   ? "the transaction is too large"
           : reason == REASON_BUSY ? "another transaction came first"
                                   : "the transaction is malformed";
}

static void fail_session(struct session *s, uint8_t reason, const char *text)
{
    struct session_message m = {.kind = SESSION_FAILED};

    m.refused.reason = reason;
    m.refused.text = text;
    m.refused.len = strlen(text);
    s->db->env->session_send(s->db->env->data, s, &m);
}

/* The first part of a transaction. NULL: the session has its answer. Only a
 * faulty guest proposes again under the same lock, or uses a number of its
 * tokens twice. */
static struct proposal *begin(struct session *s,
                              const struct session_propose *m)
{
    struct database *db = s->db;

    if (db->proposal != NULL || m->sequence <= s->sequence ||
        m->sequence >= FENCE_SEQUENCE) {
        fail_session(s, REASON_IO, text_of(REASON_IO));
        return NULL;
    }
    db->proposal = proposal_new(s, m->sequence);
    if (db->proposal == NULL) {
        fail_session(s, REASON_FULL, "the node is out of memory");
        return NULL;
    }
    session_turn(s, TURN_PROPOSING);
    return db->proposal;
}

void proposal_part(struct session *s, const struct session_propose *m)
{
    struct database *db = s->db;
    struct proposal *p = db->proposal;
    int rv;

    if (s->turn == TURN_OWNED) {
        p = begin(s, m);
    }
    if (s->turn != TURN_PROPOSING || p == NULL || p->complete) {
        return;
    }
    rv = p->bad ? 0 : take_part(s, m);
    if (rv != 0) {
        p->bad = true;
        p->bad_reason = reason_of(rv);
    }
    if (p->bad && m->last) {
        fail(p, p->bad_reason, text_of(p->bad_reason));
        proposal_free(db);
        return;
    }
    proposal_step(db);
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
            fail(p, REASON_FULL,
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
        fail(p, REASON_BUSY, "no quorum before the deadline");
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
