/* W12: the members of a group when a change of them is taken back. */
#include "base/err.h"
#include "consensus/filters_in.h"
#include "consensus/raft_peek.h"
#include "wire/raft_message.h"

/* Index of the first of our entries that the message contradicts; 0: none. */
static raft_index conflict(const struct filters *f,
                           const struct raft_append_entries *ae)
{
    if (peek_term_of(f->raft, ae->prev_log_index) != ae->prev_log_term) {
        return 0; /* it will be refused */
    }
    for (unsigned i = 0; i < ae->n_entries; i++) {
        raft_index index = ae->prev_log_index + 1 + i;
        raft_term term = peek_term_of(f->raft, index);
        if (term == 0) {
            return 0;
        }
        if (term != ae->entries[i].term) {
            return index;
        }
    }
    return 0;
}

static int conf_before(const struct filters *f, raft_index below,
                       struct raft_configuration *conf, raft_index *index)
{
    const struct raft_entry *entry = peek_change_before(f->raft, below, index);

    if (entry != NULL) {
        return raft_conf_decode(entry->buf.base, entry->buf.len, conf);
    }
    return f->options.snapshot_conf == NULL
               ? ERR_NOT_FOUND
               : f->options.snapshot_conf(f->options.data, conf, index);
}

/* The core looks for the configuration before one that is cut off in the
 * log only, which may have been shortened, and after a restart it takes any
 * configuration for committed and keeps it. */
void filters_take_back_members(struct filters *f,
                               const struct raft_append_entries *ae)
{
    struct raft_configuration conf;
    raft_index from = conflict(f, ae), index = 0;

    if (from == 0 || ae->term < peek_term(f->raft) ||
        peek_change_before(f->raft, UINT64_MAX, &index) == NULL ||
        index < from) {
        return;
    }
    if (conf_before(f, from, &conf, &index) == 0) {
        peek_set_configuration(f->raft, &conf, index);
    }
}
