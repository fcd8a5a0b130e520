#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_code.h"
#include "consensus/raft_peek.h"
#include "wire/raft_message.h"

/* A peer that did not take a snapshot is sent it again. */
#define INSTALL_MS 3000u

/* ---- the state machine's side ------------------------------------------- */

static int apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
                 void **result)
{
    struct group *g = fsm->data;
    const struct groups_options *o = &g->all->options;
    /* A copy: a callback must not depend on the log's array. */
    struct raft_buffer entry = *buf;

    *result = NULL;
    o->apply(o->data, g->number, raft_last_applied(&g->raft) + 1, entry.base,
             entry.len);
    return 0;
}

/* ---- what changed ------------------------------------------------------- */

static void report_leader(struct group *g)
{
    const struct groups_options *o = &g->all->options;
    raft_term term = peek_term(&g->raft);
    const char *address;
    raft_id leader;

    raft_leader(&g->raft, &leader, &address);
    if (leader == g->leader && (leader == 0 || term == g->term)) {
        return;
    }
    g->leader = leader;
    g->term = term;
    g->had_leader = g->had_leader || leader != 0;
    log_debug("leader", "shard=%u node=%llu term=%llu", g->number, leader,
              term);
    if (leader == o->node_id) {
        memset(g->commit_sent, 0, sizeof g->commit_sent);
        memset(g->proposed, 0, sizeof g->proposed);
        g->commit_pushed = 0;
        leadership_gained(g);
    } else if (leader != 0 && raft_state(&g->raft) == RAFT_FOLLOWER &&
               peek_timeout(&g->raft) < o->election_ms) {
        peek_set_timeout(&g->raft, (unsigned)g->io.raw.random(
                                       &g->io.raw, (int)o->election_ms,
                                       2 * (int)o->election_ms));
    }
    o->leader(o->data, g->number, leader, term);
}

/* All that was committed before has been applied once an entry of the current
 * leader's own term has been: as leader, our own first one; as follower, all
 * that the leader says is committed, ending in its term. */
static bool has_caught_up(const struct group *g)
{
    const struct raft *r = &g->raft;
    raft_index applied = peek_applied(r);
    raft_index goal;

    if (group_leads(g)) {
        return applied >= filters_own_first(&g->filters);
    }
    goal = filters_commit_heard(&g->filters);
    return g->leader != 0 && goal > 0 && applied >= goal &&
           peek_term_of(r, applied) == peek_term(r);
}

static void after(void *data)
{
    struct group *g = data;
    const struct groups_options *o = &g->all->options;
    char why[128];

    if (g->all->state > GROUPS_DRAINING) {
        return;
    }
    if (raft_state(&g->raft) == RAFT_UNAVAILABLE) {
        if (!g->broken) {
            g->broken = true;
            snprintf(why, sizeof why, "shard %u stopped: %s; start again",
                     g->number, raft_errmsg(&g->raft));
            groups_fatal(g->all, why);
        }
        return;
    }
    report_leader(g);
    if (!g->caught_up && has_caught_up(g)) {
        g->caught_up = true;
        o->caught_up(o->data, g->number);
    }
}

/* ---- proposals ---------------------------------------------------------- */

bool group_leads(const struct group *g)
{
    return g->raft.state == RAFT_LEADER;
}

uint64_t group_bytes(const struct group *g)
{
    return g->io.bytes + g->pending_bytes;
}

void group_propose(struct group *g, unsigned slot, void *bytes, size_t len)
{
    g->proposers |= 1ull << slot;
    g->written_by[slot]++;
    if (g->n_pending == g->pending_cap) {
        g->pending_cap = g->pending_cap == 0 ? 16 : g->pending_cap * 2;
        g->pending = must_grow(g->pending, g->pending_cap * sizeof *g->pending);
    }
    g->pending[g->n_pending++] = (struct raft_buffer){bytes, len};
    g->pending_bytes += len;
}

static void drop_pending(struct group *g)
{
    for (unsigned i = 0; i < g->n_pending; i++) {
        raft_free(g->pending[i].base);
    }
    g->n_pending = 0;
    g->pending_bytes = 0;
    g->proposers = 0;
}

/* What became of the entries is learned in apply(): this is called after the
 * first of them. */
static void applied_first(struct raft_apply *req, int status, void *result)
{
    (void)status;
    (void)result;
    free(req);
}

static void note_appended(struct group *g)
{
    uint64_t now = clock_us();

    for (unsigned i = 0; i < g->all->n_members; i++) {
        if (g->proposers & 1ull << i) {
            g->proposed[i] = peek_last(&g->raft);
        }
    }
    g->proposers = 0;
    g->steady = now - g->appended_us < PUSH_US;
    g->appended_us = now;
}

/* All proposals of a turn in one append and one message per follower. */
static void append_pending(struct group *g)
{
    struct raft_apply *req;

    if (g->n_pending == 0 || (group_leads(g) && peek_transferring(&g->raft))) {
        return; /* a transfer ends soon: then they go, or we no longer lead */
    }
    req = must_alloc(sizeof *req);
    if (!group_leads(g) || raft_apply(&g->raft, req, g->pending, g->n_pending,
                                      applied_first) != 0) {
        log_debug("proposals_dropped", "shard=%u count=%u why=\"not leader\"",
                  g->number, g->n_pending);
        free(req);
        drop_pending(g);
        return;
    }
    g->n_pending = 0;
    g->pending_bytes = 0;
    note_appended(g);
    filters_settle(&g->filters);
}

/* ---- commit index ------------------------------------------------------- */

void group_note_sent(struct group *g, unsigned slot,
                     const struct raft_message *m)
{
    const struct raft_append_entries *ae = &m->append_entries;
    raft_index end;

    if (m->type != RAFT_IO_APPEND_ENTRIES) {
        return;
    }
    end = ae->prev_log_index + ae->n_entries;
    if (end > ae->leader_commit) {
        end = ae->leader_commit;
    }
    if (end > g->commit_sent[slot]) {
        g->commit_sent[slot] = end;
    }
}

void group_peer_is_new(struct group *g, unsigned slot)
{
    g->commit_sent[slot] = 0;
    g->commit_pushed = 0;
}

/* An empty AppendEntries right behind what the peer is known to have: its log
 * is checked up to there, and it commits no further (W7), so that no divergent
 * tail of it can be meant. The result says what we know and changes nothing. */
static void push_to(struct group *g, const struct member *to, raft_index match)
{
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES,
                             .server_id = to->id};
    struct raft_append_entries *ae = &m.append_entries;

    ae->term = peek_term(&g->raft);
    ae->prev_log_index = match;
    ae->prev_log_term = peek_term_of(&g->raft, match);
    ae->leader_commit = peek_commit(&g->raft);
    if (ae->prev_log_term == 0) {
        return; /* its place is no longer in the log: it gets a snapshot */
    }
    g->filters.io.send(&g->filters.io, NULL, &m, NULL);
}

/* Do the next entries come soon anyway, and is nobody waiting at that node? */
static bool can_wait(const struct group *g, unsigned slot)
{
    return g->commit_sent[slot] >= g->proposed[slot] && g->steady &&
           clock_us() - g->appended_us < PUSH_US;
}

/* Followers learn of a new commit index with the next entries or heartbeat,
 * which may be 100 ms away; tell those to whom nothing told it yet. */
static void push_commit(struct group *g)
{
    struct groups *all = g->all;
    raft_index commit = peek_commit(&g->raft);
    bool all_know = true;

    if (!group_leads(g) || commit == g->commit_pushed) {
        return;
    }
    for (unsigned i = 0; i < all->n_members; i++) {
        const struct member *m = &all->members[i];
        struct peek_progress p;
        if (m->self || !m->ready || g->commit_sent[i] >= commit ||
            !peek_progress(&g->raft, m->id, &p)) {
            continue;
        }
        if (can_wait(g, i)) {
            groups_push_soon(all);
        } else if (!p.probing && !p.snapshot && p.match > g->commit_sent[i]) {
            push_to(g, m, p.match);
        }
        all_know = all_know && g->commit_sent[i] >= commit;
    }
    if (all_know) {
        g->commit_pushed = commit;
    }
}

/* ---- events ------------------------------------------------------------- */

void group_flush(struct group *g)
{
    if (g->all->state > GROUPS_DRAINING) {
        return;
    }
    append_pending(g);
    push_commit(g);
}

static bool may_restore(const struct group *g)
{
    const struct groups_options *o = &g->all->options;

    return o->may_restore != NULL && o->may_restore(o->data, g->number);
}

void group_recv(struct group *g, struct raft_message *m)
{
    if (g->all->state > GROUPS_DRAINING || !g->all->booted) {
        raft_message_close(m);
        return;
    }
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT && !may_restore(g)) {
        raft_message_close(m); /* it is sent again */
        return;
    }
    if (m->type == RAFT_IO_TIMEOUT_NOW) {
        if (!leadership_wanted(g->all)) {
            raft_message_close(m);
            return; /* who leads goes on */
        }
        g->invited_ms = groups_now(g->all);
    }
    FAILPOINT("raft.received");
    g->io.recv(&g->io.raw, m);
}

/* The first election. Nobody stands before a majority is connected; then the
 * preferred leader stands early, so that it need not be moved there later. Once
 * it stands it waits as long as any other for the votes: on slow disks they
 * take longer than its short timeout. */
static void hasten(struct group *g)
{
    const struct groups_options *o = &g->all->options;
    int state = raft_state(&g->raft);

    if (g->had_leader || peek_role(&g->raft, o->node_id) != RAFT_VOTER ||
        (state != RAFT_FOLLOWER && state != RAFT_CANDIDATE)) {
        return;
    }
    if (!quorum_is_connected(g)) {
        peek_restart_timer(&g->raft, groups_now(g->all));
    } else if (state == RAFT_FOLLOWER && g->preferred == o->node_id &&
               peek_timeout(&g->raft) >= o->election_ms) {
        peek_set_timeout(&g->raft, (unsigned)g->io.raw.random(
                                       &g->io.raw, (int)o->election_ms / 10,
                                       (int)o->election_ms / 5));
    }
}

void group_tick(struct group *g)
{
    hasten(g);
    g->io.tick(&g->io.raw);
}

/* ---- life --------------------------------------------------------------- */

static uint64_t written(void *data)
{
    const struct group *g = data;

    return g->io.written;
}

static uint64_t durable(void *data)
{
    const struct group *g = data;

    return store_durable(g->all->store);
}

static int snapshot_conf(void *data, struct raft_configuration *conf,
                         raft_index *index)
{
    const struct group *g = data;
    const struct store_snapshot *s = &g->io.snapshot;

    *index = s->conf_index;
    return s->index == 0 ? ERR_NOT_FOUND
                         : raft_conf_decode(s->conf, s->conf_len, conf);
}

static void on_durable(void *data)
{
    struct group *g = data;

    filters_durable(&g->filters);
}

struct group *group_new(struct groups *all, unsigned number)
{
    const struct groups_options *o = &all->options;
    struct group *g = must_alloc(sizeof *g);
    struct filters_options filters = {.data = g,
                                      .after = after,
                                      .written = written,
                                      .durable = durable,
                                      .snapshot_conf = snapshot_conf,
                                      .bytes_max = AE_BYTES_MAX,
                                      .entries_max = AE_ENTRIES_MAX};

    g->all = all;
    g->number = number;
    g->preferred = all->n_voters == 0
                       ? 0
                       : placement_leader(number, all->voters, all->n_voters);
    g->fsm = (struct raft_fsm){.version = 1,
                               .data = g,
                               .apply = apply,
                               .snapshot = compaction_snapshot,
                               .restore = compaction_restore};
    raft_io_group_init(&g->io, number, &g->raft, &all->host);
    g->io.durable = on_durable;
    g->io.put = compaction_put;
    g->io.data = g;
    filters_init(&g->filters, &g->raft, &g->io.raw, &filters);
    if (raft_init(&g->raft, &g->filters.io, &g->fsm, o->node_id, "node") != 0) {
        log_error("out_of_memory", "shard=%u", number);
        abort();
    }
    raft_set_heartbeat_timeout(&g->raft, o->heartbeat_ms);
    raft_set_election_timeout(&g->raft, o->election_ms);
    raft_set_pre_vote(&g->raft, true);
    raft_set_install_snapshot_timeout(&g->raft, INSTALL_MS);
    raft_set_snapshot_threshold(&g->raft, UINT32_MAX);
    return g;
}

static void tell_found(struct group *g)
{
    const struct groups_options *o = &g->all->options;
    const struct store_group *log = &g->io.loaded;

    for (size_t i = 0; o->found != NULL && i < log->n; i++) {
        const struct raft_entry *e = &log->entries[i];
        if (e->type == RAFT_COMMAND) {
            o->found(o->data, g->number, e->buf.base, e->buf.len);
        }
    }
}

void group_start(struct group *g)
{
    char why[128];
    int rv;

    tell_found(g);
    rv = raft_start(&g->raft);

    if (rv != 0) {
        snprintf(why, sizeof why, "shard %u does not start: %s", g->number,
                 err_str(raft_code(rv)));
        groups_fatal(g->all, why);
        return;
    }
    filters_settle(&g->filters);
}

static void closed(struct raft *raft)
{
    struct group *g = LIST_ENTRY(raft, struct group, raft);

    g->closed = true;
    g->all->open_groups--;
}

void group_close(struct group *g)
{
    drop_pending(g);
    raft_close(&g->raft, closed);
}

void group_free(struct group *g)
{
    raft_io_group_close(&g->io);
    free(g->pending);
    free(g);
}
