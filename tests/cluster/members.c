/* How a node comes to its cluster: the file of members on a virtual disk, and
 * the question of one that joins (in place of node/roster.c and node/join.c).
 * What the question means is decided by node/membership.c itself.
 *
 * A node that asks is not alive yet: it has no groups and no sessions. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/transport.h"

#include "tests/cluster/sim.h"

#define ASK_AGAIN_US (300 * MS)
#define ANSWER_US (50 * MS)

struct asking {
    struct sim_node *node;
    uint64_t life;
};

static bool still_asks(const struct asking *a)
{
    return a->node->asking && a->node->life == a->life;
}

/* ---- the file ------------------------------------------------------------ */

static struct sim_node *node_at(const char *raft_path)
{
    return &sim_now->nodes[strtoul(raft_path, NULL, 10)];
}

int roster_read(const char *raft_path, struct roster *r, char *why, size_t size)
{
    const struct disk *d = &node_at(raft_path)->disk;

    (void)why;
    (void)size;
    if (!d->has_roster) {
        return ERR_NOT_FOUND;
    }
    *r = d->roster;
    return 0;
}

int roster_write(const char *raft_path, const struct roster *r)
{
    struct sim_node *n = node_at(raft_path);

    if (n->dying || n->mute) {
        return -EIO;
    }
    n->disk.roster = *r;
    n->disk.has_roster = true;
    faults_rare_moment(n);
    return 0;
}

/* ---- the question -------------------------------------------------------- */

bool members_must_ask(const struct sim_node *n)
{
    return n->joins && (!n->disk.has_roster || n->disk.roster.joining);
}

/* As node/join.c, when the answer is there. */
int join_cluster(const struct options *o, struct roster *r, char *why,
                 size_t size)
{
    const struct sim_node *n = node_at(o->raft_path);

    (void)why;
    (void)size;
    *r = n->disk.roster;
    r->cluster = n->answer.cluster;
    r->shards = n->answer.shards;
    r->n = n->answer.n;
    memcpy(r->members, n->answer.members, sizeof r->members);
    return 0;
}

static void on_ask(struct sim *s, void *data);

static void ask_after(struct sim_node *n, uint64_t us)
{
    struct asking *a = sim_after(n->sim, us, on_ask, sizeof *a);

    *a = (struct asking){.node = n, .life = n->life};
}

static void on_answered(struct sim *s, void *data)
{
    struct asking *a = data;

    (void)s;
    if (still_asks(a)) {
        a->node->asking = false;
        node_boot(a->node);
    }
}

/* The process ends; somebody starts it again. */
static void refused(struct sim_node *n, const char *why)
{
    if (n->sim->plan.print) {
        printf("node %u may not join: %s\n", n->number + 1, why);
    }
    n->sim->report.refusals++;
    n->asking = false;
    n->life++;
    node_start_after(n, draw_between(n->sim, SECOND, 3 * SECOND));
}

static bool can_answer(const struct sim_node *n, const struct sim_node *peer)
{
    const struct net *net = &n->sim->net;

    return peer != n && peer->alive && !peer->dying && !peer->mute &&
           peer->transport != NULL &&
           !net->wires[n->number][peer->number].blocked &&
           !net->wires[peer->number][n->number].blocked;
}

static void ask(struct sim_node *n, struct sim_node *peer)
{
    struct member_info self = {.id = n->number + 1,
                               .store = n->disk.roster.store,
                               .replica = n->replica};
    struct asking *a;
    char why[512] = "";
    struct buf out;

    members_address(n, self.address);
    buf_init(&out, PACKET_BYTES_MAX);
    if (!peer->transport_options->join(peer->transport_options->data, &self,
                                       &out, why, sizeof why)) {
        refused(n, why);
    } else if (out.len == 0) {
        ask_after(n, ASK_AGAIN_US);
    } else if (join_answer_decode(out.data, out.len, &n->answer) != 0) {
        violation(n->sim, "an answer that does not parse");
    } else {
        a = sim_after(n->sim, draw(n->sim, ANSWER_US), on_answered, sizeof *a);
        *a = (struct asking){.node = n, .life = n->life};
    }
    buf_close(&out);
    node_turn_soon(peer);
}

static void on_ask(struct sim *s, void *data)
{
    struct asking *a = data;
    struct sim_node *peer = &s->nodes[draw(s, s->n_nodes)];

    if (!still_asks(a)) {
        return;
    }
    if (can_answer(a->node, peer)) {
        ask(a->node, peer);
    } else {
        ask_after(a->node, ASK_AGAIN_US);
    }
}

void members_ask(struct sim_node *n)
{
    struct disk *d = &n->disk;

    n->asking = true;
    if (!d->has_roster) {
        memset(&d->roster, 0, sizeof d->roster);
        draw_bytes(n->sim, d->roster.store.b, sizeof d->roster.store.b);
        d->roster.joining = d->has_roster = true;
    } else if (!n->sim->plan.quiet && chance(n->sim, 1, 8)) {
        n->replica = !n->replica; /* it is started with another role */
    }
    trace(n->sim, n->number + 1, "ask", 0, 0, 0);
    ask_after(n, draw(n->sim, ASK_AGAIN_US));
}

void members_give_up(struct sim_node *n)
{
    n->asking = false;
    n->life++;
}

/* ---- where it is --------------------------------------------------------- */

void members_address(const struct sim_node *n, char *out)
{
    snprintf(out, ADDRESS_MAX, "node%u:%u", n->number + 1, 5000 + n->moves);
}

/* What it is started with: the founders' flags, or -join. */
void members_fill(const struct sim_node *n, struct options *o)
{
    const struct sim_plan *p = &n->sim->plan;

    snprintf(o->raft_path, sizeof o->raft_path, "%u", n->number);
    members_address(n, o->advertise);
    if (n->joins) {
        snprintf(o->join, sizeof o->join, "any");
        return;
    }
    o->n_members = p->voters + p->replicas;
    for (unsigned i = 0; i < o->n_members; i++) {
        o->members[i].id = i + 1;
        o->members[i].replica = n->sim->nodes[i].founds_as_replica;
        members_address(&n->sim->nodes[i], o->members[i].address);
    }
}
