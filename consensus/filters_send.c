/* Output: W1, W2, W3, W7, W9 (results), W10 and W11. */
#include <assert.h>

#include "consensus/alloc.h"
#include "consensus/filters_in.h"
#include "consensus/raft_peek.h"

/* Of entries sent to one peer at once. A peer that lacks more refuses the next
 * message, and is sent more from there. */
#define BURST_BYTES_MAX (64u << 20)

/* One message as the raw raft_io gets it. */
struct piece {
    struct list link; /* in `held` */
    struct raft_io_send req;
    struct sending *of;
    struct raft_message message;
    uint64_t need; /* write that must be durable before */
};

/* One send of the core: one piece, or several (W7). */
struct sending {
    struct list link; /* in `late` */
    struct filters *f;
    struct raft_io_send *orig;
    raft_io_send_cb cb;
    unsigned left; /* pieces not done */
    int status;
    struct piece first;
};

/* W2: the core frees a request twice when its send fails inside the call, so
 * whatever happens is told later. */
static void piece_done(struct piece *piece, int status)
{
    struct sending *s = piece->of;

    if (status != 0) {
        s->status = status;
    }
    if (piece != &s->first) {
        free(piece);
    }
    if (--s->left == 0) {
        list_push(&s->f->late, &s->link);
    }
}

void filters_complete_late(struct filters *f)
{
    struct list *link;

    while ((link = list_pop(&f->late)) != NULL) {
        struct sending *s = LIST_ENTRY(link, struct sending, link);
        if (s->cb != NULL) {
            s->cb(s->orig, s->status);
        }
        free(s);
    }
}

static void raw_sent(struct raft_io_send *req, int status)
{
    struct piece *piece = req->data;
    struct filters *f = piece->of->f;

    piece_done(piece, status);
    filters_complete_late(f);
}

static void pass_on(struct filters *f, struct piece *piece)
{
    int rv = f->raw->send(f->raw, &piece->req, &piece->message, raw_sent);

    if (rv != 0) {
        piece_done(piece, rv);
    }
}

/* W10: raft_io's set_term and set_vote return before they are durable, and a
 * candidate's log may end in entries that are not. A vote, or the result of an
 * append, must not be heard before all that precedes it is on disk; entries
 * only need the term they were made in. First in, first out. */
static uint64_t write_needed(const struct filters *f,
                             const struct raft_message *m)
{
    if (f->options.written == NULL) {
        return 0;
    }
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
    case RAFT_IO_INSTALL_SNAPSHOT:
    case RAFT_IO_TIMEOUT_NOW:
        return f->meta_written;
    default:
        return f->options.written(f->options.data);
    }
}

static bool is_durable(const struct filters *f, uint64_t write)
{
    return f->options.durable == NULL ||
           write <= f->options.durable(f->options.data);
}

static void emit(struct filters *f, struct piece *piece)
{
    piece->need = write_needed(f, &piece->message);
    if (list_empty(&f->held) && is_durable(f, piece->need)) {
        pass_on(f, piece);
        return;
    }
    f->count.held++;
    list_push(&f->held, &piece->link);
}

void filters_durable(struct filters *f)
{
    struct list *link;

    while ((link = list_first(&f->held)) != NULL) {
        struct piece *piece = LIST_ENTRY(link, struct piece, link);
        if (!is_durable(f, piece->need)) {
            break;
        }
        list_remove(link);
        pass_on(f, piece);
    }
}

void filters_cancel_held(struct filters *f)
{
    struct list *link;

    while ((link = list_pop(&f->held)) != NULL) {
        piece_done(LIST_ENTRY(link, struct piece, link), RAFT_CANCELED);
    }
}

static void make_piece(struct sending *s, struct piece *piece,
                       const struct raft_message *m)
{
    piece->of = s;
    piece->req.data = piece;
    piece->message = *m;
    /* W1: the core may hand over an address that was freed. */
    piece->message.server_address = NULL;
    list_init(&piece->link);
    s->left++;
}

/* Entries from `from` on that fit into one message: at least one. */
static unsigned entries_that_fit(const struct filters *f,
                                 const struct raft_append_entries *ae,
                                 unsigned from)
{
    size_t bytes = 0;
    unsigned n = 0;

    while (from + n < ae->n_entries && n < f->options.entries_max) {
        bytes += ae->entries[from + n].buf.len;
        if (n > 0 && bytes > f->options.bytes_max) {
            break;
        }
        n++;
    }
    return n;
}

static size_t bytes_of(const struct raft_append_entries *ae)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < ae->n_entries; i++) {
        bytes += ae->entries[i].buf.len;
    }
    return bytes;
}

static void cut(struct raft_append_entries *part,
                const struct raft_append_entries *whole, unsigned from,
                unsigned n)
{
    part->entries = n == 0 ? NULL : whole->entries + from;
    part->n_entries = n;
    part->prev_log_index = whole->prev_log_index + from;
    if (from > 0) {
        part->prev_log_term = whole->entries[from - 1].term;
    }
}

/* W7: the core sends a whole tail as one message, again at every heartbeat
 * while it probes. Messages are split by size, and a peer that is being probed
 * gets the first part only: its answer brings the rest. */
static void send_entries(struct filters *f, struct sending *s,
                         const struct raft_message *m)
{
    const struct raft_append_entries *whole = &m->append_entries;
    struct peek_progress progress;
    struct raft_message part = *m;
    unsigned n = entries_that_fit(f, whole, 0), from = n;
    size_t bytes;
    bool probing = f->raft->state == RAFT_LEADER &&
                   peek_progress(f->raft, m->server_id, &progress) &&
                   progress.probing;

    cut(&part.append_entries, whole, 0, n);
    bytes = bytes_of(&part.append_entries);
    make_piece(s, &s->first, &part);
    s->left++; /* until all are made: a piece may fail at once */
    emit(f, &s->first);
    while (from < whole->n_entries && !probing && bytes < BURST_BYTES_MAX) {
        struct piece *piece = must_alloc(sizeof *piece);
        n = entries_that_fit(f, whole, from);
        cut(&part.append_entries, whole, from, n);
        make_piece(s, piece, &part);
        emit(f, piece);
        bytes += bytes_of(&part.append_entries);
        from += n;
        f->count.split++;
    }
    if (--s->left == 0) {
        list_push(&f->late, &s->link);
    }
}

/* W3: the core answers with the end of its log, which may be a tail that no
 * leader has checked; counted as a match, it commits what a crash then loses.
 * Only what the answered message covered is acknowledged.
 *
 * W9: a result that an append of an older term brought would acknowledge the
 * old leader's entries to the new leader. Returns false: say nothing. */
static bool cap_result(struct filters *f,
                       struct raft_append_entries_result *result)
{
    raft_index max;

    if (f->completing != NULL) {
        if (f->completing->term != peek_term(f->raft)) {
            f->count.swallowed++;
            return false;
        }
        max = f->completing->last;
    } else if (f->answering) {
        max = f->answer_max;
    } else {
        return true;
    }
    if (result->rejected == 0 && result->last_log_index > max) {
        result->last_log_index = max;
        f->count.capped++;
    }
    return true;
}

/* A leader pushes a new commit index as an empty message. Its answer would
 * repeat what we acknowledged before, and wake the leader up for nothing.
 * Heartbeats, which bring nothing new, are answered. */
static bool tells_nothing(struct filters *f,
                          const struct raft_append_entries_result *result)
{
    if (result->rejected != 0) {
        return false;
    }
    if (f->may_be_quiet && peek_commit(f->raft) > f->commit_before &&
        f->acked_term == result->term && result->last_log_index <= f->acked) {
        f->count.quiet++;
        return true;
    }
    if (f->acked_term != result->term) {
        f->acked_term = result->term;
        f->acked = 0;
    }
    if (result->last_log_index > f->acked) {
        f->acked = result->last_log_index;
    }
    return false;
}

static bool must_say(struct filters *f,
                     struct raft_append_entries_result *result)
{
    return cap_result(f, result) && !tells_nothing(f, result);
}

/* W11: the core answers a pre-vote with the candidate's own term, also when it
 * refuses because its own is higher. A candidate whose log is the only one that
 * can win, but whose term is low, would then never learn which term it needs,
 * and nobody is elected any more. */
static void tell_term(const struct filters *f,
                      struct raft_request_vote_result *result)
{
    raft_term term = peek_term(f->raft);

    if (result->pre_vote == raft_tribool_true && !result->vote_granted &&
        result->term < term) {
        result->term = term;
    }
}

int filters_send(struct raft_io *io, struct raft_io_send *req,
                 const struct raft_message *message, raft_io_send_cb cb)
{
    struct filters *f = filters_of(io);
    struct sending *s = must_alloc(sizeof *s);
    struct raft_message m = *message;

    s->f = f;
    s->cb = cb;
    /* TimeoutNow has no callback, and its request belongs to the transfer,
     * which may end before. */
    s->orig = cb == NULL ? NULL : req;
    if (cb != NULL) {
        req->cb = cb;
    }
    list_init(&s->link);
    if (m.type == RAFT_IO_REQUEST_VOTE_RESULT) {
        tell_term(f, &m.request_vote_result);
    }
    if (f->closing) {
        s->status = RAFT_CANCELED;
        list_push(&f->late, &s->link);
    } else if (m.type == RAFT_IO_APPEND_ENTRIES) {
        send_entries(f, s, &m);
    } else if (m.type == RAFT_IO_APPEND_ENTRIES_RESULT &&
               !must_say(f, &m.append_entries_result)) {
        list_push(&f->late, &s->link);
    } else {
        make_piece(s, &s->first, &m);
        emit(f, &s->first);
    }
    return 0;
}
