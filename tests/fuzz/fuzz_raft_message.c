/* Raft messages: what is accepted can be encoded, decodes again, and encodes to
 * the same bytes the second time. Leaks are found by the sanitizer. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/raft_message.h"

/* Every byte that the core would read. */
static void touch(const struct raft_message *m)
{
    const struct raft_append_entries *p = &m->append_entries;
    volatile uint8_t sink = 0;

    if (m->type != RAFT_IO_APPEND_ENTRIES) {
        return;
    }
    CHECK((p->n_entries == 0) == (p->entries == NULL));
    for (unsigned i = 0; i < p->n_entries; i++) {
        const uint8_t *bytes = p->entries[i].buf.base;

        CHECK((uintptr_t)bytes % 8 == 0);
        CHECK(p->entries[i].batch == p->entries[0].batch);
        for (size_t k = 0; k < p->entries[i].buf.len; k++) {
            sink ^= bytes[k];
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_message m, again;
    struct buf first, second;

    if (raft_message_decode(data, size, &m) != 0) {
        return 0;
    }
    touch(&m);
    buf_init(&first, 2 * PACKET_BYTES_MAX);
    buf_init(&second, 2 * PACKET_BYTES_MAX);
    CHECK(raft_message_encode(&m, &first) == 0);
    CHECK(raft_message_decode(first.data, first.len, &again) == 0);
    CHECK(again.type == m.type);
    if (m.type != RAFT_IO_INSTALL_SNAPSHOT) { /* its padding is not set */
        CHECK(raft_message_encode(&again, &second) == 0);
        check_equal(&second, first.data, first.len);
    }
    raft_message_close(&m);
    raft_message_close(&again);
    buf_close(&first);
    buf_close(&second);
    return 0;
}
