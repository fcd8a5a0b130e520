#include "node/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct registered *find(struct registry *r, uint64_t id)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->members[i].info.id == id) {
            return &r->members[i];
        }
    }
    return NULL;
}

const struct registered *registry_find(const struct registry *r, uint64_t id)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->members[i].info.id == id) {
            return &r->members[i];
        }
    }
    return NULL;
}

bool registry_is_gone(const struct registry *r, uint64_t id,
                      const struct uuid *store)
{
    for (unsigned i = 0; i < r->n_departed; i++) {
        const struct departed *d = &r->departed[i];
        if (d->id == id && uuid_equal(&d->store, store)) {
            return true;
        }
    }
    return false;
}

/* ---- changes ------------------------------------------------------------- */

static bool add(struct registry *r, const struct member_info *m)
{
    if (r->n == NODES_MAX) {
        return false;
    }
    r->members[r->n++] = (struct registered){.info = *m};
    return true;
}

/* Would a voter be left without `id`? */
static bool others_vote(const struct registry *r, uint64_t id)
{
    for (unsigned i = 0; i < r->n; i++) {
        const struct registered *m = &r->members[i];
        if (m->info.id != id && !m->leaving && !m->info.replica) {
            return true;
        }
    }
    return false;
}

/* A member may move and learn its store; with another store it is somebody
 * else, who has to wait until the first one is gone. */
static bool set(struct registry *r, const struct member_info *m)
{
    struct registered *known = find(r, m->id);

    if (r->n == 0 || registry_is_gone(r, m->id, &m->store)) {
        return false;
    }
    if (known == NULL) {
        return add(r, m);
    }
    if (known->leaving || (!uuid_is_none(&known->info.store) &&
                           !uuid_equal(&known->info.store, &m->store))) {
        return false;
    }
    if (m->replica && !others_vote(r, m->id)) {
        return false;
    }
    known->info = *m;
    return true;
}

/* The member that an entry means; a store may not have been known. */
static struct registered *meant(struct registry *r, const struct member_info *m)
{
    struct registered *known = find(r, m->id);

    return known != NULL && (uuid_is_none(&m->store) ||
                             uuid_equal(&known->info.store, &m->store))
               ? known
               : NULL;
}

static bool leave(struct registry *r, const struct member_info *who)
{
    struct registered *m = meant(r, who);
    char why[128];

    if (m == NULL || m->leaving ||
        !registry_may_leave(r, m->info.id, why, sizeof why)) {
        return false;
    }
    m->leaving = true;
    return true;
}

static void forget(struct registry *r, struct registered *m)
{
    unsigned at = (unsigned)(m - r->members);

    if (r->n_departed == NODES_MAX) {
        memmove(&r->departed[0], &r->departed[1],
                (NODES_MAX - 1) * sizeof r->departed[0]);
        r->n_departed--;
    }
    r->departed[r->n_departed++] = (struct departed){m->info.id, m->info.store};
    memmove(&r->members[at], &r->members[at + 1],
            (r->n - at - 1) * sizeof r->members[0]);
    r->n--;
}

static bool has_left(const struct registered *m, unsigned group)
{
    return (m->left[group / 8] & 1u << group % 8) != 0;
}

bool registry_only_group_0(const struct registered *m, unsigned shards)
{
    for (unsigned g = 1; g < shards; g++) {
        if (!has_left(m, g)) {
            return false;
        }
    }
    return m->leaving && !has_left(m, 0);
}

static bool left(struct registry *r, const struct member_info *who,
                 unsigned group, unsigned shards)
{
    struct registered *m = meant(r, who);

    if (m == NULL || !m->leaving || group >= shards || has_left(m, group)) {
        return false;
    }
    m->left[group / 8] = (uint8_t)(m->left[group / 8] | 1u << group % 8);
    for (unsigned g = 0; g < shards; g++) {
        if (!has_left(m, g)) {
            return true;
        }
    }
    forget(r, m);
    return true;
}

static bool alone(struct registry *r, const struct member_info *m)
{
    for (unsigned i = r->n; i > 0; i--) {
        if (r->members[i - 1].info.id != m->id) {
            forget(r, &r->members[i - 1]);
        }
    }
    r->n = 0;
    return add(r, m);
}

bool registry_apply(struct registry *r, const struct entry_members *e,
                    unsigned shards)
{
    struct unpack list = e->list;
    struct member_info m;
    bool first = r->n == 0;

    for (uint32_t i = 0; i < e->n; i++) {
        member_unpack(&list, &m);
        switch (e->action) {
        case MEMBERS_FOUND:
            if (!first || !add(r, &m)) {
                return i > 0;
            }
            break;
        case MEMBERS_SET:
            return set(r, &m);
        case MEMBERS_LEAVE:
            return leave(r, &m);
        case MEMBERS_LEFT:
            return left(r, &m, e->group, shards);
        case MEMBERS_ALONE:
            return alone(r, &m);
        }
    }
    return true;
}

bool registry_may_leave(const struct registry *r, uint64_t id, char *why,
                        size_t size)
{
    const struct registered *m = registry_find(r, id);

    if (m == NULL) {
        snprintf(why, size, "node %" PRIu64 " is not a member", id);
        return false;
    }
    if (!others_vote(r, id)) {
        snprintf(why, size,
                 "node %" PRIu64 " is the last voter; add another one first",
                 id);
        return false;
    }
    return true;
}
