/* The databases as the log alone makes them: the simplest reading of the
 * entries, and what every application must find in its own pages. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "consensus/alloc.h"
#include "tests/cluster/check.h"

const struct model_state *model_state(const struct model_db *m, uint64_t txid)
{
    return !m->known || txid > m->position.txid ? NULL : &m->states[txid];
}

static void remember(struct model_db *m)
{
    uint64_t txid = m->position.txid;

    if (txid >= m->cap) {
        m->cap = m->cap == 0 ? 256 : 2 * m->cap;
        m->states = must_grow(m->states, m->cap * sizeof *m->states);
    }
    m->states[txid] =
        (struct model_state){m->position, m->now.sum, m->now.pages};
}

static struct model_db *find(struct check *c, const struct uuid *uuid)
{
    for (unsigned i = 0; i < SIM_DBS; i++) {
        if (c->dbs[i].known && uuid_equal(&c->dbs[i].uuid, uuid)) {
            return &c->dbs[i];
        }
    }
    return NULL;
}

/* The content that the enrolling node had. */
static const struct file_state *content(struct sim *s, unsigned db,
                                        const struct entry_enroll *e)
{
    static const struct file_state none;

    for (unsigned k = 0; k < s->n_nodes; k++) {
        const struct file_state *f = &s->nodes[k].files[db].now;
        if (f->sum == e->checksum && f->pages == e->pages) {
            return f;
        }
    }
    if (e->pages != 0 || e->checksum != 0) {
        violation(s, "db %u: enrolled with a content that nobody has", db);
    }
    return &none;
}

static void enroll(struct sim *s, const struct entry_enroll *e)
{
    for (unsigned i = 0; i < SIM_DBS; i++) {
        struct model_db *m = &s->check->dbs[i];
        if (m->known || strcmp(sim_db_names[i], e->name) != 0) {
            continue;
        }
        m->known = true;
        memcpy(m->name, e->name, sizeof m->name);
        m->uuid = e->db;
        m->now = *content(s, i, e);
        remember(m);
    }
}

static void drop_parts(struct model_db *m)
{
    struct model_part *p;

    while ((p = m->parts) != NULL) {
        m->parts = p->next;
        free(p);
    }
}

static const struct model_part *part_of(const struct model_db *m,
                                        const struct token *t, uint32_t number)
{
    for (const struct model_part *p = m->parts; p != NULL; p = p->next) {
        if (token_equal(&p->token, t) && p->number == number) {
            return p;
        }
    }
    return NULL;
}

static void keep_part(struct model_db *m, const struct entry_txn *e,
                      const void *bytes, size_t len)
{
    struct model_part *p;

    if (!position_equal(&e->base, &m->position) ||
        part_of(m, &e->token, e->number) != NULL) {
        return;
    }
    p = must_alloc(sizeof *p + len);
    p->token = e->token;
    p->number = e->number;
    p->len = len;
    memcpy(p->bytes, bytes, len);
    p->next = m->parts;
    m->parts = p;
}

/* What an application can see of its own rules. */
static void check_content(struct sim *s, const struct model_db *m,
                          const struct file_state *old)
{
    const struct file_state *now = &m->now;

    if (pages_counter(now) != pages_counter(old) + 1) {
        violation(s,
                  "%s: transaction %" PRIu64
                  " was not built on its base: the "
                  "counter goes from %" PRIu64 " to %" PRIu64,
                  m->name, m->position.txid, pages_counter(old),
                  pages_counter(now));
    } else if (pages_total(now) != ACCOUNTS_TOTAL) {
        violation(s,
                  "%s: at transaction %" PRIu64 " the accounts hold %" PRIu64,
                  m->name, m->position.txid, pages_total(now));
    }
}

static void note_accepted(struct sim *s, const struct model_db *m,
                          const struct token *t)
{
    uint64_t key = token_key((unsigned)(m - s->check->dbs), t);
    bool is_new;
    uint64_t *txid = map_at(&s->check->accepted, key, &is_new);

    if (!is_new) {
        violation(
            s, "%s: a token is accepted twice, at %" PRIu64 " and at %" PRIu64,
            m->name, *txid, m->position.txid);
    }
    *txid = m->position.txid;
    if (map_get(&s->check->failed, key) != 0) {
        violation(s,
                  "%s: at %" PRIu64
                  " a commit is accepted that was told "
                  "to have failed",
                  m->name, m->position.txid);
    }
}

static void take(struct sim *s, struct model_db *m, const struct entry_txn *e,
                 const void *bytes, size_t len)
{
    struct file_state old = m->now;

    for (uint32_t i = 0; i < e->parts; i++) {
        const struct model_part *p = part_of(m, &e->token, i);
        if (p == NULL) {
            m->now = old; /* incomplete: nothing happens */
            return;
        }
        file_put_entry(&m->now, p->bytes, p->len);
    }
    file_put_entry(&m->now, bytes, len);
    m->now.sum = file_sum(&m->now);
    m->position = position_next(&e->base, &e->token, e->db_pages, e->checksum);
    remember(m);
    drop_parts(m);
    trace(s, 0, "accepted", (uint64_t)(m - s->check->dbs), m->position.txid,
          m->now.sum);
    if (m->now.sum != e->checksum) {
        violation(s,
                  "%s: transaction %" PRIu64
                  " is not what its checksum "
                  "says",
                  m->name, m->position.txid);
    }
    note_accepted(s, m, &e->token);
    if (e->pages.count > 0) {
        check_content(s, m, &old);
    }
}

void model_apply(struct sim *s, unsigned group, const void *bytes, size_t len)
{
    struct model_db *m;
    struct entry e;

    (void)group;
    if (entry_decode(bytes, len, &e) != 0) {
        violation(s, "an entry in the log that does not parse");
        return;
    }
    if (e.kind == ENTRY_ENROLL) {
        enroll(s, &e.enroll);
    }
    if (e.kind != ENTRY_PART && e.kind != ENTRY_TXN) {
        return;
    }
    m = find(s->check, &e.txn.db);
    if (m == NULL) {
        violation(s, "a transaction of a database that was never enrolled");
    } else if (e.kind == ENTRY_PART) {
        keep_part(m, &e.txn, bytes, len);
    } else if (position_equal(&e.txn.base, &m->position) ||
               s->plan.mutant == MUTANT_BLIND_SWAP) {
        take(s, m, &e.txn, bytes, len);
    }
}

void model_free(struct check *c)
{
    for (unsigned i = 0; i < SIM_DBS; i++) {
        drop_parts(&c->dbs[i]);
        free(c->dbs[i].states);
    }
}
