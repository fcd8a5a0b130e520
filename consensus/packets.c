/* What goes to the peers and comes from them, by kind. */
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "wire/raft_message.h"

#define FULL_PAUSE_MS 10000u

void packets_send_raft(void *data, uint64_t peer, unsigned group,
                       const struct raft_message *message)
{
    struct groups *g = data;
    struct member *m = groups_member(g, peer);
    struct buf *out;
    size_t begin;

    if (m == NULL || !m->ready ||
        (out = transport_queue(g->transport, peer)) == NULL) {
        return;
    }
    begin = packet_begin(out, PACKET_RAFT, group);
    raft_message_encode(message, out);
    packet_end(out, begin);
    transport_queued(g->transport, peer);
    m->sent_ms = groups_now(g);
    group_note_sent(g->groups[group], (unsigned)(m - g->members), message);
}

bool groups_is_full(const struct groups *g, size_t more)
{
    return groups_log_bytes(g) + more > g->options.log_bytes_max;
}

static void take_proposal(struct groups *g, const struct member *from,
                          const struct packet *p)
{
    uint64_t peer = from->id;
    struct group *group = g->groups[p->group];
    void *copy;

    if (!group_leads(group) || p->len == 0) {
        return; /* the origin proposes again when it hears who leads */
    }
    if (groups_is_full(g, p->len)) {
        if (groups_now(g) - g->full_said_ms >= FULL_PAUSE_MS) {
            g->full_said_ms = groups_now(g);
            log_warn("log_full",
                     "node=%" PRIu64 " bytes=%" PRIu64
                     " why=\"its proposals are dropped; the log cannot be "
                     "shortened yet\"",
                     peer, groups_log_bytes(g));
        }
        return;
    }
    copy = must_alloc(p->len);
    memcpy(copy, p->payload, p->len);
    group_propose(group, (unsigned)(from - g->members), copy, p->len);
}

static void take_raft(struct groups *g, uint64_t peer, const struct packet *p)
{
    struct raft_message m;
    int rv;

    memset(&m, 0, sizeof m);
    rv = raft_message_decode(p->payload, p->len, &m);
    if (rv != 0) {
        log_warn("bad_message", "node=%" PRIu64 " shard=%u why=\"%s\"", peer,
                 p->group, err_str(rv));
        return;
    }
    m.server_id = peer;
    group_recv(g->groups[p->group], &m);
}

void packets_take(void *data, uint64_t peer, const struct packet *p)
{
    struct groups *g = data;
    const struct member *m = groups_member(g, peer);

    if (g->state > GROUPS_DRAINING || !g->booted || m == NULL || !m->ready ||
        p->kind == PACKET_PING || p->group >= g->options.shards) {
        return;
    }
    if (p->kind == PACKET_RAFT) {
        take_raft(g, peer, p);
    } else if (p->kind == PACKET_PROPOSE) {
        take_proposal(g, m, p);
    } else if (p->kind >= PACKET_HOST && g->options.packet != NULL) {
        g->options.packet(g->options.data, peer, p->kind, p->group, p->payload,
                          p->len);
    }
}
