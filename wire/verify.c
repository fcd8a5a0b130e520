#include "wire/verify.h"

#include "base/bytes.h"
#include "base/err.h"

#define ASK_BYTES 24
#define ANSWER_BYTES 72 /* then the listed pages, u32 each */

int verify_ask_encode(const struct verify_ask *a, struct buf *out)
{
    uint8_t *p = buf_room(out, ASK_BYTES);

    if (p == NULL) {
        return out->err;
    }
    memcpy(p, a->db.b, 16);
    put_le64(p + 16, a->id);
    buf_added(out, ASK_BYTES);
    return 0;
}

int verify_ask_decode(const void *bytes, size_t len, struct verify_ask *a)
{
    const uint8_t *p = bytes;

    if (len != ASK_BYTES) {
        return ERR_CORRUPT;
    }
    memcpy(a->db.b, p, 16);
    a->id = get_le64(p + 16);
    return 0;
}

int verify_answer_encode(const struct verify_answer *a, struct buf *out)
{
    size_t len = ANSWER_BYTES + 4 * (size_t)a->n_listed;
    uint8_t *p = buf_room(out, len);

    if (p == NULL) {
        return out->err;
    }
    memcpy(p, a->db.b, 16);
    put_le64(p + 16, a->id);
    put_le64(p + 24, a->position.txid);
    put_le64(p + 32, a->position.hash);
    put_le64(p + 40, a->expected);
    put_le64(p + 48, a->found);
    put_le32(p + 56, a->pages);
    put_le32(p + 60, a->done);
    put_le32(p + 64, a->damaged);
    put_le32(p + 68, a->state);
    for (uint32_t i = 0; i < a->n_listed; i++) {
        put_le32(p + ANSWER_BYTES + 4 * (size_t)i, a->listed[i]);
    }
    buf_added(out, len);
    return 0;
}

int verify_answer_decode(const void *bytes, size_t len, struct verify_answer *a)
{
    const uint8_t *p = bytes;
    size_t listed = (len - ANSWER_BYTES) / 4;

    if (len < ANSWER_BYTES || (len - ANSWER_BYTES) % 4 != 0 ||
        listed > VERIFY_LISTED_MAX || get_le32(p + 68) > VERIFY_FAILED) {
        return ERR_CORRUPT;
    }
    memcpy(a->db.b, p, 16);
    a->id = get_le64(p + 16);
    a->position.txid = get_le64(p + 24);
    a->position.hash = get_le64(p + 32);
    a->expected = get_le64(p + 40);
    a->found = get_le64(p + 48);
    a->pages = get_le32(p + 56);
    a->done = get_le32(p + 60);
    a->damaged = get_le32(p + 64);
    a->state = get_le32(p + 68);
    a->n_listed = (uint32_t)listed;
    for (uint32_t i = 0; i < a->n_listed; i++) {
        a->listed[i] = get_le32(p + ANSWER_BYTES + 4 * (size_t)i);
    }
    return 0;
}
