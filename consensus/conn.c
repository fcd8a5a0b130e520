/* A connection's life:
 *
 *                 NEW
 *       dialled /     \ accepted
 *       CONNECTING -> GREETING ---------------.
 *           |         |  |  |                 |
 *           |         |  |  '-> PARKED        | dialled: the acceptor's
 *           |         |  |        v           | hello came
 *           |         |  '---> CONFIRMING     |
 *           |         |           |           |
 *           |         v           v           v
 *           |      DRAINING <--------------- UP
 *           v         v
 *          CLOSED <---------- (from every state)
 *
 * Writing: packets collect in `out` and leave in one write per turn of the
 * loop. What the socket does not take at once goes to `sending`, and `out`
 * collects the next ones meanwhile: a packet is copied once.
 *
 * Flushing belongs to a prepare handle, right before the loop polls. If a
 * packet is queued after that (by another prepare callback), the loop would
 * sleep on it: an idle handle is active while something is unsent, which makes
 * libuv poll without waiting. */
#include "consensus/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/limits.h"
#include "consensus/address.h"

/* At least this much is read at once; also all that a peer may send before its
 * hello is complete. */
#define READ_BYTES_MIN ((size_t)64 << 10)

/* Buffers above this are given back when they are empty: a burst must not stay
 * in memory for every peer. Above PART_BYTES_MAX, so that the usual large
 * packets keep theirs. */
#define KEEP_BYTES_MAX ((size_t)2 << 20)

#define TO(s) (1u << CONN_##s)
static const unsigned may_become[] = {
    [CONN_NEW] = TO(CONNECTING) | TO(GREETING) | TO(CLOSED),
    [CONN_CONNECTING] = TO(GREETING) | TO(CLOSED),
    [CONN_GREETING] =
        TO(PARKED) | TO(CONFIRMING) | TO(UP) | TO(DRAINING) | TO(CLOSED),
    [CONN_PARKED] = TO(CONFIRMING) | TO(CLOSED),
    [CONN_CONFIRMING] = TO(UP) | TO(CLOSED),
    [CONN_UP] = TO(DRAINING) | TO(CLOSED),
    [CONN_DRAINING] = TO(CLOSED),
    [CONN_CLOSED] = 0,
};

static void on_timer(uv_timer_t *timer);
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *unused);
static void on_handle_closed(uv_handle_t *handle);

static void arm(struct conn *conn, uint64_t ms)
{
    conn->due_ms = uv_now(conn->set->loop) + ms;
    uv_timer_start(&conn->timer, on_timer, ms, 0);
}

static void enter_greeting(struct conn *conn)
{
    uv_tcp_nodelay(&conn->tcp, 1);
    /* Fails only for a socket that is not connected (any more); the deadline
     * ends that. */
    uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
}

static void enter_up(struct conn *conn)
{
    conn->heard_ms = uv_now(conn->set->loop);
    arm(conn, conn->set->timing.dead_ms);
}

static void enter_closed(struct conn *conn)
{
    list_remove(&conn->unsent);
    uv_close((uv_handle_t *)&conn->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_handle_closed);
}

/* The only place where state changes. */
void conn_become(struct conn *conn, enum conn_state next)
{
    assert(may_become[conn->state] & (1u << next));
    conn->state = next;
    switch (next) {
    case CONN_GREETING:
        enter_greeting(conn);
        break;
    case CONN_UP:
        enter_up(conn);
        break;
    case CONN_CLOSED:
        enter_closed(conn);
        break;
    case CONN_NEW:
    case CONN_CONNECTING:
    case CONN_PARKED:
    case CONN_CONFIRMING:
    case CONN_DRAINING:
        break;
    }
}

/* Gives back the memory of an empty buffer that grew large. */
static void empty(struct buf *b)
{
    if (b->cap > KEEP_BYTES_MAX) {
        buf_close(b);
    } else {
        buf_reset(b);
    }
}

/* ---- life ---------------------------------------------------------------- */

static int conn_new(struct conn_set *set, struct conn **out)
{
    struct conn *conn = calloc(1, sizeof *conn);
    int rc;

    if (conn == NULL) {
        return -ENOMEM;
    }
    rc = uv_tcp_init(set->loop, &conn->tcp);
    if (rc != 0) {
        free(conn);
        return rc;
    }
    uv_timer_init(set->loop, &conn->timer);
    conn->handles = 2;
    conn->tcp.data = conn->timer.data = conn;
    conn->connect.data = conn->write.data = conn->shutdown.data = conn;
    conn->set = set;
    buf_init(&conn->out, PEER_QUEUE_BYTES_MAX);
    buf_init(&conn->sending, PEER_QUEUE_BYTES_MAX);
    buf_init(&conn->in,
             PACKET_BYTES_MAX + PACKET_HEADER_BYTES + READ_BYTES_MIN);
    list_init(&conn->unsent);
    list_push(&set->all, &conn->link);
    set->count++;
    *out = conn;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    struct conn_set *set = conn->set;

    if (--conn->handles > 0) {
        return;
    }
    list_remove(&conn->link);
    buf_close(&conn->out);
    buf_close(&conn->sending);
    buf_close(&conn->in);
    free(conn);
    set->count--;
    set->gone(set);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct conn *conn = req->data;

    if (conn->state != CONN_CONNECTING) {
        return;
    }
    if (status != 0) {
        conn_fail(conn, status, uv_strerror(status));
        return;
    }
    conn_become(conn, CONN_GREETING);
    conn->set->events->connected(conn);
}

int conn_dial(struct conn_set *set, const struct sockaddr_storage *to,
              unsigned greet_ms, struct conn **out)
{
    struct conn *conn;
    int rc = conn_new(set, &conn);

    if (rc != 0) {
        return rc;
    }
    conn->dialled = true;
    address_text(to, conn->remote, sizeof conn->remote);
    rc = uv_tcp_connect(&conn->connect, &conn->tcp, (const struct sockaddr *)to,
                        on_connect);
    if (rc != 0) {
        conn_close(conn);
        return rc;
    }
    conn_become(conn, CONN_CONNECTING);
    arm(conn, greet_ms);
    *out = conn;
    return 0;
}

int conn_accept(struct conn_set *set, uv_stream_t *listener, struct conn **out)
{
    struct sockaddr_storage from = {0};
    int len = sizeof from;
    struct conn *conn;
    int rc = conn_new(set, &conn);

    if (rc != 0) {
        return rc;
    }
    rc = uv_accept(listener, (uv_stream_t *)&conn->tcp);
    if (rc != 0) {
        conn_close(conn);
        return rc;
    }
    uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&from, &len);
    address_text(&from, conn->remote, sizeof conn->remote);
    conn_become(conn, CONN_GREETING);
    arm(conn, set->timing.greet_ms);
    *out = conn;
    return 0;
}

void conn_close(struct conn *conn)
{
    if (conn->state != CONN_CLOSED) {
        conn_become(conn, CONN_CLOSED);
    }
}

void conn_fail(struct conn *conn, int code, const char *why)
{
    bool report = conn->state != CONN_CLOSED && conn->state != CONN_DRAINING;

    conn_close(conn);
    if (report) {
        conn->set->events->lost(conn, code, why);
    }
}

static void check_silence(struct conn *conn)
{
    uint64_t dead_ms = conn->set->timing.dead_ms;
    uint64_t now = uv_now(conn->set->loop);
    uint64_t silent = now - conn->heard_ms;

    if (silent < dead_ms) {
        arm(conn, dead_ms - silent);
    } else if (now - conn->due_ms > dead_ms / 4) {
        /* The timer itself is late: this process was stopped or busy, and what
         * the peer sent meanwhile is not read yet. */
        arm(conn, dead_ms / 4);
    } else {
        conn_fail(conn, UV_ETIMEDOUT, "nothing heard for too long");
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;

    switch (conn->state) {
    case CONN_UP:
        check_silence(conn);
        break;
    case CONN_DRAINING:
        conn_close(conn);
        break;
    case CONN_CONNECTING:
        conn_fail(conn, UV_ETIMEDOUT, "no connection in time");
        break;
    default:
        conn_fail(conn, UV_ETIMEDOUT, "no hello in time");
        break;
    }
}

/* ---- reading ------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct conn *conn = handle->data;
    struct buf *in = &conn->in;
    uint8_t *room = buf_room(in, READ_BYTES_MIN);
    size_t end = in->cap < in->max ? in->cap : in->max;

    (void)suggested;
    /* Without room libuv reports UV_ENOBUFS to on_read. */
    *out =
        uv_buf_init((char *)room, room != NULL ? (unsigned)(end - in->len) : 0);
}

/* A hello is small: do not wait, and hold memory, for one that claims not to
 * be. The first bytes of an incomplete packet are at the start of conn->in. */
static int check_greeting(const struct conn *conn)
{
    if (conn->state == CONN_UP || conn->in.len < PACKET_HEADER_BYTES ||
        get_le32(conn->in.data) <= READ_BYTES_MIN - PACKET_HEADER_BYTES) {
        return 0;
    }
    return ERR_TOO_BIG;
}

static bool listens(const struct conn *conn)
{
    return conn->state >= CONN_GREETING && conn->state <= CONN_UP;
}

static void take_packets(struct conn *conn)
{
    struct buf *in = &conn->in;
    struct packet packet;
    size_t at = 0, used = 0;
    int rc = 0;

    while (listens(conn)) {
        rc = packet_read(in->data + at, in->len - at, &packet, &used);
        if (rc != 0) {
            break;
        }
        at += used;
        conn->set->events->packet(conn, &packet);
    }
    if (!listens(conn)) {
        buf_reset(in);
        return;
    }
    if (at == in->len) {
        empty(in);
    } else if (at > 0) {
        buf_consume(in, at);
    }
    if (rc == ERR_SHORT) {
        rc = check_greeting(conn);
    }
    if (rc != 0) {
        char why[64];
        snprintf(why, sizeof why, "bad packet: %s", err_str(rc));
        conn_fail(conn, rc, why);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *unused)
{
    struct conn *conn = stream->data;

    (void)unused;
    if (n < 0) {
        conn_fail(
            conn, (int)n,
            n == UV_EOF ? "closed by the other side" : uv_strerror((int)n));
        return;
    }
    if (n == 0) {
        return;
    }
    conn->heard_ms = uv_now(conn->set->loop);
    conn->received_bytes += (uint64_t)n;
    if (!listens(conn)) {
        return;
    }
    buf_added(&conn->in, (size_t)n);
    take_packets(conn);
}

/* ---- writing ------------------------------------------------------------- */

static void flush(struct conn *conn);

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *conn = req->data;

    /* On success the peer's end of file, or the deadline, closes it: closing
     * now could take the last bytes away from the peer, because a socket that
     * is closed with unread input resets the connection. */
    if (status != 0) {
        conn_close(conn);
    }
}

static void finish_drain(struct conn *conn)
{
    if (conn->state != CONN_DRAINING || conn->writing || conn->out.len > 0) {
        return;
    }
    if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shutdown)) {
        conn_close(conn);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct conn *conn = req->data;

    conn->writing = false;
    if (conn->state == CONN_CLOSED) {
        return;
    }
    if (status != 0) {
        conn_fail(conn, status, uv_strerror(status));
        return;
    }
    empty(&conn->sending);
    conn->out.max = PEER_QUEUE_BYTES_MAX;
    if (conn->state == CONN_DRAINING) {
        flush(conn);
        finish_drain(conn);
    } else if (conn->out.len > 0) {
        conn_queued(conn);
    }
}

/* The socket took `written` bytes of conn->out and is full now. */
static void send_rest(struct conn *conn, size_t written)
{
    struct buf spare = conn->sending;
    uv_buf_t rest;
    int rc;

    conn->sending = conn->out;
    conn->out = spare;
    conn->out.max = PEER_QUEUE_BYTES_MAX - conn->sending.len;
    rest = uv_buf_init((char *)conn->sending.data + written,
                       (unsigned)(conn->sending.len - written));
    conn->writing = true;
    rc =
        uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &rest, 1, on_written);
    if (rc != 0) {
        conn->writing = false;
        conn_fail(conn, rc, uv_strerror(rc));
    }
}

static void flush(struct conn *conn)
{
    uv_buf_t all;
    int n;

    if (conn->out.err != 0) {
        conn_fail(conn, conn->out.err,
                  conn->out.err == ERR_TOO_BIG ? "too much is queued for it"
                                               : err_str(conn->out.err));
        return;
    }
    if (conn->writing || conn->out.len == 0) {
        return;
    }
    all = uv_buf_init((char *)conn->out.data, (unsigned)conn->out.len);
    conn->sent_bytes += conn->out.len;
    n = uv_try_write((uv_stream_t *)&conn->tcp, &all, 1);
    FAILPOINT("raft.sent");
    if (n < 0 && n != UV_EAGAIN) {
        conn_fail(conn, n, uv_strerror(n));
    } else if (n >= 0 && (size_t)n == conn->out.len) {
        empty(&conn->out);
    } else {
        send_rest(conn, n < 0 ? 0 : (size_t)n);
    }
}

static void on_awake(uv_idle_t *unused)
{
    (void)unused;
}

void conn_queued(struct conn *conn)
{
    assert(conn->state >= CONN_GREETING && conn->state <= CONN_UP);
    if (list_empty(&conn->unsent)) {
        list_push(&conn->set->unsent, &conn->unsent);
        uv_idle_start(&conn->set->awake, on_awake);
    }
}

void conn_send(struct conn *conn, uint8_t kind, uint32_t group,
               const void *payload, size_t len)
{
    packet_write(&conn->out, kind, group, payload, len);
    conn_queued(conn);
}

void conn_set_flush(struct conn_set *set)
{
    struct list *link;
    struct list now;

    if (list_empty(&set->unsent)) {
        return;
    }
    uv_idle_stop(&set->awake);
    /* What events queue meanwhile belongs to the next turn. */
    list_init(&now);
    while ((link = list_pop(&set->unsent)) != NULL) {
        list_push(&now, link);
    }
    while ((link = list_pop(&now)) != NULL) {
        flush(LIST_ENTRY(link, struct conn, unsent));
    }
}

void conn_drain(struct conn *conn, unsigned ms)
{
    list_remove(&conn->unsent);
    conn_become(conn, CONN_DRAINING);
    arm(conn, ms);
    flush(conn);
    finish_drain(conn);
}
