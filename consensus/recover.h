/* Making one node of a cluster a cluster of its own, in its store, while it
 * does not run: each group's log gets a configuration with this node alone as
 * its next entry. What the log holds is kept, also what no majority had.
 *
 * Only the user can know that the others are lost: as long as a majority of
 * them lives, it may have gone on with another tail. */
#ifndef CONSENSUS_RECOVER_H
#define CONSENSUS_RECOVER_H

#include "consensus/store.h"

struct recover;

/* Opens the store of a node that does not run; waits for nothing. Returns < 0
 * with a line in `why`. */
int recover_open(const char *folder, uint64_t node_id, struct recover **out,
                 char *why, size_t size);
void recover_close(struct recover *r);

const struct store_identity *recover_identity(const struct recover *r);

struct recover_change {
    struct uuid cluster; /* its new id */
    const void *last;    /* one more entry of group 0 */
    size_t last_len;
};

/* All groups in one transaction: durable when it returns 0; otherwise < 0 with
 * a line in `why`, and nothing has changed. Once. */
int recover_alone(struct recover *r, const struct recover_change *change,
                  char *why, size_t size);

#endif
