/* Packets between nodes that are opaque to consensus/: leases and images.
 *
 * Little-endian fixed layouts (docs/FORMATS.md). Pure. */
#ifndef WIRE_HOST_H
#define WIRE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/ids.h"
#include "wire/packet.h"

enum host_kind {
    HOST_LEASE_ASK = PACKET_HOST,   /* to the leader: I want to write */
    HOST_LEASE_GRANT,               /* from the leader */
    HOST_LEASE_RECALL,              /* from the leader: somebody else asks */
    HOST_LEASE_RELEASE,             /* to the leader */
    HOST_IMAGE_ASK,                 /* give me the database */
    HOST_IMAGE_BEGIN,               /* what follows on request */
    HOST_IMAGE_NO,                  /* not from me */
    HOST_IMAGE_MORE,                /* which of these pages are others? */
    HOST_IMAGE_PAGES,               /* those, as an ENTRY_PART */
    HOST_IMAGE_END,                 /* the reader may be closed */
    HOST_LEASE_PROBE,               /* from the leader: do I lead? */
    HOST_LEASE_ALIVE,               /* to the leader: you do, in this term */
    HOST_LEASE_TAKE,                /* to the leader of before: what is held? */
    HOST_LEASE_TABLE,               /* from it: this, and I grant no more */
    HOST_PREFER = PACKET_HOST + 24, /* leadership was moved by hand */
    HOST_VERIFY_ASK,                /* wire/verify.h */
    HOST_VERIFY_ANSWER,
    HOST_MEMBERS = PACKET_HOST + 30 /* who belongs to the cluster */
};

/* HOST_MEMBERS is a join_answer of wire/member.h. */

/* The lease packets; node/leases.c says who sends what when. What a kind has no
 * use for is 0. A TABLE is one of these with the term, then one for each lease
 * that is held. Times are microseconds of the clock of whoever sends a request;
 * the answer brings them back. */
struct host_lease {
    struct uuid db;
    uint64_t epoch; /* counts grants, over all leaders; 0 in a first ask */
    uint64_t index; /* GRANT: the leader's last log index */
    uint64_t term;  /* of the leader; TAKE: of the new one */
    uint64_t stamp; /* when it was asked or probed */
    uint64_t us;    /* GRANT: valid so long after `stamp`; TABLE: from now on */
    uint64_t node;  /* TABLE: who holds it */
};

#define HOST_LEASE_BYTES 64u

/* The image packets; `id` is the asker's, random, and names the transfer. */
struct host_image {
    struct uuid db;
    uint64_t id;
    /* HOST_IMAGE_BEGIN: */
    struct position position;
    uint64_t checksum;
    uint32_t page_size, pages;
    /* HOST_IMAGE_MORE: the pages asked about; PAGES: those answered. 0 of them:
     * nothing but a sign of life. */
    uint32_t first, count;
    /* Borrowed. HOST_IMAGE_PAGES: an encoded ENTRY_PART, empty when no page
     * differs. HOST_IMAGE_MORE: the hashes of the pages that the asker has, u64
     * each, 0 where it has none; empty: it has none of all. */
    const uint8_t *part;
    size_t part_len;
};

/* HOST_PREFER, of the packet's group: who is to lead it (0: whoever would
 * without), for good or until that one is back. */
struct host_prefer {
    uint64_t node;
    uint32_t stand_in; /* 0 or 1 */
};

int host_prefer_encode(const struct host_prefer *p, struct buf *out);
int host_prefer_decode(const void *bytes, size_t len, struct host_prefer *p);

int host_lease_encode(const struct host_lease *l, struct buf *out);
/* Exactly one. */
int host_lease_decode(const void *bytes, size_t len, struct host_lease *l);
int host_image_encode(const struct host_image *m, struct buf *out);
int host_image_decode(const void *bytes, size_t len, struct host_image *m);

/* Is a HOST_IMAGE_MORE's range one that can be, and are there as many hashes as
 * pages, or none? */
bool host_image_range_valid(const struct host_image *m);

#endif
