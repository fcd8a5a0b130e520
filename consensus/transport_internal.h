/* The parts of the transport, for its own files and its test.
 *
 *   transport.c   the contract, listeners, start and stop
 *   peer.c        one peer: dialling, backoff, which connection is its one
 *   handshake.c   hello, refusals, and which of two connections survives
 *   conn.c        one TCP connection (knows none of the above) */
#ifndef CONSENSUS_TRANSPORT_INTERNAL_H
#define CONSENSUS_TRANSPORT_INTERNAL_H

#include "consensus/address.h"
#include "consensus/conn.h"
#include "consensus/transport.h"

/* A listener may stand for a name with several addresses. */
#define LISTENERS_MAX ADDRESS_FOUND_MAX

/* Accepted connections that have not finished their hello. Bounds what
 * somebody without a valid hello can make us hold: 128 times 64 KiB. */
#define STRANGERS_MAX 128u

/* Lets a line through only now and then. */
struct quiet {
    uint64_t until_ms; /* uv_now */
};

struct peer {
    struct transport *transport;
    uint64_t id;
    char text[ADDRESS_MAX]; /* its address as configured */
    struct address address;

    struct conn *conn; /* CONN_UP, or NULL */
    struct conn *dial; /* ours: CONNECTING or GREETING, or NULL */
    uint64_t up_ms;    /* since when `conn` is up */
    uint64_t heard_ms; /* last bytes of a connection that was up */
    bool heard;
    uint64_t received_bytes, sent_bytes; /* by connections that are gone */

    uv_timer_t redial;
    unsigned backoff_ms; /* the last one; 0: none yet */
    bool slow;           /* one side refused: redial slowly */
    bool failure_logged; /* of this series */
    struct quiet refusals;
    struct lookup *lookup; /* under way, or NULL */
    struct sockaddr_storage found[ADDRESS_FOUND_MAX];
    unsigned n_found, next_found;
};

struct transport {
    struct conn_set conns;
    struct transport_options options;
    struct peer *peers[NODES_MAX];
    unsigned n_peers;
    uv_tcp_t listeners[LISTENERS_MAX];
    unsigned n_listeners;
    uv_prepare_t flush;
    unsigned handles; /* open ones, without those of connections */
    uint64_t random;  /* for jitter */
    struct quiet strangers, crowds;
    bool stopping;
    void (*stopped)(void *data);
    void *stopped_data;
};

/* ---- transport.c ---- */

/* transport_start with deadlines of the caller's choice. */
int transport_start_timed(const struct transport_options *options,
                          const struct transport_peer *peers, unsigned count,
                          const struct conn_timing *timing,
                          struct transport **out);

/* NULL: not one of the peers. */
struct peer *transport_find(const struct transport *t, uint64_t id);

/* A handle that is counted in t->handles was closed. May free `t`. */
void transport_handle_gone(struct transport *t);

/* May a line be written now? If so, the next one in `pause_ms`. */
bool quiet_passes(struct transport *t, struct quiet *q, unsigned pause_ms);

/* ---- peer.c ---- */

/* `text` is a valid address. Dials on the next turn of the loop. */
void peer_start(struct peer *p, struct transport *t,
                const struct transport_peer *config);
/* From the next dial on. */
void peer_move(struct peer *p, const char *address);

void peer_stop(struct peer *p);

/* Decides what comes next after something ended: answer a parked connection,
 * dial, or nothing. */
void peer_next(struct peer *p);

/* The handshake is complete: from now on this is the peer's connection. */
void peer_up(struct peer *p, struct conn *conn);

/* One of its connections broke or was given up. */
void peer_lost(struct peer *p, struct conn *conn, const char *why);

/* ---- handshake.c ---- */

/* Our dial is connected: say hello. */
void handshake_begin(struct conn *conn);

/* A packet before CONN_UP. */
void handshake_packet(struct conn *conn, const struct packet *packet);

/* Answer the hello of an accepted connection. */
void handshake_answer(struct conn *conn);

#endif
