/* The parts of a transaction as its session sends them: each page is hashed,
 * compressed against what it was before, and becomes part of a log entry. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "node/database.h"
#include "wire/entry.h"

#define ENTRY_BYTES_MAX (PACKET_BYTES_MAX - 4096u)

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
    p->since_us = s->db->env->now_us(s->db->env->data);
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

/* What a page was before, if that is what all other nodes have. If it is not,
 * what the session made of it must not get into the log. */
static bool page_before(void *data, uint32_t number, uint8_t *image)
{
    struct database *db = data;
    const struct db_env *env = db->env;

    if (env->page_before == NULL || number > db->checksum.pages ||
        !position_equal(&db->proposal->base, &db->applied) ||
        !env->page_before(env->data, db, number, image)) {
        return false;
    }
    if (page_hash(number, image, db->m->page_size) ==
        db->checksum.hashes[number - 1]) {
        return true;
    }
    db->proposal->on_damage |=
        env->page_damaged != NULL && env->page_damaged(env->data, db, number);
    return false;
}

static int add_entry(struct database *db, struct proposal *p,
                     const struct session_propose *m)
{
    struct entry_before before = {.get = page_before, .data = db};
    struct entry_txn e = {
        .db = db->m->uuid,
        .base = p->base,
        .token = p->token,
        .pages = {
            .page_size = m->page_size, .count = m->count, .before = &before}};
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
    return rv == ERR_TOO_BIG || rv == ERR_FULL ? REASON_FULL
           : rv == ERR_BUSY                    ? REASON_BUSY
                                               : REASON_IO;
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
    if (rv == 0 && p->on_damage) {
        rv = ERR_BUSY;
    }
    if (rv == 0 && m->last) {
        p->db_pages = m->db_pages;
        p->complete = true;
    }
    return rv;
}

static const char *text_of(uint8_t reason)
{
    return reason == REASON_FULL ? "the transaction is too large"
           : reason == REASON_BUSY
               ? "another transaction came first, or a page is repaired"
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
        proposal_fail(p, p->bad_reason, text_of(p->bad_reason));
        proposal_free(db);
        return;
    }
    proposal_step(db);
}
