/* The guard filters around libraft 0.15.0: a raft_io that sits between the
 * core and a real ("raw") raft_io and keeps the core's known bugs from doing
 * harm. Used bare, 0.15.0 loses acknowledged writes.
 *
 * In one line: nothing fails, nothing is synchronous, everything is FIFO per
 * group, nothing leaves before it is durable.
 *
 *  W1  addresses in messages are never looked at
 *  W2  send never fails synchronously; callbacks always fire later
 *  W3  a result never acknowledges more than the message that it answers
 *  W4  an own entry first, before anything is counted as committed
 *  W5  a leader's own append counts once a quorum has the entries
 *  W6  no election while entries or a snapshot are being stored
 *  W7  large messages are split; no commit index beyond their last entry
 *  W8  closing completes appends with status 0
 *  W9  a newer term waits for the appends of the older one
 *  W10 a message leaves once what it promises is durable
 *  W11 a refused pre-vote tells the term that the candidate lacks
 *  W12 a configuration that is taken back makes way for the one before it
 *  W13 entries that the log has forgotten are not appended again
 *  W14 a node votes whether it knows that it is a voter or not
 *  W15 an only voter starts in a new term
 *
 * The raw raft_io may be libraft's own test fixture: `raw->data` is taken, and
 * nothing else of it is touched. */
#ifndef CONSENSUS_FILTERS_H
#define CONSENSUS_FILTERS_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct filters_options {
    void *data;
    /* Something was delivered to the core, which may have changed its state.
     * Not called while the core is on the stack. May be NULL. */
    void (*after)(void *data);
    /* Number of the last write given to the disk, and of the last that is
     * durable there. Both NULL: everything is durable at once. */
    uint64_t (*written)(void *data);
    uint64_t (*durable)(void *data);
    /* The configuration of the last snapshot, and its index; 0 or < 0. NULL:
     * there never is one. */
    int (*snapshot_conf)(void *data, struct raft_configuration *conf,
                         raft_index *index);
    /* Bounds of one AppendEntries message; an entry above goes alone. */
    size_t bytes_max;
    unsigned entries_max;
};

struct filters_append;

struct filters {
    struct raft_io io; /* for raft_init */
    /* private from here */
    struct raft *raft;
    struct raft_io *raw;
    struct filters_options options;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb closed;
    struct list held;  /* W10: output that waits for the disk */
    struct list late;  /* W2: completions that are due */
    struct list inbox; /* W4, W9: input that waits */
    struct list gated; /* W5: own appends on disk that wait for a quorum */
    unsigned appends;  /* given to the disk, not yet told to the core */
    uint64_t meta_written;
    int state; /* of the core as last seen */
    raft_index own_first;
    struct raft_barrier barrier;
    bool settling, closing;
    /* the event that is being delivered to the core */
    bool answering;
    bool may_be_quiet; /* an empty AppendEntries */
    raft_index answer_max, commit_before;
    const struct filters_append *completing;
    raft_index commit_heard;
    raft_term acked_term; /* what we acknowledged last, to whoever led then */
    raft_index acked;
    struct raft_io_snapshot_put *put; /* the core's request and its callback */
    raft_io_snapshot_put_cb put_cb;
    struct {
        uint64_t capped, swallowed, quiet, held, waited, split;
    } count;
};

/* `raft` may be initialized later, with &f->io. The filters must outlive the
 * raft_close callback. */
void filters_init(struct filters *f, struct raft *raft, struct raft_io *raw,
                  const struct filters_options *options);

/* Look for changes of the core's state: after raft_start and after any call
 * into the core that did not come from the raw raft_io. */
void filters_settle(struct filters *f);

/* The durable number has moved. */
void filters_durable(struct filters *f);

/* As leader: index of the first entry of this leadership. Once it has been
 * applied, so has everything that was ever acknowledged. Otherwise, or when
 * there is none yet, UINT64_MAX. */
raft_index filters_own_first(const struct filters *f);

/* The highest commit index that a leader of ours has named, which may be
 * beyond what we have; 0 before. */
raft_index filters_commit_heard(const struct filters *f);

#endif
