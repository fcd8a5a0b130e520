/* W15: an only voter leads from its start on, and the core begins that in the
 * term of before. What it had sent then and not stored would have the same
 * index and term as something else now. So the start is in a term of its own.
 */
#include "consensus/filters_in.h"
#include "wire/raft_message.h"

static bool votes_alone(const struct raft_configuration *conf, raft_id id)
{
    unsigned voters = 0;
    bool self = false;

    for (unsigned i = 0; i < conf->n; i++) {
        voters += conf->servers[i].role == RAFT_VOTER;
        self = self || (conf->servers[i].id == id &&
                        conf->servers[i].role == RAFT_VOTER);
    }
    return self && voters == 1;
}

bool filters_votes_alone(raft_id id, const struct raft_snapshot *snapshot,
                         const struct raft_entry *entries, size_t n)
{
    struct raft_configuration conf;
    bool alone;

    while (n > 0 && entries[n - 1].type != RAFT_CHANGE) {
        n--;
    }
    if (n == 0) {
        return snapshot != NULL && votes_alone(&snapshot->configuration, id);
    }
    if (raft_conf_decode(entries[n - 1].buf.base, entries[n - 1].buf.len,
                         &conf) != 0) {
        return false;
    }
    alone = votes_alone(&conf, id);
    raft_configuration_close(&conf);
    return alone;
}
