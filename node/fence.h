/* An empty transaction: it only moves a database from its position to the next
 * one, so that whatever else was meant for the position has come too late. A
 * database without content stays where it is and only loses parts that wait. */
#ifndef NODE_FENCE_H
#define NODE_FENCE_H

#include "node/database.h"

/* Propose one. The token must be new. Returns what db_env.propose does. */
int fence_propose(const struct db_env *env, unsigned group,
                  const struct machine_db *m, const struct token *token);

/* Parts of a transaction wait in the state machine for the rest, and no
 * snapshot can be made of it meanwhile. The rest may never come: its session or
 * its node died. Called again and again while a snapshot is wanted, on every
 * node; the leader's proposes a fence when no part has come for long, sooner
 * when the log is `pressing`: far larger than it should be. */
void fence_abandoned(const struct db_env *env, unsigned group,
                     struct machine *m, bool pressing);

#endif
