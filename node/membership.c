/* The registry of group 0 and this node: who asks to join or is to leave, and
 * what follows here when it changes.
 *
 * Everything that is proposed may be lost: it is said again whenever something
 * happens that could have to do with it, and is harmless when repeated. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/node.h"
#include "node/registry.h"

static const struct registry *registry_of(const struct node *n)
{
    return &n->group[0].machine.registry;
}

static int propose(struct node *n, enum members_action action, unsigned group,
                   const struct member_info *members, unsigned count)
{
    struct entry_members e = {.action = action, .group = group, .n = count};
    struct buf out;
    size_t len;
    int rv;

    buf_init(&out, PACKET_BYTES_MAX);
    rv = entry_encode_members(&e, members, &out);
    if (rv == 0) {
        void *bytes = buf_take(&out, &len);
        rv = groups_propose(n->groups, 0, bytes, len);
    }
    buf_close(&out);
    return rv;
}

/* ---- what this node has to say ------------------------------------------- */

/* The first leader writes down who is there from the beginning. */
static void found(struct node *n)
{
    struct member_info list[NODES_MAX];

    memset(list, 0, sizeof list);
    for (unsigned i = 0; i < n->n_members; i++) {
        list[i].id = n->members[i].id;
        list[i].replica = n->members[i].replica;
        snprintf(list[i].address, ADDRESS_MAX, "%s", n->members[i].address);
        if (list[i].id == n->env.node_id) {
            list[i].store = groups_store(n->groups);
        }
    }
    (void)propose(n, MEMBERS_FOUND, 0, list, n->n_members);
}

/* Our store, and where we are now. */
static void introduce(struct node *n, const struct registered *self)
{
    struct member_info m = self->info;
    struct uuid store = groups_store(n->groups);

    if (uuid_equal(&m.store, &store) &&
        strcmp(m.address, n->options->advertise) == 0) {
        return;
    }
    m.store = store;
    snprintf(m.address, sizeof m.address, "%s", n->options->advertise);
    (void)propose(n, MEMBERS_SET, 0, &m, 1);
}

void membership_step(struct node *n)
{
    const struct registry *r = registry_of(n);
    struct uuid cluster = groups_cluster(n->groups);
    const struct registered *self = registry_find(r, n->env.node_id);

    if (!n->group[0].caught_up || uuid_is_none(&cluster)) {
        return;
    }
    if (r->n == 0) {
        if (groups_leader(n->groups, 0) == n->env.node_id) {
            found(n);
        }
    } else if (self != NULL && !self->leaving) {
        introduce(n, self);
    }
}

void membership_left(struct node *n, unsigned group, uint64_t id)
{
    const struct registered *m = registry_find(registry_of(n), id);

    if (m != NULL && m->leaving) {
        FAILPOINT("member.left");
        (void)propose(n, MEMBERS_LEFT, group, &m->info, 1);
    }
}

/* ---- what others ask ----------------------------------------------------- */

static void fill_answer(const struct node *n, struct join_answer *a)
{
    const struct registry *r = registry_of(n);

    memset(a, 0, sizeof *a);
    a->cluster = groups_cluster(n->groups);
    a->shards = n->options->shards;
    for (unsigned i = 0; i < r->n; i++) {
        if (!r->members[i].leaving) {
            a->members[a->n++] = r->members[i].info;
        }
    }
}

static bool same_place(const struct member_info *a, const struct member_info *b)
{
    return strcmp(a->address, b->address) == 0 && a->replica == b->replica;
}

bool membership_join(struct node *n, const struct member_info *who,
                     struct buf *out, char *why, size_t size)
{
    const struct registry *r = registry_of(n);
    const struct registered *m = registry_find(r, who->id);
    static struct join_answer answer;

    if (!n->group[0].caught_up || r->n == 0) {
        return true; /* in a moment */
    }
    if (registry_is_gone(r, who->id, &who->store)) {
        snprintf(why, size,
                 "node %" PRIu64
                 " was removed from this cluster; start it with an empty "
                 "-raft-path",
                 who->id);
        return false;
    }
    if (m != NULL && !m->leaving && !uuid_equal(&m->info.store, &who->store)) {
        snprintf(why, size,
                 "node %" PRIu64
                 " is a member with another store, at %s: take another "
                 "-node-id, or remove it first (marmot remove %" PRIu64 ")",
                 who->id, m->info.address, who->id);
        return false;
    }
    if (m == NULL && r->n == NODES_MAX) {
        snprintf(why, size, "the cluster has %d members, and no room for more",
                 NODES_MAX);
        return false;
    }
    if (m == NULL || m->leaving || !same_place(&m->info, who)) {
        (void)propose(n, MEMBERS_SET, 0, who, 1);
        return true;
    }
    fill_answer(n, &answer);
    return join_answer_encode(&answer, out) == 0;
}

int membership_remove(struct node *n, uint64_t id, char *why, size_t size)
{
    const struct registered *m = registry_find(registry_of(n), id);
    int rv;

    if (!registry_may_leave(registry_of(n), id, why, size)) {
        return m == NULL ? ERR_NOT_FOUND : ERR_READONLY;
    }
    if (id == n->env.node_id) {
        snprintf(why, size,
                 "node %" PRIu64
                 " cannot see its own end: ask another node "
                 "(-pane)",
                 id);
        return ERR_READONLY;
    }
    if (!groups_may_lose(n->groups, id, why, size)) {
        return ERR_NO_LEADER;
    }
    rv = m->leaving ? 0 : propose(n, MEMBERS_LEAVE, 0, &m->info, 1);
    if (rv != 0) {
        snprintf(why, size, "%s; ask again when shard 0 has a leader",
                 err_str(rv));
    }
    return rv;
}

static int by_id(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* ---- what follows -------------------------------------------------------- */

static struct groups_member *listed(struct node *n, uint64_t id)
{
    for (unsigned i = 0; i < n->n_members; i++) {
        if (n->members[i].id == id) {
            return &n->members[i];
        }
    }
    return NULL;
}

/* What a peer said of a member counts until this node has read it. One whose
 * store it does not know yet may come with any. */
static bool is_read(struct node *n, const struct member_info *told)
{
    const struct groups_member *m = listed(n, told->id);

    return registry_is_gone(registry_of(n), told->id, &told->store) ||
           (m != NULL && !m->told &&
            (uuid_is_none(&m->store) || uuid_equal(&m->store, &told->store)));
}

/* Those who were told, among those who are known. */
static void list_told(struct node *n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n->n_told; i++) {
        const struct member_info from = n->told[i];
        struct groups_member *m = listed(n, from.id);
        if (is_read(n, &from) || (m == NULL && n->n_members == NODES_MAX)) {
            continue;
        }
        if (m == NULL) {
            m = &n->members[n->n_members++];
            memset(m, 0, sizeof *m);
        }
        m->id = from.id;
        m->store = from.store;
        m->replica = from.replica;
        m->told = true;
        memcpy(m->address, from.address, sizeof m->address);
        n->told[kept++] = from;
    }
    n->n_told = kept;
}

static void list_members(struct node *n)
{
    const struct registry *r = registry_of(n);

    n->n_members = r->n;
    n->env.voters = 0;
    for (unsigned i = 0; i < r->n; i++) {
        const struct registered *from = &r->members[i];
        struct groups_member *m = &n->members[i];
        m->id = from->info.id;
        m->store = from->info.store;
        m->replica = from->info.replica;
        m->leaving = from->leaving;
        m->told = false;
        m->last = registry_only_group_0(from, n->options->shards);
        memcpy(m->address, from->info.address, sizeof m->address);
        if (!m->replica && !m->leaving) {
            n->voter_ids[n->env.voters++] = m->id;
        }
    }
    qsort(n->voter_ids, n->env.voters, sizeof *n->voter_ids, by_id);
    list_told(n);
}

static void write_roster(struct node *n)
{
    static struct roster r;

    memset(&r, 0, sizeof r);
    r.cluster = groups_cluster(n->groups);
    r.store = groups_store(n->groups);
    r.shards = n->options->shards;
    for (unsigned i = 0; i < n->n_members; i++) {
        struct member_info *m = &r.members[r.n++];
        m->id = n->members[i].id;
        m->store = n->members[i].store;
        m->replica = n->members[i].replica;
        memcpy(m->address, n->members[i].address, sizeof m->address);
    }
    if (memcmp(&r, &n->written, sizeof r) == 0) {
        return;
    }
    n->written = r;
    if (roster_write(n->options->raft_path, &r) != 0) {
        memset(&n->written, 0, sizeof n->written);
        log_warn("members_file",
                 "path=%s why=\"cannot be written; the next "
                 "start may look for nodes in vain\"",
                 n->options->raft_path);
    }
}

static void look_at_self(struct node *n)
{
    const struct registered *self =
        registry_find(registry_of(n), n->env.node_id);
    bool out = self == NULL || self->leaving;

    if (out && !n->removed) {
        log_error("removed",
                  "node=%" PRIu64
                  " why=\"this node is taken out of the cluster; stop it when "
                  "that is done; to come back it needs an empty -raft-path and "
                  "-join\"",
                  n->env.node_id);
    }
    n->removed = out;
    if (self != NULL) {
        n->env.replica = self->info.replica;
    }
}

void membership_changed(struct node *n)
{
    const struct registry *r = registry_of(n);

    if (!n->group[0].caught_up || r->n == 0) {
        return; /* what is read now may be long ago */
    }
    list_members(n);
    look_at_self(n);
    groups_set_members(n->groups, n->members, n->n_members, r->departed,
                       r->n_departed);
    write_roster(n);
    membership_step(n);
    for (unsigned i = 0; i < r->n; i++) {
        membership_tell(n, r->members[i].info.id);
    }
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        node_wake(n, LIST_ENTRY(l, struct database, link));
    }
}

/* ---- what members tell each other ----------------------------------------
 *
 * A node that was away may not know, or not let in, the very one that leads
 * group 0 by now, and so never read who belongs to the cluster. Somebody whom
 * it does know tells it. */

void membership_tell(struct node *n, uint64_t peer)
{
    static struct join_answer list;
    struct buf out;

    if (!n->group[0].caught_up || registry_of(n)->n == 0 ||
        peer == n->env.node_id || n->stopping) {
        return;
    }
    fill_answer(n, &list);
    buf_init(&out, PACKET_BYTES_MAX);
    if (join_answer_encode(&list, &out) == 0) {
        (void)groups_send(n->groups, peer, HOST_MEMBERS, 0, out.data, out.len);
    }
    buf_close(&out);
}

static void note_told(struct node *n, const struct member_info *m)
{
    unsigned at = 0;

    while (at < n->n_told && n->told[at].id != m->id) {
        at++;
    }
    if (at < NODES_MAX) {
        n->told[at] = *m;
        n->n_told += at == n->n_told;
    }
}

void membership_told(struct node *n, const void *bytes, size_t len)
{
    static struct join_answer list;
    struct uuid cluster = groups_cluster(n->groups);

    if (join_answer_decode(bytes, len, &list) != 0 ||
        (!uuid_is_none(&cluster) && !uuid_equal(&cluster, &list.cluster))) {
        return;
    }
    for (unsigned i = 0; i < list.n; i++) {
        const struct member_info *m = &list.members[i];
        if (m->id != n->env.node_id && !uuid_is_none(&m->store) &&
            !is_read(n, m)) {
            note_told(n, m);
        }
    }
    list_told(n);
    for (unsigned i = 0; i < n->n_members; i++) {
        if (n->members[i].told) {
            groups_add_member(n->groups, &n->members[i]);
        }
    }
}

/* ---- at the start -------------------------------------------------------- */

static void take_members(struct node *n)
{
    const struct roster *r = &n->roster;
    const struct options *o = n->options;

    n->n_members = r->n > 0 ? r->n : o->n_members;
    for (unsigned i = 0; i < n->n_members; i++) {
        struct groups_member *m = &n->members[i];
        if (r->n > 0) {
            m->id = r->members[i].id;
            m->store = r->members[i].store;
            m->replica = r->members[i].replica;
            memcpy(m->address, r->members[i].address, ADDRESS_MAX);
        } else {
            m->id = o->members[i].id;
            m->replica = o->members[i].replica;
            memcpy(m->address, o->members[i].address, ADDRESS_MAX);
        }
    }
}

static bool is_listed(const struct roster *r, uint64_t id)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->members[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Who the others are: as this node knew them last, as the cluster tells, or as
 * the flags name them. */
int membership_find(struct node *n, char *why, size_t size)
{
    struct options *o = &n->own_options;
    int rv = roster_read(o->raft_path, &n->roster, why, size);
    unsigned stored, first;

    if (rv != 0 && rv != ERR_NOT_FOUND) {
        return rv;
    }
    if (n->roster.joining && o->join[0] == '\0') {
        snprintf(why, size,
                 "this node had begun to join a cluster: start it with -join "
                 "again, or with an empty -raft-path (now %s)",
                 o->raft_path);
        return ERR_MISMATCH;
    }
    if ((rv == ERR_NOT_FOUND || n->roster.joining) && o->join[0] != '\0') {
        rv = join_cluster(o, &n->roster, why, size);
        if (rv != 0) {
            return rv;
        }
    }
    if (n->roster.n > 0) {
        /* The store counts: the list may be older. */
        stored = groups_stored(o->raft_path, &first);
        if (stored == 0) {
            stored = first = n->roster.shards;
        }
        if (o->shards_given && o->shards != stored && o->shards != first) {
            snprintf(why, size,
                     "the cluster has %u shards and this start says -shards "
                     "%u; more are added by marmot shards N",
                     stored, o->shards);
            return ERR_MISMATCH;
        }
        if (o->shards_given && o->shards != stored) {
            log_warn("shards",
                     "why=\"the cluster has %u, -shards %u is only of its "
                     "beginning\"",
                     stored, o->shards);
        }
        o->shards = stored;
        if (!is_listed(&n->roster, o->node_id)) {
            snprintf(why, size,
                     "node %" PRIu64
                     " was removed from its cluster; to come back it needs an "
                     "empty -raft-path (now %s) and -join",
                     o->node_id, o->raft_path);
            return ERR_MISMATCH;
        }
    }
    take_members(n);
    return 0;
}
