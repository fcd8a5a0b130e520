#include "wire/host.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "wire/page.h"

#define IMAGE_BYTES 64
#define PREFER_BYTES 12

int host_lease_encode(const struct host_lease *l, struct buf *out)
{
    uint8_t *p = buf_room(out, HOST_LEASE_BYTES);

    if (p == NULL) {
        return out->err;
    }
    memcpy(p, l->db.b, 16);
    put_le64(p + 16, l->epoch);
    put_le64(p + 24, l->index);
    put_le64(p + 32, l->term);
    put_le64(p + 40, l->stamp);
    put_le64(p + 48, l->us);
    put_le64(p + 56, l->node);
    buf_added(out, HOST_LEASE_BYTES);
    return 0;
}

int host_lease_decode(const void *bytes, size_t len, struct host_lease *l)
{
    const uint8_t *p = bytes;

    if (len != HOST_LEASE_BYTES) {
        return ERR_CORRUPT;
    }
    memcpy(l->db.b, p, 16);
    l->epoch = get_le64(p + 16);
    l->index = get_le64(p + 24);
    l->term = get_le64(p + 32);
    l->stamp = get_le64(p + 40);
    l->us = get_le64(p + 48);
    l->node = get_le64(p + 56);
    return 0;
}

int host_image_encode(const struct host_image *m, struct buf *out)
{
    uint8_t *p = buf_room(out, IMAGE_BYTES);

    if (p == NULL) {
        return out->err;
    }
    memcpy(p, m->db.b, 16);
    put_le64(p + 16, m->id);
    put_le64(p + 24, m->position.txid);
    put_le64(p + 32, m->position.hash);
    put_le64(p + 40, m->checksum);
    put_le32(p + 48, m->page_size);
    put_le32(p + 52, m->pages);
    put_le32(p + 56, m->first);
    put_le32(p + 60, m->count);
    buf_added(out, IMAGE_BYTES);
    return buf_append(out, m->part, m->part_len);
}

int host_image_decode(const void *bytes, size_t len, struct host_image *m)
{
    const uint8_t *p = bytes;

    if (len < IMAGE_BYTES) {
        return ERR_CORRUPT;
    }
    memcpy(m->db.b, p, 16);
    m->id = get_le64(p + 16);
    m->position.txid = get_le64(p + 24);
    m->position.hash = get_le64(p + 32);
    m->checksum = get_le64(p + 40);
    m->page_size = get_le32(p + 48);
    m->pages = get_le32(p + 52);
    m->first = get_le32(p + 56);
    m->count = get_le32(p + 60);
    m->part = p + IMAGE_BYTES;
    m->part_len = len - IMAGE_BYTES;
    return 0;
}

bool host_image_range_valid(const struct host_image *m)
{
    if (m->count > IMAGE_RANGE_PAGES_MAX ||
        (m->part_len != 0 && m->part_len != 8u * (size_t)m->count)) {
        return false;
    }
    return m->count == 0 || (m->first != 0 && m->first <= PAGE_NUMBER_MAX &&
                             m->count - 1 <= PAGE_NUMBER_MAX - m->first);
}

int host_prefer_encode(const struct host_prefer *p, struct buf *out)
{
    uint8_t *to = buf_room(out, PREFER_BYTES);

    if (to == NULL) {
        return out->err;
    }
    put_le64(to, p->node);
    put_le32(to + 8, p->stand_in);
    buf_added(out, PREFER_BYTES);
    return 0;
}

int host_prefer_decode(const void *bytes, size_t len, struct host_prefer *p)
{
    const uint8_t *from = bytes;

    if (len != PREFER_BYTES || get_le32(from + 8) > 1) {
        return ERR_CORRUPT;
    }
    p->node = get_le64(from);
    p->stand_in = get_le32(from + 8);
    return 0;
}
