/* Layouts: docs/FORMATS.md, "Sessions".
 *
 * Every check that needs only the header is made on the header alone, so that
 * a reader never waits for bytes of a message that it would refuse. */
#include "wire/session.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "wire/page.h"

enum {
    HELLO_BYTES = 24,
    PROPOSE_BYTES = 28,
    UNLOCK_BYTES = 24,
    WAIT_BYTES = 16,
    WELCOME_BYTES = 32,
    RESUME_BYTES = 48,
    TEXT_HEAD_BYTES = 4,
    FIXED_MAX = 48
};

_Static_assert(PART_BYTES_MAX / PAGE_SIZE_MIN * 4 + PART_BYTES_MAX +
                       PROPOSE_BYTES <=
                   SESSION_BYTES_MAX,
               "the largest part must fit into one message");

/* The payload: `fixed` bytes, then up to `tail_max` more. */
static const struct shape {
    bool known;
    uint32_t fixed, tail_max;
} shapes[] = {
    [SESSION_HELLO] = {true, HELLO_BYTES, 0},
    [SESSION_LOCK] = {true, 0, 0},
    [SESSION_PARK] = {true, 0, 0},
    [SESSION_PROPOSE] = {true, PROPOSE_BYTES,
                         SESSION_BYTES_MAX - PROPOSE_BYTES},
    [SESSION_UNLOCK] = {true, UNLOCK_BYTES, 0},
    [SESSION_STATUS] = {true, 0, 0},
    [SESSION_POSITION] = {true, 0, 0},
    [SESSION_WAIT] = {true, WAIT_BYTES, 0},
    [SESSION_RESUME] = {true, RESUME_BYTES, 0},
    [SESSION_WELCOME] = {true, WELCOME_BYTES, 0},
    [SESSION_REFUSED] = {true, TEXT_HEAD_BYTES, TEXT_MAX},
    [SESSION_GRANT] = {true, POSITION_BYTES, 0},
    [SESSION_PARKED] = {true, 0, 0},
    [SESSION_OFFER] = {true, 0, 0},
    [SESSION_COMMITTED] = {true, POSITION_BYTES, 0},
    [SESSION_CONFLICT] = {true, 0, 0},
    [SESSION_UNKNOWN] = {true, 0, 0},
    [SESSION_FAILED] = {true, TEXT_HEAD_BYTES, TEXT_MAX},
    [SESSION_TEXT] = {true, TEXT_HEAD_BYTES, TEXT_MAX},
};

/* NULL when there is no such message. */
static const struct shape *shape_of(uint8_t kind)
{
    if (kind >= sizeof shapes / sizeof shapes[0] || !shapes[kind].known) {
        return NULL;
    }
    return &shapes[kind];
}

static bool is_text(uint8_t kind)
{
    return kind == SESSION_REFUSED || kind == SESSION_FAILED ||
           kind == SESSION_TEXT;
}

/* ---- encoding ---------------------------------------------------------- */

static void put_position(uint8_t *p, const struct position *position)
{
    put_le64(p, position->txid);
    put_le64(p + 8, position->hash);
}

static void put_hello(uint8_t *p, const struct session_hello *h)
{
    put_le64(p, h->dev);
    put_le64(p + 8, h->inode);
    put_le32(p + 16, h->pid);
    put_le32(p + 20, h->empty);
}

static void put_welcome(uint8_t *p, const struct session_welcome *w)
{
    put_le64(p, w->node);
    put_le32(p + 8, w->page_size);
    put_le32(p + 12, w->offer_ms);
    put_le32(p + 16, w->replica);
    put_le32(p + 20, w->session);
    put_le64(p + 24, w->start);
}

static void put_propose(uint8_t *p, const struct session_propose *r)
{
    put_le32(p, r->page_size);
    put_le32(p + 4, r->db_pages);
    put_le32(p + 8, r->count);
    put_le32(p + 12, r->number);
    put_le32(p + 16, r->last);
    put_le64(p + 20, r->sequence);
}

static void put_resume(uint8_t *p, const struct session_resume *r)
{
    put_le64(p, r->token.node);
    put_le64(p + 8, r->token.start);
    put_le64(p + 16, r->token.session);
    put_le64(p + 24, r->token.sequence);
    put_position(p + 32, &r->base);
}

static void put_unlock(uint8_t *p, const struct session_unlock *u)
{
    put_le32(p, u->kind);
    memcpy(p + 4, u->state.salt, sizeof u->state.salt);
    put_le32(p + 12, u->state.frame);
    put_le32(p + 16, u->state.cksum[0]);
    put_le32(p + 20, u->state.cksum[1]);
}

static void put_fixed(uint8_t *p, const struct session_message *m)
{
    switch (m->kind) {
    case SESSION_HELLO:
        put_hello(p, &m->hello);
        break;
    case SESSION_PROPOSE:
        put_propose(p, &m->propose);
        break;
    case SESSION_UNLOCK:
        put_unlock(p, &m->unlock);
        break;
    case SESSION_WAIT:
        put_le64(p, m->wait.txid);
        put_le32(p + 8, m->wait.timeout_ms);
        put_le32(p + 12, 0);
        break;
    case SESSION_RESUME:
        put_resume(p, &m->resume);
        break;
    case SESSION_WELCOME:
        put_welcome(p, &m->welcome);
        break;
    case SESSION_REFUSED:
    case SESSION_FAILED:
        put_le32(p, m->refused.reason);
        break;
    case SESSION_GRANT:
    case SESSION_COMMITTED:
        put_position(p, &m->position);
        break;
    case SESSION_TEXT:
        put_le32(p, m->text.ok);
        break;
    default: /* the others are empty */
        break;
    }
}

/* Bytes behind the fixed part; *tail is NULL when the caller sends them. */
static size_t tail_of(const struct session_message *m, const char **tail)
{
    size_t len;

    *tail = NULL;
    if (m->kind == SESSION_PROPOSE) {
        return (size_t)m->propose.count * (4u + (size_t)m->propose.page_size);
    }
    if (!is_text(m->kind)) {
        return 0;
    }
    *tail = m->kind == SESSION_TEXT ? m->text.text : m->refused.text;
    len = m->kind == SESSION_TEXT ? m->text.len : m->refused.len;
    return len < TEXT_MAX ? len : TEXT_MAX;
}

int session_encode(const struct session_message *m, struct buf *out)
{
    const struct shape *shape = shape_of(m->kind);
    uint8_t head[SESSION_HEADER_BYTES + FIXED_MAX];
    const char *text;
    size_t tail;

    if (out->err != 0) {
        return out->err;
    }
    if (shape == NULL) {
        return out->err = ERR_CORRUPT;
    }
    tail = tail_of(m, &text);
    if (tail > shape->tail_max) {
        return out->err = ERR_TOO_BIG;
    }
    put_le32(head, shape->fixed + (uint32_t)tail);
    head[4] = SESSION_VERSION;
    head[5] = m->kind;
    put_le16(head + 6, 0);
    put_fixed(head + SESSION_HEADER_BYTES, m);
    buf_append(out, head, SESSION_HEADER_BYTES + shape->fixed);
    if (text != NULL) {
        buf_append(out, text, tail);
    }
    return out->err;
}

/* ---- decoding ---------------------------------------------------------- */

/* A u32 that stands for a bool. */
static int get_flag(const uint8_t *p, bool *out)
{
    uint32_t v = get_le32(p);

    if (v > 1) {
        return ERR_CORRUPT;
    }
    *out = v == 1;
    return 0;
}

static int get_hello(const uint8_t *p, struct session_hello *h)
{
    h->dev = get_le64(p);
    h->inode = get_le64(p + 8);
    h->pid = get_le32(p + 16);
    return get_flag(p + 20, &h->empty);
}

static int get_welcome(const uint8_t *p, struct session_welcome *w)
{
    w->node = get_le64(p);
    w->page_size = get_le32(p + 8);
    w->offer_ms = get_le32(p + 12);
    if (w->page_size != 0 && !page_size_valid(w->page_size)) {
        return ERR_CORRUPT;
    }
    w->session = get_le32(p + 20);
    w->start = get_le64(p + 24);
    return get_flag(p + 16, &w->replica);
}

/* The counts of a PROPOSE against each other and against its length. */
static int check_propose(const struct session_propose *r, size_t tail)
{
    uint64_t images = (uint64_t)r->count * r->page_size;

    if (!page_size_valid(r->page_size)) {
        return ERR_CORRUPT;
    }
    if (images > PART_BYTES_MAX || r->number >= TXN_PARTS_MAX) {
        return ERR_TOO_BIG;
    }
    if (tail != images + 4u * (uint64_t)r->count) {
        return ERR_CORRUPT;
    }
    if (r->last) {
        return page_number_valid(r->db_pages) ? 0 : ERR_CORRUPT;
    }
    return r->count > 0 && r->db_pages == 0 ? 0 : ERR_CORRUPT;
}

static int get_propose(const uint8_t *p, size_t tail, struct session_propose *r)
{
    int rc = get_flag(p + 16, &r->last);

    r->page_size = get_le32(p);
    r->db_pages = get_le32(p + 4);
    r->count = get_le32(p + 8);
    r->number = get_le32(p + 12);
    r->sequence = get_le64(p + 20);
    r->numbers = p + PROPOSE_BYTES;
    if (rc == 0) {
        rc = check_propose(r, tail);
    }
    if (rc != 0) {
        return rc;
    }
    r->images = r->numbers + 4u * (size_t)r->count;
    for (uint32_t i = 0; i < r->count; i++) {
        if (!page_number_valid(get_le32(r->numbers + 4u * (size_t)i))) {
            return ERR_CORRUPT;
        }
    }
    return 0;
}

static int get_unlock(const uint8_t *p, struct session_unlock *u)
{
    uint32_t kind = get_le32(p);

    if (kind < UNLOCK_NOTHING || kind > UNLOCK_PUBLISHED) {
        return ERR_CORRUPT;
    }
    u->kind = (uint8_t)kind;
    memcpy(u->state.salt, p + 4, sizeof u->state.salt);
    u->state.frame = get_le32(p + 12);
    u->state.cksum[0] = get_le32(p + 16);
    u->state.cksum[1] = get_le32(p + 20);
    return 0;
}

static int get_wait(const uint8_t *p, struct session_wait *w)
{
    w->txid = get_le64(p);
    w->timeout_ms = get_le32(p + 8);
    return get_le32(p + 12) == 0 ? 0 : ERR_CORRUPT;
}

static int get_refused(const uint8_t *p, size_t tail, struct session_refused *r)
{
    uint32_t reason = get_le32(p);

    if (reason < REASON_BUSY || reason > REASON_IO) {
        return ERR_CORRUPT;
    }
    r->reason = (uint8_t)reason;
    r->text = (const char *)p + TEXT_HEAD_BYTES;
    r->len = tail;
    return 0;
}

static int get_text(const uint8_t *p, size_t tail, struct session_text *t)
{
    t->text = (const char *)p + TEXT_HEAD_BYTES;
    t->len = tail;
    return get_flag(p, &t->ok);
}

static int get_position(const uint8_t *p, struct position *position)
{
    position->txid = get_le64(p);
    position->hash = get_le64(p + 8);
    return 0;
}

static int get_resume(const uint8_t *p, struct session_resume *r)
{
    r->token.node = get_le64(p);
    r->token.start = get_le64(p + 8);
    r->token.session = get_le64(p + 16);
    r->token.sequence = get_le64(p + 24);
    return get_position(p + 32, &r->base);
}

/* `tail`: bytes behind the fixed part; m->kind is set. */
static int get_payload(const uint8_t *p, size_t tail, struct session_message *m)
{
    switch (m->kind) {
    case SESSION_HELLO:
        return get_hello(p, &m->hello);
    case SESSION_PROPOSE:
        return get_propose(p, tail, &m->propose);
    case SESSION_UNLOCK:
        return get_unlock(p, &m->unlock);
    case SESSION_WAIT:
        return get_wait(p, &m->wait);
    case SESSION_RESUME:
        return get_resume(p, &m->resume);
    case SESSION_WELCOME:
        return get_welcome(p, &m->welcome);
    case SESSION_REFUSED:
    case SESSION_FAILED:
        return get_refused(p, tail, &m->refused);
    case SESSION_GRANT:
    case SESSION_COMMITTED:
        return get_position(p, &m->position);
    case SESSION_TEXT:
        return get_text(p, tail, &m->text);
    default: /* the others are empty */
        return 0;
    }
}

static int check_header(const uint8_t *header)
{
    uint32_t len = get_le32(header);
    const struct shape *shape;

    if (header[4] != SESSION_VERSION) {
        return ERR_VERSION;
    }
    shape = shape_of(header[5]);
    if (shape == NULL || get_le16(header + 6) != 0 || len < shape->fixed) {
        return ERR_CORRUPT;
    }
    if (len - shape->fixed > shape->tail_max) {
        return ERR_TOO_BIG;
    }
    return 0;
}

size_t session_length(const uint8_t header[SESSION_HEADER_BYTES])
{
    if (check_header(header) != 0) {
        return 0;
    }
    return SESSION_HEADER_BYTES + (size_t)get_le32(header);
}

int session_decode(const uint8_t *bytes, size_t len, struct session_message *m,
                   size_t *used)
{
    struct session_message read;
    size_t total;
    int rc;

    if (len < SESSION_HEADER_BYTES) {
        return ERR_SHORT;
    }
    rc = check_header(bytes);
    if (rc != 0) {
        return rc;
    }
    total = session_length(bytes);
    if (len < total) {
        return ERR_SHORT;
    }
    memset(&read, 0, sizeof read);
    read.kind = bytes[5];
    rc = get_payload(bytes + SESSION_HEADER_BYTES,
                     total - SESSION_HEADER_BYTES - shape_of(read.kind)->fixed,
                     &read);
    if (rc != 0) {
        return rc;
    }
    *m = read;
    *used = total;
    return 0;
}
