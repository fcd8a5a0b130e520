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
    known->info = *m;
    return true;
}

static bool leave(struct registry *r, uint64_t id)
{
    struct registered *m = find(r, id);
    char why[128];

    if (m == NULL || m->leaving ||
        !registry_may_leave(r, id, why, sizeof why)) {
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

static bool left(struct registry *r, uint64_t id, unsigned group,
                 unsigned shards)
{
    struct registered *m = find(r, id);

    if (m == NULL || !m->leaving || group >= shards) {
        return false;
    }
    m->left[group / 8] = (uint8_t)(m->left[group / 8] | 1u << group % 8);
    for (unsigned g = 0; g < shards; g++) {
        if ((m->left[g / 8] & 1u << g % 8) == 0) {
            return true;
        }
    }
    forget(r, m);
    return true;
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
            return leave(r, m.id);
        case MEMBERS_LEFT:
            return left(r, m.id, e->group, shards);
        }
    }
    return true;
}

bool registry_may_leave(const struct registry *r, uint64_t id, char *why,
                        size_t size)
{
    const struct registered *m = registry_find(r, id);
    unsigned voters = 0;

    for (unsigned i = 0; i < r->n; i++) {
        const struct registered *other = &r->members[i];
        voters +=
            other->info.id != id && !other->leaving && !other->info.replica;
    }
    if (m == NULL) {
        snprintf(why, size, "node %" PRIu64 " is not a member", id);
        return false;
    }
    if (voters == 0) {
        snprintf(why, size,
                 "node %" PRIu64 " is the last voter; add another one first",
                 id);
        return false;
    }
    return true;
}
