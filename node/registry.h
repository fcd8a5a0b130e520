/* Who belongs to the cluster: the part of group 0's state machine that is not
 * about databases.
 *
 *   (unknown) --SET--> member --LEAVE--> leaving --LEFT by every group--> gone
 *       ^                                                                  |
 *       +--------------------- SET, with another store --------------------+
 *
 * ALONE, written by marmot recover: all others are gone at once.
 *
 * What was said of a member with one store does not count for one with another
 * that has the same number, so an entry that comes late does no harm.
 *
 * It says what should be; the leader of each group changes the members of its
 * group until they are (consensus/membership.c). Pure. */
#ifndef NODE_REGISTRY_H
#define NODE_REGISTRY_H

#include "wire/entry.h"

/* Returns true when it changed something. `shards` groups have to let a leaving
 * member go. */
bool registry_apply(struct registry *r, const struct entry_members *e,
                    unsigned shards);

/* NULL: not there. */
const struct registered *registry_find(const struct registry *r, uint64_t id);

bool registry_is_gone(const struct registry *r, uint64_t id,
                      const struct uuid *store);

/* Is it leaving, and in no group any more but group 0? */
bool registry_only_group_0(const struct registered *m, unsigned shards);

/* May it leave? Otherwise `why` (size bytes) says why not. */
bool registry_may_leave(const struct registry *r, uint64_t id, char *why,
                        size_t size);

#endif
