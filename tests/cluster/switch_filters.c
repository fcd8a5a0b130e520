/* consensus/filters.c and filters_send.c with switches that are off: one guard
 * filter at a time can be taken out (enum sim_filter). They take the place of
 * the product's own objects at the link, and are the same text.
 *
 * What a filter asks about the core is asked through a macro here, or what it
 * did to a message is undone on the way into the core. */
#include <assert.h>
#include <string.h>

#include "consensus/filters_in.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "tests/cluster/sim.h"

void filters_init_guarded(struct filters *f, struct raft *raft,
                          struct raft_io *raw,
                          const struct filters_options *options);

static bool off(enum sim_filter filter)
{
    return (sim_now->plan.off & filter) != 0;
}

/* W4: no own entry is made, and nothing waits for one. */
static raft_index last_stored(const struct raft *r)
{
    return off(OFF_W4) ? UINT64_MAX : peek_last_stored(r);
}

static int append_barrier(struct raft *r, struct raft_barrier *req,
                          raft_barrier_cb cb)
{
    return off(OFF_W4) ? RAFT_BUSY : raft_barrier(r, req, cb);
}

/* W5: a quorum always has the entries. */
static bool quorum_has(const struct raft *r, raft_index index)
{
    return off(OFF_W5) || peek_quorum_has(r, index);
}

/* W6: the election timer goes on, whatever is being stored. */
static void restart_timer(struct raft *r, raft_time now)
{
    if (!off(OFF_W6)) {
        peek_restart_timer(r, now);
    }
}

static bool installing(const struct raft *r)
{
    return !off(OFF_W6) && peek_installing(r);
}

/* W9: an append completes in whatever term it is, and no term is newer. */
static raft_term term_of(const struct raft *r, const char *asked_by)
{
    if (off(OFF_W9) && strcmp(asked_by, "must_wait") == 0) {
        return UINT64_MAX;
    }
    if (off(OFF_W9) && (strcmp(asked_by, "on_append") == 0 ||
                        strcmp(asked_by, "cap_result") == 0)) {
        return 0;
    }
    return peek_term(r);
}

/* W12: the core's own way back. */
static void take_back_members(struct filters *f,
                              const struct raft_append_entries *ae)
{
    if (!off(OFF_W12)) {
        filters_take_back_members(f, ae);
    }
}

#define filters_take_back_members(f, ae) take_back_members(f, ae)
#define raft_barrier(r, req, cb) append_barrier(r, req, cb)
#define peek_last_stored(r) last_stored(r)
#define peek_quorum_has(r, index) quorum_has(r, index)
#define peek_restart_timer(r, now) restart_timer(r, now)
#define peek_installing(r) installing(r)
#define peek_term(r) term_of(r, __func__)
#define filters_init filters_init_guarded
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "consensus/filters.c"
#include "consensus/filters_send.c"
/* NOLINTEND(bugprone-suspicious-include) */
#undef filters_init
#undef peek_term

/* W3: the core's own words. W9 is a filter of results, too, and stays. */
static int send_uncapped(struct raft_io *io, struct raft_io_send *req,
                         const struct raft_message *message, raft_io_send_cb cb)
{
    struct filters *f = filters_of(io);
    struct sending *s;

    if (f->closing || message->type != RAFT_IO_APPEND_ENTRIES_RESULT ||
        (f->completing != NULL && !off(OFF_W9) &&
         f->completing->term != peek_term(f->raft))) {
        return filters_send(io, req, message, cb);
    }
    s = must_alloc(sizeof *s);
    s->f = f;
    s->cb = cb;
    s->orig = req;
    req->cb = cb;
    list_init(&s->link);
    make_piece(s, &s->first, message);
    emit(f, &s->first);
    return 0;
}

/* W7: the commit index as the leader said it. */
static raft_io_recv_cb core_recv;

static void recv_uncapped(struct raft_io *io, struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        m->append_entries.leader_commit = filters_of(io)->commit_heard;
    }
    core_recv(io, m);
}

static int start_uncapped(struct raft_io *io, unsigned ms, raft_io_tick_cb tick,
                          raft_io_recv_cb recv)
{
    core_recv = recv;
    return on_start(io, ms, tick, recv_uncapped);
}

/* Somebody was removed: whatever vote comes counts for every voter. */
static void recv_stray(struct raft_io *io, struct raft_message *m)
{
    const struct group *g = filters_of(io)->options.data;
    uint64_t ids[NODES_MAX];
    unsigned n = peek_voter_ids(&g->raft, ids, NODES_MAX);

    if (g->all->n_departed > 0 && m->type == RAFT_IO_REQUEST_VOTE_RESULT &&
        m->request_vote_result.vote_granted &&
        m->request_vote_result.pre_vote != raft_tribool_true) {
        for (unsigned i = 0; i < n; i++) {
            struct raft_message copy = *m;
            copy.server_id = ids[i];
            if (ids[i] != m->server_id && ids[i] != g->all->options.node_id) {
                core_recv(io, &copy);
            }
        }
    }
    core_recv(io, m);
}

static int start_stray(struct raft_io *io, unsigned ms, raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    core_recv = recv;
    return on_start(io, ms, tick, recv_stray);
}

/* B4: the core hears of appends that failed. */
struct failure {
    struct sim_node *node;
    uint64_t life;
    struct raft_io_append *req;
};

static void on_failure(struct sim *s, void *data)
{
    struct failure *x = data;

    (void)s;
    if (x->node->life == x->life && !x->node->dying) {
        x->req->cb(x->req, RAFT_IOERR);
        node_turn_soon(x->node);
    }
}

static int append_or_fail(struct raft_io *io, struct raft_io_append *req,
                          const struct raft_entry entries[], unsigned n,
                          raft_io_append_cb cb)
{
    const struct group *g = filters_of(io)->options.data;
    struct sim_node *node = sim_node_of(g->all->options.data);
    struct failure *x;

    if (node->disk.refuses == 0) {
        return on_append(io, req, entries, n, cb);
    }
    node->disk.refuses--;
    req->cb = cb;
    x = sim_after(node->sim, 100, on_failure, sizeof *x);
    *x = (struct failure){.node = node, .life = node->life, .req = req};
    return 0;
}

/* Directed runs in which logs are not shortened hand in a snapshot, and decide
 * themselves when it is stored. */
static int hold_put(struct raft_io *raw, unsigned trailing,
                    struct raft_io_snapshot_put *req,
                    const struct raft_snapshot *snapshot,
                    raft_io_snapshot_put_cb cb)
{
    (void)raw;
    (void)trailing;
    req->cb = cb;
    sim_now->put = req;
    sim_now->put_cb = cb;
    sim_now->put_bufs = snapshot->bufs;
    return 0;
}

void filters_init(struct filters *f, struct raft *raft, struct raft_io *raw,
                  const struct filters_options *options)
{
    struct filters_options o = *options;

    if (off(OFF_W10)) {
        o.written = o.durable = NULL;
    }
    filters_init_guarded(f, raft, raw, &o);
    if (sim_now->plan.quiet && sim_now->plan.log_entries_keep == 0) {
        raw->snapshot_put = hold_put;
    }
    if (off(OFF_W3)) {
        f->io.send = send_uncapped;
    }
    if (sim_now->plan.mutant == MUTANT_STRAY_VOTE) {
        f->io.start = start_stray;
    }
    if (off(OFF_W7)) {
        f->io.start = start_uncapped;
    }
    if (off(OFF_FAIL)) {
        f->io.append = append_or_fail;
    }
}
