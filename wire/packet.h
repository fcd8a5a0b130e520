/* Packets between nodes: framing only.
 *
 *   0  u32  length of the payload, little-endian, <= PACKET_BYTES_MAX
 *   4  u8   version of the framing, PACKET_VERSION
 *   5  u8   kind (enum packet_kind)
 *   6  u16  zero
 *   8  u32  group (shard number), 0 where it has no meaning
 *  12  u32  XXH3 (low 32 bits) of bytes 0-11 and the payload
 *  16       payload
 *
 * Pure: no I/O. */
#ifndef WIRE_PACKET_H
#define WIRE_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define PACKET_VERSION 1
#define PACKET_HEADER_BYTES 16

enum packet_kind {
    PACKET_HELLO = 1, /* first packet of either side (wire/hello.h) */
    PACKET_REFUSED,   /* the other side's hello was refused: text */
    PACKET_RAFT,      /* one raft message (wire/raft_message.h) */
    PACKET_PROPOSE,   /* an entry for the leader of `group` to append */
    PACKET_PING,      /* keeps `last heard` fresh; empty */
    PACKET_JOIN,      /* instead of a hello: may I join? (wire/member.h) */
    PACKET_JOINED,    /* its answer; empty: ask again in a moment */
    PACKET_HOST = 32, /* first of the kinds opaque to consensus/: node/ */
    PACKET_KIND_MAX = 63
};

struct packet {
    uint8_t kind;
    uint32_t group;
    const uint8_t *payload; /* borrowed from the reader */
    size_t len;
};

/* Append a whole packet to `out`. Returns 0 or out->err. */
int packet_write(struct buf *out, uint8_t kind, uint32_t group,
                 const void *payload, size_t len);

/* Begin a packet in place, append the payload to `out` yourself, then end it.
 * `begin` returns the offset that `end` needs. Errors stay in out->err. */
size_t packet_begin(struct buf *out, uint8_t kind, uint32_t group);
int packet_end(struct buf *out, size_t begin);

/* Read the packet at the start of `bytes`.
 *
 * Returns 0, fills *packet and sets *used to the bytes it takes; ERR_SHORT if
 * more bytes are needed; ERR_VERSION, ERR_TOO_BIG or ERR_CORRUPT when the
 * connection must be dropped. Outputs are untouched on failure. */
int packet_read(const uint8_t *bytes, size_t len, struct packet *packet,
                size_t *used);

#endif
