/* Leadership by hand. Every node is told, since each may come to lead; who
 * leads now hands over (consensus/leadership.c). A packet that is lost costs a
 * group that goes home again, and the command is given once more. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/view.h"
#include "node/node.h"

static const struct groups_member *member_of(const struct node *n, uint64_t id)
{
    for (unsigned i = 0; i < n->n_members; i++) {
        if (n->members[i].id == id && !n->members[i].leaving) {
            return &n->members[i];
        }
    }
    return NULL;
}

static bool is_here(const struct node *n, uint64_t id)
{
    struct groups_peer_view v;

    if (id == n->env.node_id) {
        return true;
    }
    groups_view_peer(n->groups, id, &v);
    return v.ready;
}

static void prefer(struct node *n, unsigned group, const struct host_prefer *p)
{
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    if (host_prefer_encode(p, &out) == 0) {
        for (unsigned i = 0; i < n->n_members; i++) {
            if (n->members[i].id != n->env.node_id) {
                (void)groups_send(n->groups, n->members[i].id, HOST_PREFER,
                                  group, out.data, out.len);
            }
        }
    }
    buf_close(&out);
    (void)groups_prefer(n->groups, group, p->node, p->stand_in != 0);
}

/* Can `to` be given the group now? */
static int check(const struct node *n, uint64_t group, uint64_t to, char *why,
                 size_t size)
{
    const struct groups_member *m = member_of(n, to);
    uint64_t leader;

    if (n->groups == NULL || n->stopping) {
        snprintf(why, size, "this node is stopping");
        return ERR_CLOSED;
    }
    if (group >= n->options->shards) {
        snprintf(why, size,
                 "there is no shard %" PRIu64 ": they are numbered 0 to %u",
                 group, n->options->shards - 1);
        return ERR_NOT_FOUND;
    }
    if (m == NULL) {
        snprintf(why, size, "there is no node %" PRIu64 " in this cluster", to);
        return ERR_NOT_FOUND;
    }
    if (m->replica) {
        snprintf(why, size, "node %" PRIu64 " is a replica: it cannot lead",
                 to);
        return ERR_READONLY;
    }
    leader = groups_leader(n->groups, (unsigned)group);
    if (leader == 0 || !is_here(n, leader)) {
        snprintf(why, size, "shard %" PRIu64 " has no leader in reach", group);
        return ERR_NO_LEADER;
    }
    if (!is_here(n, to)) {
        snprintf(why, size, "node %" PRIu64 " is not connected to this node",
                 to);
        return ERR_CLOSED;
    }
    return 0;
}

int steer_move(void *data, uint64_t group, uint64_t to, uint64_t *from,
               char *why, size_t size)
{
    struct node *n = data;
    struct host_prefer p = {.node = to};
    int rv = check(n, group, to, why, size);

    if (rv != 0) {
        return rv;
    }
    *from = groups_leader(n->groups, (unsigned)group);
    log_info("move", "shard=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64, group,
             *from, to);
    prefer(n, (unsigned)group, &p);
    return 0;
}

/* The voter in reach that has the fewest groups so far; 0: none. */
static uint64_t least(const struct node *n, const unsigned *given)
{
    unsigned found = NODES_MAX;

    for (unsigned i = 0; i < n->env.voters; i++) {
        if (is_here(n, n->voter_ids[i]) &&
            (found == NODES_MAX || given[i] < given[found])) {
            found = i;
        }
    }
    return found == NODES_MAX ? 0 : n->voter_ids[found];
}

static void count_for(const struct node *n, uint64_t id, unsigned *given)
{
    for (unsigned i = 0; i < n->env.voters; i++) {
        given[i] += n->voter_ids[i] == id;
    }
}

/* Each goes to its usual leader; those of nodes that are away are shared out
 * among the others until these are back. */
unsigned steer_shuffle(void *data)
{
    struct node *n = data;
    unsigned given[NODES_MAX] = {0};
    unsigned moving = 0;

    if (n->groups == NULL || n->stopping || n->env.voters == 0) {
        return 0;
    }
    for (unsigned g = 0; g < n->options->shards; g++) {
        uint64_t usual = placement_leader(g, n->voter_ids, n->env.voters);
        if (is_here(n, usual)) {
            count_for(n, usual, given);
        }
    }
    for (unsigned g = 0; g < n->options->shards; g++) {
        uint64_t to = placement_leader(g, n->voter_ids, n->env.voters);
        struct host_prefer p = {.node = 0};
        if (!is_here(n, to)) {
            to = least(n, given);
            p = (struct host_prefer){.node = to, .stand_in = 1};
            count_for(n, to, given);
        }
        moving += to != 0 && to != groups_leader(n->groups, g);
        prefer(n, g, &p);
    }
    log_info("shuffle", "moving=%u", moving);
    return moving;
}

/* ---- members and databases ----------------------------------------------- */

static bool is_stopping(const struct node *n, char *why, size_t size)
{
    if (n->groups == NULL || n->stopping) {
        snprintf(why, size, "this node is stopping");
        return true;
    }
    return false;
}

int steer_remove(void *data, uint64_t id, char *why, size_t size)
{
    struct node *n = data;

    return is_stopping(n, why, size) ? ERR_CLOSED
                                     : membership_remove(n, id, why, size);
}

int steer_attach(void *data, const char *name, const char *path, char *why,
                 size_t size)
{
    struct node *n = data;

    return is_stopping(n, why, size) ? ERR_CLOSED
                                     : catalog_attach(n, name, path, why, size);
}

int steer_detach(void *data, const char *name, char *why, size_t size)
{
    struct node *n = data;

    return is_stopping(n, why, size) ? ERR_CLOSED
                                     : catalog_detach(n, name, why, size);
}

int steer_shards(void *data, uint64_t shards, char *why, size_t size)
{
    struct node *n = data;

    return is_stopping(n, why, size) ? ERR_CLOSED
                                     : shards_ask(n, shards, why, size);
}

int steer_rename(void *data, const char *name, const char *to, char *why,
                 size_t size)
{
    struct node *n = data;

    return is_stopping(n, why, size) ? ERR_CLOSED
                                     : move_rename(n, name, to, why, size);
}

int steer_drop(void *data, const char *name, char *why, size_t size)
{
    struct node *n = data;

    return is_stopping(n, why, size) ? ERR_CLOSED
                                     : catalog_drop(n, name, why, size);
}
