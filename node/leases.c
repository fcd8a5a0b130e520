/* The leader's side of the leases: questions in, grants out, and the proof that
 * makes them good.
 *
 *   holder -> leader   ASK      for a first time, or to keep it
 *   leader -> voters   PROBE    when the last proof is getting old
 *   voters -> leader   ALIVE    still in that term
 *   leader -> holder   GRANT    counted from the ASK, ends with the proof
 *   leader -> holder   RECALL   another node asks
 *   holder -> leader   RELEASE
 *   new leader -> old  TAKE     once elected
 *   old -> new leader  TABLE    what is held; nothing is granted any more
 *
 * All of them may be lost: whoever waits asks again. A new leader that gets no
 * TABLE waits until whatever was granted before has run out, if anything was.
 */
#include "node/node.h"

#define AGAIN_US 20000u /* between two of the same question, at least */

static uint64_t now_of(const struct group_state *g)
{
    return g->node->env.now_us(g->node);
}

static uint64_t lease_us(const struct group_state *g)
{
    return g->node->env.times.lease_us;
}

static bool leads(const struct group_state *g)
{
    const struct node *n = g->node;

    return n->groups != NULL &&
           groups_leader(n->groups, g->group) == n->env.node_id;
}

static void probe(struct group_state *g, uint64_t now)
{
    struct node *n = g->node;
    struct host_lease l = {.term = g->reign.term, .stamp = now};
    uint64_t voters[NODES_MAX];
    unsigned n_voters = groups_voters(n->groups, g->group, voters);

    if (now - g->reign.probed_us < AGAIN_US) {
        return;
    }
    g->reign.probed_us = now;
    for (unsigned i = 0; i < n_voters; i++) {
        if (voters[i] != n->env.node_id) {
            host_lease_send(n, voters[i], HOST_LEASE_PROBE, g->group, &l);
        }
    }
}

/* Until when this node may promise anything. */
static uint64_t proved_until(const struct group_state *g, uint64_t now)
{
    const struct node *n = g->node;
    uint64_t voters[NODES_MAX];
    unsigned n_voters = groups_voters(n->groups, g->group, voters);

    return lease_us(g) +
           reign_since(&g->reign, voters, n_voters, n->env.node_id, now);
}

/* A grant of little use is made only when a better one may not come. */
static void step(struct group_state *g)
{
    uint64_t now = now_of(g);
    uint64_t end;

    if (!leads(g) || !lease_table_is_open(&g->leases, now) ||
        !lease_table_waits(&g->leases, now)) {
        return;
    }
    end = proved_until(g, now);
    if (end < now + lease_us(g) / 2) {
        probe(g, now);
    }
    if (end > now + lease_us(g) / 4) {
        lease_table_step(&g->leases, now, end - now);
    }
}

/* ---- from leader to leader ----------------------------------------------- */

static void ask_former(struct group_state *g, uint64_t now)
{
    struct host_lease l = {.term = g->reign.term};

    if (g->former != 0 && now - g->taking_us >= AGAIN_US) {
        g->taking_us = now;
        host_lease_send(g->node, g->former, HOST_LEASE_TAKE, g->group, &l);
    }
}

/* Who asks for a lease has read that its database was enrolled, so that entry
 * was committed before any grant, and whoever is elected later has it. */
static bool nobody_had_any(const struct group_state *g)
{
    const struct node *n = g->node;

    return n->groups != NULL && groups_is_new(n->groups, g->group);
}

void leases_leader_changed(struct group_state *g, uint64_t leader,
                           uint64_t term)
{
    const struct node *n = g->node;
    uint64_t now = now_of(g), opens = now;

    if (leader != n->env.node_id) {
        lease_table_close(&g->leases);
        g->former = leader != 0 ? leader : g->former;
        return;
    }
    if (term > 1 && !nobody_had_any(g)) {
        opens += lease_outlived_us(lease_us(g));
    }
    reign_begin(&g->reign, term);
    lease_table_begin(&g->leases, term, opens);
    if (opens > now) {
        g->taking_us = 0;
        ask_former(g, now);
    }
}

static void hand_over(struct group_state *g, uint64_t to, uint64_t term)
{
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX - 4096u);
    if (lease_table_hand_over(&g->leases, term, now_of(g), &out) == 0) {
        host_send(g->node, to, HOST_LEASE_TABLE, g->group, &out);
    }
    buf_close(&out);
}

/* ---- packets ------------------------------------------------------------- */

static void on_ask(struct group_state *g, uint64_t peer,
                   const struct host_lease *l)
{
    uint64_t now = now_of(g);

    if (!leads(g)) {
        return;
    }
    if (!lease_table_is_open(&g->leases, now)) {
        ask_former(g, now);
    }
    (void)lease_table_ask(&g->leases, peer, l, now); /* it asks again */
    step(g);
}

static void on_probe(struct group_state *g, uint64_t peer,
                     const struct host_lease *l)
{
    struct node *n = g->node;

    if (n->groups != NULL && groups_term(n->groups, g->group) == l->term) {
        host_lease_send(n, peer, HOST_LEASE_ALIVE, g->group, l);
    }
}

static void on_grant_or_recall(struct group_state *g, uint64_t peer,
                               uint8_t kind, const struct host_lease *l)
{
    const struct node *n = g->node;
    struct machine_db *m = machine_find_uuid(&g->machine, &l->db);

    if (m == NULL || m->local == NULL || n->groups == NULL ||
        peer != groups_leader(n->groups, g->group)) {
        return;
    }
    if (kind == HOST_LEASE_GRANT) {
        lease_granted(m->local, l);
    } else {
        lease_recalled(m->local, l->epoch);
    }
}

static void on_lease(struct group_state *g, uint64_t peer, uint8_t kind,
                     const struct host_lease *l)
{
    switch (kind) {
    case HOST_LEASE_ASK:
        on_ask(g, peer, l);
        break;
    case HOST_LEASE_RELEASE:
        lease_table_release(&g->leases, peer, &l->db, l->epoch);
        step(g);
        break;
    case HOST_LEASE_PROBE:
        on_probe(g, peer, l);
        break;
    case HOST_LEASE_ALIVE:
        reign_heard(&g->reign, peer, l->term, l->stamp, now_of(g));
        step(g);
        break;
    case HOST_LEASE_TAKE:
        hand_over(g, peer, l->term);
        break;
    default:
        on_grant_or_recall(g, peer, kind, l);
        break;
    }
}

void leases_packet(struct group_state *g, uint64_t peer, uint8_t kind,
                   const void *payload, size_t len)
{
    struct host_lease l;

    if (kind == HOST_LEASE_TABLE) {
        if (peer == g->former && leads(g) &&
            lease_table_take_over(&g->leases, payload, len, now_of(g)) == 0) {
            step(g);
        }
    } else if (host_lease_decode(payload, len, &l) == 0) {
        on_lease(g, peer, kind, &l);
    }
}

void leases_peer_down(struct group_state *g, uint64_t peer)
{
    lease_table_drop(&g->leases, peer);
}

/* A lease table's `send`. */
static void send_word(void *data, uint64_t to, enum host_kind kind,
                      struct host_lease *l)
{
    struct group_state *g = data;

    l->term = g->reign.term;
    l->index = groups_last_index(g->node->groups, g->group);
    host_lease_send(g->node, to, (uint8_t)kind, g->group, l);
}

void leases_init(struct group_state *g)
{
    lease_table_init(&g->leases, g, send_word);
}
