/* May a group let a member go? Its log is with a majority of the others, but
 * what the log has forgotten is in files only, and those may be behind: one
 * that came lately, or was away, still fetches them. So the leader lets nobody
 * go before its own files, with its log, are the whole of the group's
 * databases. Of one that it does not keep, somebody else has to be a holder. */
#include "node/node.h"

static bool has_content(const struct machine_db *m)
{
    return !m->born_empty || m->position.txid > 0;
}

static bool held_by_another(const struct node *n, const struct machine_db *m,
                            uint64_t id)
{
    for (unsigned i = 0; i < n->n_members; i++) {
        const struct groups_member *other = &n->members[i];
        if (other->id != id && !other->leaving && machine_holds(m, other->id)) {
            return true;
        }
    }
    return false;
}

bool parting_may_go(const struct node *n, unsigned group, uint64_t id)
{
    const struct list *all = &n->group[group].machine.dbs;

    for (const struct list *l = all->next; l != all; l = l->next) {
        const struct machine_db *m = LIST_ENTRY(l, struct machine_db, link);
        const struct database *db = m->local;
        bool safe = db == NULL ? held_by_another(n, m, id)
                               : db->state == DB_READY && !placing_behind(db);
        if (has_content(m) && !safe) {
            return false;
        }
    }
    return true;
}
