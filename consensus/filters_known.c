/* W13: entries from the first one on, for a log that begins later.
 *
 * A node that joins is sent the log from index 1, again and again until its
 * leader has heard of it; meanwhile it may have shortened its own. The core
 * checks what comes before a message, but nothing comes before the first entry:
 * it takes those that it has forgotten for new ones, and goes down. What is
 * committed here is the same in the message, so it is left out. */
#include "consensus/filters_in.h"
#include "consensus/raft_peek.h"

static void forget_all(struct raft_append_entries *ae)
{
    if (ae->n_entries > 0) {
        raft_free(ae->entries[0].batch);
        raft_free(ae->entries);
    }
    ae->entries = NULL;
    ae->n_entries = 0;
}

void filters_skip_known(struct filters *f, struct raft_append_entries *ae)
{
    raft_index known = peek_commit(f->raft);
    raft_term term = peek_term_of(f->raft, known);

    if (ae->prev_log_index != 0 || peek_first(f->raft) == 1 || term == 0 ||
        peek_installing(f->raft)) {
        return;
    }
    if (ae->n_entries <= known) {
        forget_all(ae);
    } else {
        ae->n_entries -= (unsigned)known;
        for (unsigned i = 0; i < ae->n_entries; i++) {
            ae->entries[i] = ae->entries[i + known]; /* of one batch, all */
        }
    }
    ae->prev_log_index = known;
    ae->prev_log_term = term;
}
