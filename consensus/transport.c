/* The contract: listeners, start, stop, and sending. See transport_internal.h
 * for the other parts.
 *
 * Shutting down: every handle and every connection is counted; the last close
 * callback frees the transport and tells the user. */
#include "consensus/transport.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/transport_internal.h"

/* Every peer sends something at least every 200 ms (the contract), so 3 s
 * without a byte is 15 of these missed: a dead host, a cut cable, a stopped
 * process. Shorter than a greeting, so that a peer that comes back after a
 * power loss finds its place free before its new dial gives up. */
static const struct conn_timing default_timing = {
    .greet_ms = 5000,
    .dead_ms = 3000,
    .drain_ms = 1000,
};

#define CROWD_PAUSE_MS 10000u
#define STRANGER_PAUSE_MS 1000u

/* ---- small things -------------------------------------------------------- */

struct peer *transport_find(const struct transport *t, uint64_t id)
{
    for (unsigned i = 0; i < t->n_peers; i++) {
        if (t->peers[i]->id == id) {
            return t->peers[i];
        }
    }
    return NULL;
}

bool quiet_passes(struct transport *t, struct quiet *q, unsigned pause_ms)
{
    uint64_t now = uv_now(t->conns.loop);

    if (now < q->until_ms) {
        return false;
    }
    q->until_ms = now + pause_ms;
    return true;
}

static void finish(struct transport *t)
{
    void (*stopped)(void *) = t->stopped;
    void *data = t->stopped_data;

    if (!t->stopping || t->handles > 0 || t->conns.count > 0) {
        return;
    }
    free(t);
    if (stopped != NULL) {
        stopped(data);
    }
}

void transport_handle_gone(struct transport *t)
{
    t->handles--;
    finish(t);
}

static void on_gone(struct conn_set *set)
{
    finish(set->data);
}

static void on_closed(uv_handle_t *handle)
{
    transport_handle_gone(handle->data);
}

/* ---- what connections report --------------------------------------------- */

static void on_packet(struct conn *conn, const struct packet *packet)
{
    struct transport *t = conn->set->data;
    struct peer *p = conn->user;

    if (conn->state != CONN_UP) {
        handshake_packet(conn, packet);
    } else if (packet->kind == PACKET_HELLO || packet->kind == PACKET_REFUSED) {
        conn_fail(conn, ERR_CORRUPT, "bad packet: a second hello or refusal");
    } else {
        t->options.packet(t->options.data, p->id, packet);
    }
}

static void on_lost(struct conn *conn, int code, const char *why)
{
    struct transport *t = conn->set->data;
    struct peer *p = conn->user;
    bool theirs =
        code == ERR_CORRUPT || code == ERR_VERSION || code == ERR_TOO_BIG;

    if (p == NULL) {
        if (theirs && quiet_passes(t, &t->strangers, STRANGER_PAUSE_MS)) {
            log_warn("stranger_dropped", "address=%s why=\"%s\"", conn->remote,
                     why);
        }
        return;
    }
    /* When it was up, or dialled, there is another line. */
    if (theirs && p->conn != conn && p->dial != conn) {
        log_warn("greeting_dropped", "node=%" PRIu64 " address=%s why=\"%s\"",
                 p->id, conn->remote, why);
    }
    peer_lost(p, conn, why);
}

static const struct conn_events events = {
    .connected = handshake_begin,
    .packet = on_packet,
    .lost = on_lost,
};

/* ---- listeners ----------------------------------------------------------- */

static unsigned count_strangers(const struct transport *t)
{
    const struct list *all = &t->conns.all;
    unsigned count = 0;

    for (const struct list *link = all->next; link != all; link = link->next) {
        const struct conn *conn = LIST_ENTRY(link, struct conn, link);
        count += !conn->dialled && conn->state != CONN_UP &&
                 conn->state != CONN_CLOSED;
    }
    return count;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct transport *t = listener->data;
    struct conn *conn;
    int rc = status;

    if (rc == 0) {
        rc = conn_accept(&t->conns, listener, &conn);
    }
    if (rc != 0) {
        if (quiet_passes(t, &t->crowds, CROWD_PAUSE_MS)) {
            log_warn("accept_failed", "why=\"%s\"", uv_strerror(rc));
        }
        return;
    }
    if (count_strangers(t) > STRANGERS_MAX) {
        if (quiet_passes(t, &t->crowds, CROWD_PAUSE_MS)) {
            log_warn("too_many_strangers",
                     "limit=%u address=%s why=\"connections that do not say "
                     "who they are\"",
                     STRANGERS_MAX, conn->remote);
        }
        conn_close(conn);
    }
}

/* A plain socket: bind and listen fail at once, and there is no handle of
 * libuv yet that would need a turn of the loop to go away. */
static int open_listener(const struct sockaddr_storage *at)
{
    socklen_t len = at->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                              : sizeof(struct sockaddr_in);
    int fd =
        socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, rc;

    if (fd < 0) {
        return -errno;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)at, len) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static void close_all(const int *fds, unsigned count)
{
    while (count > 0) {
        close(fds[--count]);
    }
}

/* One socket for every address of `bind` that this host has. "localhost" may
 * name ::1 where there is no IPv6: that is fine as long as one works. */
static int open_listeners(const char *bind, int fds[LISTENERS_MAX],
                          unsigned *count)
{
    struct sockaddr_storage at[ADDRESS_FOUND_MAX];
    struct address address;
    unsigned n, opened = 0;
    int rc = address_parse(bind, &address), fd = 0;

    if (rc == 0) {
        rc = address_resolve(&address, at, &n);
    }
    if (rc != 0) {
        return rc;
    }
    for (unsigned i = 0; i < n; i++) {
        fd = open_listener(&at[i]);
        if (fd >= 0) {
            fds[opened++] = fd;
        } else if (fd != -EADDRNOTAVAIL && fd != -EAFNOSUPPORT) {
            close_all(fds, opened);
            return fd;
        }
    }
    if (opened == 0) {
        return fd;
    }
    *count = opened;
    return 0;
}

/* Hands the sockets over to libuv; those that are left on failure stay. */
static int start_listeners(struct transport *t, const int *fds, unsigned count)
{
    for (; t->n_listeners < count; t->n_listeners++) {
        uv_tcp_t *listener = &t->listeners[t->n_listeners];
        int rc = uv_tcp_init(t->conns.loop, listener);
        if (rc != 0) {
            return rc;
        }
        listener->data = t;
        t->handles++;
        rc = uv_tcp_open(listener, fds[t->n_listeners]);
        if (rc != 0) {
            uv_close((uv_handle_t *)listener, on_closed);
            return rc;
        }
        /* Cannot fail any more: the socket listens already. */
        rc = uv_listen((uv_stream_t *)listener, SOMAXCONN, on_connection);
        if (rc != 0) {
            t->n_listeners++;
            return rc;
        }
    }
    return 0;
}

/* ---- start and stop ------------------------------------------------------ */

static void on_prepare(uv_prepare_t *prepare)
{
    struct transport *t = prepare->data;

    conn_set_flush(&t->conns);
}

static bool address_is_valid(const struct transport_peer *peer)
{
    struct address ignored;

    return memchr(peer->address, 0, sizeof peer->address) != NULL &&
           address_parse(peer->address, &ignored) == 0;
}

static int check_peers(const struct transport_peer *peers, unsigned count)
{
    if (count > NODES_MAX) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!address_is_valid(&peers[i])) {
            return -EINVAL;
        }
    }
    return 0;
}

static struct transport *transport_new(const struct transport_options *options,
                                       const struct conn_timing *timing)
{
    struct transport *t = calloc(1, sizeof *t);

    if (t == NULL) {
        return NULL;
    }
    t->options = *options;
    t->options.bind = NULL;
    t->random = (uv_hrtime() ^ options->node_id * 0x9E3779B97F4A7C15u) | 1;
    t->conns.loop = options->loop;
    t->conns.data = t;
    t->conns.events = &events;
    t->conns.timing = *timing;
    t->conns.gone = on_gone;
    list_init(&t->conns.all);
    list_init(&t->conns.unsent);
    return t;
}

static void start_handles(struct transport *t)
{
    uv_prepare_init(t->conns.loop, &t->flush);
    uv_idle_init(t->conns.loop, &t->conns.awake);
    t->flush.data = t->conns.awake.data = t;
    t->handles += 2;
    uv_prepare_start(&t->flush, on_prepare);
}

int transport_start_timed(const struct transport_options *options,
                          const struct transport_peer *peers, unsigned count,
                          const struct conn_timing *timing,
                          struct transport **out)
{
    int fds[LISTENERS_MAX];
    unsigned n_fds = 0;
    struct transport *t;
    int rc = check_peers(peers, count);

    if (rc == 0) {
        rc = open_listeners(options->bind, fds, &n_fds);
    }
    if (rc != 0) {
        return rc;
    }
    t = transport_new(options, timing);
    if (t == NULL) {
        close_all(fds, n_fds);
        return -ENOMEM;
    }
    start_handles(t);
    rc = start_listeners(t, fds, n_fds);
    if (rc != 0) {
        close_all(fds + t->n_listeners, n_fds - t->n_listeners);
        transport_stop(t, 0, NULL, NULL);
        return rc;
    }
    uv_update_time(t->conns.loop);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        if (peers[i].id != options->node_id) {
            rc = transport_add(t, &peers[i]);
        }
    }
    if (rc != 0) {
        transport_stop(t, 0, NULL, NULL);
        return rc;
    }
    *out = t;
    return 0;
}

int transport_add(struct transport *t, const struct transport_peer *peer)
{
    struct peer *p = transport_find(t, peer->id);

    if (!address_is_valid(peer)) {
        return -EINVAL;
    }
    if (p != NULL) {
        peer_move(p, peer->address);
        return 0;
    }
    if (t->n_peers == NODES_MAX) {
        return ERR_FULL;
    }
    p = calloc(1, sizeof *p);
    if (p == NULL) {
        return -ENOMEM;
    }
    t->peers[t->n_peers++] = p;
    peer_start(p, t, peer);
    return 0;
}

void transport_remove(struct transport *t, uint64_t id)
{
    struct peer *p = transport_find(t, id);
    const struct list *all = &t->conns.all;

    if (p == NULL) {
        return;
    }
    for (unsigned i = 0; i < t->n_peers; i++) {
        if (t->peers[i] == p) {
            t->peers[i] = t->peers[--t->n_peers];
        }
    }
    for (struct list *link = all->next; link != all; link = link->next) {
        struct conn *conn = LIST_ENTRY(link, struct conn, link);
        if (conn->user == p) {
            conn->user = NULL;
            conn_close(conn);
        }
    }
    peer_stop(p);
}

int transport_start(const struct transport_options *options,
                    const struct transport_peer *peers, unsigned count,
                    struct transport **out)
{
    return transport_start_timed(options, peers, count, &default_timing, out);
}

static void stop_conn(struct conn *conn, unsigned linger_ms)
{
    if (conn->state == CONN_UP) {
        conn_drain(conn, linger_ms);
    } else {
        conn_close(conn);
    }
}

void transport_stop(struct transport *t, unsigned linger_ms,
                    void (*stopped)(void *data), void *data)
{
    const struct list *all = &t->conns.all;

    /* The caller may come from outside the loop, or from a long callback. */
    uv_update_time(t->conns.loop);
    t->stopping = true;
    t->stopped = stopped;
    t->stopped_data = data;
    uv_close((uv_handle_t *)&t->flush, on_closed);
    uv_close((uv_handle_t *)&t->conns.awake, on_closed);
    for (unsigned i = 0; i < t->n_listeners; i++) {
        uv_close((uv_handle_t *)&t->listeners[i], on_closed);
    }
    for (unsigned i = 0; i < t->n_peers; i++) {
        peer_stop(t->peers[i]);
    }
    /* Closing is asynchronous: the list does not change here. */
    for (struct list *link = all->next; link != all; link = link->next) {
        stop_conn(LIST_ENTRY(link, struct conn, link), linger_ms);
    }
}

/* ---- sending ------------------------------------------------------------- */

/* The connection to use; NULL also when the next flush will drop it. */
static struct conn *usable(const struct transport *t, uint64_t id)
{
    const struct peer *p = transport_find(t, id);

    return p != NULL && p->conn != NULL && p->conn->out.err == 0 ? p->conn
                                                                 : NULL;
}

int transport_send(struct transport *t, uint64_t peer, uint8_t kind,
                   uint32_t group, const void *payload, size_t len)
{
    struct conn *conn = usable(t, peer);

    if (conn == NULL) {
        return ERR_CLOSED;
    }
    if (len > PACKET_BYTES_MAX) {
        return ERR_TOO_BIG;
    }
    conn_send(conn, kind, group, payload, len);
    return conn->out.err == 0 ? 0 : ERR_FULL;
}

struct buf *transport_queue(struct transport *t, uint64_t peer)
{
    struct conn *conn = usable(t, peer);

    return conn != NULL ? &conn->out : NULL;
}

void transport_queued(struct transport *t, uint64_t peer)
{
    const struct peer *p = transport_find(t, peer);

    if (p != NULL && p->conn != NULL) {
        conn_queued(p->conn);
    }
}

void transport_flush(struct transport *t)
{
    conn_set_flush(&t->conns);
}

bool transport_is_up(const struct transport *t, uint64_t peer)
{
    return usable(t, peer) != NULL;
}

uint64_t transport_silent_ms(const struct transport *t, uint64_t peer)
{
    const struct peer *p = transport_find(t, peer);

    if (p == NULL || !p->heard) {
        return UINT64_MAX;
    }
    return uv_now(t->conns.loop) -
           (p->conn != NULL ? p->conn->heard_ms : p->heard_ms);
}
