/* What the control pane shows of this node. Read from the loop, at any time:
 * also before the groups are there and after they are gone. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "consensus/view.h"
#include "node/node.h"

/* So many transactions behind, a node says that it is lagging. */
#define LAG_MAX 100u

/* ---- health -------------------------------------------------------------- */

static bool no_quorum(const struct node *n, char *why, size_t size)
{
    for (unsigned i = 0; n->groups != NULL && i < n->options->shards; i++) {
        if (!groups_quorum_fresh(n->groups, i)) {
            groups_why_no_quorum(n->groups, i, why, size);
            return true;
        }
    }
    return false;
}

static uint64_t lag_of(const struct database *db)
{
    uint64_t known = db->m == NULL ? 0 : db->m->position.txid;

    return known > db->applied.txid ? known - db->applied.txid : 0;
}

/* A name that nobody has brought content for is not late. */
static bool waits_for_content(const struct database *db)
{
    return db->state == DB_PLACING && db->caught_up && db->m == NULL &&
           db->why[0] == '\0';
}

static bool lagging(const struct node *n, char *why, size_t size)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->state != DB_READY && !waits_for_content(db)) {
            snprintf(why, size, "database %s is %s", db->name,
                     database_state(db));
            return true;
        }
        if (lag_of(db) > LAG_MAX) {
            snprintf(why, size,
                     "database %s is %" PRIu64 " transactions behind", db->name,
                     lag_of(db));
            return true;
        }
    }
    return false;
}

static bool leads_any(const struct node *n)
{
    for (unsigned i = 0; n->groups != NULL && i < n->options->shards; i++) {
        if (groups_leader(n->groups, i) == n->env.node_id) {
            return true;
        }
    }
    return false;
}

static enum pane_health health_of(const struct node *n, char *why, size_t size)
{
    why[0] = '\0';
    if (n->stopping) {
        snprintf(why, size, "the node is stopping");
        return PANE_STOPPING;
    }
    if (n->groups != NULL && groups_disk_full(n->groups, why, size)) {
        return PANE_DISK_FULL;
    }
    if (no_quorum(n, why, size)) {
        return PANE_NO_QUORUM;
    }
    if (lagging(n, why, size)) {
        return n->ready_said ? PANE_LAGGING : PANE_STARTING;
    }
    if (!n->ready_said) {
        snprintf(why, size, "the node has just been started");
        return PANE_STARTING;
    }
    return n->options->replica ? PANE_REPLICA
           : leads_any(n)      ? PANE_LEADER
                               : PANE_OK;
}

/* ---- the node and its peers ---------------------------------------------- */

static void text_of(struct uuid id, char *out)
{
    if (!uuid_is_none(&id)) {
        uuid_text(&id, out);
    }
}

static void see_node(void *data, struct pane_node *out)
{
    struct node *n = data;
    const struct options *o = n->options;

    out->id = o->node_id;
    out->replica = o->replica;
    out->health = health_of(n, out->why, sizeof out->why);
    out->uptime_us = clock_us() - n->started_us;
    out->bind = o->bind;
    out->advertise = o->advertise;
    out->shards = o->shards;
    out->growing = shards_active(n);
    out->to_move = shards_to_move(n);
    out->sessions = n->n_sessions;
    out->log_bytes_max = o->max_log_bytes;
    if (n->groups != NULL) {
        out->log_bytes = groups_log_bytes(n->groups);
        text_of(groups_cluster(n->groups), out->cluster);
        text_of(groups_store(n->groups), out->store);
    }
}

static void see_counters(void *data, struct pane_counters *out)
{
    struct node *n = data;

    if (n->groups != NULL) {
        histogram_merge(&out->store_syncs, groups_view_syncs(n->groups));
    }
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        histogram_merge(&out->commits,
                        &LIST_ENTRY(l, struct database, link)->commit_times);
    }
}

static void see_peers(void *data,
                      void (*each)(void *arg, const struct pane_peer *peer),
                      void *arg)
{
    struct node *n = data;

    for (unsigned i = 0; i < n->n_members; i++) {
        const struct groups_member *m = &n->members[i];
        struct groups_peer_view v = {.refused = ""};
        struct pane_peer p = {.id = m->id,
                              .address = m->address,
                              .self = m->id == n->env.node_id,
                              .replica = m->replica,
                              .leaving = m->leaving};
        if (n->groups != NULL) {
            groups_view_peer(n->groups, m->id, &v);
        }
        p.connected = p.self || v.ready;
        p.heard = v.heard;
        p.silent_ms = v.silent_ms;
        p.refused = v.refused;
        p.sent_bytes = v.sent_bytes;
        p.received_bytes = v.received_bytes;
        each(arg, &p);
    }
}

static void see_groups(void *data,
                       void (*each)(void *arg, const struct pane_group *group),
                       void *arg)
{
    struct node *n = data;

    for (unsigned i = 0; n->groups != NULL && i < n->options->shards; i++) {
        struct groups_group_view v;
        groups_view_group(n->groups, i, &v);
        each(arg, &(struct pane_group){
                      .number = i,
                      .leader = v.leader,
                      .preferred = v.preferred,
                      .by_hand = v.by_hand,
                      .role = v.role,
                      .quorum = groups_quorum_fresh(n->groups, i),
                      .term = v.term,
                      .commit = v.commit,
                      .applied = v.applied,
                      .last = v.last,
                      .log_entries = v.entries,
                      .log_bytes = v.bytes,
                      .leader_changes = n->group[i].leader_changes,
                      .lease_handovers = n->group[i].leases.handovers});
    }
}

/* ---- databases ----------------------------------------------------------- */

static const char *slot_of(const struct database *db)
{
    if (db->orphan != 0) {
        return "orphaned";
    }
    if (db->owner == NULL) {
        return db->keeper != NULL     ? "kept"
               : slot_is_free(db)     ? "free"
               : db->proposal != NULL ? "in-doubt"
                                      : "node";
    }
    switch (db->owner->turn) {
    case TURN_PROPOSING:
        return "proposing";
    case TURN_COMMITTING:
        return "committing";
    default:
        return "writing";
    }
}

static uint32_t slot_pid(const struct database *db)
{
    return db->owner != NULL    ? db->owner->pid
           : db->keeper != NULL ? db->keeper->pid
                                : 0;
}

static unsigned length(const struct list *head)
{
    unsigned n = 0;

    for (const struct list *l = head->next; l != head; l = l->next) {
        n++;
    }
    return n;
}

/* A job on the pool has the file for itself. */
static void look_at_wal(struct database *db)
{
    if (db->job == NULL && db->apply != NULL) {
        apply_frames(db->apply, &db->wal_frames, &db->wal_written_back);
    }
}

static uint32_t page_size_of(const struct database *db)
{
    return db->m != NULL && db->m->page_size != 0 ? db->m->page_size
                                                  : db->page_size;
}

static void fill_known(const struct node *n, const struct database *db,
                       struct pane_database *out)
{
    const struct machine_db *m = db->m;

    if (m == NULL) {
        return;
    }
    out->known = true;
    text_of(m->uuid, out->uuid);
    out->txid = m->position.txid;
    out->hash = m->position.hash;
    if (n->groups != NULL &&
        groups_leader(n->groups, db->group) == n->env.node_id) {
        out->lease_holder = lease_table_holder(
            &n->group[db->group].leases, &m->uuid, n->env.now_us(n->env.data));
    }
}

static void see_database(struct node *n, struct database *db,
                         struct pane_database *out)
{
    slot_look(db);
    look_at_wal(db);
    *out = (struct pane_database){
        .name = db->name,
        .path = db->path,
        .state = db->m != NULL && db->m->frozen ? "moving"
                 : waits_for_content(db)        ? "empty"
                                                : database_state(db),
        .group = db->group,
        .applied_txid = db->applied.txid,
        .applied_hash = db->applied.hash,
        .checksum = db->applied_sum,
        .page_size = page_size_of(db),
        .pages = db->applied_pages,
        .waiting_txns = length(&db->pending),
        .lease_here = lease_is_good(db),
        .slot = slot_of(db),
        .slot_pid = slot_pid(db),
        .sessions = length(&db->sessions),
        .waiters = length(&db->waiters),
        .wal_frames = db->wal_frames,
        .wal_written_back = db->wal_written_back,
        .commits = db->commits,
        .conflicts = db->conflicts,
        .images_sent = db->images_sent,
        .images_received = db->images_received,
        .checkpoints = db->checkpoints,
        .image_percent = image_fetch_percent(db)};
    fill_known(n, db, out);
    verify_progress(n, db, &out->verify_read, &out->verify_pages);
}

static void see_databases(void *data,
                          void (*each)(void *arg,
                                       const struct pane_database *db),
                          void *arg)
{
    struct node *n = data;
    struct pane_database out;
    char why[TEXT_MAX];

    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        see_database(n, db, &out);
        database_why_locked(db, why, sizeof why);
        out.why = why;
        each(arg, &out);
    }
}

/* ---- start --------------------------------------------------------------- */

int view_start(struct node *n, char *why, size_t size)
{
    const struct options *o = n->options;
    const char *key = getenv("AUTH_KEY");
    struct pane_options p = {.loop = n->loop,
                             .bind = o->pane,
                             .auth_key = key,
                             .compat = o->pane_compat,
                             .source = &n->pane_source};
    int rv;

    if (o->pane[0] == '\0') {
        return 0;
    }
    n->pane_source = (struct pane_source){.data = n,
                                          .node = see_node,
                                          .counters = see_counters,
                                          .peers = see_peers,
                                          .groups = see_groups,
                                          .databases = see_databases,
                                          .move = steer_move,
                                          .remove = steer_remove,
                                          .attach = steer_attach,
                                          .detach = steer_detach,
                                          .drop = steer_drop,
                                          .rename = steer_rename,
                                          .shards = steer_shards,
                                          .shuffle = steer_shuffle,
                                          .verify_open = verify_open,
                                          .verify_look = verify_look,
                                          .verify_close = verify_close,
                                          .backup_open = backup_open,
                                          .backup_head = backup_head,
                                          .backup_read = backup_read,
                                          .backup_close = backup_close};
    rv = pane_start(&p, &n->pane, why, size);
    if (rv == -EADDRINUSE && !o->pane_given) {
        log_warn("no_pane",
                 "%s is in use, perhaps by another node: this one has no "
                 "control pane; give it a -bind-pane of its own",
                 o->pane);
        return 0;
    }
    if (rv == 0) {
        log_info("pane", "http://%s/ for=%s", o->pane,
                 key != NULL && key[0] != '\0' ? "who-has-the-key"
                                               : "this-host-only");
    }
    return rv;
}
