#include "consensus/raft_peek.h"

#include <assert.h>
#include <stddef.h>

/* raft.h carries no version; these are the sizes and places of 0.15.0. With
 * another release, read its source again before changing a number. */
static_assert(sizeof(void *) != 8 || sizeof(struct raft_progress) == 56,
              "raft_peek.c knows libraft 0.15.0 only");
static_assert(sizeof(void *) != 8 || sizeof(struct raft_log) == 72,
              "raft_peek.c knows libraft 0.15.0 only");
static_assert(sizeof(void *) != 8 || offsetof(struct raft, log) == 64,
              "raft_peek.c knows libraft 0.15.0 only");
static_assert(sizeof(void *) != 8 || offsetof(struct raft, state) == 208,
              "raft_peek.c knows libraft 0.15.0 only");
static_assert(sizeof(void *) != 8 || sizeof(struct raft) == 656,
              "raft_peek.c knows libraft 0.15.0 only");

/* Configurations and barriers of a few elections. */
#define COMMAND_LOOK_MAX 64u

enum { PROBE, PIPELINE, SNAPSHOT }; /* raft_progress.state */

raft_term peek_term(const struct raft *r)
{
    return r->current_term;
}

raft_index peek_commit(const struct raft *r)
{
    return r->commit_index;
}

raft_index peek_applied(const struct raft *r)
{
    return r->last_applied;
}

raft_index peek_last_stored(const struct raft *r)
{
    return r->last_stored;
}

bool peek_transferring(const struct raft *r)
{
    return r->transfer != NULL;
}

bool peek_installing(const struct raft *r)
{
    return r->snapshot.put.data != NULL && r->last_stored == 0;
}

static size_t entries_in_memory(const struct raft_log *log)
{
    return log->front <= log->back ? log->back - log->front
                                   : log->size - log->front + log->back;
}

static const struct raft_entry *entry_at(const struct raft_log *log,
                                         raft_index index)
{
    if (index <= log->offset || index > log->offset + entries_in_memory(log)) {
        return NULL;
    }
    return &log->entries[(log->front + (size_t)(index - log->offset - 1)) %
                         log->size];
}

raft_index peek_first(const struct raft *r)
{
    return r->log.offset + 1;
}

raft_index peek_last(const struct raft *r)
{
    size_t n = entries_in_memory(&r->log);

    return n > 0 ? r->log.offset + n : r->log.snapshot.last_index;
}

bool peek_has_command(const struct raft *r)
{
    const struct raft_entry *entry;
    raft_index index = peek_first(r);

    if (index != 1 || peek_last(r) > COMMAND_LOOK_MAX) {
        return true;
    }
    while ((entry = entry_at(&r->log, index)) != NULL) {
        if (entry->type == RAFT_COMMAND) {
            return true;
        }
        index++;
    }
    return false;
}

raft_term peek_term_of(const struct raft *r, raft_index index)
{
    const struct raft_entry *entry = entry_at(&r->log, index);

    if (entry != NULL) {
        return entry->term;
    }
    return index != 0 && index == r->log.snapshot.last_index
               ? r->log.snapshot.last_term
               : 0;
}

uint64_t peek_bytes_from(const struct raft *r, raft_index index)
{
    const struct raft_entry *entry;
    uint64_t bytes = 0;

    for (; (entry = entry_at(&r->log, index)) != NULL; index++) {
        bytes += entry->buf.len;
    }
    return bytes;
}

unsigned peek_entries_within(const struct raft *r, raft_index last,
                             uint64_t bytes)
{
    const struct raft_entry *entry;
    unsigned n = 0;

    while ((entry = entry_at(&r->log, last - n)) != NULL &&
           entry->buf.len <= bytes) {
        bytes -= entry->buf.len;
        n++;
    }
    return n;
}

bool peek_quorum_has(const struct raft *r, raft_index index)
{
    const struct raft_configuration *conf = &r->configuration;
    unsigned voters = 0, have = 0;

    assert(r->state == RAFT_LEADER);
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].role != RAFT_VOTER) {
            continue;
        }
        voters++;
        have += conf->servers[i].id == r->id ||
                r->leader_state.progress[i].match_index >= index;
    }
    return have > voters / 2;
}

bool peek_progress(const struct raft *r, raft_id id, struct peek_progress *p)
{
    const struct raft_configuration *conf = &r->configuration;

    assert(r->state == RAFT_LEADER);
    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_progress *from = &r->leader_state.progress[i];
        if (conf->servers[i].id == id) {
            p->match = from->match_index;
            p->next = from->next_index;
            p->probing = from->state == PROBE;
            p->snapshot = from->state == SNAPSHOT;
            return true;
        }
    }
    return false;
}

void peek_restart_timer(struct raft *r, raft_time now)
{
    r->election_timer_start = now;
}

void peek_set_timeout(struct raft *r, unsigned ms)
{
    assert(r->state == RAFT_FOLLOWER || r->state == RAFT_CANDIDATE);
    if (r->state == RAFT_FOLLOWER) {
        r->follower_state.randomized_election_timeout = ms;
    } else {
        r->candidate_state.randomized_election_timeout = ms;
    }
}

unsigned peek_timeout(const struct raft *r)
{
    assert(r->state == RAFT_FOLLOWER || r->state == RAFT_CANDIDATE);
    return r->state == RAFT_FOLLOWER
               ? r->follower_state.randomized_election_timeout
               : r->candidate_state.randomized_election_timeout;
}

unsigned peek_servers(const struct raft *r, uint64_t *ids, unsigned max)
{
    unsigned n = 0;

    for (; n < r->configuration.n && n < max; n++) {
        ids[n] = r->configuration.servers[n].id;
    }
    return n;
}

int peek_role(const struct raft *r, raft_id id)
{
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].id == id) {
            return r->configuration.servers[i].role;
        }
    }
    return -1;
}

unsigned peek_voters(const struct raft *r)
{
    unsigned n = 0;

    for (unsigned i = 0; i < r->configuration.n; i++) {
        n += r->configuration.servers[i].role == RAFT_VOTER;
    }
    return n;
}

unsigned peek_voter_ids(const struct raft *r, uint64_t *ids, unsigned max)
{
    unsigned n = 0;

    for (unsigned i = 0; i < r->configuration.n && n < max; i++) {
        if (r->configuration.servers[i].role == RAFT_VOTER) {
            ids[n++] = r->configuration.servers[i].id;
        }
    }
    return n;
}

bool peek_promoting(const struct raft *r)
{
    return r->state == RAFT_LEADER && r->leader_state.promotee_id != 0;
}

const struct raft_entry *peek_change_before(const struct raft *r,
                                            raft_index below, raft_index *index)
{
    raft_index last = peek_last(r);

    for (raft_index i = below > last ? last : below - 1; i >= peek_first(r);
         i--) {
        const struct raft_entry *entry = entry_at(&r->log, i);
        if (entry != NULL && entry->type == RAFT_CHANGE) {
            *index = i;
            return entry;
        }
    }
    return NULL;
}

void peek_set_configuration(struct raft *r, struct raft_configuration *conf,
                            raft_index index)
{
    raft_configuration_close(&r->configuration);
    r->configuration = *conf;
    r->configuration_index = index;
    r->configuration_uncommitted_index = 0;
}

bool peek_changing_members(const struct raft *r)
{
    return r->configuration_uncommitted_index != 0 ||
           r->configuration_index > r->last_applied;
}

bool peek_snapshotting(const struct raft *r)
{
    return r->snapshot.pending.term != 0 || r->snapshot.put.data != NULL;
}

raft_index peek_snapshot(const struct raft *r)
{
    return r->log.snapshot.last_index;
}

void peek_forget_uncommitted(struct raft *r)
{
    r->configuration_uncommitted_index = 0;
}
