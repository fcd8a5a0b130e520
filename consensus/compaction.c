/* When a group's log is shortened, and by how much.
 *
 *   too much in memory --> wanted --an entry is applied--> taken (the state as
 *   a snapshot) --settle()--> stored --> the entries before it are forgotten
 *
 * Every node does so for itself. A few entries stay behind the snapshot, for
 * peers that miss little; a leader also keeps those that a connected peer still
 * needs, within bounds: whoever is further behind gets the snapshot, and what
 * it lacks of the databases from one of the others. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"

#define NEVER UINT32_MAX
/* A group in which nothing happens is given an entry. */
#define NUDGE_MS 1000u
/* A peer that is behind is waited for until all logs together are so many times
 * as large as they should be. */
#define PATIENCE 4u

/* ---- how much ------------------------------------------------------------ */

/* The first entry that a connected peer may still want; as leader. */
static raft_index first_needed(const struct group *g)
{
    const struct groups *all = g->all;
    raft_index needed = peek_applied(&g->raft) + 1;
    struct peek_progress p;

    if (!group_leads(g) ||
        groups_log_bytes(all) > PATIENCE * all->options.log_bytes_keep) {
        return needed;
    }
    for (unsigned i = 0; i < all->n_members; i++) {
        const struct member *m = &all->members[i];
        if (!m->self && m->ready && peek_progress(&g->raft, m->id, &p) &&
            !p.snapshot && p.match > 0 && p.match + 1 < needed) {
            needed = p.match + 1;
        }
    }
    return needed;
}

static unsigned trailing(const struct group *g)
{
    const struct groups_options *o = &g->all->options;
    uint64_t total = groups_log_bytes(g->all) + 1;
    uint64_t share = (uint64_t)((double)g->io.bytes / (double)total *
                                (double)(o->log_bytes_keep / 4));
    raft_index applied = peek_applied(&g->raft), needed = first_needed(g);
    unsigned n = peek_entries_within(&g->raft, applied, share);

    if (n > o->log_entries_keep / 2) {
        n = o->log_entries_keep / 2;
    }
    if (applied + 1 - needed > n) {
        n = (unsigned)(applied + 1 - needed);
    }
    return n == 0 ? 1 : n; /* 0 means something else */
}

/* Would at least a quarter of the log go? */
static bool is_worth_it(const struct group *g)
{
    raft_index first = peek_first(&g->raft);
    uint64_t all = peek_bytes_from(&g->raft, first);
    uint64_t left = peek_bytes_from(&g->raft, first_needed(g));
    uint64_t entries = peek_last(&g->raft) + 1 - first;

    return all - left >= all / 4 && first_needed(g) - first >= entries / 4 &&
           peek_applied(&g->raft) > peek_snapshot(&g->raft);
}

/* ---- the core asks ------------------------------------------------------- */

static int to_bufs(struct buf *from, struct raft_buffer *bufs[],
                   unsigned *n_bufs)
{
    *bufs = must_alloc(sizeof **bufs);
    (*bufs)->base = buf_take(from, &(*bufs)->len);
    *n_bufs = 1;
    return 0;
}

int compaction_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                        unsigned *n_bufs)
{
    struct group *g = fsm->data;
    const struct groups_options *o = &g->all->options;
    struct buf out;
    int rv;

    /* A change of the members that may be taken back must not become final. */
    if (!g->compact || peek_changing_members(&g->raft)) {
        return RAFT_BUSY;
    }
    buf_init(&out, SNAPSHOT_BYTES_MAX);
    rv = o->snapshot(o->data, g->number, &out);
    if (rv == 0) {
        raft_set_snapshot_trailing(&g->raft, trailing(g));
        compaction_want(g, false);
        return to_bufs(&out, bufs, n_bufs);
    }
    if (rv != ERR_BUSY) {
        log_error("snapshot_failed", "shard=%u why=\"%s\"", g->number,
                  err_str(rv));
    }
    buf_close(&out);
    return RAFT_BUSY;
}

int compaction_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct group *g = fsm->data;
    const struct groups_options *o = &g->all->options;
    char why[128];
    int rv = o->restore == NULL
                 ? ERR_VERSION
                 : o->restore(o->data, g->number, buf->base, buf->len);

    if (rv != 0) {
        snprintf(why, sizeof why, "the snapshot of shard %u: %s", g->number,
                 rv == ERR_VERSION ? "is of a newer version: upgrade this node"
                                   : err_str(rv));
        groups_fatal(g->all, why);
        return RAFT_INVALID;
    }
    FAILPOINT("raft.restored");
    raft_free(buf->base);
    return 0;
}

/* A snapshot, taken or received, is to be stored. */
void compaction_put(void *data)
{
    struct group *g = data;
    const struct groups_options *o = &g->all->options;

    o->settle(o->data, g->number, peek_installing(&g->raft));
}

void groups_settled(struct groups *g, unsigned group)
{
    FAILPOINT("raft.settled");
    raft_io_group_put(&g->groups[group]->io);
}

/* ---- when ---------------------------------------------------------------- */

void compaction_want(struct group *g, bool want)
{
    if (want != g->compact) {
        g->compact = want;
        g->compact_ms = groups_now(g->all);
        raft_set_snapshot_threshold(&g->raft, want ? 1 : NEVER);
    }
}

static void nudged(struct raft_barrier *req, int status)
{
    struct group *g = req->data;

    (void)status;
    g->nudging = false;
}

/* Snapshots are taken when an entry is applied. */
static void nudge(struct group *g)
{
    if (!g->compact || g->nudging || !group_leads(g) ||
        peek_transferring(&g->raft) ||
        groups_now(g->all) - g->compact_ms < NUDGE_MS) {
        return;
    }
    g->nudge.data = g;
    g->nudging = raft_barrier(&g->raft, &g->nudge, nudged) == 0;
    g->compact_ms = groups_now(g->all);
    filters_settle(&g->filters);
}

/* Of logs that are too large together, which must shrink? Not only the largest:
 * without a new entry it may have to wait for long. */
static bool too_large(const struct group *g)
{
    const struct groups_options *o = &g->all->options;
    uint64_t total = groups_log_bytes(g->all);

    return total > o->log_bytes_keep / 2 &&
           g->io.bytes >= total / (2 * (uint64_t)o->shards);
}

static bool too_many(const struct group *g)
{
    return peek_last(&g->raft) + 1 - peek_first(&g->raft) >
           g->all->options.log_entries_keep;
}

void compaction_tick(struct groups *g)
{
    const struct groups_options *o = &g->options;

    if (o->snapshot == NULL) {
        return;
    }
    for (unsigned i = 0; i < o->shards; i++) {
        struct group *group = g->groups[i];
        if (raft_state(&group->raft) == RAFT_UNAVAILABLE) {
            continue;
        }
        compaction_want(group, !peek_snapshotting(&group->raft) &&
                                   (too_large(group) || too_many(group)) &&
                                   is_worth_it(group));
        nudge(group);
    }
}
