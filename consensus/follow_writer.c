/* A commit is two messages shorter where the leader is. A node that writes
 * nearly everything of a group, for several seconds, is given its leadership.
 *
 * Damped, so that it never goes back and forth: two writers that take turns
 * never have nearly everything each, and a group that went to its writer stays
 * there for a while whatever happens. What was moved by hand is left alone. */
#include <string.h>

#include "consensus/groups_internal.h"

#define WINDOW_MS 1000u
#define WINDOWS 5u      /* in a row */
#define WRITTEN_MIN 20u /* proposals in a window */
#define AGAIN_MS 30000u /* between two moves of a group */

/* The slot that has at least nine of ten; NODES_MAX: none has. */
static unsigned nearly_all(const struct group *g)
{
    uint64_t all = 0;
    unsigned most = 0;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        all += g->written_by[i];
        most = g->written_by[i] > g->written_by[most] ? i : most;
    }
    return all >= WRITTEN_MIN && g->written_by[most] >= all - all / 10
               ? most
               : NODES_MAX;
}

static void end_window(struct group *g, uint64_t now)
{
    unsigned writer = nearly_all(g);

    g->windows = writer == NODES_MAX   ? 0
                 : writer == g->writer ? g->windows + 1
                                       : 1;
    g->writer = writer;
    g->window_ms = now;
    memset(g->written_by, 0, sizeof g->written_by);
}

const struct member *follow_writer_next(struct group *g)
{
    uint64_t now = groups_now(g->all);
    const struct member *m;

    if (now - g->window_ms >= WINDOW_MS) {
        end_window(g, now);
    }
    if (g->windows < WINDOWS || g->by_hand ||
        (g->followed_ms != 0 && now - g->followed_ms < AGAIN_MS)) {
        return NULL;
    }
    m = &g->all->members[g->writer];
    return m->id == 0 || m->self || m->leaving || m->replica ? NULL : m;
}
