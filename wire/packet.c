#include "wire/packet.h"

#include <xxhash.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

#define CHECKSUM_OFFSET 12

static uint32_t checksum(const uint8_t *header, const void *payload, size_t len)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, header, CHECKSUM_OFFSET);
    if (len > 0) {
        XXH3_64bits_update(&state, payload, len);
    }
    return (uint32_t)XXH3_64bits_digest(&state);
}

static void put_header(uint8_t *header, uint8_t kind, uint32_t group)
{
    put_le32(header, 0);
    header[4] = PACKET_VERSION;
    header[5] = kind;
    put_le16(header + 6, 0);
    put_le32(header + 8, group);
    put_le32(header + CHECKSUM_OFFSET, 0);
}

size_t packet_begin(struct buf *out, uint8_t kind, uint32_t group)
{
    uint8_t header[PACKET_HEADER_BYTES];
    size_t begin = out->len;

    put_header(header, kind, group);
    buf_append(out, header, sizeof header);
    return begin;
}

int packet_end(struct buf *out, size_t begin)
{
    uint8_t *header;
    size_t len;

    if (out->err != 0) {
        return out->err;
    }
    header = out->data + begin;
    len = out->len - begin - PACKET_HEADER_BYTES;
    if (len > PACKET_BYTES_MAX) {
        return out->err = ERR_TOO_BIG;
    }
    put_le32(header, (uint32_t)len);
    put_le32(header + CHECKSUM_OFFSET,
             checksum(header, header + PACKET_HEADER_BYTES, len));
    return 0;
}

int packet_write(struct buf *out, uint8_t kind, uint32_t group,
                 const void *payload, size_t len)
{
    size_t begin;

    if (out->err == 0 && len > PACKET_BYTES_MAX) {
        out->err = ERR_TOO_BIG;
    }
    begin = packet_begin(out, kind, group);
    buf_append(out, payload, len);
    return packet_end(out, begin);
}

/* What the header alone tells, so that nobody waits for the rest of a packet
 * that would be refused. */
static int check_header(const uint8_t *header)
{
    if (header[4] != PACKET_VERSION) {
        return ERR_VERSION;
    }
    if (header[5] == 0 || header[5] > PACKET_KIND_MAX ||
        get_le16(header + 6) != 0) {
        return ERR_CORRUPT;
    }
    return get_le32(header) <= PACKET_BYTES_MAX ? 0 : ERR_TOO_BIG;
}

int packet_read(const uint8_t *bytes, size_t len, struct packet *packet,
                size_t *used)
{
    const uint8_t *payload;
    size_t payload_len;
    int rc;

    if (len < PACKET_HEADER_BYTES) {
        return ERR_SHORT;
    }
    rc = check_header(bytes);
    if (rc != 0) {
        return rc;
    }
    payload = bytes + PACKET_HEADER_BYTES;
    payload_len = get_le32(bytes);
    if (len - PACKET_HEADER_BYTES < payload_len) {
        return ERR_SHORT;
    }
    if (get_le32(bytes + CHECKSUM_OFFSET) !=
        checksum(bytes, payload, payload_len)) {
        return ERR_CORRUPT;
    }
    *packet = (struct packet){
        .kind = bytes[5],
        .group = get_le32(bytes + 8),
        .payload = payload,
        .len = payload_len,
    };
    *used = PACKET_HEADER_BYTES + payload_len;
    return 0;
}
