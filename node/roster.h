/* The members of the cluster as this node last knew them: a small file beside
 * the store, so that a start finds the others whoever joined or left since.
 *
 *   cluster UUID / shards N / store UUID / joining / node ID ROLE STORE ADDRESS
 *
 * A line each (docs/FORMATS.md). It may be old: the log has the truth. */
#ifndef NODE_ROSTER_H
#define NODE_ROSTER_H

#include "wire/member.h"

struct roster {
    struct uuid cluster;
    struct uuid store; /* ours */
    uint32_t shards;
    bool joining; /* it asked to join, and may not have a store yet */
    unsigned n;
    struct member_info members[NODES_MAX];
};

/* Returns 0, ERR_NOT_FOUND, or < 0 with one line in `why`. */
int roster_read(const char *raft_path, struct roster *r, char *why,
                size_t size);

/* Durable when it returns 0; otherwise < 0, and what was there before is. */
int roster_write(const char *raft_path, const struct roster *r);

void roster_remove(const char *raft_path);

#endif
