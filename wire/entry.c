/* Layouts: docs/FORMATS.md, "Log entries".
 *
 * One set of rules (valid_*) guards both directions: an entry that breaks them
 * must not enter the log, where every node would have to refuse it. */
#include "wire/entry.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "wire/pack.h"
#include "wire/page.h"
#include "wire/unpack.h"

/* Elements of the outer array, kind and version included. */
enum {
    CLUSTER_FIELDS = 4,
    ENROLL_FIELDS = 8,
    HOLDS_FIELDS = 4,
    TXN_FIELDS = 12,
    MEMBERS_FIELDS = 5
};

/* ---- rules ------------------------------------------------------------- */

static int valid_cluster(const struct entry_cluster *e)
{
    if (e->shards > SHARDS_MAX) {
        return ERR_TOO_BIG;
    }
    return e->shards > 0 && !uuid_is_none(&e->cluster) ? 0 : ERR_CORRUPT;
}

static int valid_enroll(const struct entry_enroll *e)
{
    if (!db_name_valid(e->name) || uuid_is_none(&e->db) || e->node == 0) {
        return ERR_CORRUPT;
    }
    if (e->page_size == 0) {
        return e->pages == 0 && e->checksum == 0 ? 0 : ERR_CORRUPT;
    }
    return page_size_valid(e->page_size) && page_number_valid(e->pages)
               ? 0
               : ERR_CORRUPT;
}

static int valid_holds(const struct entry_holds *e)
{
    return e->node > 0 && !uuid_is_none(&e->db) ? 0 : ERR_CORRUPT;
}

static int valid_txn(enum entry_kind kind, const struct entry_txn *e)
{
    static const struct token none;
    bool brings_pages = e->pages.count > 0 || e->parts > 0;

    if (uuid_is_none(&e->db) || e->base.txid == UINT64_MAX ||
        e->db_pages > PAGE_NUMBER_MAX) {
        return ERR_CORRUPT;
    }
    if (e->parts > TXN_PARTS_MAX || e->number >= TXN_PARTS_MAX) {
        return ERR_TOO_BIG;
    }
    if (kind == ENTRY_PART && (e->db_pages != 0 || e->parts != 0 ||
                               e->checksum != 0 || e->pages.count == 0)) {
        return ERR_CORRUPT;
    }
    if (kind == ENTRY_TXN && (token_equal(&e->token, &none) || e->number != 0 ||
                              (brings_pages && e->db_pages == 0))) {
        return ERR_CORRUPT;
    }
    return entry_pages_valid(&e->pages);
}

/* ---- encoding ---------------------------------------------------------- */

/* Returns false, with the reason in out->err, when nothing is to be written. */
static bool may_write(struct buf *out, int valid)
{
    if (out->err == 0) {
        out->err = valid;
    }
    return out->err == 0;
}

static void pack_head(struct buf *out, uint32_t fields, enum entry_kind kind)
{
    pack_array(out, fields);
    pack_uint(out, kind);
    pack_uint(out, ENTRY_VERSION);
}

static void pack_uuid(struct buf *out, const struct uuid *u)
{
    pack_bin(out, u->b, sizeof u->b);
}

int entry_encode_cluster(const struct entry_cluster *e, struct buf *out)
{
    if (may_write(out, valid_cluster(e))) {
        pack_head(out, CLUSTER_FIELDS, ENTRY_CLUSTER);
        pack_uuid(out, &e->cluster);
        pack_uint(out, e->shards);
    }
    return out->err;
}

int entry_encode_enroll(const struct entry_enroll *e, struct buf *out)
{
    if (may_write(out, valid_enroll(e))) {
        pack_head(out, ENROLL_FIELDS, ENTRY_ENROLL);
        pack_str(out, e->name);
        pack_uuid(out, &e->db);
        pack_uint(out, e->node);
        pack_uint(out, e->page_size);
        pack_uint(out, e->pages);
        pack_uint(out, e->checksum);
    }
    return out->err;
}

static int encode_holds(enum entry_kind kind, const struct entry_holds *e,
                        struct buf *out)
{
    if (may_write(out, valid_holds(e))) {
        pack_head(out, HOLDS_FIELDS, kind);
        pack_uuid(out, &e->db);
        pack_uint(out, e->node);
    }
    return out->err;
}

int entry_encode_holds(const struct entry_holds *e, struct buf *out)
{
    return encode_holds(ENTRY_HOLDS, e, out);
}

int entry_encode_drop(const struct entry_holds *e, struct buf *out)
{
    return encode_holds(ENTRY_DROP, e, out);
}

int entry_encode_members(const struct entry_members *e,
                         const struct member_info *members, struct buf *out)
{
    bool valid = e->n > 0 && e->n <= NODES_MAX;

    for (uint32_t i = 0; valid && i < e->n; i++) {
        valid = member_valid(&members[i]);
    }
    if (may_write(out, valid ? 0 : ERR_CORRUPT)) {
        pack_head(out, MEMBERS_FIELDS, ENTRY_MEMBERS);
        pack_uint(out, e->action);
        pack_uint(out, e->group);
        pack_array(out, e->n);
        for (uint32_t i = 0; i < e->n; i++) {
            member_pack(out, &members[i]);
        }
    }
    return out->err;
}

static void pack_token(struct buf *out, const struct token *t)
{
    uint8_t bytes[TOKEN_BYTES];

    put_le64(bytes, t->node);
    put_le64(bytes + 8, t->start);
    put_le64(bytes + 16, t->session);
    put_le64(bytes + 24, t->sequence);
    pack_bin(out, bytes, sizeof bytes);
}

int entry_encode_txn(enum entry_kind kind, const struct entry_txn *e,
                     const uint32_t *numbers, const uint8_t *images,
                     struct buf *out)
{
    int valid = valid_txn(kind, e);

    if (valid == 0 && !entry_pages_distinct(numbers, e->pages.count)) {
        valid = ERR_CORRUPT;
    }
    if (!may_write(out, valid)) {
        return out->err;
    }
    pack_head(out, TXN_FIELDS, kind);
    pack_uuid(out, &e->db);
    pack_uint(out, e->base.txid);
    pack_uint(out, e->base.hash);
    pack_token(out, &e->token);
    pack_uint(out, e->db_pages);
    pack_uint(out, e->parts);
    pack_uint(out, e->number);
    pack_uint(out, e->checksum);
    pack_uint(out, e->pages.page_size);
    entry_pages_pack(&e->pages, numbers, images, out);
    return out->err;
}

/* ---- decoding ---------------------------------------------------------- */

static void unpack_uuid(struct unpack *u, struct uuid *out)
{
    unpack_bin_exact(u, out->b, sizeof out->b);
}

static int decode_cluster(struct unpack *u, struct entry_cluster *e)
{
    unpack_uuid(u, &e->cluster);
    e->shards = (uint32_t)unpack_uint(u, SHARDS_MAX);
    return u->err ? u->err : valid_cluster(e);
}

static int decode_enroll(struct unpack *u, struct entry_enroll *e)
{
    unpack_str(u, e->name, sizeof e->name);
    unpack_uuid(u, &e->db);
    e->node = unpack_uint(u, UINT64_MAX);
    e->page_size = (uint32_t)unpack_uint(u, PAGE_SIZE_MAX);
    e->pages = (uint32_t)unpack_uint(u, PAGE_NUMBER_MAX);
    e->checksum = unpack_uint(u, UINT64_MAX);
    return u->err ? u->err : valid_enroll(e);
}

static int decode_holds(struct unpack *u, struct entry_holds *e)
{
    unpack_uuid(u, &e->db);
    e->node = unpack_uint(u, UINT64_MAX);
    return u->err ? u->err : valid_holds(e);
}

static int decode_members(struct unpack *u, struct entry_members *e)
{
    struct member_info m;

    e->action = (enum members_action)unpack_uint(u, MEMBERS_ALONE);
    e->group = (uint32_t)unpack_uint(u, SHARDS_MAX - 1);
    e->n = unpack_array(u);
    e->list = *u;
    if (u->err == 0 && (e->action == 0 || e->n == 0 || e->n > NODES_MAX ||
                        (e->action != MEMBERS_FOUND && e->n != 1))) {
        return ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < e->n; i++) {
        member_unpack(u, &m);
    }
    unpack_leave(u);
    return u->err;
}

static void unpack_token(struct unpack *u, struct token *t)
{
    uint8_t bytes[TOKEN_BYTES];

    unpack_bin_exact(u, bytes, sizeof bytes);
    t->node = get_le64(bytes);
    t->start = get_le64(bytes + 8);
    t->session = get_le64(bytes + 16);
    t->sequence = get_le64(bytes + 24);
}

static int decode_txn(struct unpack *u, enum entry_kind kind,
                      struct entry_txn *e)
{
    int rc;

    unpack_uuid(u, &e->db);
    e->base.txid = unpack_uint(u, UINT64_MAX);
    e->base.hash = unpack_uint(u, UINT64_MAX);
    unpack_token(u, &e->token);
    e->db_pages = (uint32_t)unpack_uint(u, PAGE_NUMBER_MAX);
    e->parts = (uint32_t)unpack_uint(u, TXN_PARTS_MAX);
    e->number = (uint32_t)unpack_uint(u, TXN_PARTS_MAX - 1);
    e->checksum = unpack_uint(u, UINT64_MAX);
    e->pages.page_size = (uint32_t)unpack_uint(u, PAGE_SIZE_MAX);
    rc = u->err ? u->err : entry_pages_decode(u, &e->pages);
    return rc ? rc : valid_txn(kind, e);
}

static int decode_fields(struct unpack *u, uint32_t fields, struct entry *e)
{
    static const uint32_t expected[] = {
        [ENTRY_CLUSTER] = CLUSTER_FIELDS, [ENTRY_ENROLL] = ENROLL_FIELDS,
        [ENTRY_HOLDS] = HOLDS_FIELDS,     [ENTRY_PART] = TXN_FIELDS,
        [ENTRY_TXN] = TXN_FIELDS,         [ENTRY_MEMBERS] = MEMBERS_FIELDS,
        [ENTRY_DROP] = HOLDS_FIELDS,
    };

    if (e->kind == ENTRY_SHARDS) {
        return entry_decode_shards(u, fields, &e->shards);
    }
    if (e->kind >= ENTRY_MOVE) {
        return entry_decode_move(u, e->kind, fields, &e->move);
    }
    if (fields != expected[e->kind]) {
        return ERR_CORRUPT;
    }
    switch (e->kind) {
    case ENTRY_CLUSTER:
        return decode_cluster(u, &e->cluster);
    case ENTRY_ENROLL:
        return decode_enroll(u, &e->enroll);
    case ENTRY_HOLDS:
    case ENTRY_DROP:
        return decode_holds(u, &e->holds);
    case ENTRY_PART:
    case ENTRY_TXN:
        return decode_txn(u, e->kind, &e->txn);
    case ENTRY_MEMBERS:
        return decode_members(u, &e->members);
    default:
        return ERR_CORRUPT;
    }
}

/* Kinds and versions that do not exist yet are not corrupt: a newer program
 * wrote them. */
static int check_kind(uint64_t kind, uint64_t version)
{
    if (kind == 0 || version == 0) {
        return ERR_CORRUPT;
    }
    return kind <= ENTRY_SHARDS && version == ENTRY_VERSION ? 0 : ERR_VERSION;
}

int entry_decode(const void *bytes, size_t len, struct entry *e)
{
    struct unpack u;
    struct entry read;
    uint32_t fields;
    uint64_t kind, version;
    int rc;

    if (len > PACKET_BYTES_MAX) {
        return ERR_TOO_BIG;
    }
    unpack_init(&u, bytes, len);
    fields = unpack_array(&u);
    kind = unpack_uint(&u, UINT64_MAX);
    version = unpack_uint(&u, UINT64_MAX);
    rc = u.err ? u.err : check_kind(kind, version);
    if (rc != 0) {
        return rc;
    }
    memset(&read, 0, sizeof read);
    read.kind = (enum entry_kind)kind;
    rc = decode_fields(&u, fields, &read);
    if (rc == 0) {
        rc = unpack_end(&u);
    }
    if (rc == 0) {
        *e = read;
    }
    return rc;
}
