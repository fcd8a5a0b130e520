/* Messages between an application's session and its node, over P-marmot.
 *
 * Fixed little-endian layouts, no msgpack and no compression: guests need only
 * libc, and both ends are on one host. Every message:
 *
 *   0  u32  payload length, <= SESSION_BYTES_MAX
 *   4  u8   SESSION_VERSION of the sender's message
 *   5  u8   kind
 *   6  u16  zero
 *   8       payload
 *
 * A session asks one thing at a time; the node always answers, except where
 * noted. PARKED sessions may get one OFFER at any time.
 *
 *   session                       node
 *   HELLO                    ->   WELCOME | REFUSED
 *   LOCK                     ->   GRANT | REFUSED          (may take long)
 *   PARK  (while LOCK waits) ->   PARKED | GRANT | REFUSED (at once)
 *                            <-   OFFER    your turn: LOCK again within
 *                                          offer_ms and it is granted at once
 *   PROPOSE (not the last)        (no answer)
 *   PROPOSE (the last)       ->   COMMITTED | CONFLICT | UNKNOWN | FAILED
 *   UNLOCK                        (no answer)
 *   STATUS | POSITION        ->   TEXT
 *   WAIT                     ->   TEXT
 *   RESUME                   ->   COMMITTED | CONFLICT | UNKNOWN
 *                                          (may take long)
 */
#ifndef WIRE_SESSION_H
#define WIRE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/ids.h"

#define SESSION_VERSION 1
#define SESSION_HEADER_BYTES 8

enum session_kind {
    SESSION_HELLO = 1,
    SESSION_LOCK,
    SESSION_PARK,
    SESSION_PROPOSE,
    SESSION_UNLOCK,
    SESSION_STATUS,
    SESSION_POSITION,
    SESSION_WAIT,
    SESSION_RESUME, /* what became of a transaction whose answer was lost? */
    SESSION_WELCOME = 64,
    SESSION_REFUSED,
    SESSION_GRANT,
    SESSION_PARKED,
    SESSION_OFFER,
    SESSION_COMMITTED,
    SESSION_CONFLICT,
    SESSION_UNKNOWN,
    SESSION_FAILED,
    SESSION_TEXT
};

/* Why the node says no; each door translates it to its own codes. */
enum session_reason {
    REASON_BUSY = 1, /* not now: contention, no quorum, catching up */
    REASON_READONLY, /* this node is a replica */
    REASON_FULL,     /* too large, or no room */
    REASON_MOVED,    /* the file at this path is not the managed one */
    REASON_VERSION,  /* guest and node do not speak the same version */
    REASON_IO        /* the node cannot use the database; see its log */
};

struct session_hello {
    uint64_t dev, inode; /* of the database file that the session opened */
    uint32_t pid;
    bool empty; /* the file has no page 1 yet */
};

struct session_welcome {
    uint64_t node;
    uint32_t page_size; /* 0: the database has no page yet */
    uint32_t offer_ms;  /* how long an OFFER is kept */
    uint32_t session;   /* its number: in tokens and in the slot word */
    uint64_t start;     /* of the node: in tokens */
    bool replica;
};

struct session_refused {
    uint8_t reason;   /* enum session_reason */
    const char *text; /* borrowed, `len` bytes, not NUL-terminated */
    size_t len;
};

/* PROPOSE: pages of the transaction that is being committed. Small ones fit in
 * one message; large ones take several, each with at most PART_BYTES_MAX of
 * images (or one page). `numbers` and `images` are borrowed. */
struct session_propose {
    uint32_t page_size;
    uint32_t db_pages; /* size after the transaction, in the last; else 0 */
    uint32_t count;    /* pages in this message */
    uint32_t number;   /* 0, 1, ... of this message within the transaction */
    uint64_t sequence; /* of the transaction: in its token; from 1 */
    bool last;
    const uint8_t *numbers; /* count little-endian u32 */
    const uint8_t *images;  /* count * page_size bytes */
};

/* A state of a local WAL: names one committed state uniquely. */
struct wal_state {
    uint8_t salt[8];
    uint32_t frame; /* mxFrame; 0 = nothing in the WAL */
    uint32_t cksum[2];
};

enum unlock_kind {
    UNLOCK_NOTHING = 1, /* no frame was proposed (rollback, empty commit) */
    UNLOCK_STALE,       /* granted, but the read snapshot was older: the node
                           keeps the turn for offer_ms */
    UNLOCK_PUBLISHED    /* after COMMITTED: the wal-index shows it */
};

struct session_unlock {
    uint8_t kind;           /* enum unlock_kind */
    struct wal_state state; /* after UNLOCK_PUBLISHED */
};

struct session_wait {
    uint64_t txid;
    uint32_t timeout_ms;
};

struct session_resume {
    struct token token;
    struct position base;
};

struct session_text {
    bool ok; /* WAIT: reached before the timeout */
    const char *text;
    size_t len;
};

struct session_message {
    uint8_t kind;
    union {
        struct session_hello hello;
        struct session_welcome welcome;
        struct session_refused refused; /* REFUSED and FAILED */
        struct position position;       /* GRANT and COMMITTED */
        struct session_propose propose;
        struct session_unlock unlock;
        struct session_wait wait;
        struct session_resume resume;
        struct session_text text;
    };
};

/* Append a message. For PROPOSE only the fixed part and the length are
 * appended: the caller sends numbers and images right behind it, so that
 * images are not copied. Texts are cut at TEXT_MAX. Returns 0 or out->err. */
int session_encode(const struct session_message *m, struct buf *out);

/* Read the message at the start of `bytes`; borrowed from it. Returns as
 * packet_read does. */
int session_decode(const uint8_t *bytes, size_t len, struct session_message *m,
                   size_t *used);

/* Total bytes (header included) of the message whose first
 * SESSION_HEADER_BYTES are at `header`; 0 when they are not acceptable. */
size_t session_length(const uint8_t header[SESSION_HEADER_BYTES]);

#endif
