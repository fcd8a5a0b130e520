/* One TCP connection per peer, all groups multiplexed on it.
 *
 * Both sides listen and dial; when both succeed, the node with the lower id
 * decides which connection is used, its own before the other's (handshake.c).
 * TCP_NODELAY. Everything queued for a peer during one loop turn leaves in one
 * write. Lives on one libuv loop; all callbacks come from it, never from inside
 * a call, and any of them may call transport_stop.
 *
 * Packets are lost when a connection drops: the users are built for that. A
 * connection without a byte for 3 s counts as dead, so the user sends every
 * peer something (PACKET_PING) at least every 200 ms. */
#ifndef CONSENSUS_TRANSPORT_H
#define CONSENSUS_TRANSPORT_H

#include <stdbool.h>
#include <uv.h>

#include "wire/hello.h"
#include "wire/member.h"
#include "wire/packet.h"

struct transport;

struct transport_peer {
    uint64_t id;
    char address[ADDRESS_MAX]; /* host:port, [v6]:port */
};

struct transport_options {
    uv_loop_t *loop;
    const char *bind; /* host:port; copied */
    uint64_t node_id;
    void *data;
    /* Fill our hello; called for every connection. */
    void (*hello)(void *data, struct hello *out);
    /* Judge a peer's hello (its id is one of the peers and it answers our
     * dial with the id we dialled: checked before). Return true, or false with
     * the reason in `why` (size bytes): it is sent to the peer and logged. */
    bool (*accept)(void *data, const struct hello *peer, char *why,
                   size_t size);
    /* What to tell somebody who is none of the peers, instead of just that; it
     * stands in `why`. May be NULL. */
    void (*stranger)(void *data, const struct hello *peer, char *why,
                     size_t size);
    /* Somebody asks to become a member. Return true with the payload of the
     * answer in `out` (empty: ask again in a moment), or false with the reason
     * in `why`. NULL: nobody may. */
    bool (*join)(void *data, const struct member_info *who, struct buf *out,
                 char *why, size_t size);
    /* The peer refused us: `why` is its text (NUL-terminated). */
    void (*refused)(void *data, uint64_t peer, const char *why);
    void (*up)(void *data, uint64_t peer, const struct hello *hello);
    void (*down)(void *data, uint64_t peer);
    /* Between up and down; the payload is borrowed for the call. */
    void (*packet)(void *data, uint64_t peer, const struct packet *packet);
};

/* Binds and starts dialling the peers (backoff 50 ms to 1 s, jittered; 1 to 2 s
 * after a refusal). This node may be among them and is skipped. A name in
 * `bind` is looked up here, blocking; those of the peers never block.
 * Returns 0 or -errno: -EINVAL for an address that does not parse,
 * -EADDRNOTAVAIL for one that this host does not have, -EADDRINUSE. Nothing is
 * left behind then. */
int transport_start(const struct transport_options *options,
                    const struct transport_peer *peers, unsigned count,
                    struct transport **out);

/* One more peer, or another address of one that is there; dialled at once.
 * Returns 0, -EINVAL or -ENOMEM, or ERR_FULL when there are NODES_MAX. */
int transport_add(struct transport *t, const struct transport_peer *peer);

/* Close its connection and forget it; `down` is not called. */
void transport_remove(struct transport *t, uint64_t id);

/* Queue a packet. 0, or ERR_CLOSED when there is no connection, ERR_TOO_BIG
 * when the payload is above PACKET_BYTES_MAX, ERR_FULL when too much is queued
 * (the connection is dropped then). `kind` is neither HELLO nor REFUSED. */
int transport_send(struct transport *t, uint64_t peer, uint8_t kind,
                   uint32_t group, const void *payload, size_t len);

/* The same without a copy of the payload: appends to the peer's queue by the
 * two calls of wire/packet.h. NULL when there is no connection. An error in the
 * buffer drops the connection on the next turn. */
struct buf *transport_queue(struct transport *t, uint64_t peer);
void transport_queued(struct transport *t, uint64_t peer);

/* Send what is queued now, without waiting for the end of the loop's turn. */
void transport_flush(struct transport *t);

bool transport_is_up(const struct transport *t, uint64_t peer);

/* Milliseconds since anything was heard from the peer; UINT64_MAX: never. */
uint64_t transport_silent_ms(const struct transport *t, uint64_t peer);

/* Bytes to and from the peer on all connections that were up. */
void transport_traffic(const struct transport *t, uint64_t peer, uint64_t *sent,
                       uint64_t *received);

/* Flush what is queued for at most `linger_ms`, close all, then call back. No
 * other callback from now on, and no other call: `t` is freed before
 * `stopped`, which may be NULL. */
void transport_stop(struct transport *t, unsigned linger_ms,
                    void (*stopped)(void *data), void *data);

#endif
