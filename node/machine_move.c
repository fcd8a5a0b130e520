/* A database gets another name, and with it, as a rule, another group.
 *
 *   group s                                group t
 *   MOVE: frozen at position F
 *     | HELD: so many files have F
 *     +---------------------------------> ADOPT: taken at F, or refused
 *   MOVED: forgotten, or thawed <-----------+
 *
 * Every arrow is an entry that whoever leads proposes when it sees the state
 * before it, so that any step may be repeated, and goes on after any crash.
 *
 * Why it is never in two groups, and nothing is lost:
 *
 * - Frozen in s it accepts nothing: F is its last position there, whatever else
 *   is proposed. A transaction that comes too late has changed nothing and is
 *   proposed again where the database goes on; what was accepted before is in
 *   the ring of tokens, which goes along.
 * - s counts its moves, and has one at a time. For each s, t keeps the number
 *   of the last move that it has decided and how: the first ADOPT of a number
 *   decides, all others of that number, or of one before, do nothing. Hence a
 *   copy of it that comes late brings nothing back to life.
 * - MOVED repeats what t has decided, and nothing else ends a move. While t has
 *   not decided, anybody may propose to refuse, so that no move lasts forever.
 * - ADOPT is proposed when a majority of the voters, or all that ever held the
 *   content, have F in their files durably (HELD). From then on the entries
 *   before F are needed by nobody: who lacks some fetches an image, as at first
 *   contact.
 *
 * A name belongs to one group (placement_group), so that it is free in the
 * cluster iff it is free there. A move to the own group is a new name alone,
 * and is done at once. */
#include <string.h>

#include "base/err.h"
#include "node/machine_internal.h"

static void tell(struct machine *m)
{
    m->events->moving(m->events->data);
}

/* ---- where it was ---------------------------------------------------------
 */

static void rename_db(struct machine *m, struct machine_db *db,
                      const char *name)
{
    memcpy(db->name, name, sizeof db->name);
    m->events->renamed(m->events->data, db);
}

static void freeze(struct machine *m, struct machine_db *db,
                   const struct entry_move *e)
{
    struct moves *v = &m->moves;

    v->active = true;
    v->db = db->uuid;
    v->to = e->group;
    v->n_held = 0;
    memcpy(v->name, e->name, sizeof v->name);
    db->frozen = true;
    machine_drop_parts(&db->parts);
}

void machine_move(struct machine *m, const struct entry_move *e)
{
    struct machine_db *db = machine_find_uuid(m, &e->db);
    bool here = e->group == m->group;

    if (db == NULL || m->moves.active || e->number != m->moves.number + 1 ||
        (here &&
         (machine_find(m, e->name) != NULL || !machine_is_home(m, e->name)))) {
        m->ignored++;
        return;
    }
    m->moves.number = e->number;
    if (here) {
        rename_db(m, db, e->name);
    } else {
        freeze(m, db, e);
    }
    tell(m);
}

static bool is_current(const struct machine *m, const struct entry_move *e)
{
    return m->moves.active && m->moves.number == e->number &&
           uuid_equal(&m->moves.db, &e->db);
}

void machine_held(struct machine *m, const struct entry_move *e)
{
    struct moves *v = &m->moves;

    if (!is_current(m, e) || v->n_held == NODES_MAX) {
        m->ignored++;
        return;
    }
    for (unsigned i = 0; i < v->n_held; i++) {
        if (v->held[i] == e->node) {
            return;
        }
    }
    v->held[v->n_held++] = e->node;
    tell(m);
}

static void remember(struct moves *v)
{
    if (v->n_left == MOVES_LEFT_MAX) {
        memmove(&v->left[0], &v->left[1],
                (MOVES_LEFT_MAX - 1) * sizeof v->left[0]);
        v->n_left--;
    }
    v->left[v->n_left++] = (struct move_left){v->db, v->to, v->number};
}

void machine_moved(struct machine *m, const struct entry_move *e)
{
    struct machine_db *db;

    if (!is_current(m, e)) {
        m->ignored++;
        return;
    }
    db = machine_find_uuid(m, &e->db);
    m->moves.active = false;
    m->moves.n_held = 0;
    if (db == NULL) {
        m->ignored++; /* a snapshot that was not made by us */
    } else if (e->adopted) {
        remember(&m->moves);
        m->events->left(m->events->data, db, m->moves.to);
        machine_forget(m, db);
    } else {
        db->frozen = false;
    }
    tell(m);
}

void machine_gone(struct machine *m, struct machine_db *db)
{
    const struct move_left *left = moves_left(&m->moves, &db->uuid);

    if (left == NULL) {
        machine_drop_db(m, db);
    } else {
        m->events->left(m->events->data, db, left->to);
        machine_forget(m, db);
    }
}

/* ---- where it goes --------------------------------------------------------
 */

int machine_encode_adopt(const struct machine *m, bool adopt, struct buf *out)
{
    const struct moves *v = &m->moves;
    struct entry_move e = {
        .number = v->number, .group = m->group, .adopted = adopt};
    struct snapshot_db state;

    for (const struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
        const struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        if (db->frozen) {
            machine_describe(db, &state);
            e.renamed = strcmp(db->name, v->name) != 0;
            memcpy(state.name, v->name, sizeof state.name);
            memcpy(state.holders, v->held, sizeof state.holders);
            state.n_holders = v->n_held;
            return entry_encode_adopt(&e, &state, out);
        }
    }
    return ERR_NOT_FOUND;
}

/* Where what is decided for that group is kept; NULL: this was decided. */
static struct move_decided *undecided(struct moves *v,
                                      const struct entry_move *e)
{
    for (unsigned i = 0; i < v->n_decided; i++) {
        if (v->decided[i].from == e->group) {
            return v->decided[i].number < e->number ? &v->decided[i] : NULL;
        }
    }
    return v->n_decided < SHARDS_MAX ? &v->decided[v->n_decided++] : NULL;
}

void machine_adopt(struct machine *m, const struct entry_move *e)
{
    struct move_decided *d = undecided(&m->moves, e);
    struct unpack u = e->state;
    struct snapshot_db state;
    struct machine_db *db;

    if (d == NULL) {
        m->ignored++;
        return;
    }
    snapshot_next(&u, &state);
    *d = (struct move_decided){e->group, e->number, false};
    if (e->adopted && machine_find(m, state.name) == NULL &&
        (!e->renamed || machine_is_home(m, state.name)) &&
        machine_find_uuid(m, &state.db) == NULL &&
        m->n_dbs < GROUP_DATABASES_MAX) {
        d->adopted = true;
        db = machine_new_db(m);
        machine_become(db, &state);
        m->events->adopted(m->events->data, db);
    }
    tell(m);
}
