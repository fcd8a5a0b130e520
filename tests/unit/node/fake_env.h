/* A small world for the deciding parts of node/: one database of one group on
 * node 1 of three, and a clock that stands still.
 *
 * The state machine is the real one, and the joints between it, the database
 * and the file are those of node/events.c and node/applier.c. Nothing happens
 * by itself but what a wake or a wake time brings (world_settle, world_pass),
 * so a wait that nothing would end shows. Always checked: one token never
 * names two different entries, and every accepted transaction carries the
 * checksum of the database after it.
 *
 * Header only; include after cmocka.h. Everything allocated belongs to the
 * world and goes in world_close. */
#ifndef TESTS_UNIT_NODE_FAKE_ENV_H
#define TESTS_UNIT_NODE_FAKE_ENV_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "node/database.h"
#include "tests/unit/node/fake_entry.h"

#define WORLD_PAGE 512u
#define WORLD_VOTERS 3
#define WORLD_INBOX 64u
#define WORLD_STEPS_MAX 1000 /* without the clock moving */

enum { NODE_HERE = 1, NODE_THERE = 2 };

/* What a session was told; texts are cut. */
struct world_message {
    uint8_t kind, reason;
    struct position position;
    char text[200];
};

/* An application's session, and what its part of the protocol remembers. */
struct guest {
    struct session session; /* first: a guest is found by its session */
    struct guest *next;     /* all that ever were */
    struct world_message inbox[WORLD_INBOX];
    unsigned n_inbox;
    struct checksum file; /* the file as its transaction would leave it */
    uint32_t parts;       /* of it that were proposed */
    uint64_t sequence;    /* of its transactions: in their tokens */
    uint64_t txid;        /* of the last one that was committed */
    bool gone;
};

struct world {
    struct db_env env;
    struct database db;
    struct machine machine;
    struct machine_events events;
    uint64_t voters[WORLD_VOTERS];
    struct guest *guests;

    uint64_t now_us, wake_at_us; /* 0 = no wake time */
    bool woken;

    uint64_t leader, term, applied;
    bool mute;             /* no leader renews a lease by itself, */
    bool renews;           /* as it would now: `ask` */
    struct host_lease ask; /* the last question */
    bool fresh;            /* a quorum was heard lately */
    int propose_rv;        /* not 0: entries do not leave this node */
    struct list flight;    /* world_entry: proposed, not yet in the log */
    struct list seen;      /* world_entry: one of each that was ever proposed */
    unsigned n_proposed;   /* copies that left */
    struct checksum file;  /* what the local file holds */
    uint64_t known_sum;    /* of it when the applier last had it in hand */
    unsigned n_foreign;    /* times it found something else there */
    struct checksum log;   /* what the log says the database holds */
    unsigned n_accepted;
    bool job_waits; /* jobs on the file end by world_job_done only */
    bool backfill_due, reset_due; /* the WAL is to be written back */
    enum world_job { JOB_SCAN, JOB_APPEND, JOB_BACKFILL, JOB_RESET } job;
    struct list batch;

    /* Leases: questions that nobody answers by himself, and those of the holder
     * to whoever had granted it. */
    unsigned n_asked, n_renewed, n_released;
    uint64_t released_epoch;

    uint64_t n_images; /* page images made, so that none is like another */
    bool lazy;         /* what is woken waits for world_turn */
    /* For the test; all may be NULL. */
    void *user;
    void (*on_message)(struct world *w, struct guest *g,
                       const struct world_message *m);
    void (*on_accept)(struct world *w, const struct token *token);
    void (*on_release)(struct world *w);
};

/* ---- the log ------------------------------------------------------------- */

/* One token names one attempt for ever. */
static inline void world_check_token(struct world *w, const void *bytes,
                                     size_t len)
{
    struct world_entry *e = world_entry(bytes, len);
    struct entry fresh;

    assert_int_equal(entry_decode(bytes, len, &fresh), 0);
    e->token = fresh.txn.token;
    e->kind = fresh.kind;
    e->number = fresh.txn.number;
    for (struct list *l = w->seen.next; l != &w->seen; l = l->next) {
        struct world_entry *old = LIST_ENTRY(l, struct world_entry, link);
        if (old->kind == e->kind && old->number == e->number &&
            token_equal(&old->token, &e->token)) {
            assert_int_equal(old->len, len);
            assert_memory_equal(old->bytes, bytes, len);
            free(e);
            return;
        }
    }
    list_push(&w->seen, &e->link);
}

static inline int world_propose(void *data, unsigned group, void *bytes,
                                size_t len)
{
    struct world *w = data;
    int rv = w->leader == 0 ? ERR_NO_LEADER : w->propose_rv;

    assert_int_equal(group, w->db.group);
    if (rv == 0) {
        world_check_token(w, bytes, len);
        list_push(&w->flight, &world_entry(bytes, len)->link);
        w->n_proposed++;
    }
    free(bytes);
    return rv;
}

static inline void world_apply(struct world *w, const void *bytes, size_t len)
{
    w->applied++;
    assert_int_equal(machine_apply(&w->machine, bytes, len), 0);
}

static inline void world_apply_buf(struct world *w, struct buf *out)
{
    assert_int_equal(out->err, 0);
    world_apply(w, out->data, out->len);
    buf_close(out);
}

static inline void world_on_enrolled(void *data, struct machine_db *m)
{
    struct world *w = data;

    placing_enrolled(&w->db, m);
}

static inline void world_on_holds(void *data, struct machine_db *m,
                                  uint64_t node)
{
    struct world *w = data;

    (void)node;
    assert_ptr_equal(m->local, &w->db);
    w->env.wake(w, &w->db);
}

static inline void world_on_accepted(void *data, struct machine_db *m,
                                     const struct machine_accept *a)
{
    struct world *w = data;

    (void)m;
    for (struct list *l = a->parts->next; l != a->parts; l = l->next) {
        struct machine_part *part = LIST_ENTRY(l, struct machine_part, link);
        sum_entry(&w->log, part->bytes, part->len);
    }
    sum_entry(&w->log, a->bytes, a->len);
    assert_int_equal(w->log.sum, a->txn->checksum);
    w->n_accepted++;
    if (w->on_accept != NULL) {
        w->on_accept(w, &a->txn->token);
    }
    placing_accepted(&w->db, a);
    if (proposal_is(&w->db, &a->txn->token)) {
        proposal_accepted(&w->db, &a->position);
    } else {
        proposal_overtaken(&w->db);
    }
}

static inline void world_on_decided(void *data, struct machine_db *m,
                                    const struct token *token,
                                    enum machine_verdict verdict)
{
    struct world *w = data;

    (void)m;
    proposal_decided(&w->db, token, verdict);
}

/* ---- the local file ------------------------------------------------------ */

static inline void world_scanned(struct world *w)
{
    struct database *db = &w->db;

    sum_copy(&db->checksum, &w->file);
    w->known_sum = w->file.sum;
    db->scanned = true;
    db->look_again = false;
    placing_scanned(db);
    assert_true(db->placed); /* nobody else writes the file here */
    db->state = DB_PLACING;
}

/* Back to the queue: somebody has written, so the file must be read again. */
static inline void world_not_appended(struct world *w)
{
    while (!list_empty(&w->batch)) {
        struct list *l = w->batch.prev;
        list_remove(l);
        list_push_front(&w->db.pending, l);
    }
    w->n_foreign++;
    w->db.look_again = true;
}

static inline void world_appended(struct world *w)
{
    struct list *l;

    if (w->file.sum != w->known_sum) {
        world_not_appended(w);
        return;
    }
    while ((l = list_pop(&w->batch)) != NULL) {
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        for (unsigned i = 0; i < p->n_entries; i++) {
            sum_entry(&w->file, p->entries[i].bytes, p->entries[i].len);
        }
        assert_int_equal(w->file.sum, p->checksum);
        w->known_sum = w->file.sum;
        sum_copy(&w->db.checksum, &w->file);
        placing_applied(&w->db, &p->position, p->checksum, p->db_pages);
        pending_free(&w->db, p);
    }
}

static inline void world_job_done(struct world *w)
{
    if (w->db.job == NULL) {
        return;
    }
    w->db.job = NULL;
    w->db.job_beside = false;
    switch (w->job) {
    case JOB_SCAN:
        world_scanned(w);
        break;
    case JOB_APPEND:
        world_appended(w);
        break;
    case JOB_BACKFILL:
        w->backfill_due = false;
        break;
    case JOB_RESET:
        w->backfill_due = w->reset_due = false;
        break;
    }
    w->woken = true;
}

static inline void world_job_start(struct world *w, enum world_job job)
{
    struct list *l;

    w->db.job = w;
    w->db.job_beside = job == JOB_BACKFILL;
    w->job = job;
    while (job == JOB_APPEND && (l = list_pop(&w->db.pending)) != NULL) {
        list_push(&w->batch, l);
    }
    if (!w->job_waits) {
        world_job_done(w);
    }
}

/* Is there more than what its session is publishing itself? */
static inline bool world_must_append(const struct database *db)
{
    const struct pending *last =
        LIST_ENTRY(db->pending.prev, struct pending, link);

    return !list_empty(&db->pending) &&
           (db->proposal == NULL || !db->proposal->accepted ||
            last->position.txid != db->proposal->position.txid);
}

/* As applier_step; when the WAL is to be written back is the test's to say. */
static inline void world_applier(struct world *w)
{
    struct database *db = &w->db;

    db->node_waits = false;
    if (db->job != NULL) {
        return;
    }
    if (!db->look_again && !world_must_append(db) && !w->reset_due) {
        if (w->backfill_due) {
            world_job_start(w, JOB_BACKFILL);
        }
    } else if (!slot_claim(db)) {
        db->node_waits = true;
    } else if (db->look_again) {
        world_job_start(w, JOB_SCAN);
    } else {
        world_job_start(w, list_empty(&db->pending) ? JOB_RESET : JOB_APPEND);
    }
}

/* ---- time ---------------------------------------------------------------- */

/* As database_step, without what needs a loop. */
static inline void world_step(struct world *w)
{
    struct database *db = &w->db;

    slot_look(db);
    if (db->state == DB_PLACING && placing_next(db) == PLACING_READY) {
        db->state = DB_READY;
    }
    proposal_step(db);
    resume_step(db);
    if (db->state == DB_READY) {
        world_applier(w);
    }
    slot_step(db);
}

static inline void world_answer(struct world *w, uint64_t epoch,
                                uint64_t index);

/* All that is due now. */
static inline void world_turn(struct world *w)
{
    for (int i = 0; w->woken; i++) {
        assert_true(i < WORLD_STEPS_MAX); /* it wakes itself for ever */
        w->woken = false;
        if (w->renews) {
            world_answer(w, w->ask.epoch,
                         w->applied > w->db.lease.index ? w->applied
                                                        : w->db.lease.index);
        }
        world_step(w);
    }
}

static inline void world_settle(struct world *w)
{
    if (!w->lazy) {
        world_turn(w);
    }
}

/* Let time pass; only wake times make anything happen in it. */
static inline void world_pass(struct world *w, uint64_t us)
{
    uint64_t end = w->now_us + us;

    world_turn(w);
    for (int idle = 0; w->wake_at_us != 0 && w->wake_at_us <= end;) {
        idle = w->wake_at_us > w->now_us ? 0 : idle + 1;
        assert_true(idle < WORLD_STEPS_MAX);
        if (w->wake_at_us > w->now_us) {
            w->now_us = w->wake_at_us;
        }
        w->wake_at_us = 0;
        w->woken = true;
        world_turn(w);
    }
    w->now_us = end;
}

/* ---- struct db_env ------------------------------------------------------- */

static inline uint64_t world_now(void *data)
{
    return ((struct world *)data)->now_us;
}

static inline uint64_t world_leader(void *data, unsigned group)
{
    (void)group;
    return ((struct world *)data)->leader;
}

static inline uint64_t world_applied(void *data, unsigned group)
{
    (void)group;
    return ((struct world *)data)->applied;
}

static inline bool world_fresh(void *data, unsigned group)
{
    (void)group;
    return ((struct world *)data)->fresh;
}

static inline void world_why(void *data, unsigned group, char *out, size_t size)
{
    (void)data;
    (void)group;
    snprintf(out, size, "no quorum: 1 of 3 reachable");
}

static inline uint64_t world_term(void *data, unsigned group)
{
    (void)group;
    return ((struct world *)data)->term;
}

/* Epochs of a later term are higher; tests count from 1 in each. */
static inline uint64_t world_epoch(const struct world *w, uint64_t epoch)
{
    return w->term << 32 | epoch;
}

static inline void world_lease_send(void *data, struct database *db,
                                    uint8_t kind, const struct host_lease *l)
{
    struct world *w = data;

    assert_non_null(db->m);
    if (kind == HOST_LEASE_RELEASE) {
        w->n_released++;
        w->released_epoch = l->epoch & UINT32_MAX;
        if (w->on_release != NULL) {
            w->on_release(w);
        }
        return;
    }
    assert_int_equal(kind, HOST_LEASE_ASK);
    w->ask = *l;
    w->renews = !w->mute && l->epoch != 0;
    w->n_renewed += w->renews;
    w->n_asked += !w->renews;
    w->woken = w->woken || w->renews;
}

/* The leader's grant, for what was asked last. */
static inline void world_answer(struct world *w, uint64_t epoch, uint64_t index)
{
    struct host_lease l = {.db = w->db.m->uuid,
                           .epoch = epoch,
                           .index = index,
                           .term = w->term,
                           .stamp = w->ask.stamp,
                           .us = w->env.times.lease_us};

    w->renews = false;
    lease_granted(&w->db, &l);
}

static inline void world_send(void *data, struct session *s,
                              const struct session_message *m)
{
    struct world *w = data;
    struct guest *g = LIST_ENTRY(s, struct guest, session);
    struct world_message *in = &g->inbox[g->n_inbox];

    if (g->gone) {
        return; /* its socket is being closed */
    }
    assert_true(g->n_inbox < WORLD_INBOX);
    g->n_inbox++;
    *in = (struct world_message){.kind = m->kind};
    if (m->kind == SESSION_GRANT || m->kind == SESSION_COMMITTED) {
        in->position = m->position;
        g->txid = m->position.txid;
    } else if (m->kind == SESSION_REFUSED || m->kind == SESSION_FAILED) {
        in->reason = m->refused.reason;
        snprintf(in->text, sizeof in->text, "%.*s", (int)m->refused.len,
                 m->refused.text);
    }
    if (w->on_message != NULL) {
        w->on_message(w, g, in);
    }
}

static inline void world_wake(void *data, struct database *db)
{
    struct world *w = data;

    assert_ptr_equal(db, &w->db);
    w->woken = true;
}

static inline void world_wake_after(void *data, struct database *db,
                                    uint64_t us)
{
    struct world *w = data;

    assert_ptr_equal(db, &w->db);
    if (w->wake_at_us == 0 || w->now_us + us < w->wake_at_us) {
        w->wake_at_us = w->now_us + us;
    }
}

static inline void world_fill_env(struct world *w)
{
    w->env = (struct db_env){.data = w,
                             .node_id = NODE_HERE,
                             .start = 77,
                             .voters = WORLD_VOTERS,
                             .voter_ids = w->voters,
                             .times = db_times_default,
                             .now_us = world_now,
                             .propose = world_propose,
                             .leader = world_leader,
                             .term = world_term,
                             .applied = world_applied,
                             .quorum_fresh = world_fresh,
                             .why_no_quorum = world_why,
                             .lease_send = world_lease_send,
                             .session_send = world_send,
                             .wake = world_wake,
                             .wake_after = world_wake_after};
}

/* ---- begin and end ------------------------------------------------------- */

static inline void world_enroll(struct world *w, uint32_t pages)
{
    struct entry_enroll e = {.db = {{1}},
                             .node = NODE_HERE,
                             .page_size = pages == 0 ? 0 : WORLD_PAGE,
                             .pages = pages,
                             .checksum = w->file.sum};
    struct buf out;

    strcpy(e.name, w->db.name);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_enroll(&e, &out);
    world_apply_buf(w, &out);
}

static inline void world_holds(struct world *w, uint64_t node)
{
    struct entry_holds e = {.db = w->db.m->uuid, .node = node};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_holds(&e, &out);
    world_apply_buf(w, &out);
}

/* A database of `pages` pages that is ready on nodes 1 and 2. */
static inline struct world *world_open(uint32_t pages)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->now_us = 1000000000;
    w->leader = NODE_HERE;
    w->term = 1;
    w->fresh = true;
    list_init(&w->flight);
    list_init(&w->seen);
    list_init(&w->batch);
    for (unsigned i = 0; i < WORLD_VOTERS; i++) {
        w->voters[i] = i + 1;
    }
    world_fill_env(w);
    w->events = (struct machine_events){.data = w,
                                        .enrolled = world_on_enrolled,
                                        .holds = world_on_holds,
                                        .accepted = world_on_accepted,
                                        .decided = world_on_decided};
    machine_init(&w->machine, &w->events);
    database_init(&w->db, &w->env, "main", 3);
    for (uint32_t i = 1; i <= pages; i++) {
        assert_int_equal(checksum_set(&w->file, i, 1000 + i), 0);
    }
    w->known_sum = w->file.sum;
    sum_copy(&w->log, &w->file);
    sum_copy(&w->db.checksum, &w->file);
    w->db.kind = pages == 0 ? FILE_EMPTY : FILE_WAL;
    w->db.scanned = w->db.caught_up = true;
    w->db.state = DB_PLACING;
    world_enroll(w, pages);
    world_holds(w, NODE_THERE);
    world_settle(w);
    assert_int_equal(w->db.state, DB_READY);
    return w;
}

static inline void world_close(struct world *w)
{
    struct guest *g;

    world_job_done(w);
    database_close(&w->db);
    machine_close(&w->machine);
    world_forget(&w->flight);
    world_forget(&w->seen);
    checksum_close(&w->file);
    checksum_close(&w->log);
    while ((g = w->guests) != NULL) {
        w->guests = g->next;
        checksum_close(&g->file);
        free(g);
    }
    free(w);
}

#endif
