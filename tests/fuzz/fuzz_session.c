/* A stream of session messages: each that is accepted must be encoded the same
 * way, and session_length must agree with the decoder. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/session.h"

static void encode_again(const struct session_message *m, const uint8_t *bytes,
                         size_t used)
{
    struct buf out;

    buf_init(&out, 2 * SESSION_BYTES_MAX);
    CHECK(session_encode(m, &out) == 0);
    if (m->kind == SESSION_PROPOSE) {
        const struct session_propose *r = &m->propose;

        buf_append(&out, r->numbers, (size_t)4 * r->count);
        buf_append(&out, r->images, (size_t)r->page_size * r->count);
    }
    check_equal(&out, bytes, used);
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session_message m;
    size_t used;

    while (session_decode(data, size, &m, &used) == 0) {
        CHECK(used <= size && session_length(data) == used);
        encode_again(&m, data, used);
        data += used;
        size -= used;
    }
    return 0;
}
