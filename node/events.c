/* What the groups tell: entries, leaders, peers, packets. Each is noted in the
 * machine, the lease table or the database it concerns. */
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "node/fence.h"
#include "node/node.h"

/* Logs that are so many times what they should be. */
#define PRESSING 4u

/* ---- from the machines --------------------------------------------------- */

static void on_cluster(void *data, const struct entry_cluster *e)
{
    struct group_state *g = data;
    struct node *n = g->node;
    struct uuid known = groups_cluster(n->groups);
    char text[UUID_TEXT_BYTES];

    if (!uuid_is_none(&known)) {
        return; /* the first one counts */
    }
    if (groups_set_cluster(n->groups, &e->cluster) == 0) {
        uuid_text(&e->cluster, text);
        log_info("cluster", "id=%s shards=%u", text, e->shards);
        membership_step(n);
    }
}

static void on_enrolled(void *data, struct machine_db *m)
{
    struct group_state *g = data;
    struct database *db;

    if (move_follow(g, m)) {
        return;
    }
    db = catalog_find(g->node, m->name);
    if (db == NULL) {
        folder_enrolled(g->node, m->name); /* it meets the group by itself */
    } else if (db->m == NULL && uuid_is_none(&db->follows)) {
        move_attach(g, db, m);
    }
}

static void on_renamed(void *data, struct machine_db *m)
{
    struct group_state *g = data;

    if (m->local != NULL) {
        node_wake(g->node, m->local);
    }
}

static void on_left(void *data, struct machine_db *m, uint32_t to)
{
    move_left(data, m, to);
}

static void on_shards(void *data, uint32_t shards, bool exact)
{
    struct group_state *g = data;

    shards_decided(g->node, shards, exact);
}

static void on_moving(void *data)
{
    move_changed(data);
}

static void on_jumped(void *data, struct machine_db *m)
{
    struct database *db = m->local;

    (void)data;
    if (db != NULL) {
        placing_jumped(db);
        proposal_jumped(db);
    }
}

static void on_holds(void *data, struct machine_db *m, uint64_t node)
{
    struct group_state *g = data;

    (void)node;
    if (m->local != NULL) {
        node_wake(g->node, m->local);
    }
}

static void on_accepted(void *data, struct machine_db *m,
                        const struct machine_accept *a)
{
    struct database *db = m->local;

    (void)data;
    if (db == NULL) {
        return;
    }
    placing_accepted(db, a);
    if (proposal_is(db, &a->txn->token)) {
        proposal_accepted(db, &a->position);
    } else {
        proposal_overtaken(db);
    }
}

static void on_decided(void *data, struct machine_db *m,
                       const struct token *token, enum machine_verdict verdict)
{
    (void)data;
    if (m->local != NULL) {
        proposal_decided(m->local, token, verdict);
    }
}

static void on_dropped(void *data, struct machine_db *m)
{
    struct group_state *g = data;

    if (m->local != NULL) {
        catalog_dropped(g->node, m->local);
    }
}

static void on_members(void *data)
{
    struct group_state *g = data;

    membership_changed(g->node);
}

void events_init_group(struct node *n, unsigned group)
{
    struct group_state *g = &n->group[group];

    g->node = n;
    g->group = group;
    g->events = (struct machine_events){.data = g,
                                        .cluster = on_cluster,
                                        .members = on_members,
                                        .enrolled = on_enrolled,
                                        .jumped = on_jumped,
                                        .dropped = on_dropped,
                                        .holds = on_holds,
                                        .accepted = on_accepted,
                                        .decided = on_decided,
                                        .renamed = on_renamed,
                                        .adopted = on_enrolled,
                                        .left = on_left,
                                        .shards = on_shards,
                                        .moving = on_moving};
    list_init(&g->found);
    machine_init(&g->machine, &g->events);
    g->machine.group = group;
    leases_init(g);
}

/* ---- from consensus/ ----------------------------------------------------- */

static void on_apply(void *data, unsigned group, uint64_t index,
                     const void *bytes, size_t len)
{
    struct node *n = data;

    (void)index;
    if (machine_apply(&n->group[group].machine, bytes, len) == ERR_VERSION) {
        node_fatal(n,
                   "the log holds an entry of a newer version of marmot: "
                   "upgrade this node");
    }
}

static void on_found(void *data, unsigned group, const void *bytes, size_t len)
{
    struct node *n = data;

    found_add(&n->group[group], bytes, len);
}

static int on_snapshot(void *data, unsigned group, struct buf *out)
{
    struct node *n = data;
    int rv;

    if (!settle_may_take(n, group)) {
        return ERR_BUSY;
    }
    rv = machine_snapshot(&n->group[group].machine, out);
    if (rv == ERR_BUSY) {
        fence_abandoned(&n->env, group, &n->group[group].machine,
                        groups_log_bytes(n->groups) >=
                            PRESSING * n->options->max_log_bytes);
    }
    return rv;
}

static int on_restore(void *data, unsigned group, const void *bytes, size_t len)
{
    struct node *n = data;

    return machine_restore(&n->group[group].machine, bytes, len);
}

static void on_settle(void *data, unsigned group, bool received)
{
    settle_begin(data, group, received);
}

static bool on_may_restore(void *data, unsigned group)
{
    return settle_may_restore(data, group);
}

static void for_group(struct node *n, unsigned group,
                      void (*f)(struct database *db))
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->group == group) {
            f(db);
        }
    }
}

static void leader_changed(struct database *db)
{
    lease_leader_changed(db);
    proposal_leader_changed(db);
}

/* The first leader of group 0 names the cluster. */
static void name_cluster(struct node *n)
{
    struct entry_cluster e = {.shards = n->options->shards};
    struct uuid known = groups_cluster(n->groups);
    struct buf out;
    size_t len;

    if (!uuid_is_none(&known) ||
        groups_leader(n->groups, 0) != n->env.node_id ||
        uuid_random(&e.cluster) != 0) {
        return;
    }
    buf_init(&out, PACKET_BYTES_MAX);
    if (entry_encode_cluster(&e, &out) == 0) {
        void *bytes = buf_take(&out, &len);
        (void)groups_propose(n->groups, 0, bytes, len);
    }
    buf_close(&out);
}

static void on_leader(void *data, unsigned group, uint64_t leader,
                      uint64_t term)
{
    struct node *n = data;

    log_info("leader", "shard=%u node=%" PRIu64 " term=%" PRIu64, group, leader,
             term);
    n->group[group].leader_changes += leader != 0;
    leases_leader_changed(&n->group[group], leader, term);
    for_group(n, group, leader_changed);
    if (group == 0 && n->group[0].caught_up) {
        name_cluster(n);
        membership_step(n);
    }
}

static void caught_up(struct database *db)
{
    db->caught_up = true;
    db->env->wake(db->env->data, db);
}

/* Until then a file may have to be looked for in what the own log named. */
static bool all_scanned(const struct node *n)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        if (!LIST_ENTRY(l, struct database, link)->scanned) {
            return false;
        }
    }
    return true;
}

/* Who follows what is in none of them must not wait any longer. */
static void for_waiting(struct node *n)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->m == NULL) {
            node_wake(n, db);
        }
    }
}

static void on_caught_up(void *data, unsigned group)
{
    struct node *n = data;

    log_debug("caught_up", "shard=%u", group);
    n->group[group].caught_up = true;
    if (all_scanned(n)) {
        found_forget(&n->group[group]);
    }
    for_group(n, group, caught_up);
    if (move_all_caught_up(n)) {
        for_waiting(n);
    }
    move_wake(n);
    if (group == 0) {
        name_cluster(n);
        membership_changed(n);
        membership_step(n);
    }
}

static void on_packet(void *data, uint64_t peer, uint8_t kind, unsigned group,
                      const void *payload, size_t len)
{
    host_packet(data, peer, kind, group, payload, len);
}

static void on_peer(void *data, uint64_t peer, bool up)
{
    struct node *n = data;

    for (unsigned i = 0; !up && i < n->options->shards; i++) {
        leases_peer_down(&n->group[i], peer);
    }
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (!up) {
            image_send_drop(n, db, peer);
            image_fetch_lost(db, peer);
        } else if (db->proposal != NULL) {
            db->proposal->sent_leader = 0; /* may have been lost: again */
        }
        node_wake(n, db);
    }
    if (up) {
        membership_tell(n, peer);
    }
}

static void on_member_left(void *data, unsigned group, uint64_t id)
{
    membership_left(data, group, id);
}

static bool on_may_go(void *data, unsigned group, uint64_t id)
{
    return parting_may_go(data, group, id);
}

static bool on_join(void *data, const struct member_info *who, struct buf *out,
                    char *why, size_t size)
{
    return membership_join(data, who, out, why, size);
}

static void on_fatal(void *data, const char *why)
{
    node_fatal(data, why);
}

static void on_turn(void *data)
{
    node_turn(data);
}

void events_fill(struct node *n, struct groups_options *o)
{
    o->data = n;
    o->apply = on_apply;
    o->found = on_found;
    o->snapshot = on_snapshot;
    o->restore = on_restore;
    o->settle = on_settle;
    o->may_restore = on_may_restore;
    o->leader = on_leader;
    o->caught_up = on_caught_up;
    o->packet = on_packet;
    o->peer = on_peer;
    o->left = on_member_left;
    o->may_go = on_may_go;
    o->join = on_join;
    o->turn = on_turn;
    o->fatal = on_fatal;
}
