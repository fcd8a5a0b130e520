/* One TCP connection between two nodes: packets over a socket.
 *
 * Knows framing, buffers, deadlines and its own states, but neither the peers
 * nor what a hello means: its user decides that and moves the state.
 *
 * Memory: a connection lives from conn_dial or conn_accept until libuv has
 * closed its handles, some time after conn_close, which may be called at any
 * time, also from inside an event. Events come from the loop, with the
 * exception of conn_fail, which is itself called from events only. */
#ifndef CONSENSUS_CONN_H
#define CONSENSUS_CONN_H

#include <stdbool.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "wire/hello.h"
#include "wire/packet.h"

enum conn_state {
    CONN_NEW,
    CONN_CONNECTING, /* dialled, TCP is not there yet */
    CONN_GREETING,   /* waits for the peer's hello */
    CONN_PARKED,     /* accepted, hello seen, answered when it is needed */
    CONN_CONFIRMING, /* accepted and answered, waits for the dialler's yes */
    CONN_UP,         /* packets flow */
    CONN_DRAINING,   /* the last bytes leave, what arrives is ignored */
    CONN_CLOSED      /* libuv closes its handles */
};

struct conn_timing {
    unsigned greet_ms; /* from dialling or accepting to CONN_UP */
    unsigned dead_ms;  /* without a byte in CONN_UP */
    unsigned drain_ms; /* to get a refusal out */
};

struct conn;

struct conn_events {
    /* A dialled connection is there (CONN_GREETING now). */
    void (*connected)(struct conn *conn);
    /* In CONN_GREETING to CONN_UP; the payload is borrowed for the call. */
    void (*packet)(struct conn *conn, const struct packet *packet);
    /* It broke, and is CONN_CLOSED now. Not called after conn_close or
     * conn_drain. `code` is ERR_* or one of libuv's, `why` a text for it. */
    void (*lost)(struct conn *conn, int code, const char *why);
};

/* What the connections of one transport share. */
struct conn_set {
    uv_loop_t *loop;
    void *data;
    const struct conn_events *events;
    struct conn_timing timing;
    struct list all; /* not freed yet, by conn.link */
    unsigned count;
    struct list unsent; /* something to flush, by conn.unsent */
    uv_idle_t awake;    /* active while `unsent` has members: see conn.c */
    /* A connection was freed; the set may be freed in it. */
    void (*gone)(struct conn_set *set);
};

struct conn {
    struct conn_set *set;
    struct list link, unsent;
    enum conn_state state;
    bool dialled;
    char remote[64];   /* "1.2.3.4:5" */
    uint64_t heard_ms; /* uv_now when the last bytes came */
    uint64_t received_bytes, sent_bytes;
    void *user;         /* the user's */
    struct hello hello; /* the user's: what the peer said */

    struct buf out;     /* collects packets; append, then conn_queued */
    struct buf sending; /* in flight */
    bool writing;       /* `sending` is */
    struct buf in;
    uint64_t due_ms; /* when the timer should fire */

    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned handles; /* open ones of the two above */
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
};

/* Dial; it has `greet_ms` to become CONN_UP. Returns 0 or one of libuv's
 * codes. */
int conn_dial(struct conn_set *set, const struct sockaddr_storage *to,
              unsigned greet_ms, struct conn **out);

/* Accept what waits at a listener. */
int conn_accept(struct conn_set *set, uv_stream_t *listener, struct conn **out);

/* To PARKED, CONFIRMING or UP; the others have a function of their own. */
void conn_become(struct conn *conn, enum conn_state next);

/* Append a packet to conn->out and mark it. Errors stay in conn->out.err; the
 * next flush drops the connection for them. */
void conn_send(struct conn *conn, uint8_t kind, uint32_t group,
               const void *payload, size_t len);

/* Something was appended to conn->out. */
void conn_queued(struct conn *conn);

/* Write everything queued on all connections, one write each. To be called
 * once per turn of the loop, before it polls. */
void conn_set_flush(struct conn_set *set);

/* Close and report as lost. */
void conn_fail(struct conn *conn, int code, const char *why);

/* Send what is queued, for at most `ms`, then close. */
void conn_drain(struct conn *conn, unsigned ms);

/* Close at once; nothing happens when it is closed already. */
void conn_close(struct conn *conn);

#endif
