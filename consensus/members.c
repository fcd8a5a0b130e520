/* Who may connect.
 *
 * A voter that forgot its votes or its log can lose acknowledged commits. So
 * every store has a uuid and counts how often it was opened, and each node
 * remembers, durably, the uuid and the highest count that it met for every
 * other node: a wiped store comes with another uuid, a copy or an old backup
 * with a count that is lower, or with the count of a start that was another.
 * Until that memory is durable for this start of the peer, nothing of the peer
 * is listened to. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"

#define REFUSED_PAUSE_MS 10000u

/* ---- the list ----------------------------------------------------------- */

struct member *groups_member(struct groups *g, uint64_t id)
{
    for (unsigned i = 0; i < g->n_members; i++) {
        if (g->members[i].id == id) {
            return &g->members[i];
        }
    }
    return NULL;
}

static int by_id(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int fill(struct groups *g, char *why, size_t why_size)
{
    const struct groups_options *o = &g->options;

    if (o->n_members == 0 || o->n_members > NODES_MAX) {
        snprintf(why, why_size, "a cluster has 1 to %d members, not %u",
                 NODES_MAX, o->n_members);
        return -EINVAL;
    }
    for (unsigned i = 0; i < o->n_members; i++) {
        const struct groups_member *from = &o->members[i];
        g->members[i].all = g;
        g->members[i].id = from->id;
        g->members[i].replica = from->replica;
        g->members[i].leaving = from->leaving;
        g->members[i].self = from->id == o->node_id;
    }
    g->n_members = o->n_members;
    qsort(g->members, g->n_members, sizeof *g->members, by_id);
    for (unsigned i = 0; i < g->n_members; i++) {
        if (g->members[i].id == 0 ||
            (i > 0 && g->members[i].id == g->members[i - 1].id)) {
            snprintf(why, why_size,
                     "node ids must be positive and different, see %" PRIu64,
                     g->members[i].id);
            return -EINVAL;
        }
    }
    return 0;
}

static void write_text(struct groups *g)
{
    char *at = g->members_text;
    char *end = at + sizeof g->members_text;

    for (unsigned i = 0; i < g->n_members && at < end; i++) {
        at += snprintf(at, (size_t)(end - at), "%s%" PRIu64 "%s",
                       i == 0 ? "" : ",", g->members[i].id,
                       g->members[i].replica ? "/replica" : "");
    }
}

int members_init(struct groups *g, char *why, size_t why_size)
{
    bool have_self = false;
    int rv = fill(g, why, why_size);

    if (rv != 0) {
        return rv;
    }
    g->registered = g->options.registered;
    for (unsigned i = 0; i < g->n_members; i++) {
        if (!g->members[i].replica && !g->members[i].leaving) {
            g->voters[g->n_voters++] = g->members[i].id;
        }
        if (g->members[i].self) {
            g->self = i;
            have_self = true;
        }
    }
    if (g->n_voters == 0) {
        snprintf(why, why_size,
                 "a cluster of replicas only cannot write; one "
                 "member must be a voter");
        return -EINVAL;
    }
    if (!have_self) {
        snprintf(why, why_size, "node %" PRIu64 " is not among the members",
                 g->options.node_id);
        return -EINVAL;
    }
    if (!g->registered) {
        write_text(g); /* what the first start of all nodes must agree on */
    }
    return 0;
}

/* The first entry must have the same bytes on every node, whatever address each
 * one knows the others by: the id stands in for it. */
int members_conf(const struct groups *g, struct raft_buffer *conf)
{
    struct groups_member list[NODES_MAX];

    for (unsigned i = 0; i < g->n_members; i++) {
        list[i].id = g->members[i].id;
        list[i].replica = g->members[i].replica;
    }
    return members_conf_of(list, g->n_members, conf);
}

int members_conf_of(const struct groups_member *list, unsigned n,
                    struct raft_buffer *conf)
{
    struct raft_configuration c;
    size_t used = 1 + 8; /* format, count */
    int rv = 0;

    raft_configuration_init(&c);
    for (unsigned i = 0; i < n && rv == 0; i++) {
        char name[24];
        snprintf(name, sizeof name, "%" PRIu64, list[i].id);
        used += 8 + strlen(name) + 1 + 1; /* id, address, role */
        rv = raft_configuration_add(
            &c, list[i].id, name, list[i].replica ? RAFT_STANDBY : RAFT_VOTER);
    }
    if (rv == 0) {
        rv = raft_configuration_encode(&c, conf);
    }
    if (rv == 0) {
        /* The encoder leaves its padding uninitialized. */
        memset((uint8_t *)conf->base + used, 0, conf->len - used);
    }
    raft_configuration_close(&c);
    return rv == 0 ? 0 : -ENOMEM;
}

static const struct uuid *store_named(const struct groups *g, uint64_t id)
{
    const struct groups_member *m = g->options.members;

    while (m->id != id) {
        m++; /* it is from this list */
    }
    return &m->store;
}

void members_load(struct groups *g)
{
    for (unsigned i = 0; i < g->n_members; i++) {
        struct member *m = &g->members[i];
        const struct uuid *store = store_named(g, m->id);
        m->known = store_peer(g->store, m->id, &m->store);
        m->recorded = m->store;
        if (!uuid_is_none(store) &&
            (!m->known || !uuid_equal(&m->store.store, store))) {
            m->store = (struct store_peer){.node_id = m->id, .store = *store};
            m->known = true; /* it came back under the same id */
        }
    }
}

unsigned members_ready_voters(const struct groups *g)
{
    unsigned n = 0;

    for (unsigned i = 0; i < g->n_members; i++) {
        n += !g->members[i].replica &&
             (g->members[i].self || g->members[i].ready);
    }
    return n;
}

void members_ping(struct groups *g)
{
    uint64_t now = groups_now(g);

    for (unsigned i = 0; i < g->n_members; i++) {
        struct member *m = &g->members[i];
        if (m->up && now - m->sent_ms >= PING_MS) {
            m->sent_ms = now;
            transport_send(g->transport, m->id, PACKET_PING, 0, NULL, 0);
        }
    }
}

/* ---- hello -------------------------------------------------------------- */

void members_hello(void *data, struct hello *out)
{
    struct groups *g = data;

    memset(out, 0, sizeof *out);
    out->version_min = WIRE_VERSION_MIN;
    out->version_max = WIRE_VERSION_MAX;
    out->cluster = g->identity.cluster;
    out->store = g->identity.store;
    out->starts = g->identity.starts;
    out->node_id = g->options.node_id;
    out->shards = g->options.shards;
    out->role = g->members[g->self].replica ? ROLE_REPLICA : ROLE_VOTER;
    snprintf(out->advertise, sizeof out->advertise, "%s",
             g->options.advertise == NULL ? "" : g->options.advertise);
    snprintf(out->members, sizeof out->members, "%s", g->members_text);
}

/* Says no, for members_accept. */
static bool refuse(char *why, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool refuse(char *why, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

static bool same_plan(const struct groups *g, const struct member *m,
                      const struct hello *peer, char *why, size_t size)
{
    uint8_t role = m->replica ? ROLE_REPLICA : ROLE_VOTER;

    if (!uuid_is_none(&g->identity.cluster) && !uuid_is_none(&peer->cluster) &&
        !uuid_equal(&g->identity.cluster, &peer->cluster)) {
        return refuse(why, size,
                      "node %" PRIu64
                      " belongs to another cluster; correct its -bootstrap or "
                      "its -raft-path",
                      peer->node_id);
    }
    /* In a cluster that has begun, one of us has not heard yet of more. */
    if (peer->shards != g->options.shards &&
        (uuid_is_none(&g->identity.cluster) ||
         !uuid_equal(&g->identity.cluster, &peer->cluster))) {
        return refuse(why, size,
                      "node %" PRIu64
                      " has -shards %u, here it is %u; they "
                      "must be equal",
                      peer->node_id, peer->shards, g->options.shards);
    }
    if (peer->members[0] == '\0' || g->members_text[0] == '\0' ||
        (!uuid_is_none(&g->identity.cluster) &&
         uuid_equal(&g->identity.cluster, &peer->cluster))) {
        return true; /* who belongs to it is in the log */
    }
    if (strcmp(peer->members, g->members_text) != 0) {
        return refuse(why, size,
                      "node %" PRIu64
                      " names the members %s, here they are %s; correct "
                      "-bootstrap",
                      peer->node_id, peer->members, g->members_text);
    }
    if (peer->role != role) {
        return refuse(why, size,
                      "node %" PRIu64
                      " runs as %s, here it is a %s; correct "
                      "-role or -bootstrap",
                      peer->node_id,
                      peer->role == ROLE_REPLICA ? "replica" : "voter",
                      m->replica ? "replica" : "voter");
    }
    return true;
}

static bool same_store(const struct member *m, const struct hello *peer,
                       char *why, size_t size)
{
    if (!m->known) {
        return true;
    }
    if (!uuid_equal(&m->store.store, &peer->store)) {
        return refuse(why, size,
                      "node %" PRIu64
                      " joined with another store; its votes are gone: remove "
                      "and add it again (marmot remove, then -join)",
                      m->id);
    }
    if (store_start_count(peer->starts) < store_start_count(m->store.starts) ||
        (store_start_count(peer->starts) ==
             store_start_count(m->store.starts) &&
         peer->starts != m->store.starts)) {
        return refuse(why, size,
                      "node %" PRIu64
                      " joined with an old copy of its store (start %" PRIu64
                      " after start %" PRIu64
                      "); its latest votes are gone: remove and add it again",
                      m->id, store_start_count(peer->starts),
                      store_start_count(m->store.starts));
    }
    return true;
}

void members_stranger(void *data, const struct hello *peer, char *why,
                      size_t size)
{
    if (membership_departed(data, peer->node_id, &peer->store)) {
        (void)refuse(why, size,
                     "node %" PRIu64
                     " was removed from this cluster; to take part again it "
                     "needs an empty -raft-path and -join",
                     peer->node_id);
    }
}

bool members_accept(void *data, const struct hello *peer, char *why,
                    size_t size)
{
    struct groups *g = data;
    const struct member *m = groups_member(g, peer->node_id);

    if (peer->version_min > WIRE_VERSION_MAX ||
        peer->version_max < WIRE_VERSION_MIN) {
        return refuse(why, size,
                      "no common version: node %" PRIu64
                      " speaks %u to %u, this one %d to %d; upgrade the older",
                      peer->node_id, peer->version_min, peer->version_max,
                      WIRE_VERSION_MIN, WIRE_VERSION_MAX);
    }
    if (m == NULL) {
        return refuse(why, size, "node %" PRIu64 " is not a member here",
                      peer->node_id);
    }
    if (m->self) {
        return refuse(why, size,
                      "two nodes have the id %" PRIu64
                      "; give one another "
                      "-node-id",
                      peer->node_id);
    }
    if (uuid_is_none(&peer->store) ||
        uuid_equal(&peer->store, &g->identity.store)) {
        return refuse(why, size,
                      "nodes %" PRIu64 " and %" PRIu64
                      " have copies of one store; start one with an empty "
                      "-raft-path",
                      peer->node_id, g->options.node_id);
    }
    return same_plan(g, m, peer, why, size) && same_store(m, peer, why, size);
}

/* A node that is refused cannot vote or commit, so it may go on trying: the
 * others may be put right. */
void members_refused(void *data, uint64_t peer, const char *why)
{
    struct groups *g = data;
    struct member *m = groups_member(g, peer);
    uint64_t now = groups_now(g);

    if (m == NULL) {
        return;
    }
    if (m->refused[0] == '\0' || now - m->refused_ms >= REFUSED_PAUSE_MS) {
        m->refused_ms = now;
        log_error("refused", "node=%" PRIu64 " why=\"%s\"", peer, why);
    }
    snprintf(m->refused, sizeof m->refused, "%s", why);
}

/* ---- connections -------------------------------------------------------- */

static void become_ready(struct member *m)
{
    struct groups *g = m->all;

    m->ready = true;
    m->refused[0] = '\0';
    for (unsigned i = 0; i < g->options.shards; i++) {
        group_peer_is_new(g->groups[i], (unsigned)(m - g->members));
    }
    if (g->options.peer != NULL && g->state <= GROUPS_DRAINING) {
        g->options.peer(g->options.data, m->id, true);
    }
}

static bool is_recorded(const struct member *m)
{
    return uuid_equal(&m->recorded.store, &m->now.store) &&
           m->recorded.starts == m->now.starts;
}

/* The record of a peer's store is durable; it may have gone meanwhile. */
static void recorded(struct store_write *write)
{
    struct member *m = write->data;

    if (m->id == write->peer.node_id) { /* it may have been removed */
        m->recorded = write->peer;
    }
    free(write);
    if (m->up && !m->ready && is_recorded(m)) {
        become_ready(m);
    }
}

static void record(struct member *m)
{
    struct store_write *write = must_alloc(sizeof *write);

    m->store = m->now;
    m->known = true;
    write->kind = STORE_PEER;
    write->peer = m->now;
    write->done = recorded;
    write->data = m;
    store_push(m->all->store, write);
}

void members_up(void *data, uint64_t peer, const struct hello *hello)
{
    struct groups *g = data;
    struct member *m = groups_member(g, peer);

    if (m == NULL) {
        return;
    }
    m->up = true;
    m->sent_ms = groups_now(g);
    m->now = (struct store_peer){
        .node_id = peer, .store = hello->store, .starts = hello->starts};
    if (is_recorded(m)) {
        become_ready(m);
    } else if (g->state <= GROUPS_DRAINING) {
        record(m);
    }
}

void members_down(void *data, uint64_t peer)
{
    struct groups *g = data;
    struct member *m = groups_member(g, peer);
    bool was_ready;

    if (m == NULL) {
        return;
    }
    was_ready = m->ready;
    m->up = m->ready = false;
    leadership_peer_down(g, peer);
    if (was_ready && g->options.peer != NULL && g->state <= GROUPS_DRAINING) {
        g->options.peer(g->options.data, peer, false);
    }
}
