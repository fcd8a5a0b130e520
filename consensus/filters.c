/* Input, appends and life: W4, W5, W6, W7 (receiving), W8, W9.
 *
 * Whatever is delivered to the core goes through here, and filters_settle
 * follows: it notices a new state, releases gated appends and delivers input
 * that no longer has to wait, until nothing changes. */
#include "consensus/filters.h"

#include <assert.h>
#include <string.h>

#include "consensus/alloc.h"
#include "consensus/filters_in.h"
#include "consensus/raft_peek.h"
#include "wire/raft_message.h"

/* A message that waits. */
struct waiting {
    struct list link;
    struct raft_message message;
};

/* ---- input -------------------------------------------------------------- */

static raft_term newer_term(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return m->append_entries.term;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return m->install_snapshot.term;
    case RAFT_IO_REQUEST_VOTE:
        return m->request_vote.term;
    default:
        return 0;
    }
}

static bool must_wait(const struct filters *f, const struct raft_message *m)
{
    int state = f->raft->state;

    /* W4: the core commits entries of older terms by counting copies, which
     * the Raft paper forbids (section 5.4.2): figure 8 loses them again. No
     * success is counted before an entry of our own term is on our disk; then
     * the count is always made at an entry of our own. */
    if (m->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        return state == RAFT_LEADER && m->append_entries_result.rejected == 0 &&
               peek_last_stored(f->raft) < f->own_first;
    }
    if (state != RAFT_FOLLOWER || f->appends == 0) {
        return false;
    }
    /* A transfer is ignored by a core whose log is not stored up to its end;
     * the leader would stand still until it gives up. */
    if (m->type == RAFT_IO_TIMEOUT_NOW) {
        return true;
    }
    /* The log that the appends belong to is about to be replaced. */
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        return true;
    }
    /* W9: an append that completes in a newer term than it began would be
     * acknowledged to the new leader. */
    return newer_term(m) > peek_term(f->raft);
}

/* W6: an election during an install makes the core read the wrong member of
 * its state union. */
static bool must_drop(const struct filters *f, const struct raft_message *m)
{
    return peek_installing(f->raft) &&
           (m->type == RAFT_IO_TIMEOUT_NOW || m->type == RAFT_IO_REQUEST_VOTE);
}

static void note_append_entries(struct filters *f,
                                struct raft_append_entries *ae)
{
    f->answering = true;
    f->answer_max = ae->prev_log_index + ae->n_entries;
    f->may_be_quiet = ae->n_entries == 0;
    f->commit_before = peek_commit(f->raft);
    if (ae->term >= peek_term(f->raft) && ae->leader_commit > f->commit_heard) {
        f->commit_heard = ae->leader_commit;
    }
    /* W7: the core would commit up to the end of its own log, whose tail this
     * message has not checked. */
    if (ae->leader_commit > f->answer_max) {
        ae->leader_commit = f->answer_max;
    }
}

static void deliver(struct filters *f, struct raft_message *m)
{
    if (must_drop(f, m)) {
        return; /* neither of the two owns memory */
    }
    m->server_address = "peer"; /* W1: the core copies it; nobody reads it */
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        filters_take_back_members(f, &m->append_entries);
        note_append_entries(f, &m->append_entries);
        filters_skip_known(f, &m->append_entries);
    } else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        f->answering = true;
        f->answer_max = m->install_snapshot.last_index;
    }
    if (m->type == RAFT_IO_REQUEST_VOTE) {
        filters_deliver_vote(f, m);
    } else {
        f->recv(&f->io, m);
    }
    f->answering = f->may_be_quiet = false;
}

static void on_recv(struct raft_io *raw, struct raft_message *m)
{
    struct filters *f = raw->data;

    filters_complete_late(f);
    if (f->closing) {
        raft_message_close(m);
        return;
    }
    if (!list_empty(&f->inbox) || must_wait(f, m)) {
        struct waiting *w = must_alloc(sizeof *w);
        w->message = *m;
        list_push(&f->inbox, &w->link);
        f->count.waited++;
    } else {
        deliver(f, m);
    }
    filters_settle(f);
}

static bool deliver_waiting(struct filters *f)
{
    struct list *link = list_first(&f->inbox);
    struct waiting *w;

    if (link == NULL) {
        return false;
    }
    w = LIST_ENTRY(link, struct waiting, link);
    if (must_wait(f, &w->message)) {
        return false;
    }
    list_remove(link);
    deliver(f, &w->message);
    free(w);
    return true;
}

static void on_tick(struct raft_io *raw)
{
    struct filters *f = raw->data;

    filters_complete_late(f);
    if (f->closing) {
        return;
    }
    /* W6: a candidate must not count entries that are not on its disk, nor
     * stand while its log is being replaced. */
    if (f->raft->state == RAFT_FOLLOWER &&
        (f->appends > 0 || peek_installing(f->raft))) {
        peek_restart_timer(f->raft, f->raw->time(f->raw));
    }
    f->tick(&f->io);
    filters_settle(f);
}

/* ---- appends ------------------------------------------------------------ */

static void fire(struct filters *f, struct filters_append *a)
{
    f->appends--;
    f->completing = a;
    a->cb(a->orig, 0);
    f->completing = NULL;
    free(a);
}

/* W5: the core looks for a new commit index only where its own disk stands.
 * When that is always ahead of its peers, as under load, it finds a quorum only
 * by luck. So it learns that it has stored entries once others have them too.
 * Whoever is no leader (any more) is told at once. */
static bool gate_is_open(const struct filters *f,
                         const struct filters_append *a)
{
    return f->closing || f->raft->state != RAFT_LEADER ||
           a->last <= f->own_first || peek_quorum_has(f->raft, a->last);
}

static bool open_gate(struct filters *f)
{
    struct list *link = list_first(&f->gated);
    struct filters_append *a;

    if (link == NULL) {
        return false;
    }
    a = LIST_ENTRY(link, struct filters_append, link);
    if (!gate_is_open(f, a)) {
        return false;
    }
    list_remove(link);
    fire(f, a);
    return true;
}

/* The raw raft_io has stored the entries. W8 and contract: the core must not
 * hear of a failure; a raw raft_io that has one does not call back. */
static void raw_appended(struct raft_io_append *req, int status)
{
    struct filters_append *a = req->data;
    struct filters *f = a->f;

    (void)status;
    filters_complete_late(f);
    if (f->closing) {
        fire(f, a);
        return;
    }
    list_push(&f->gated, &a->link);
    filters_settle(f);
}

static int on_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n,
                     raft_io_append_cb cb)
{
    struct filters *f = filters_of(io);
    struct filters_append *a = must_alloc(sizeof *a);
    int rv;

    a->f = f;
    a->orig = req;
    a->cb = cb;
    a->last = raft_last_index(f->raft); /* the core has them in its log */
    a->term = peek_term(f->raft);
    a->req.data = a;
    list_init(&a->link);
    req->cb = cb;
    f->appends++;
    rv = f->raw->append(f->raw, &a->req, entries, n, raw_appended);
    if (rv != 0) {
        f->appends--;
        free(a);
    }
    return rv;
}

/* ---- settling ----------------------------------------------------------- */

static void barrier_done(struct raft_barrier *barrier, int status)
{
    (void)barrier;
    (void)status;
}

/* W4: the first thing a leader does is to append an entry of its own term. */
static void look_at_state(struct filters *f)
{
    if (f->raft->state != f->state) {
        f->state = f->raft->state;
        f->own_first = UINT64_MAX;
    }
    if (f->state == RAFT_LEADER && f->own_first == UINT64_MAX &&
        raft_barrier(f->raft, &f->barrier, barrier_done) == 0) {
        f->own_first = f->barrier.index;
    }
}

void filters_settle(struct filters *f)
{
    if (f->settling || f->closing) {
        return;
    }
    f->settling = true;
    do {
        look_at_state(f);
    } while (!f->closing && (open_gate(f) || deliver_waiting(f)));
    f->settling = false;
    if (f->options.after != NULL && !f->closing) {
        f->options.after(f->options.data);
    }
}

raft_index filters_own_first(const struct filters *f)
{
    return f->own_first;
}

raft_index filters_commit_heard(const struct filters *f)
{
    return f->commit_heard;
}

/* ---- the other methods -------------------------------------------------- */

static int on_init(struct raft_io *io, raft_id id, const char *address)
{
    struct filters *f = filters_of(io);

    return f->raw->init(f->raw, id, address);
}

static int on_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries)
{
    struct filters *f = filters_of(io);
    int rv = f->raw->load(f->raw, term, voted_for, snapshot, start_index,
                          entries, n_entries);

    if (rv == 0 &&
        filters_votes_alone(f->raft->id, *snapshot, *entries, *n_entries)) {
        rv = io->set_term(io, *term + 1);
        *term += 1;
        *voted_for = 0;
    }
    return rv;
}

static int on_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick,
                    raft_io_recv_cb recv)
{
    struct filters *f = filters_of(io);

    f->tick = tick;
    f->recv = recv;
    return f->raw->start(f->raw, ms, on_tick, on_recv);
}

static int on_bootstrap(struct raft_io *io,
                        const struct raft_configuration *conf)
{
    struct filters *f = filters_of(io);

    return f->raw->bootstrap(f->raw, conf);
}

static int on_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    struct filters *f = filters_of(io);

    return f->raw->recover(f->raw, conf);
}

static void note_meta(struct filters *f)
{
    if (f->options.written != NULL) {
        f->meta_written = f->options.written(f->options.data);
    }
}

static int on_set_term(struct raft_io *io, raft_term term)
{
    struct filters *f = filters_of(io);
    int rv = f->raw->set_term(f->raw, term);

    note_meta(f);
    return rv;
}

static int on_set_vote(struct raft_io *io, raft_id id)
{
    struct filters *f = filters_of(io);
    int rv = f->raw->set_vote(f->raw, id);

    note_meta(f);
    return rv;
}

static int on_truncate(struct raft_io *io, raft_index index)
{
    struct filters *f = filters_of(io);

    return f->raw->truncate(f->raw, index);
}

static void raw_put(struct raft_io_snapshot_put *req, int status)
{
    struct filters *f = req->data;
    struct raft_io_snapshot_put *put = f->put;
    bool installed = peek_installing(f->raft);

    f->put = NULL;
    free(req);
    f->put_cb(put, status);
    if (installed) {
        /* Otherwise the next truncation rolls a membership back that the
         * snapshot replaced, and reads through NULL. */
        peek_forget_uncommitted(f->raft);
    }
    filters_settle(f);
}

static int on_snapshot_put(struct raft_io *io, unsigned trailing,
                           struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot,
                           raft_io_snapshot_put_cb cb)
{
    struct filters *f = filters_of(io);
    struct raft_io_snapshot_put *mine = must_alloc(sizeof *mine);
    int rv;

    assert(f->put == NULL); /* the core makes one at a time */
    req->cb = cb;
    f->put = req;
    f->put_cb = cb;
    mine->data = f;
    rv = f->raw->snapshot_put(f->raw, trailing, mine, snapshot, raw_put);
    if (rv != 0) {
        f->put = NULL;
        free(mine);
    }
    return rv;
}

static int on_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct filters *f = filters_of(io);

    return f->raw->snapshot_get(f->raw, req, cb);
}

static raft_time on_time(struct raft_io *io)
{
    struct filters *f = filters_of(io);

    return f->raw->time(f->raw);
}

static int on_random(struct raft_io *io, int min, int max)
{
    struct filters *f = filters_of(io);

    return f->raw->random(f->raw, min, max);
}

/* ---- life --------------------------------------------------------------- */

static void raw_closed(struct raft_io *raw)
{
    struct filters *f = raw->data;

    filters_complete_late(f);
    f->closed(&f->io);
}

static void on_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct filters *f = filters_of(io);
    struct list *link;

    f->closing = true;
    f->closed = cb;
    while ((link = list_pop(&f->inbox)) != NULL) {
        struct waiting *w = LIST_ENTRY(link, struct waiting, link);
        raft_message_close(&w->message);
        free(w);
    }
    while ((link = list_pop(&f->gated)) != NULL) {
        /* W8: with another status the core counts below zero. */
        fire(f, LIST_ENTRY(link, struct filters_append, link));
    }
    filters_cancel_held(f);
    filters_complete_late(f);
    f->raw->close(f->raw, raw_closed);
}

void filters_init(struct filters *f, struct raft *raft, struct raft_io *raw,
                  const struct filters_options *options)
{
    assert(options->bytes_max > 0 && options->entries_max > 0);
    memset(f, 0, sizeof *f);
    f->raft = raft;
    f->raw = raw;
    f->options = *options;
    f->own_first = UINT64_MAX;
    f->state = RAFT_UNAVAILABLE;
    list_init(&f->held);
    list_init(&f->late);
    list_init(&f->inbox);
    list_init(&f->gated);
    f->io = (struct raft_io){.version = 1,
                             .impl = f,
                             .data = raft,
                             .init = on_init,
                             .close = on_close,
                             .load = on_load,
                             .start = on_start,
                             .bootstrap = on_bootstrap,
                             .recover = on_recover,
                             .set_term = on_set_term,
                             .set_vote = on_set_vote,
                             .send = filters_send,
                             .append = on_append,
                             .truncate = on_truncate,
                             .snapshot_put = on_snapshot_put,
                             .snapshot_get = on_snapshot_get,
                             .time = on_time,
                             .random = on_random};
    raw->data = f;
}
