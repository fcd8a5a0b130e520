/* Layouts: docs/FORMATS.md, "Raft messages".
 *
 * The core takes what is decoded here without checks of its own, so that
 * nothing may pass that it could stumble over: entry types, terms above the
 * message's, indexes near the end of their range, configurations that do not
 * parse. */
#include "wire/raft_message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "wire/pack.h"
#include "wire/unpack.h"

/* Of indexes and terms: out of reach (500 years at 1,000 a second), and far
 * from overflow. */
#define INDEX_MAX ((1ull << 44) - 1)

#define ENTRY_FIELDS 3

/* Elements of the outer array, the type included. */
static const uint32_t fields_of[] = {
    [RAFT_IO_APPEND_ENTRIES] = 6,   [RAFT_IO_APPEND_ENTRIES_RESULT] = 4,
    [RAFT_IO_REQUEST_VOTE] = 7,     [RAFT_IO_REQUEST_VOTE_RESULT] = 4,
    [RAFT_IO_INSTALL_SNAPSHOT] = 7, [RAFT_IO_TIMEOUT_NOW] = 4,
};

/* ---- encoding ---------------------------------------------------------- */

static void pack_append(struct buf *out, const struct raft_append_entries *p)
{
    if (p->n_entries > AE_ENTRIES_MAX) {
        out->err = ERR_TOO_BIG;
        return;
    }
    pack_uint(out, p->term);
    pack_uint(out, p->prev_log_index);
    pack_uint(out, p->prev_log_term);
    pack_uint(out, p->leader_commit);
    pack_array(out, p->n_entries * ENTRY_FIELDS);
    for (unsigned i = 0; i < p->n_entries; i++) {
        pack_uint(out, p->entries[i].term);
        pack_uint(out, p->entries[i].type);
        pack_bin(out, p->entries[i].buf.base, p->entries[i].buf.len);
    }
}

static void pack_append_result(struct buf *out,
                               const struct raft_append_entries_result *p)
{
    pack_uint(out, p->term);
    pack_uint(out, p->rejected);
    pack_uint(out, p->last_log_index);
}

static void pack_vote(struct buf *out, const struct raft_request_vote *p)
{
    pack_uint(out, p->term);
    pack_uint(out, p->candidate_id);
    pack_uint(out, p->last_log_index);
    pack_uint(out, p->last_log_term);
    pack_bool(out, p->disrupt_leader);
    pack_bool(out, p->pre_vote);
}

static void pack_vote_result(struct buf *out,
                             const struct raft_request_vote_result *p)
{
    pack_uint(out, p->term);
    pack_bool(out, p->vote_granted);
    pack_uint(out, p->pre_vote);
}

static void pack_install(struct buf *out, const struct raft_install_snapshot *p)
{
    struct raft_buffer conf;

    if (p->conf.n == 0 || p->conf.n > NODES_MAX) {
        out->err = p->conf.n == 0 ? ERR_CORRUPT : ERR_TOO_BIG;
        return;
    }
    if (raft_configuration_encode(&p->conf, &conf) != 0) {
        out->err = -ENOMEM;
        return;
    }
    pack_uint(out, p->term);
    pack_uint(out, p->last_index);
    pack_uint(out, p->last_term);
    pack_bin(out, conf.base, conf.len);
    pack_uint(out, p->conf_index);
    pack_bin(out, p->data.base, p->data.len);
    raft_free(conf.base);
}

static void pack_timeout_now(struct buf *out, const struct raft_timeout_now *p)
{
    pack_uint(out, p->term);
    pack_uint(out, p->last_log_index);
    pack_uint(out, p->last_log_term);
}

int raft_message_encode(const struct raft_message *m, struct buf *out)
{
    assert(m->type >= RAFT_IO_APPEND_ENTRIES && m->type <= RAFT_IO_TIMEOUT_NOW);
    if (out->err != 0) {
        return out->err;
    }
    pack_array(out, fields_of[m->type]);
    pack_uint(out, m->type);
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        pack_append(out, &m->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        pack_append_result(out, &m->append_entries_result);
        break;
    case RAFT_IO_REQUEST_VOTE:
        pack_vote(out, &m->request_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        pack_vote_result(out, &m->request_vote_result);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        pack_install(out, &m->install_snapshot);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        pack_timeout_now(out, &m->timeout_now);
        break;
    }
    return out->err;
}

/* ---- configurations ---------------------------------------------------- */

#define CONF_FORMAT 1
#define CONF_HEAD_BYTES 9 /* u8 format, u64 count */

/* One server: u64 id, address with its NUL, u8 role. Moves *at behind it. */
static int conf_server(const uint8_t **at, const uint8_t *end,
                       struct raft_configuration *conf)
{
    const uint8_t *address, *nul;
    raft_id id;
    int rc;

    if (end - *at < 8) {
        return ERR_CORRUPT;
    }
    id = get_le64(*at);
    address = *at + 8;
    nul = memchr(address, 0, (size_t)(end - address));
    if (id == 0 || nul == NULL || end - nul < 2 || nul[1] > RAFT_SPARE) {
        return ERR_CORRUPT;
    }
    if (nul - address >= ADDRESS_MAX) {
        return ERR_TOO_BIG;
    }
    rc = raft_configuration_add(conf, id, (const char *)address, nul[1]);
    if (rc != 0) {
        return rc == RAFT_NOMEM ? -ENOMEM : ERR_CORRUPT;
    }
    *at = nul + 2;
    return 0;
}

/* Up to the next multiple of eight bytes. libraft does not initialize them, so
 * they may be anything. */
static int conf_padding(const uint8_t *at, const uint8_t *end, size_t len)
{
    return end - at < 8 && len % 8 == 0 ? 0 : ERR_CORRUPT;
}

int raft_conf_decode(const void *bytes, size_t len,
                     struct raft_configuration *conf)
{
    const uint8_t *at = bytes;
    const uint8_t *end;
    uint64_t n;
    int rc = 0;

    raft_configuration_init(conf);
    if (len < CONF_HEAD_BYTES) {
        return ERR_CORRUPT;
    }
    if (at[0] != CONF_FORMAT) {
        return ERR_VERSION;
    }
    n = get_le64(at + 1);
    if (n == 0) {
        return ERR_CORRUPT;
    }
    if (n > NODES_MAX) {
        return ERR_TOO_BIG;
    }
    end = at + len;
    at += CONF_HEAD_BYTES;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        rc = conf_server(&at, end, conf);
    }
    if (rc == 0) {
        rc = conf_padding(at, end, len);
    }
    if (rc != 0) {
        raft_configuration_close(conf);
        raft_configuration_init(conf);
    }
    return rc;
}

/* ---- decoding ---------------------------------------------------------- */

static uint64_t unpack_index(struct unpack *u)
{
    return unpack_uint(u, INDEX_MAX);
}

/* Offset of the payload behind one of `len` bytes; the core and the store read
 * payloads as words. */
static size_t aligned(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

/* The core reads a configuration entry as soon as it appends it. */
static int check_entry(const struct raft_entry *e, raft_term term)
{
    struct raft_configuration conf;
    int rc;

    if (e->term == 0 || e->term > term || e->type < RAFT_COMMAND ||
        e->type > RAFT_CHANGE) {
        return ERR_CORRUPT;
    }
    if (e->type != RAFT_CHANGE) {
        return 0;
    }
    rc = raft_conf_decode(e->buf.base, e->buf.len, &conf);
    if (rc == 0) {
        raft_configuration_close(&conf);
    }
    return rc == -ENOMEM ? rc : rc != 0 ? ERR_CORRUPT : 0;
}

/* Fill entries that point into the message; *total is what a batch needs. */
static int borrow_entries(struct unpack *u, struct raft_append_entries *p,
                          size_t *total)
{
    *total = 0;
    for (unsigned i = 0; i < p->n_entries; i++) {
        struct raft_entry *e = &p->entries[i];
        int rc;

        e->term = unpack_index(u);
        e->type = (unsigned short)unpack_uint(u, UINT16_MAX);
        e->buf.base = (void *)unpack_bin(u, PACKET_BYTES_MAX, &e->buf.len);
        rc = u->err ? u->err : check_entry(e, p->term);
        if (rc != 0) {
            return rc;
        }
        *total += aligned(e->buf.len);
    }
    return 0;
}

/* Copy the payloads into one batch, which all entries then point to. */
static int copy_payloads(struct raft_append_entries *p, size_t total)
{
    uint8_t *batch = raft_malloc(total > 0 ? total : 8);

    if (batch == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0, at = 0; i < p->n_entries; i++) {
        struct raft_entry *e = &p->entries[i];

        if (e->buf.len > 0) {
            memcpy(batch + at, e->buf.base, e->buf.len);
        }
        e->buf.base = batch + at;
        e->batch = batch;
        at += (unsigned)aligned(e->buf.len);
    }
    return 0;
}

static int decode_entries(struct unpack *u, struct raft_append_entries *p)
{
    size_t total;
    int rc;

    p->entries = raft_malloc(p->n_entries * sizeof *p->entries);
    if (p->entries == NULL) {
        return -ENOMEM;
    }
    rc = borrow_entries(u, p, &total);
    if (rc == 0) {
        unpack_leave(u);
        rc = unpack_end(u);
    }
    if (rc == 0) {
        rc = copy_payloads(p, total);
    }
    if (rc != 0) {
        raft_free(p->entries);
        p->entries = NULL;
    }
    return rc;
}

static int decode_append(struct unpack *u, struct raft_append_entries *p)
{
    uint32_t elements;

    p->term = unpack_index(u);
    p->prev_log_index = unpack_index(u);
    p->prev_log_term = unpack_index(u);
    p->leader_commit = unpack_index(u);
    elements = unpack_array(u);
    p->n_entries = elements / ENTRY_FIELDS;
    if (u->err != 0) {
        return u->err;
    }
    if (p->n_entries > AE_ENTRIES_MAX ||
        p->prev_log_index > INDEX_MAX - p->n_entries) {
        return ERR_TOO_BIG;
    }
    if (elements % ENTRY_FIELDS != 0 || p->prev_log_term > p->term) {
        return ERR_CORRUPT;
    }
    if (p->n_entries == 0) {
        return unpack_end(u);
    }
    return decode_entries(u, p);
}

static int decode_append_result(struct unpack *u,
                                struct raft_append_entries_result *p)
{
    p->term = unpack_index(u);
    p->rejected = unpack_index(u);
    p->last_log_index = unpack_index(u);
    return unpack_end(u);
}

static int decode_vote(struct unpack *u, struct raft_request_vote *p)
{
    int rc;

    p->term = unpack_index(u);
    p->candidate_id = unpack_uint(u, UINT64_MAX);
    p->last_log_index = unpack_index(u);
    p->last_log_term = unpack_index(u);
    p->disrupt_leader = unpack_bool(u);
    p->pre_vote = unpack_bool(u);
    rc = unpack_end(u);
    return rc == 0 && p->candidate_id == 0 ? ERR_CORRUPT : rc;
}

static int decode_vote_result(struct unpack *u,
                              struct raft_request_vote_result *p)
{
    p->term = unpack_index(u);
    p->vote_granted = unpack_bool(u);
    p->pre_vote = (raft_tribool)unpack_uint(u, raft_tribool_false);
    return unpack_end(u);
}

static int copy_data(const uint8_t *bytes, size_t len, struct raft_buffer *out)
{
    out->base = raft_malloc(len > 0 ? len : 1);
    if (out->base == NULL) {
        return -ENOMEM;
    }
    if (len > 0) {
        memcpy(out->base, bytes, len);
    }
    out->len = len;
    return 0;
}

static int decode_install(struct unpack *u, struct raft_install_snapshot *p)
{
    const uint8_t *conf, *data;
    size_t conf_len, data_len;
    int rc;

    p->term = unpack_index(u);
    p->last_index = unpack_index(u);
    p->last_term = unpack_index(u);
    conf = unpack_bin(u, PACKET_BYTES_MAX, &conf_len);
    p->conf_index = unpack_index(u);
    data = unpack_bin(u, PACKET_BYTES_MAX, &data_len);
    rc = unpack_end(u);
    if (rc == 0) {
        rc = raft_conf_decode(conf, conf_len, &p->conf);
    }
    if (rc != 0) {
        return rc == ERR_VERSION ? ERR_CORRUPT : rc;
    }
    rc = copy_data(data, data_len, &p->data);
    if (rc != 0) {
        raft_configuration_close(&p->conf);
    }
    return rc;
}

static int decode_timeout_now(struct unpack *u, struct raft_timeout_now *p)
{
    p->term = unpack_index(u);
    p->last_log_index = unpack_index(u);
    p->last_log_term = unpack_index(u);
    return unpack_end(u);
}

static int decode_body(struct unpack *u, struct raft_message *m)
{
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return decode_append(u, &m->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return decode_append_result(u, &m->append_entries_result);
    case RAFT_IO_REQUEST_VOTE:
        return decode_vote(u, &m->request_vote);
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return decode_vote_result(u, &m->request_vote_result);
    case RAFT_IO_INSTALL_SNAPSHOT:
        return decode_install(u, &m->install_snapshot);
    case RAFT_IO_TIMEOUT_NOW:
        return decode_timeout_now(u, &m->timeout_now);
    default:
        return ERR_CORRUPT;
    }
}

int raft_message_decode(const void *bytes, size_t len, struct raft_message *m)
{
    struct raft_message read;
    struct unpack u;
    uint32_t fields;
    int rc;

    if (len > PACKET_BYTES_MAX) {
        return ERR_TOO_BIG;
    }
    memset(&read, 0, sizeof read);
    unpack_init(&u, bytes, len);
    fields = unpack_array(&u);
    read.type = (unsigned short)unpack_uint(&u, UINT16_MAX);
    if (u.err != 0) {
        return u.err;
    }
    if (read.type < RAFT_IO_APPEND_ENTRIES || read.type > RAFT_IO_TIMEOUT_NOW ||
        fields != fields_of[read.type]) {
        return ERR_CORRUPT;
    }
    rc = decode_body(&u, &read);
    if (rc == 0) {
        *m = read;
    }
    return rc;
}

void raft_message_close(struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        if (m->append_entries.entries != NULL) {
            raft_free(m->append_entries.entries[0].batch);
            raft_free(m->append_entries.entries);
        }
        m->append_entries.entries = NULL;
        m->append_entries.n_entries = 0;
    }
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_configuration_init(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
        m->install_snapshot.data = (struct raft_buffer){0};
    }
}
