/* One TCP connection per peer, all groups multiplexed on it.
 *
 * Both sides listen and dial; of two connections between the same nodes the one
 * dialled by the lower node id is kept. TCP_NODELAY. Everything queued for a
 * peer during one loop turn leaves in one write. Lives on one libuv loop; all
 * callbacks come from it, never from inside a call.
 *
 * Packets are lost when a connection drops: the users are built for that. */
#ifndef CONSENSUS_TRANSPORT_H
#define CONSENSUS_TRANSPORT_H

#include <stdbool.h>
#include <uv.h>

#include "wire/hello.h"
#include "wire/packet.h"

struct transport;

struct transport_peer {
    uint64_t id;
    char address[ADDRESS_MAX]; /* host:port, [v6]:port */
};

struct transport_options {
    uv_loop_t* loop;
    const char* bind; /* host:port; copied */
    uint64_t node_id;
    void* data;
    /* Fill our hello; called for every connection. */
    void (*hello)(void* data, struct hello* out);
    /* Judge a peer's hello (its id is one of the peers and it answers our
     * dial with the id we dialled: checked before). Return true, or false with
     * the reason in `why` (size bytes): it is sent to the peer and logged. */
    bool (*accept)(void* data, const struct hello* peer, char* why,
                   size_t size);
    /* The peer refused us: `why` is its text (NUL-terminated). */
    void (*refused)(void* data, uint64_t peer, const char* why);
    void (*up)(void* data, uint64_t peer, const struct hello* hello);
    void (*down)(void* data, uint64_t peer);
    /* The payload is borrowed for the call. */
    void (*packet)(void* data, uint64_t peer, const struct packet* packet);
};

/* Binds and starts dialling the peers (backoff 50 ms to 1 s, jittered).
 * Returns 0 or -errno; on -EADDRINUSE etc. nothing is left behind. */
int transport_start(const struct transport_options* options,
                    const struct transport_peer* peers, unsigned count,
                    struct transport** out);

/* Queue a packet. 0, or ERR_CLOSED when there is no connection, ERR_FULL when
 * too much is queued (the connection is dropped then). */
int transport_send(struct transport* t, uint64_t peer, uint8_t kind,
                   uint32_t group, const void* payload, size_t len);

/* The same without a copy of the payload: appends to the peer's queue by the
 * two calls of wire/packet.h. NULL when there is no connection. */
struct buf* transport_queue(struct transport* t, uint64_t peer);
void transport_queued(struct transport* t, uint64_t peer);

bool transport_is_up(const struct transport* t, uint64_t peer);

/* Milliseconds since anything was heard from the peer; UINT64_MAX: never. */
uint64_t transport_silent_ms(const struct transport* t, uint64_t peer);

/* Flush what is queued for at most `linger_ms`, close all, then call back. */
void transport_stop(struct transport* t, unsigned linger_ms,
                    void (*stopped)(void* data), void* data);

#endif
