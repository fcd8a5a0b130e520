/* What must hold at every step of a run.
 *
 * Raft: one leader in a term; two logs that have an entry of the same index and
 * term are equal up to it (Raft paper, section 5.3); what one node applied at
 * an index, every node applies there, for ever.
 *
 * The databases: model.c reads the same entries as the nodes do and is
 * independent of node/machine.c. Every node's machine must stand where the
 * model stood after the same entry, every file must hold what the model held at
 * the file's position, and what sessions were told must be what the model
 * knows. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "consensus/alloc.h"
#include "tests/cluster/check.h"
#include "wire/snapshot.h"

#define FNV(a, b) ((a)*0x100000001b3ull ^ (b))

/* ---- a map of 64-bit keys ------------------------------------------------ */

static size_t place_of(const struct map *m, uint64_t key)
{
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u) & (m->cap - 1);

    while (m->slots[i].key != 0 && m->slots[i].key != key) {
        i = (i + 1) & (m->cap - 1);
    }
    return i;
}

static void map_grow(struct map *m)
{
    struct map bigger = {.cap = m->cap == 0 ? 1024 : 2 * m->cap, .n = m->n};

    bigger.slots = must_alloc(bigger.cap * sizeof *bigger.slots);
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key != 0) {
            bigger.slots[place_of(&bigger, m->slots[i].key)] = m->slots[i];
        }
    }
    free(m->slots);
    *m = bigger;
}

uint64_t *map_at(struct map *m, uint64_t key, bool *is_new)
{
    size_t i;

    key += key == 0;
    if (2 * (m->n + 1) > m->cap) {
        map_grow(m);
    }
    i = place_of(m, key);
    *is_new = m->slots[i].key == 0;
    m->n += *is_new;
    m->slots[i].key = key;
    return &m->slots[i].value;
}

uint64_t map_get(const struct map *m, uint64_t key)
{
    size_t i;

    key += key == 0;
    if (m->cap == 0) {
        return 0;
    }
    i = place_of(m, key);
    return m->slots[i].key == 0 ? 0 : m->slots[i].value;
}

/* Sessions count from 1 in each database, so a token names an attempt only
 * together with its database. */
uint64_t token_key(unsigned db, const struct token *t)
{
    return XXH3_64bits_withSeed(t, sizeof *t, db);
}

/* ---- Raft ---------------------------------------------------------------- */

void check_leader(struct sim_node *n, unsigned group, uint64_t term)
{
    struct check *c = n->sim->check;
    bool is_new;
    uint64_t *leader = map_at(&c->leaders, FNV(group + 1, term), &is_new);

    if (!is_new && *leader != n->number + 1) {
        violation(n->sim,
                  "two leaders of group %u in term %" PRIu64 ": nodes %" PRIu64
                  " and %u",
                  group, term, *leader, n->number + 1);
    }
    *leader = n->number + 1;
    if (is_new &&
        n->sim->plan.members) { /* not one that has given up a transfer */
        check_elected(n, group, term);
    }
}

void check_written(struct sim_node *n, unsigned group, uint64_t index,
                   uint64_t before, const struct raft_entry *e)
{
    struct check *c = n->sim->check;
    uint64_t name[3] = {group, index, e->term};
    uint64_t content[3] = {before, e->type,
                           XXH3_64bits(e->buf.base, e->buf.len)};
    uint64_t hash = XXH3_64bits(content, sizeof content), *known;
    bool is_new;

    known = map_at(&c->written, XXH3_64bits(name, sizeof name), &is_new);
    if (!is_new && *known != hash) {
        violation(n->sim,
                  "two entries of group %u have index %" PRIu64
                  " and term %llu (node %u)",
                  group, index, e->term, n->number + 1);
    }
    *known = hash;
    /* The core does not set the bytes of a barrier. */
    trace(n->sim, n->number + 1, "write", group * 1000000 + index, e->term,
          e->type == RAFT_COMMAND ? hash : before);
}

/* ---- what is applied ----------------------------------------------------- */

static struct applied *applied_at(struct check *c, unsigned group,
                                  uint64_t index)
{
    struct log *l = &c->logs[group];

    while (index >= l->cap) {
        size_t cap = l->cap == 0 ? 1024 : 2 * l->cap;
        l->entries = must_grow(l->entries, cap * sizeof *l->entries);
        memset(l->entries + l->cap, 0, (cap - l->cap) * sizeof *l->entries);
        l->cap = cap;
    }
    return &l->entries[index];
}

/* The index of the last one that somebody applied before `index`; 0: none.
 * Others are the core's own: barriers. */
static uint64_t last_before(struct check *c, unsigned group, uint64_t index)
{
    while (--index > 0 && applied_at(c, group, index)->hash == 0) {
    }
    return index;
}

void check_apply(struct sim_node *n, unsigned group, uint64_t index,
                 const void *bytes, size_t len)
{
    struct check *c = n->sim->check;
    struct applied *a = applied_at(c, group, index);
    uint64_t hash = XXH3_64bits(bytes, len) | 1;

    if (index <= n->applied[group]) {
        violation(n->sim, "node %u applies entry %" PRIu64 " of group %u again",
                  n->number + 1, index, group);
    }
    if (last_before(c, group, index) > n->applied[group]) {
        violation(n->sim,
                  "node %u applies entry %" PRIu64
                  " of group %u, but not all before it",
                  n->number + 1, index, group);
    }
    n->applied[group] = index;
    if (a->hash == 0 && index < c->logs[group].last) {
        violation(n->sim,
                  "node %u applies entry %" PRIu64
                  " of group %u, which others passed over",
                  n->number + 1, index, group);
    } else if (a->hash == 0) {
        a->hash = hash;
        c->logs[group].last = index;
        model_apply(n->sim, group, bytes, len);
        for (unsigned i = 0; i < SIM_DBS; i++) {
            a->txid[i] = c->dbs[i].position.txid;
            a->known[i] = c->dbs[i].known;
        }
        n->sim->report.entries++;
    } else if (a->hash != hash) {
        violation(n->sim,
                  "node %u applies another entry %" PRIu64
                  " of group %u than was committed",
                  n->number + 1, index, group);
    }
}

/* The node's machine has read the same entries as the model had then. */
void check_applied(struct sim_node *n, unsigned group, uint64_t index)
{
    struct check *c = n->sim->check;
    const struct applied *a = applied_at(c, group, index);

    for (unsigned i = group; i < SIM_DBS; i += SIM_SHARDS) {
        const struct machine_db *m =
            machine_find(&n->node.group[group].machine, n->dbs[i].name);
        const struct model_state *state;
        if ((m != NULL) != a->known[i]) {
            violation(n->sim, "node %u db %u: known to one only", n->number + 1,
                      i);
        }
        if (m == NULL || !a->known[i]) {
            continue;
        }
        state = model_state(&c->dbs[i], a->txid[i]);
        if (!position_equal(&m->position, &state->position) ||
            m->checksum != state->sum || m->pages != state->pages) {
            violation(n->sim,
                      "node %u db %u: after entry %" PRIu64
                      " its machine is at %" PRIu64 ", the log says %" PRIu64,
                      n->number + 1, i, index, m->position.txid, a->txid[i]);
        }
    }
}

/* ---- snapshots ----------------------------------------------------------- */

void check_restored(struct sim_node *n, unsigned group, uint64_t index)
{
    uint64_t last = last_before(n->sim->check, group, index + 1);

    trace(n->sim, n->number + 1, "restored", group, index, last);
    if (index <= n->applied[group]) {
        violation(n->sim,
                  "node %u goes back in group %u: from %" PRIu64 " to %" PRIu64,
                  n->number + 1, group, n->applied[group], index);
    }
    n->applied[group] = index;
    if (last > 0) {
        check_applied(n, group, last);
    }
}

/* Is it the database at this transaction or a later one? */
static bool is_since(const struct model_db *m, const struct file_state *f,
                     uint64_t txid)
{
    for (uint64_t i = m->position.txid + 1; i-- > txid;) {
        if (m->states[i].sum == f->sum && m->states[i].pages == f->pages) {
            return true;
        }
    }
    return false;
}

/* What the log has forgotten is in the file, also after a power cut. A snapshot
 * that a peer sent is newer than the file. */
static void check_file_kept(struct sim_node *n, unsigned i, bool received,
                            uint64_t txid)
{
    const struct model_db *m = &n->sim->check->dbs[i];
    struct file *f = &n->files[i];
    bool kept = is_since(m, &f->now, txid);

    f->excused = received;
    for (unsigned k = 0; kept && k < f->n_before; k++) {
        kept = is_since(m, &f->before[k], txid);
    }
    if (!kept && !received && (txid > 0 || m->states[0].pages > 0)) {
        violation(n->sim,
                  "node %u db %u: its log forgets up to %" PRIu64
                  " what its file may lose",
                  n->number + 1, i, txid);
    }
}

void check_snapshot(struct sim_node *n, unsigned group,
                    const struct store_snapshot *s, bool received)
{
    struct check *c = n->sim->check;
    uint64_t last = last_before(c, group, s->index + 1);
    const struct applied *a = applied_at(c, group, last);
    struct snapshot_head h;
    struct snapshot_db d;
    struct unpack u;

    trace(n->sim, n->number + 1, "snapshot", group, s->index, received);
    n->sim->report.snapshots += !received;
    n->sim->report.installs += received;
    if (snapshot_check(s->data, s->data_len) != 0) {
        violation(n->sim, "node %u stores a snapshot that does not parse",
                  n->number + 1);
        return;
    }
    snapshot_begin(&u, s->data, s->data_len, &h);
    for (uint32_t i = 0; i < h.n_dbs; i++) {
        const struct model_state *state;
        unsigned k = 0;
        snapshot_next(&u, &d);
        while (k < SIM_DBS - 1 && strcmp(sim_db_names[k], d.name) != 0) {
            k++;
        }
        state = last == 0 ? NULL : model_state(&c->dbs[k], a->txid[k]);
        if (state == NULL || !position_equal(&state->position, &d.position) ||
            state->sum != d.checksum || state->pages != d.pages) {
            violation(n->sim,
                      "node %u db %u: the snapshot at entry %" PRIu64
                      " has it at %" PRIu64 ", the log had it elsewhere",
                      n->number + 1, k, s->index, d.position.txid);
            return;
        }
        check_file_kept(n, k, received, d.position.txid);
    }
}

/* Nobody damaged the file, and nobody's log but the node's own has gone beyond
 * it: then a start must find out what it holds. In a wild network a packet of
 * an older connection may tell a node that it has read all when it has not. */
void check_aside(struct sim_node *n, unsigned db)
{
    trace(n->sim, n->number + 1, "aside", db, n->files[db].excused, 0);
    n->sim->report.asides++;
    if (!n->files[db].excused && n->sim->net.orderly) {
        violation(n->sim,
                  "node %u db %u: its file holds what its log does not know",
                  n->number + 1, db);
    }
}

/* ---- what sessions are told ---------------------------------------------- */

uint64_t check_acknowledged(struct sim *s, unsigned db)
{
    return s->check->dbs[db].acknowledged;
}

void check_granted(struct sim_node *n, unsigned db, const struct position *p,
                   uint64_t least)
{
    const struct model_db *m = &n->sim->check->dbs[db];
    const struct file *f = &n->files[db];
    const struct model_state *state = model_state(m, p->txid);

    if (state == NULL || !position_equal(&state->position, p)) {
        violation(n->sim, "node %u db %u: a turn at an unknown position",
                  n->number + 1, db);
    } else if (f->now.pages != state->pages || f->now.sum != state->sum) {
        violation(n->sim,
                  "node %u db %u: a turn at %" PRIu64
                  ", but the file does not hold that state",
                  n->number + 1, db, p->txid);
    } else if (p->txid < least && !n->sim->forges) {
        violation(n->sim,
                  "node %u db %u: a stale turn at %" PRIu64 ", when %" PRIu64
                  " was acknowledged before",
                  n->number + 1, db, p->txid, least);
    }
}

void check_published(struct sim_node *n, unsigned db, const struct position *p)
{
    const struct file *f = &n->files[db];
    const struct model_state *state =
        model_state(&n->sim->check->dbs[db], p->txid);

    if (state == NULL || f->now.sum != state->sum ||
        f->now.pages != state->pages) {
        violation(n->sim,
                  "node %u db %u: readers see what was not committed at "
                  "%" PRIu64,
                  n->number + 1, db, p->txid);
    }
}

void check_committed(struct sim_node *n, unsigned db, const struct token *t,
                     const struct position *p)
{
    struct model_db *m = &n->sim->check->dbs[db];
    uint64_t txid = map_get(&n->sim->check->accepted, token_key(db, t));
    const struct model_state *state = model_state(m, p->txid);

    trace(n->sim, n->number + 1, "committed", db, p->txid, t->sequence);
    if (txid == 0) {
        violation(n->sim,
                  "node %u db %u: COMMITTED for a transaction that is not in "
                  "the log",
                  n->number + 1, db);
    } else if (txid != p->txid || state == NULL ||
               !position_equal(&state->position, p)) {
        violation(n->sim,
                  "node %u db %u: COMMITTED at %" PRIu64
                  ", the log has it at "
                  "%" PRIu64,
                  n->number + 1, db, p->txid, txid);
    } else if (txid > m->acknowledged) {
        m->acknowledged = txid;
    }
}

void check_failed(struct sim_node *n, unsigned db, const struct token *t)
{
    struct check *c = n->sim->check;
    bool is_new;

    trace(n->sim, n->number + 1, "failed", t->session, t->sequence, 0);
    if (map_get(&c->accepted, token_key(db, t)) != 0) {
        violation(n->sim,
                  "node %u: a commit that was told to have failed is "
                  "in the log (session %" PRIu64 ", %" PRIu64 ")",
                  n->number + 1, t->session, t->sequence);
    }
    *map_at(&c->failed, token_key(db, t), &is_new) = 1;
}

/* ---- nodes --------------------------------------------------------------- */

static void check_db(struct sim_node *n, unsigned i)
{
    const struct database *db = &n->dbs[i];
    const struct file *f = &n->files[i];
    const struct model_state *state;

    if (!db->placed || !db->scanned || db->job != NULL || db->look_again ||
        db->m == NULL || !slot_is_free(db) || f->writers > 0) {
        return; /* somebody may be writing */
    }
    state = model_state(&n->sim->check->dbs[i], db->applied.txid);
    if (state == NULL || !position_equal(&state->position, &db->applied)) {
        violation(n->sim,
                  "node %u db %u: its file is at a position that "
                  "never was",
                  n->number + 1, i);
    } else if (f->now.sum != state->sum || f->now.pages != state->pages) {
        violation(n->sim,
                  "node %u db %u: its file at %" PRIu64
                  " differs from the "
                  "others",
                  n->number + 1, i, db->applied.txid);
    } else if (db->checksum.sum != state->sum) {
        violation(n->sim, "node %u db %u: a wrong checksum at %" PRIu64,
                  n->number + 1, i, db->applied.txid);
    }
}

void check_node(struct sim_node *n)
{
    if (n->dying || !n->alive) {
        return;
    }
    for (unsigned i = 0; i < SIM_DBS; i++) {
        check_db(n, i);
    }
    if (n->sim->plan.members) {
        check_members(n);
    }
}

/* ---- at the end ---------------------------------------------------------- */

/* A database that nobody has written to yet is where it should be. */
static const char *what_is_missing(struct sim_node *n, unsigned i)
{
    const struct model_db *m = &n->sim->check->dbs[i];
    const struct database *db = &n->dbs[i];

    if (n->out) {
        return NULL;
    }
    if (!n->alive) {
        return "the node is down";
    }
    if (!m->known || (db->state == DB_FETCHING && m->position.txid == 0 &&
                      m->now.pages == 0)) {
        return NULL; /* there is no copy that could be fetched */
    }
    return db->m == NULL               ? "not known to this node"
           : db->state != DB_READY     ? "not ready"
           : db->proposal != NULL      ? "an undecided proposal"
           : !slot_is_free(db)         ? "a session has the slot"
           : !list_empty(&db->pending) ? "transactions to apply"
           : db->look_again            ? "to be read again"
           : !position_equal(&db->m->position, &m->position)
               ? "the log is not read to its end"
           : !position_equal(&db->applied, &m->position) ? "the file is behind"
           : n->files[i].now.sum != model_state(m, m->position.txid)->sum
               ? "the file differs"
               : NULL;
}

bool check_drained(struct sim *s)
{
    if (s->plan.members && (s->wiped != 0 || !check_followed(s))) {
        return false;
    }
    for (unsigned k = 0; k < s->n_nodes; k++) {
        for (unsigned i = 0; i < SIM_DBS; i++) {
            if (what_is_missing(&s->nodes[k], i) != NULL) {
                return false;
            }
        }
    }
    return true;
}

void check_explain(struct sim *s)
{
    for (unsigned k = 0; k < s->n_nodes; k++) {
        for (unsigned i = 0; i < SIM_DBS; i++) {
            const char *what = what_is_missing(&s->nodes[k], i);
            if (what != NULL) {
                violation(s, "node %u db %u at the end: %s", k + 1, i, what);
            }
        }
    }
    violation(s, "the groups do not have the members that they should");
}

uint64_t check_txid(struct sim *s, unsigned db)
{
    return s->check->dbs[db].position.txid;
}

uint64_t check_entries(struct sim *s)
{
    return s->report.entries;
}

struct check *check_new(void)
{
    return must_alloc(sizeof(struct check));
}

void check_free(struct check *c)
{
    for (unsigned i = 0; i < SIM_SHARDS; i++) {
        free(c->logs[i].entries);
    }
    free(c->leaders.slots);
    free(c->written.slots);
    free(c->accepted.slots);
    free(c->failed.slots);
    free(c->votes.slots);
    model_free(c);
    free(c);
}
