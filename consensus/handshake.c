/* Who says what, and which of two connections survives.
 *
 *   dialler           acceptor
 *   HELLO        ->
 *                <-   HELLO, or REFUSED and the end
 *   PING         ->                  (or REFUSED and the end)
 *   up                up
 *
 * The PING tells the acceptor that the dialler took its hello. Without it an
 * acceptor could give up a good connection for one that the dialler is just
 * refusing.
 *
 * Both nodes dial, so that it is enough when one of them can be reached. Of the
 * two, the one with the lower id decides, and it decides alone:
 *
 * - While it has said hello on its own dial, or has a connection, it parks what
 *   the other dials: no answer. It answers when its own fails. So it never has
 *   two connections that could both come up.
 * - While its own dial has not even connected, it gives that up and answers.
 * - The node with the higher id answers at once, and follows: of two complete
 *   handshakes the later one counts, because the lower node completes a second
 *   one only after it lost the first.
 *
 * A node never closes a connection that is up for another one that has not
 * completed its handshake. A parked connection outlives the dial it waits for,
 * because the lower node gives its dials half the time (peer.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/transport_internal.h"

/* Of a refusal, both ways, bytes. */
#define REASON_MAX 1024

/* Both nodes dial every second or so as long as one refuses the other. */
#define REFUSAL_PAUSE_MS 10000u
#define STRANGER_PAUSE_MS 1000u

static struct transport *transport_of(const struct conn *conn)
{
    return conn->set->data;
}

static void send_hello(struct conn *conn)
{
    struct transport *t = transport_of(conn);
    struct hello ours;
    size_t begin;

    memset(&ours, 0, sizeof ours);
    t->options.hello(t->options.data, &ours);
    if (t->stopping) {
        return;
    }
    begin = packet_begin(&conn->out, PACKET_HELLO, 0);
    hello_encode(&ours, &conn->out);
    packet_end(&conn->out, begin);
    conn_queued(conn);
}

void handshake_begin(struct conn *conn)
{
    send_hello(conn);
}

void handshake_answer(struct conn *conn)
{
    conn_become(conn, CONN_CONFIRMING);
    send_hello(conn);
}

/* A refusal, either way, ended it. It has its own log line. */
static void give_up(struct conn *conn, const char *why)
{
    struct peer *p = conn->user;

    if (p != NULL) {
        p->slow = p->conn == NULL;
        p->failure_logged = true;
        peer_lost(p, conn, why);
    }
}

/* Tell the other side why not, then close. */
static void refuse(struct conn *conn, const char *why)
{
    struct transport *t = transport_of(conn);
    struct peer *p = conn->user;

    if (quiet_passes(t, p != NULL ? &p->refusals : &t->strangers,
                     p != NULL ? REFUSAL_PAUSE_MS : STRANGER_PAUSE_MS)) {
        log_warn("peer_refused", "node=%" PRIu64 " address=%s why=\"%s\"",
                 p != NULL ? p->id : conn->hello.node_id, conn->remote, why);
    }
    conn_send(conn, PACKET_REFUSED, 0, why, strlen(why));
    conn_drain(conn, conn->set->timing.drain_ms);
    give_up(conn, why);
}

/* The user's judgement. Returns false, with nothing left to do, when it says
 * no or stopped the transport. */
static bool accepted(struct conn *conn)
{
    struct transport *t = transport_of(conn);
    char why[REASON_MAX] = "";
    bool yes =
        t->options.accept(t->options.data, &conn->hello, why, sizeof why);

    if (t->stopping) {
        return false;
    }
    if (!yes) {
        refuse(conn, why);
    }
    return yes;
}

/* The other side told us why not. */
static void take_refusal(struct conn *conn, const struct packet *packet)
{
    struct transport *t = transport_of(conn);
    struct peer *p = conn->user;
    char why[REASON_MAX + 1];
    size_t len = packet->len < REASON_MAX ? packet->len : REASON_MAX;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = packet->payload[i];
        why[i] = c >= ' ' && c <= '~' ? (char)c : '?';
    }
    why[len] = '\0';
    if (quiet_passes(t, &p->refusals, REFUSAL_PAUSE_MS)) {
        log_warn("refused_by_peer", "node=%" PRIu64 " address=%s why=\"%s\"",
                 p->id, conn->remote, why);
    }
    conn_close(conn);
    give_up(conn, "it refused us");
    if (!t->stopping) {
        t->options.refused(t->options.data, p->id, why);
    }
}

/* Somebody who is no member yet asks; he comes again until he is one. */
static void take_join(struct conn *conn, const struct packet *packet)
{
    struct transport *t = transport_of(conn);
    char why[REASON_MAX] = "not a question to join that is understood here";
    struct member_info who;
    struct buf answer;
    bool yes;

    buf_init(&answer, PACKET_BYTES_MAX);
    yes = t->options.join != NULL &&
          join_ask_decode(packet->payload, packet->len, &who) == 0 &&
          t->options.join(t->options.data, &who, &answer, why, sizeof why);
    if (t->stopping) {
        buf_close(&answer);
        return;
    }
    if (yes) {
        conn_send(conn, PACKET_JOINED, 0, answer.data, answer.len);
    } else {
        conn_send(conn, PACKET_REFUSED, 0, why, strlen(why));
    }
    buf_close(&answer);
    conn_drain(conn, conn->set->timing.drain_ms);
}

/* Read a hello into conn->hello. Returns false when the connection is done
 * with, one way or the other. */
static bool take_hello(struct conn *conn, const struct packet *packet)
{
    char why[REASON_MAX];
    int rc;

    if (packet->kind != PACKET_HELLO) {
        conn_fail(conn, ERR_CORRUPT, "no hello as the first packet");
        return false;
    }
    rc = hello_decode(packet->payload, packet->len, &conn->hello);
    if (rc == ERR_VERSION) {
        snprintf(why, sizeof why,
                 "no common version: this node speaks %d to %d of the protocol "
                 "between nodes; upgrade the older node",
                 WIRE_VERSION_MIN, WIRE_VERSION_MAX);
        refuse(conn, why);
        return false;
    }
    if (rc != 0) {
        conn_fail(conn, rc, "not a hello of this protocol");
        return false;
    }
    return true;
}

/* The dialler's half: the answer to our hello. */
static void take_answer(struct conn *conn, const struct packet *packet)
{
    struct peer *p = conn->user;
    char why[REASON_MAX];

    if (packet->kind == PACKET_REFUSED) {
        take_refusal(conn, packet);
        return;
    }
    if (!take_hello(conn, packet)) {
        return;
    }
    if (conn->hello.node_id != p->id) {
        snprintf(why, sizeof why,
                 "node %" PRIu64 " answers at %s, where node %" PRIu64
                 " should be: correct the address of node %" PRIu64,
                 conn->hello.node_id, p->text, p->id, p->id);
        refuse(conn, why);
        return;
    }
    if (accepted(conn)) {
        conn_send(conn, PACKET_PING, 0, NULL, 0);
        peer_up(p, conn);
    }
}

/* Are we the one who decides, and busy with another connection? */
static bool must_wait(const struct transport *t, const struct peer *p)
{
    return t->options.node_id < p->id &&
           (p->conn != NULL ||
            (p->dial != NULL && p->dial->state != CONN_CONNECTING));
}

/* The acceptor's half: the dialler's hello. */
static void take_greeting(struct conn *conn, const struct packet *packet)
{
    struct transport *t = transport_of(conn);
    char why[REASON_MAX];
    struct peer *p;

    if (packet->kind == PACKET_JOIN) {
        take_join(conn, packet);
        return;
    }
    if (!take_hello(conn, packet)) {
        return;
    }
    p = transport_find(t, conn->hello.node_id);
    if (p == NULL) {
        bool same = conn->hello.node_id == t->options.node_id;
        snprintf(why, sizeof why,
                 same ? "both ends are node %" PRIu64
                        ": two nodes have this id, or a node dialled itself"
                      : "node %" PRIu64 " is not a member here",
                 conn->hello.node_id);
        if (!same && t->options.stranger != NULL) {
            t->options.stranger(t->options.data, &conn->hello, why, sizeof why);
        }
        refuse(conn, why);
        return;
    }
    conn->user = p;
    if (!accepted(conn)) {
        return;
    }
    if (must_wait(t, p)) {
        conn_become(conn, CONN_PARKED);
    } else {
        handshake_answer(conn);
        /* Our own dial has said nothing yet if we are the one who decides. */
        if (t->options.node_id < p->id && p->dial != NULL) {
            conn_close(p->dial);
            p->dial = NULL;
        }
    }
}

static void take_confirmation(struct conn *conn, const struct packet *packet)
{
    if (packet->kind == PACKET_REFUSED) {
        take_refusal(conn, packet);
    } else if (packet->kind != PACKET_PING) {
        conn_fail(conn, ERR_CORRUPT, "neither yes nor no to our hello");
    } else {
        peer_up(conn->user, conn);
    }
}

void handshake_packet(struct conn *conn, const struct packet *packet)
{
    switch (conn->state) {
    case CONN_GREETING:
        if (conn->dialled) {
            take_answer(conn, packet);
        } else {
            take_greeting(conn, packet);
        }
        break;
    case CONN_CONFIRMING:
        take_confirmation(conn, packet);
        break;
    default: /* CONN_PARKED */
        conn_fail(conn, ERR_CORRUPT, "more than a hello before our answer");
        break;
    }
}
