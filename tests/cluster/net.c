/* The transport of consensus/transport.h on a virtual network.
 *
 * An orderly network is TCP's: packets of a connection arrive in order or not
 * at all, and a direction that is blocked holds them back. A wild one loses,
 * doubles, delays and overtakes, across connections too: more than TCP can do,
 * and nothing that the groups may not survive. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/alloc.h"
#include "consensus/transport.h"
#include "tests/cluster/sim.h"

#define DEAD_US (3 * SECOND)
#define PROBE_US (100 * MS) /* how often broken connections are looked at */

struct side {
    uint64_t id;
    bool known; /* and dialled, at `address` */
    char address[ADDRESS_MAX];
    bool up;
    uint64_t heard_us; /* 0: never */
    struct buf out;
};

struct transport {
    struct sim_node *node;
    struct transport_options options;
    struct side sides[SIM_NODES_MAX]; /* by node number */
    bool stopping;
};

/* A packet on its way. */
struct flying {
    struct list link; /* in wire->held */
    struct sim_node *from, *to;
    uint64_t connection;
    uint8_t kind;
    uint32_t group;
    size_t len;
    uint8_t bytes[];
};

struct arrival {
    struct flying *packet;
};

struct change {
    struct sim_node *node;
    uint64_t life, connection;
    unsigned peer;
};

static uint64_t *connection_of(struct sim *s, unsigned a, unsigned b)
{
    return a < b ? &s->net.connections[a][b] : &s->net.connections[b][a];
}

static struct side *side_of(struct sim_node *n, unsigned peer)
{
    return n->transport == NULL ? NULL : &n->transport->sides[peer];
}

/* ---- packets ------------------------------------------------------------- */

static void on_arrival(struct sim *s, void *data);

static void send_on(struct sim *s, struct flying *p, uint64_t us)
{
    struct arrival *a = sim_after(s, us, on_arrival, sizeof *a);

    a->packet = p;
}

/* The process at the other end may be another one by now: then a packet of the
 * old connection has nobody to go to. */
static bool finds_somebody(struct sim *s, const struct flying *p)
{
    const struct side *side = side_of(p->to, p->from->number);
    struct packet packet = {p->kind, p->group, p->bytes, p->len};

    if (side == NULL || !side->up || p->to->transport->stopping ||
        (s->net.gate != NULL &&
         !s->net.gate(s, p->from->number, p->to->number, &packet))) {
        return false;
    }
    return !s->net.orderly ||
           *connection_of(s, p->from->number, p->to->number) == p->connection;
}

static void on_arrival(struct sim *s, void *data)
{
    struct flying *p = ((struct arrival *)data)->packet;
    struct wire *w = &s->net.wires[p->from->number][p->to->number];
    struct packet packet = {p->kind, p->group, p->bytes, p->len};

    if (w->blocked && s->net.orderly) {
        list_push(&w->held, &p->link);
        return;
    }
    if (!w->blocked && finds_somebody(s, p)) {
        struct transport *t = p->to->transport;
        t->sides[p->from->number].heard_us = s->now_us + 1;
        tell_packet(s, p->from->number, p->to->number, false, &packet);
        trace(s, p->to->number + 1, "packet", p->from->number + 1,
              p->kind + 100 * p->group, p->len);
        t->options.packet(t->options.data, p->from->number + 1, &packet);
        node_turn_soon(p->to);
    } else {
        tell_packet(s, p->from->number, p->to->number, true, &packet);
    }
    free(p);
}

static struct flying *copy_of(const struct flying *p)
{
    struct flying *q = must_alloc(sizeof *q + p->len);

    memcpy(q, p, sizeof *q + p->len);
    list_init(&q->link);
    return q;
}

/* No chance in directed runs: the order of things is theirs. */
static void launch(struct sim *s, struct flying *p)
{
    struct net *net = &s->net;
    struct wire *w = &net->wires[p->from->number][p->to->number];
    uint64_t us = draw_between(s, net->low_us, net->high_us);

    if (net->orderly) {
        if (s->now_us + us <= w->last_us) {
            us = w->last_us + 1 - s->now_us;
        }
        w->last_us = s->now_us + us;
        send_on(s, p, us);
        return;
    }
    if (chance(s, net->lose, 1000)) {
        s->report.lost++;
        free(p);
        return;
    }
    if (chance(s, net->duplicate, 1000)) {
        s->report.duplicated++;
        send_on(s, copy_of(p), draw(s, 2 * SECOND));
    }
    if (chance(s, net->delay, 1000)) {
        us += draw(s, 3 * SECOND);
    }
    send_on(s, p, us);
}

static void flush_side(struct transport *t, struct side *side)
{
    struct sim_node *to = sim_node_id(t->node->sim, side->id);
    struct packet packet;
    size_t at = 0, used;

    while (!t->node->mute &&
           packet_read(side->out.data + at, side->out.len - at, &packet,
                       &used) == 0) {
        struct flying *p;
        at += used;
        if (packet.kind == HOST_MEMBERS &&
            t->node->sim->plan.mutant == MUTANT_NOT_TOLD) {
            continue;
        }
        p = must_alloc(sizeof *p + packet.len);
        p->from = t->node;
        p->to = to;
        p->connection =
            *connection_of(t->node->sim, t->node->number, to->number);
        p->kind = packet.kind;
        p->group = packet.group;
        p->len = packet.len;
        if (packet.len > 0) {
            memcpy(p->bytes, packet.payload, packet.len);
        }
        list_init(&p->link);
        launch(t->node->sim, p);
    }
    buf_reset(&side->out);
}

void transport_flush(struct transport *t)
{
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        if (t->sides[i].up && t->sides[i].out.len > 0) {
            flush_side(t, &t->sides[i]);
        }
    }
}

int transport_send(struct transport *t, uint64_t peer, uint8_t kind,
                   uint32_t group, const void *payload, size_t len)
{
    struct side *side = &t->sides[peer - 1];

    if (t->stopping || !side->up) {
        return ERR_CLOSED;
    }
    return len > PACKET_BYTES_MAX
               ? ERR_TOO_BIG
               : packet_write(&side->out, kind, group, payload, len);
}

struct buf *transport_queue(struct transport *t, uint64_t peer)
{
    struct side *side = &t->sides[peer - 1];

    return t->stopping || !side->up ? NULL : &side->out;
}

void transport_queued(struct transport *t, uint64_t peer)
{
    (void)t;
    (void)peer;
}

bool transport_is_up(const struct transport *t, uint64_t peer)
{
    return t->sides[peer - 1].up;
}

uint64_t transport_silent_ms(const struct transport *t, uint64_t peer)
{
    const struct side *side = &t->sides[peer - 1];

    return side->heard_us == 0
               ? UINT64_MAX
               : (t->node->sim->now_us + 1 - side->heard_us) / MS;
}

/* ---- connections --------------------------------------------------------- */

static void side_down(struct sim_node *n, unsigned peer)
{
    struct side *side = side_of(n, peer);

    if (side == NULL || !side->up) {
        return;
    }
    side->up = false;
    buf_reset(&side->out);
    trace(n->sim, n->number + 1, "down", peer + 1, 0, 0);
    if (!n->transport->stopping) {
        n->transport->options.down(n->transport->options.data, peer + 1);
        node_turn_soon(n);
    }
}

static void on_down(struct sim *s, void *data)
{
    struct change *c = data;

    (void)s;
    if (c->node->life == c->life && !c->node->dying) {
        side_down(c->node, c->peer);
    }
}

static void down_later(struct sim_node *n, unsigned peer, uint64_t us)
{
    struct change *c = sim_after(n->sim, us, on_down, sizeof *c);

    *c = (struct change){.node = n, .life = n->life, .peer = peer};
}

void net_break(struct sim *s, unsigned a, unsigned b)
{
    *connection_of(s, a, b) = 0;
    down_later(&s->nodes[a], b, draw(s, 50 * MS));
    down_later(&s->nodes[b], a, draw(s, 50 * MS));
}

/* The kernel closes the sockets: the others notice, unless they are cut off. */
void net_crash(struct sim_node *n)
{
    struct sim *s = n->sim;

    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (i == n->number) {
            continue;
        }
        *connection_of(s, n->number, i) = 0;
        if (!s->net.wires[n->number][i].blocked) {
            down_later(&s->nodes[i], n->number, draw(s, 50 * MS));
        }
        if (n->transport != NULL) {
            n->transport->sides[i].up = false;
        }
    }
}

static bool is_free(struct sim_node *n, unsigned peer)
{
    const struct side *side = side_of(n, peer);

    return side != NULL && !side->up && !n->transport->stopping && !n->dying;
}

static void on_up(struct sim *s, void *data)
{
    struct change *c = data;
    struct sim_node *n = c->node, *peer = &s->nodes[c->peer];
    struct hello hello;

    if (n->life != c->life || !is_free(n, c->peer) || peer->transport == NULL ||
        !n->transport->sides[c->peer].known ||
        *connection_of(s, n->number, c->peer) != c->connection) {
        return;
    }
    peer->transport->options.hello(peer->transport->options.data, &hello);
    n->transport->sides[c->peer].up = true;
    n->transport->sides[c->peer].heard_us = s->now_us + 1;
    trace(s, n->number + 1, "up", c->peer + 1, 0, 0);
    n->transport->options.up(n->transport->options.data, c->peer + 1, &hello);
    node_turn_soon(n);
}

/* As node/handshake.c judges a hello. */
static bool judge(struct sim_node *n, const struct hello *hello, unsigned peer,
                  char *why, size_t size)
{
    const struct transport_options *o = &n->transport->options;

    if (!n->transport->sides[peer].known) {
        snprintf(why, size, "node %u is not a member here", peer + 1);
        o->stranger(o->data, hello, why, size);
        return false;
    }
    return o->accept(o->data, hello, why, size);
}

static bool accepts(struct sim_node *n, struct sim_node *peer)
{
    const struct transport_options *o = &peer->transport->options;
    struct hello hello;
    char why[512];

    o->hello(o->data, &hello);
    if (judge(n, &hello, peer->number, why, sizeof why) ||
        (n->sim->plan.mutant == MUTANT_ANY_STORE &&
         n->transport->sides[peer->number].known)) {
        return true;
    }
    trace(n->sim, n->number + 1, "refuses", peer->number + 1, 0, 0);
    if (n->sim->plan.print) {
        printf("node %u refuses node %u: %s\n", n->number + 1, peer->number + 1,
               why);
    }
    if (!n->sim->plan.members) {
        violation(n->sim, "node %u refuses node %u: %s", n->number + 1,
                  peer->number + 1, why);
    }
    if (peer->transport->sides[n->number].known) {
        o->refused(o->data, n->number + 1, why);
        node_turn_soon(peer);
    }
    return false;
}

/* Does it look for the other one where that is? */
static bool dials(struct sim_node *n, struct sim_node *peer)
{
    const struct side *side = side_of(n, peer->number);
    char address[ADDRESS_MAX];

    members_address(peer, address);
    return side != NULL && side->known && strcmp(side->address, address) == 0;
}

static void up_later(struct sim_node *n, unsigned peer, uint64_t us)
{
    struct change *c = sim_after(n->sim, us, on_up, sizeof *c);

    *c = (struct change){.node = n,
                         .life = n->life,
                         .peer = peer,
                         .connection = *connection_of(n->sim, n->number, peer)};
}

static void connect_pair(struct sim *s, struct sim_node *a, struct sim_node *b)
{
    uint64_t us = draw(s, 5 * MS);

    if ((!dials(a, b) && !dials(b, a)) || !accepts(a, b) || !accepts(b, a)) {
        return;
    }
    check_listens(a, b);
    check_listens(b, a);
    *connection_of(s, a->number, b->number) = ++s->net.next_connection;
    up_later(a, b->number, us);
    up_later(b, a->number, us + draw(s, 2 * MS));
}

static bool is_silent(struct sim_node *n, unsigned peer)
{
    const struct side *side = side_of(n, peer);

    return side != NULL && side->up &&
           n->sim->now_us + 1 - side->heard_us > DEAD_US;
}

static void look_at_pair(struct sim *s, struct sim_node *a, struct sim_node *b)
{
    const struct wire *ab = &s->net.wires[a->number][b->number];
    const struct wire *ba = &s->net.wires[b->number][a->number];

    if (is_silent(a, b->number) || is_silent(b, a->number)) {
        net_break(s, a->number, b->number);
    } else if (is_free(a, b->number) && is_free(b, a->number) && !ab->blocked &&
               !ba->blocked && (s->plan.quiet || chance(s, 1, 3))) {
        connect_pair(s, a, b);
    } else if (*connection_of(s, a->number, b->number) == 0 && !ab->blocked &&
               !ba->blocked) {
        side_down(a, b->number); /* half of it was left */
        side_down(b, a->number);
    }
}

static void on_probe(struct sim *s, void *data)
{
    (void)data;
    for (unsigned a = 0; a < s->n_nodes; a++) {
        for (unsigned b = a + 1; b < s->n_nodes; b++) {
            look_at_pair(s, &s->nodes[a], &s->nodes[b]);
        }
    }
    sim_after(s, PROBE_US, on_probe, 0);
}

/* What was held back arrives now, or is lost with its connection. */
void net_block(struct sim *s, unsigned from, unsigned to, bool blocked)
{
    struct wire *w = &s->net.wires[from][to];
    struct list *l;

    w->blocked = blocked;
    while (!blocked && (l = list_pop(&w->held)) != NULL) {
        send_on(s, LIST_ENTRY(l, struct flying, link), 1);
    }
}

void net_init(struct sim *s)
{
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        for (unsigned k = 0; k < SIM_NODES_MAX; k++) {
            list_init(&s->net.wires[i][k].held);
        }
    }
    sim_after(s, 1, on_probe, 0);
}

void net_free(struct sim *s)
{
    struct list *l;

    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        for (unsigned k = 0; k < SIM_NODES_MAX; k++) {
            while ((l = list_pop(&s->net.wires[i][k].held)) != NULL) {
                free(LIST_ENTRY(l, struct flying, link));
            }
        }
    }
    for (size_t i = 0; i < s->n_events; i++) {
        if (s->events[i].run == on_arrival) {
            free(((struct arrival *)s->events[i].data)->packet);
        }
    }
}

/* ---- start and stop ------------------------------------------------------ */

int transport_start(const struct transport_options *options,
                    const struct transport_peer *peers, unsigned count,
                    struct transport **out)
{
    struct transport *t = must_alloc(sizeof *t);

    t->node = loop_node(options->loop);
    t->options = *options;
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        t->sides[i].id = i + 1;
        buf_init(&t->sides[i].out, PEER_QUEUE_BYTES_MAX);
    }
    for (unsigned i = 0; i < count; i++) {
        (void)transport_add(t, &peers[i]);
    }
    t->node->transport_options = &t->options;
    t->node->transport = t;
    *out = t;
    return 0;
}

void transport_stop(struct transport *t, unsigned linger_ms,
                    void (*stopped)(void *data), void *data)
{
    (void)linger_ms;
    net_crash(t->node);
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        buf_close(&t->sides[i].out);
    }
    t->node->transport = NULL;
    free(t);
    if (stopped != NULL) {
        stopped(data);
    }
}

int transport_add(struct transport *t, const struct transport_peer *peer)
{
    struct side *side = &t->sides[peer->id - 1];

    side->known = true;
    memcpy(side->address, peer->address, sizeof side->address);
    return 0;
}

/* Its end is not told. */
void transport_remove(struct transport *t, uint64_t id)
{
    struct side *side = &t->sides[id - 1];

    if (!side->known) {
        return;
    }
    side->known = false;
    *connection_of(t->node->sim, t->node->number, (unsigned)id - 1) = 0;
    if (side->up) {
        side->up = false;
        buf_reset(&side->out);
    }
    down_later(&t->node->sim->nodes[id - 1], t->node->number,
               draw(t->node->sim, 50 * MS));
}
