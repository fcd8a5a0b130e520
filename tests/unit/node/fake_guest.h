/* What a test does to the small world of fake_env.h: sessions that follow (or
 * break) the protocol, the log that orders entries, leases that come and go.
 *
 * Every function lets the world settle before it returns, so that a test reads
 * as a list of events. Header only; include after cmocka.h. */
#ifndef TESTS_UNIT_NODE_FAKE_GUEST_H
#define TESTS_UNIT_NODE_FAKE_GUEST_H

#include "tests/unit/node/fake_env.h"

#define GUEST_PAGES_MAX 4096u /* in one part */

/* ---- the log ------------------------------------------------------------- */

/* The oldest proposed entry enters the log; false when there is none. */
static inline bool world_deliver(struct world *w)
{
    struct list *l = list_pop(&w->flight);
    struct world_entry *e;

    if (l == NULL) {
        return false;
    }
    e = LIST_ENTRY(l, struct world_entry, link);
    world_apply(w, e->bytes, e->len);
    free(e);
    world_settle(w);
    return true;
}

static inline void world_deliver_all(struct world *w)
{
    for (int i = 0; world_deliver(w); i++) {
        assert_true(i < 100000); /* every entry brings another one */
    }
}

/* All copies on their way are lost, as with a leader that dies. */
static inline void world_lose_all(struct world *w)
{
    world_forget(&w->flight);
}

static inline unsigned world_in_flight(const struct world *w)
{
    unsigned n = 0;

    for (const struct list *l = w->flight.next; l != &w->flight; l = l->next) {
        n++;
    }
    return n;
}

/* Decode entry number `at` of those in flight; borrowed from the flight. */
static inline struct entry world_peek(struct world *w, unsigned at)
{
    struct list *l = w->flight.next;
    struct world_entry *e;
    struct entry out;

    while (at-- > 0) {
        l = l->next;
    }
    assert_ptr_not_equal(l, &w->flight);
    e = LIST_ENTRY(l, struct world_entry, link);
    assert_int_equal(entry_decode(e->bytes, e->len, &out), 0);
    return out;
}

/* Node 2 has a transaction on the newest position accepted. */
static inline void world_foreign(struct world *w)
{
    struct machine_db *m = w->db.m;
    struct entry_txn e = {.db = m->uuid,
                          .base = m->position,
                          .token = {NODE_THERE, 1, 1, w->applied + 1},
                          .pages = {.page_size = WORLD_PAGE, .count = 1}};
    uint8_t image[WORLD_PAGE] = {0};
    uint32_t number = 2;
    uint64_t hash;
    struct buf out;

    put_le64(image, w->applied + 1);
    hash = page_hash(number, image, WORLD_PAGE);
    e.db_pages = w->log.pages < 2 ? 2 : w->log.pages;
    e.checksum = checksum_preview(&w->log, &number, &hash, 1, e.db_pages);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_txn(ENTRY_TXN, &e, &number, image, &out);
    world_apply_buf(w, &out);
    world_settle(w);
}

static inline void world_lead(struct world *w, uint64_t leader)
{
    w->leader = leader;
    w->term++;
    lease_leader_changed(&w->db);
    proposal_leader_changed(&w->db);
    world_settle(w);
}

/* ---- leases -------------------------------------------------------------- */

/* The leader's grant, asked for just now. */
static inline void world_grant_at(struct world *w, uint64_t epoch,
                                  uint64_t index)
{
    w->ask.stamp = w->env.start + w->now_us;
    world_answer(w, world_epoch(w, epoch), index);
    world_settle(w);
}

static inline void world_grant(struct world *w, uint64_t epoch)
{
    world_grant_at(w, epoch, w->applied);
}

static inline void world_recall(struct world *w, uint64_t epoch)
{
    lease_recalled(&w->db, world_epoch(w, epoch));
    world_settle(w);
}

/* ---- sessions ------------------------------------------------------------ */

static inline struct guest *guest_open(struct world *w)
{
    struct guest *g = calloc(1, sizeof *g);

    assert_non_null(g);
    list_init(&g->session.wait);
    g->session.db = &w->db;
    g->session.id = ++w->db.next_session;
    g->session.pid = (uint32_t)(4000 + g->session.id);
    g->session.welcomed = true;
    list_push(&w->db.sessions, &g->session.link);
    g->next = w->guests;
    w->guests = g;
    return g;
}

static inline void guest_close(struct world *w, struct guest *g)
{
    if (!g->gone) {
        g->gone = true;
        slot_gone(&g->session);
        list_remove(&g->session.link);
        world_settle(w);
    }
}

static inline void guest_lock(struct world *w, struct guest *g)
{
    slot_lock(&g->session);
    world_settle(w);
}

static inline void guest_park(struct world *w, struct guest *g)
{
    slot_park(&g->session);
    world_settle(w);
}

/* The commit frame is written: readers see the transaction. */
static inline void guest_publish(struct world *w, struct guest *g)
{
    sum_copy(&w->file, &g->file);
}

static inline void guest_unlock(struct world *w, struct guest *g,
                                enum unlock_kind kind)
{
    struct session_unlock u = {.kind = (uint8_t)kind};

    if (kind == UNLOCK_PUBLISHED && g->session.turn == TURN_COMMITTING) {
        guest_publish(w, g);
    }
    slot_unlock(&g->session, &u);
    world_settle(w);
}

/* What was committed is published, and recorded for the node. */
static inline void guest_record(struct world *w, struct guest *g)
{
    static const struct wal_state state;

    guest_publish(w, g);
    slot_record(w->db.slot, g->txid, &state);
}

/* Leave the slot; with `keep` without a word, as long as the node does not want
 * it. Returns whether it is kept. */
static inline bool guest_leave(struct world *w, struct guest *g,
                               enum unlock_kind kind, bool keep)
{
    struct session_unlock u = {.kind = (uint8_t)kind};

    if (!slot_leave(w->db.slot, (uint32_t)g->session.id, keep)) {
        return true;
    }
    slot_unlock(&g->session, &u);
    world_settle(w);
    return false;
}

static inline bool guest_keep(struct world *w, struct guest *g)
{
    if (g->session.turn != TURN_COMMITTING) {
        return guest_leave(w, g, UNLOCK_NOTHING, true);
    }
    guest_record(w, g);
    return guest_leave(w, g, UNLOCK_PUBLISHED, true);
}

/* Take the slot that was kept, without a word either. */
static inline bool guest_retake(struct world *w, struct guest *g)
{
    return slot_retake(w->db.slot, (uint32_t)g->session.id, w->now_us);
}

/* As the server: what the session did before is seen first. */
static inline void guest_send(struct world *w, struct guest *g,
                              const struct session_propose *m)
{
    slot_look(&w->db);
    proposal_part(&g->session, m);
    world_settle(w);
}

/* One part with `count` pages from `first` on, whose content is new each time.
 * The last one of a transaction gives its size. */
static inline void guest_part_sized(struct world *w, struct guest *g,
                                    uint32_t first, uint32_t count,
                                    uint32_t page_size, uint32_t db_pages)
{
    struct session_propose m = {.page_size = page_size,
                                .db_pages = db_pages,
                                .count = count,
                                .number = g->parts,
                                .last = db_pages != 0};
    uint8_t *images = calloc(count + 1, page_size);
    uint8_t *numbers = calloc(count + 1, 4);

    assert_true(images != NULL && numbers != NULL);
    if (g->parts++ == 0) {
        sum_copy(&g->file, &w->file);
        g->sequence++;
    }
    m.sequence = g->sequence;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *image = images + (size_t)i * page_size;
        put_le64(image + 32, ++w->n_images);
        image[18] = image[19] = 2; /* page 1 says: WAL */
        put_le32(numbers + 4 * (size_t)i, first + i);
        checksum_set(&g->file, first + i,
                     page_hash(first + i, image, page_size));
    }
    if (m.last) {
        checksum_resize(&g->file, db_pages);
        g->parts = 0;
    }
    m.numbers = numbers;
    m.images = images;
    guest_send(w, g, &m);
    free(images);
    free(numbers);
}

static inline void guest_part(struct world *w, struct guest *g, uint32_t page)
{
    guest_part_sized(w, g, page, 1, WORLD_PAGE, 0);
}

/* The last (or only) part, with one page; the size stays. */
static inline void guest_last(struct world *w, struct guest *g, uint32_t page)
{
    uint32_t pages = w->log.pages > page ? w->log.pages : page;

    guest_part_sized(w, g, page, 1, WORLD_PAGE, pages);
}

/* ---- what a session was told --------------------------------------------- */

/* Take the oldest message, which must be a `kind`. */
static inline struct world_message guest_told(struct guest *g,
                                              enum session_kind kind)
{
    struct world_message m;

    assert_true(g->n_inbox > 0);
    m = g->inbox[0];
    assert_int_equal(m.kind, kind);
    g->n_inbox--;
    memmove(g->inbox, g->inbox + 1, g->n_inbox * sizeof g->inbox[0]);
    return m;
}

static inline void guest_not_told(const struct guest *g)
{
    assert_int_equal(g->n_inbox, 0);
}

/* The next message is a no, for this reason. */
static inline struct world_message guest_failed(struct guest *g,
                                                enum session_kind kind,
                                                enum session_reason reason)
{
    struct world_message m = guest_told(g, kind);

    assert_int_equal(m.reason, reason);
    assert_true(m.text[0] != '\0');
    return m;
}

/* A session that has the slot (the lease is there or is granted now). */
static inline struct guest *guest_owner(struct world *w)
{
    struct guest *g = guest_open(w);

    guest_lock(w, g);
    if (!w->db.lease.held) {
        world_grant(w, 1);
    }
    guest_told(g, SESSION_GRANT);
    return g;
}

#endif
