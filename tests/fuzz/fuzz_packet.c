/* A stream of packets: each that is accepted must be written the same way; and
 * any payload comes back, since random input hardly gets past the checksum. */
#include "base/bytes.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/packet.h"

static void read_stream(const uint8_t *data, size_t size)
{
    struct packet packet;
    struct buf again;
    size_t used;

    while (packet_read(data, size, &packet, &used) == 0) {
        CHECK(used <= size && packet.payload + packet.len == data + used);
        buf_init(&again, size);
        CHECK(packet_write(&again, packet.kind, packet.group, packet.payload,
                           packet.len) == 0);
        check_equal(&again, data, used);
        buf_close(&again);
        data += used;
        size -= used;
    }
}

static void there_and_back(const uint8_t *data, size_t size)
{
    struct packet packet;
    struct buf out;
    size_t used;
    uint8_t kind;

    if (size < 5) {
        return;
    }
    kind = data[0];
    buf_init(&out, size + PACKET_HEADER_BYTES);
    CHECK(packet_write(&out, kind, get_le32(data + 1), data + 5, size - 5) ==
          0);
    if (kind == 0 || kind > PACKET_KIND_MAX) {
        CHECK(packet_read(out.data, out.len, &packet, &used) == ERR_CORRUPT);
    } else {
        CHECK(packet_read(out.data, out.len, &packet, &used) == 0);
        CHECK(used == out.len && packet.kind == kind);
    }
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_stream(data, size);
    there_and_back(data, size);
    return 0;
}
