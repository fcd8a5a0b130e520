/* One peer: its address, our dials, and the connection that counts.
 *
 * At most one dial at a time; none while a connection is up or an accepted one
 * is being confirmed. Everything that ends goes through peer_lost, and
 * everything new is started by peer_next. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/transport_internal.h"

#define BACKOFF_MS_MIN 50u
#define BACKOFF_MS_MAX 1000u
#define SLOW_MS 1000u /* to twice that, after a refusal */

/* A connection that lived that long is no reason for more patience. */
#define LASTING_MS 2000u

static unsigned random_below(struct transport *t, unsigned limit)
{
    /* xorshift64: spreads dials of nodes that started together. */
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (unsigned)(t->random % limit);
}

/* Milliseconds to the next dial. */
static unsigned patience(struct peer *p)
{
    struct transport *t = p->transport;
    unsigned fifth;

    if (p->slow) {
        p->slow = false;
        return SLOW_MS + random_below(t, SLOW_MS);
    }
    if (p->backoff_ms == 0) {
        p->backoff_ms = BACKOFF_MS_MIN;
    } else if (p->backoff_ms < BACKOFF_MS_MAX / 2) {
        p->backoff_ms *= 2;
    } else {
        p->backoff_ms = BACKOFF_MS_MAX;
    }
    fifth = p->backoff_ms / 5;
    return p->backoff_ms - fifth + random_below(t, 2 * fifth + 1);
}

/* The newest connection of this peer in `state`, or NULL. */
static struct conn *newest(const struct peer *p, enum conn_state state)
{
    const struct list *all = &p->transport->conns.all;

    for (struct list *link = all->prev; link != all; link = link->prev) {
        struct conn *conn = LIST_ENTRY(link, struct conn, link);
        if (conn->user == p && conn->state == state) {
            return conn;
        }
    }
    return NULL;
}

static bool occupied(const struct peer *p)
{
    return p->conn != NULL || p->dial != NULL ||
           newest(p, CONN_CONFIRMING) != NULL;
}

/* ---- dialling ------------------------------------------------------------ */

static void dial_failed(struct peer *p, const char *why)
{
    enum log_level level = p->failure_logged ? LOG_DEBUG : LOG_INFO;

    /* The other side hangs up when a connection of its own came first. */
    if (newest(p, CONN_CONFIRMING) != NULL) {
        level = LOG_DEBUG;
    } else {
        p->failure_logged = true;
    }
    log_line(level, "dial_failed", "node=%" PRIu64 " address=%s why=\"%s\"",
             p->id, p->text, why);
}

static void dial_next_found(struct peer *p)
{
    struct transport *t = p->transport;
    unsigned greet_ms = t->conns.timing.greet_ms;
    int rc;

    /* See handshake.c: what waits for this dial must outlive it. */
    if (t->options.node_id < p->id) {
        greet_ms /= 2;
    }
    rc = conn_dial(&t->conns, &p->found[p->next_found++], greet_ms, &p->dial);
    if (rc != 0) {
        p->dial = NULL;
        dial_failed(p, uv_strerror(rc));
        peer_next(p);
        return;
    }
    p->dial->user = p;
}

static void on_found(void *data, int status,
                     const struct sockaddr_storage *found, unsigned count)
{
    struct peer *p = data;

    p->lookup = NULL;
    p->next_found = p->n_found = 0;
    if (count == 0) {
        dial_failed(p, uv_strerror(status));
    }
    for (; p->n_found < count; p->n_found++) {
        p->found[p->n_found] = found[p->n_found];
    }
    peer_next(p);
}

static void on_redial(uv_timer_t *timer)
{
    struct peer *p = timer->data;
    int rc;

    if (p->lookup != NULL || occupied(p)) {
        return;
    }
    if (p->next_found < p->n_found) {
        dial_next_found(p);
        return;
    }
    if (address_literal(&p->address, &p->found[0]) == 0) {
        p->n_found = 1;
        p->next_found = 0;
        dial_next_found(p);
        return;
    }
    rc = lookup_start(p->transport->conns.loop, &p->address, on_found, p,
                      &p->lookup);
    if (rc != 0) {
        p->lookup = NULL;
        dial_failed(p, uv_strerror(rc));
        peer_next(p);
    }
}

void peer_next(struct peer *p)
{
    struct conn *parked;

    if (p->transport->stopping || occupied(p)) {
        return;
    }
    parked = newest(p, CONN_PARKED);
    if (parked != NULL) {
        handshake_answer(parked);
        return;
    }
    if (p->lookup != NULL || uv_is_active((uv_handle_t *)&p->redial)) {
        return;
    }
    /* The other addresses of a name are tried without waiting. */
    uv_timer_start(&p->redial, on_redial,
                   p->next_found < p->n_found && !p->slow ? 0 : patience(p), 0);
}

/* ---- up and down --------------------------------------------------------- */

static void down(struct peer *p, const char *why)
{
    struct transport *t = p->transport;
    uint64_t now = uv_now(t->conns.loop);

    p->heard_ms = p->conn->heard_ms;
    p->received_bytes += p->conn->received_bytes;
    p->sent_bytes += p->conn->sent_bytes;
    p->conn->user = NULL;
    p->conn = NULL;
    if (now - p->up_ms >= LASTING_MS) {
        p->backoff_ms = 0;
    }
    log_info("peer_down", "node=%" PRIu64 " why=\"%s\"", p->id, why);
    if (!t->stopping) {
        t->options.down(t->options.data, p->id);
    }
}

void peer_up(struct peer *p, struct conn *conn)
{
    struct transport *t = p->transport;

    if (p->conn != NULL) {
        conn_close(p->conn);
        down(p, "the peer connected again");
        /* The user may have stopped us in its callback. */
        if (conn->state == CONN_CLOSED) {
            return;
        }
    }
    if (p->dial != NULL && p->dial != conn) {
        p->dial->user = NULL;
        conn_close(p->dial);
    }
    p->dial = NULL;
    p->conn = conn;
    p->slow = p->failure_logged = false;
    p->refusals.until_ms = 0;
    p->n_found = p->next_found = 0;
    p->up_ms = uv_now(t->conns.loop);
    p->heard = true;
    uv_timer_stop(&p->redial);
    conn_become(conn, CONN_UP);
    log_info("peer_up", "node=%" PRIu64 " address=%s", p->id, conn->remote);
    t->options.up(t->options.data, p->id, &conn->hello);
}

void peer_lost(struct peer *p, struct conn *conn, const char *why)
{
    conn->user = NULL;
    if (p->dial == conn) {
        p->dial = NULL;
        dial_failed(p, why);
    } else if (p->conn == conn) {
        down(p, why);
    } else {
        log_debug("greeting_lost", "node=%" PRIu64 " address=%s why=\"%s\"",
                  p->id, conn->remote, why);
    }
    peer_next(p);
}

void transport_traffic(const struct transport *t, uint64_t peer, uint64_t *sent,
                       uint64_t *received)
{
    const struct peer *p = transport_find(t, peer);

    *sent = *received = 0;
    if (p != NULL) {
        *sent = p->sent_bytes;
        *received = p->received_bytes;
    }
    if (p != NULL && p->conn != NULL) {
        *sent += p->conn->sent_bytes;
        *received += p->conn->received_bytes;
    }
}

/* ---- life ---------------------------------------------------------------- */

void peer_start(struct peer *p, struct transport *t,
                const struct transport_peer *config)
{
    *p = (struct peer){.transport = t, .id = config->id};
    snprintf(p->text, sizeof p->text, "%s", config->address);
    address_parse(p->text, &p->address);
    uv_timer_init(t->conns.loop, &p->redial);
    p->redial.data = p;
    t->handles++;
    uv_timer_start(&p->redial, on_redial, 0, 0);
}

void peer_move(struct peer *p, const char *address)
{
    if (strcmp(p->text, address) != 0) {
        snprintf(p->text, sizeof p->text, "%s", address);
        address_parse(p->text, &p->address);
        p->n_found = p->next_found = 0;
    }
}

static void on_redial_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;
    struct transport *t = p->transport;

    free(p);
    transport_handle_gone(t);
}

void peer_stop(struct peer *p)
{
    if (p->lookup != NULL) {
        lookup_forget(p->lookup);
        p->lookup = NULL;
    }
    /* Its connections are the caller's to end. */
    p->conn = p->dial = NULL;
    uv_close((uv_handle_t *)&p->redial, on_redial_closed);
}
