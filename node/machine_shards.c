/* More groups, while the others go on.
 *
 *   group 0: BEGIN (from, to)                       all DONE: ended
 *              |                                      ^   |
 *   group g:   +-> RULE (from, to) -> moves -> DONE --+   +-> RULE (to, to)
 *
 * The home of a name is hash % groups, and when their number changes, so may
 * the home. That a name is never in two groups rests on two rules:
 *
 * - From RULE (from, to) on a group takes a new name only if it is the name's
 *   home by both numbers. So what must leave it is fixed, and goes, database by
 *   database (machine_move.c). When nothing is left it is DONE, and stays so.
 * - RULE (to, to), by which a group takes all that is at home in it by the new
 *   number, comes when all are DONE: no group has a name any more, or can get
 *   one, that is at home elsewhere.
 *
 * Nodes that do not know of the new number yet, or propose late, are refused by
 * the group. Nobody proposes a name to a new group before it has RULE (to, to).
 * A rule never goes back, so that any of these entries may be repeated. */
#include <string.h>

#include "consensus/placement.h"
#include "node/machine_internal.h"

bool machine_is_home(const struct machine *m, const char *name)
{
    const struct moves *v = &m->moves;

    return v->rule_to == 0 ||
           (placement_group(name, v->rule_from) == m->group &&
            placement_group(name, v->rule_to) == m->group);
}

static bool begin(struct machine *m, const struct entry_shards *e)
{
    struct moves *v = &m->moves;

    /* The new groups begin with those who are in the registry. */
    if (m->group != 0 || m->registry.n == 0 || v->growing_from != 0 ||
        e->from != m->shards || e->to <= e->from) {
        return false;
    }
    m->shards = e->to;
    v->growing_from = e->from;
    memset(v->done, 0, sizeof v->done);
    m->events->shards(m->events->data, m->shards, true);
    return true;
}

bool machine_is_done(const struct machine *m, uint32_t group)
{
    return (m->moves.done[group / 8] & 1u << group % 8) != 0;
}

static bool done(struct machine *m, const struct entry_shards *e)
{
    struct moves *v = &m->moves;

    if (m->group != 0 || e->group >= v->growing_from || e->to != m->shards ||
        machine_is_done(m, e->group)) {
        return false;
    }
    v->done[e->group / 8] =
        (uint8_t)(v->done[e->group / 8] | 1u << e->group % 8);
    for (uint32_t g = 0; g < v->growing_from; g++) {
        if (!machine_is_done(m, g)) {
            return true;
        }
    }
    v->growing_from = 0;
    return true;
}

static bool rule(struct moves *v, const struct entry_shards *e)
{
    if (e->to < v->rule_to ||
        (e->to == v->rule_to && e->from <= v->rule_from)) {
        return false;
    }
    v->rule_from = e->from;
    v->rule_to = e->to;
    return true;
}

void machine_shards(struct machine *m, const struct entry_shards *e)
{
    bool changed = e->action == SHARDS_BEGIN  ? begin(m, e)
                   : e->action == SHARDS_DONE ? done(m, e)
                                              : rule(&m->moves, e);

    if (changed) {
        m->events->moving(m->events->data);
    } else {
        m->ignored++;
    }
}
