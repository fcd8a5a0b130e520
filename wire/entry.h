/* Log entries: what the groups order and every node's state machine reads.
 *
 * msgpack: [kind, version, fields...]; docs/FORMATS.md has the layout. The
 * pages of a transaction: wire/entry_page.h. */
#ifndef WIRE_ENTRY_H
#define WIRE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "wire/entry_move.h"
#include "wire/entry_page.h"
#include "wire/ids.h"
#include "wire/member.h"

#define ENTRY_VERSION 1

enum entry_kind {
    ENTRY_CLUSTER = 1, /* the cluster's id and shard count; group 0 only */
    ENTRY_ENROLL,      /* a database joins the group */
    ENTRY_HOLDS,       /* a node holds the content of a database */
    ENTRY_PART,        /* pages of a large transaction, before its ENTRY_TXN */
    ENTRY_TXN,         /* a transaction: compare-and-swap on the position */
    ENTRY_MEMBERS,     /* who belongs to the cluster; group 0 only */
    ENTRY_DROP,        /* a database leaves the cluster */
    ENTRY_MOVE,        /* it gets another name or begins to go elsewhere */
    ENTRY_HELD,        /* a node's file has what is to go */
    ENTRY_ADOPT,       /* its new group takes it or refuses */
    ENTRY_MOVED,       /* its old group lets it go, or goes on with it */
    ENTRY_SHARDS       /* there are to be more groups */
};

enum members_action {
    MEMBERS_FOUND = 1, /* the first ones, all at once */
    MEMBERS_SET,       /* one joins, or has another address or role */
    MEMBERS_LEAVE,     /* one is to be taken out of all groups */
    MEMBERS_LEFT,      /* `group` has taken one out */
    MEMBERS_ALONE      /* one is all there is (marmot recover) */
};

struct entry_cluster {
    struct uuid cluster;
    uint32_t shards;
};

struct entry_enroll {
    char name[DB_NAME_MAX + 1];
    struct uuid db;
    uint64_t node;      /* who has the content */
    uint32_t page_size; /* bytes; 0: an empty database, the first transaction
                           brings page size and pages */
    uint32_t pages;
    uint64_t checksum;
};

struct entry_holds {
    struct uuid db;
    uint64_t node;
};

struct entry_txn {
    struct uuid db;
    struct position base;
    struct token token;
    uint32_t db_pages; /* size after the transaction; 0 in a part */
    uint32_t parts;    /* ENTRY_TXN: how many ENTRY_PARTs came before */
    uint32_t number;   /* ENTRY_PART: 0, 1, ... ; otherwise 0 */
    uint64_t checksum; /* of the whole database afterwards; 0 in a part */
    struct entry_pages pages;
};

struct entry_members {
    enum members_action action;
    uint32_t group;     /* MEMBERS_LEFT */
    uint32_t n;         /* members in the list; MEMBERS_LEAVE and MEMBERS_LEFT
                           look at the id only */
    struct unpack list; /* decoder: for member_unpack, n times */
};

struct entry {
    enum entry_kind kind;
    union {
        struct entry_cluster cluster;
        struct entry_enroll enroll;
        struct entry_holds holds; /* ENTRY_HOLDS and ENTRY_DROP */
        struct entry_txn txn;     /* ENTRY_TXN and ENTRY_PART */
        struct entry_members members;
        struct entry_move move; /* from ENTRY_MOVE to ENTRY_MOVED */
        struct entry_shards shards;
    };
};

/* The encoders append to `out`. They return 0, out->err, or what entry_decode
 * would say of such an entry, which then stays in out->err too. */
int entry_encode_cluster(const struct entry_cluster *e, struct buf *out);
int entry_encode_enroll(const struct entry_enroll *e, struct buf *out);
int entry_encode_holds(const struct entry_holds *e, struct buf *out);
/* ENTRY_DROP has the same fields: `node` is who was asked to. */
int entry_encode_drop(const struct entry_holds *e, struct buf *out);

/* e->n members; e->list is not used. */
int entry_encode_members(const struct entry_members *e,
                         const struct member_info *members, struct buf *out);

/* `kind` is ENTRY_TXN or ENTRY_PART; pages: `count` numbers (host order) and
 * as many images one after the other. e->pages.packed is not used. A part may
 * have any token, also none (images travel so); a transaction may have no pages
 * and then no page size. */
int entry_encode_txn(enum entry_kind kind, const struct entry_txn *e,
                     const uint32_t *numbers, const uint8_t *images,
                     struct buf *out);

/* Everything is checked, also that no page comes twice, each page's number,
 * length and encoding: an entry that decodes can be applied, except that what
 * is inside lz4 blocks shows in entry_page_unpack. Borrowed from `bytes`.
 * Returns 0, ERR_CORRUPT, ERR_TOO_BIG or ERR_VERSION. */
int entry_decode(const void *bytes, size_t len, struct entry *e);

#endif
