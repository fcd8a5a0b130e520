/* A new name by hand: what speaks against it, and the first step. The rest is
 * done by whoever leads (move.c). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/node.h"

static struct group_state *group_of(struct node *n, const char *name)
{
    for (unsigned i = 0; i < n->options->shards; i++) {
        if (machine_find(&n->group[i].machine, name) != NULL) {
            return &n->group[i];
        }
    }
    return NULL;
}

/* Is there a leader in reach of what has to agree? */
static bool can_commit(struct node *n, unsigned group, char *why, size_t size)
{
    if (groups_quorum_fresh(n->groups, group)) {
        return true;
    }
    groups_why_no_quorum(n->groups, group, why, size);
    return false;
}

static int check_new_name(struct node *n, const char *name, char *why,
                          size_t size)
{
    const struct database *here = catalog_find(n, name);

    if (!db_name_valid(name) || strlen(name) > DB_NAME_MAX) {
        snprintf(why, size,
                 "a name has 1 to %d of the characters A-Z a-z 0-9 . _ -",
                 DB_NAME_MAX);
        return -EINVAL;
    }
    if (group_of(n, name) != NULL || here != NULL) {
        snprintf(why, size, "there is a database %s already%s%s", name,
                 here != NULL ? ", at " : "", here != NULL ? here->path : "");
        return ERR_MISMATCH;
    }
    return 0;
}

static int check_rename(struct node *n, const char *name, const char *to,
                        unsigned target, char *why, size_t size)
{
    struct group_state *g = group_of(n, name);
    int rv;

    if (g == NULL) {
        snprintf(why, size, "the cluster has no database %s", name);
        return ERR_NOT_FOUND;
    }
    rv = check_new_name(n, to, why, size);
    if (rv != 0) {
        return rv;
    }
    if (shards_active(n)) {
        snprintf(why, size,
                 "shards are being added: %u databases are still to be moved; "
                 "try again after that",
                 shards_to_move(n));
        return ERR_BUSY;
    }
    if (g->machine.moves.active) {
        snprintf(why, size,
                 "shard %u is still at work on another database; try again",
                 g->group);
        return ERR_BUSY;
    }
    return can_commit(n, g->group, why, size) &&
                   can_commit(n, target, why, size)
               ? 0
               : ERR_NO_LEADER;
}

int move_rename(struct node *n, const char *name, const char *to, char *why,
                size_t size)
{
    unsigned target = placement_group(to, n->options->shards);
    int rv = check_rename(n, name, to, target, why, size);
    struct group_state *g = group_of(n, name);

    if (rv == 0) {
        log_info("rename", "db=%s to=%s shard=%u to_shard=%u", name, to,
                 g->group, target);
        move_begin(g, machine_find(&g->machine, name), to, target);
        FAILPOINT("move.begin");
    }
    return rv;
}
