#include "wire/moves.h"

#include <string.h>

#include "base/err.h"
#include "wire/pack.h"

enum {
    MOVES_FIELDS = 5,
    GROWTH_FIELDS = 4,
    ACTIVE_FIELDS = 4,
    DECIDED_FIELDS = 3,
    LEFT_FIELDS = 3
};

bool moves_any(const struct moves *m)
{
    return m->number > 0 || m->n_decided > 0 || m->rule_to > 0 ||
           m->growing_from > 0;
}

/* ---- encoding ------------------------------------------------------------ */

static void pack_active(struct buf *out, const struct moves *m)
{
    pack_array(out, m->active ? ACTIVE_FIELDS : 0);
    if (!m->active) {
        return;
    }
    pack_bin(out, m->db.b, sizeof m->db.b);
    pack_uint(out, m->to);
    pack_str(out, m->name);
    pack_array(out, m->n_held);
    for (unsigned i = 0; i < m->n_held; i++) {
        pack_uint(out, m->held[i]);
    }
}

void moves_pack(struct buf *out, const struct moves *m)
{
    pack_array(out, MOVES_FIELDS);
    pack_uint(out, m->number);
    pack_active(out, m);
    pack_array(out, m->n_decided * DECIDED_FIELDS);
    for (unsigned i = 0; i < m->n_decided; i++) {
        pack_uint(out, m->decided[i].from);
        pack_uint(out, m->decided[i].number);
        pack_bool(out, m->decided[i].adopted);
    }
    pack_array(out, m->n_left * LEFT_FIELDS);
    for (unsigned i = 0; i < m->n_left; i++) {
        pack_bin(out, m->left[i].db.b, sizeof m->left[i].db.b);
        pack_uint(out, m->left[i].to);
        pack_uint(out, m->left[i].number);
    }
    pack_array(out, GROWTH_FIELDS);
    pack_uint(out, m->rule_from);
    pack_uint(out, m->rule_to);
    pack_uint(out, m->growing_from);
    pack_bin(out, m->done, m->growing_from == 0 ? 0 : sizeof m->done);
}

/* ---- decoding ------------------------------------------------------------ */

static void fail(struct unpack *u, int err)
{
    if (u->err == 0) {
        u->err = err;
    }
}

/* A count of so many elements each that fits into our arrays. */
static unsigned unpack_count(struct unpack *u, unsigned fields, unsigned max)
{
    uint32_t n = unpack_array(u);

    if (n % fields != 0 || n / fields > max) {
        fail(u, n % fields != 0 ? ERR_CORRUPT : ERR_TOO_BIG);
        return 0;
    }
    return n / fields;
}

static void unpack_active(struct unpack *u, struct moves *m)
{
    uint32_t n = unpack_array(u);

    if (n != 0) {
        m->active = true;
        unpack_bin_exact(u, m->db.b, sizeof m->db.b);
        m->to = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
        unpack_str(u, m->name, sizeof m->name);
        m->n_held = unpack_count(u, 1, NODES_MAX);
        for (unsigned i = 0; i < m->n_held; i++) {
            m->held[i] = unpack_uint(u, UINT64_MAX);
        }
        unpack_leave(u);
        if (n != ACTIVE_FIELDS || uuid_is_none(&m->db) ||
            !db_name_valid(m->name) || m->number == 0) {
            fail(u, ERR_CORRUPT);
        }
    }
    unpack_leave(u);
}

static void unpack_growth(struct unpack *u, struct moves *m)
{
    const uint8_t *done;
    size_t len;

    unpack_array_of(u, GROWTH_FIELDS);
    m->rule_from = (uint32_t)unpack_uint(u, SHARDS_MAX);
    m->rule_to = (uint32_t)unpack_uint(u, SHARDS_MAX);
    m->growing_from = (uint32_t)unpack_uint(u, SHARDS_MAX);
    done = unpack_bin(u, sizeof m->done, &len);
    if (done != NULL && len == sizeof m->done) {
        memcpy(m->done, done, len);
    }
    unpack_leave(u);
    if (m->rule_from > m->rule_to || (m->rule_from == 0) != (m->rule_to == 0) ||
        (len == sizeof m->done) != (m->growing_from != 0)) {
        fail(u, ERR_CORRUPT);
    }
}

void moves_unpack(struct unpack *u, struct moves *m)
{
    memset(m, 0, sizeof *m);
    unpack_array_of(u, MOVES_FIELDS);
    m->number = unpack_uint(u, UINT64_MAX);
    unpack_active(u, m);
    m->n_decided = unpack_count(u, DECIDED_FIELDS, SHARDS_MAX);
    for (unsigned i = 0; i < m->n_decided; i++) {
        m->decided[i].from = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
        m->decided[i].number = unpack_uint(u, UINT64_MAX);
        m->decided[i].adopted = unpack_bool(u);
    }
    unpack_leave(u);
    m->n_left = unpack_count(u, LEFT_FIELDS, MOVES_LEFT_MAX);
    for (unsigned i = 0; i < m->n_left; i++) {
        unpack_bin_exact(u, m->left[i].db.b, sizeof m->left[i].db.b);
        m->left[i].to = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
        m->left[i].number = unpack_uint(u, UINT64_MAX);
    }
    unpack_leave(u);
    unpack_growth(u, m);
    unpack_leave(u);
}

/* ---- questions ----------------------------------------------------------- */

const struct move_decided *moves_decided(const struct moves *m, uint32_t from)
{
    for (unsigned i = 0; i < m->n_decided; i++) {
        if (m->decided[i].from == from) {
            return &m->decided[i];
        }
    }
    return NULL;
}

const struct move_left *moves_left(const struct moves *m, const struct uuid *db)
{
    for (unsigned i = m->n_left; i > 0; i--) {
        if (uuid_equal(&m->left[i - 1].db, db)) {
            return &m->left[i - 1];
        }
    }
    return NULL;
}
