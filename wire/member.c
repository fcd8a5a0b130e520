#include "wire/member.h"

#include <string.h>

#include "base/err.h"
#include "wire/pack.h"

#define JOIN_VERSION 1

enum {
    MEMBER_FIELDS = 4,
    REGISTERED_FIELDS = 3,
    DEPARTED_FIELDS = 2,
    ASK_FIELDS = 2,
    ANSWER_FIELDS = 4
};

static void fail(struct unpack *u, int err)
{
    if (u->err == 0) {
        u->err = err;
    }
}

/* ---- one ----------------------------------------------------------------- */

bool member_valid(const struct member_info *m)
{
    if (m->id == 0 || memchr(m->address, 0, sizeof m->address) == NULL ||
        strchr(m->address, ':') == NULL) {
        return false;
    }
    for (const char *c = m->address; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            return false;
        }
    }
    return true;
}

void member_pack(struct buf *out, const struct member_info *m)
{
    pack_array(out, MEMBER_FIELDS);
    pack_uint(out, m->id);
    pack_bin(out, m->store.b, sizeof m->store.b);
    pack_str(out, m->address);
    pack_bool(out, m->replica);
}

void member_unpack(struct unpack *u, struct member_info *m)
{
    memset(m, 0, sizeof *m);
    unpack_array_of(u, MEMBER_FIELDS);
    m->id = unpack_uint(u, UINT64_MAX);
    unpack_bin_exact(u, m->store.b, sizeof m->store.b);
    unpack_str(u, m->address, sizeof m->address);
    m->replica = unpack_bool(u);
    unpack_leave(u);
    if (u->err == 0 && !member_valid(m)) {
        fail(u, ERR_CORRUPT);
    }
}

/* ---- the registry -------------------------------------------------------- */

static size_t left_bytes(const struct registered *m)
{
    size_t n = sizeof m->left;

    while (n > 0 && m->left[n - 1] == 0) {
        n--;
    }
    return n;
}

void registry_pack(struct buf *out, const struct registry *r)
{
    pack_array(out, r->n);
    for (unsigned i = 0; i < r->n; i++) {
        const struct registered *m = &r->members[i];
        pack_array(out, REGISTERED_FIELDS);
        member_pack(out, &m->info);
        pack_bool(out, m->leaving);
        pack_bin(out, m->left, left_bytes(m));
    }
    pack_array(out, r->n_departed);
    for (unsigned i = 0; i < r->n_departed; i++) {
        const struct departed *d = &r->departed[i];
        pack_array(out, DEPARTED_FIELDS);
        pack_uint(out, d->id);
        pack_bin(out, d->store.b, sizeof d->store.b);
    }
}

static void unpack_registered(struct unpack *u, struct registered *m)
{
    const uint8_t *left;
    size_t len;

    unpack_array_of(u, REGISTERED_FIELDS);
    member_unpack(u, &m->info);
    m->leaving = unpack_bool(u);
    left = unpack_bin(u, sizeof m->left, &len);
    if (left != NULL && len > 0) {
        memcpy(m->left, left, len);
    }
    unpack_leave(u);
}

/* A count that fits into our arrays. */
static unsigned unpack_count(struct unpack *u)
{
    uint32_t n = unpack_array(u);

    if (n > NODES_MAX) {
        fail(u, ERR_TOO_BIG);
        return 0;
    }
    return n;
}

void registry_unpack(struct unpack *u, struct registry *r)
{
    memset(r, 0, sizeof *r);
    r->n = unpack_count(u);
    for (unsigned i = 0; i < r->n; i++) {
        unpack_registered(u, &r->members[i]);
    }
    unpack_leave(u);
    r->n_departed = unpack_count(u);
    for (unsigned i = 0; i < r->n_departed; i++) {
        struct departed *d = &r->departed[i];
        unpack_array_of(u, DEPARTED_FIELDS);
        d->id = unpack_uint(u, UINT64_MAX);
        unpack_bin_exact(u, d->store.b, sizeof d->store.b);
        unpack_leave(u);
    }
    unpack_leave(u);
}

/* ---- joining ------------------------------------------------------------- */

int join_ask_encode(const struct member_info *m, struct buf *out)
{
    pack_array(out, ASK_FIELDS);
    pack_uint(out, JOIN_VERSION);
    member_pack(out, m);
    return out->err;
}

static void check_version(struct unpack *u)
{
    if (unpack_uint(u, UINT32_MAX) != JOIN_VERSION) {
        fail(u, ERR_VERSION);
    }
}

int join_ask_decode(const void *bytes, size_t len, struct member_info *m)
{
    struct unpack u;

    unpack_init(&u, bytes, len);
    unpack_array_of(&u, ASK_FIELDS);
    check_version(&u);
    member_unpack(&u, m);
    unpack_leave(&u);
    return unpack_end(&u);
}

int join_answer_encode(const struct join_answer *a, struct buf *out)
{
    pack_array(out, ANSWER_FIELDS);
    pack_uint(out, JOIN_VERSION);
    pack_bin(out, a->cluster.b, sizeof a->cluster.b);
    pack_uint(out, a->shards);
    pack_array(out, a->n);
    for (unsigned i = 0; i < a->n; i++) {
        member_pack(out, &a->members[i]);
    }
    return out->err;
}

int join_answer_decode(const void *bytes, size_t len, struct join_answer *a)
{
    struct unpack u;

    memset(a, 0, sizeof *a);
    unpack_init(&u, bytes, len);
    unpack_array_of(&u, ANSWER_FIELDS);
    check_version(&u);
    unpack_bin_exact(&u, a->cluster.b, sizeof a->cluster.b);
    a->shards = (uint32_t)unpack_uint(&u, SHARDS_MAX);
    a->n = unpack_count(&u);
    for (unsigned i = 0; i < a->n; i++) {
        member_unpack(&u, &a->members[i]);
    }
    unpack_leave(&u);
    unpack_leave(&u);
    if (u.err == 0 && (a->shards == 0 || uuid_is_none(&a->cluster))) {
        u.err = ERR_CORRUPT;
    }
    return unpack_end(&u);
}
