/* Questions and answers of nodes that join, and the registry of a snapshot:
 * what is accepted comes back the same after encoding it. The first byte says
 * which of them it is. */
#include "tests/fuzz/fuzz.h"
#include "wire/member.h"
#include "wire/pack.h"

static void ask(const uint8_t *data, size_t size, struct buf *out)
{
    struct member_info m, again;

    if (join_ask_decode(data, size, &m) == 0) {
        CHECK(member_valid(&m));
        CHECK(join_ask_encode(&m, out) == 0);
        CHECK(join_ask_decode(out->data, out->len, &again) == 0);
        CHECK(memcmp(&m, &again, sizeof m) == 0);
    }
}

static void answer(const uint8_t *data, size_t size, struct buf *out)
{
    static struct join_answer a, again;

    if (join_answer_decode(data, size, &a) == 0) {
        CHECK(join_answer_encode(&a, out) == 0);
        CHECK(join_answer_decode(out->data, out->len, &again) == 0);
        CHECK(memcmp(&a, &again, sizeof a) == 0);
    }
}

static int read_registry(const uint8_t *data, size_t size, struct registry *r)
{
    struct unpack u;

    unpack_init(&u, data, size);
    unpack_array_of(&u, 2);
    registry_unpack(&u, r);
    unpack_leave(&u);
    return unpack_end(&u);
}

static void registry(const uint8_t *data, size_t size, struct buf *out)
{
    static struct registry r, again;

    if (read_registry(data, size, &r) == 0) {
        pack_array(out, 2);
        registry_pack(out, &r);
        CHECK(out->err == 0);
        CHECK(read_registry(out->data, out->len, &again) == 0);
        CHECK(memcmp(&r, &again, sizeof r) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(const uint8_t *, size_t, struct buf *) = {
        ask, answer, registry};
    struct buf out;

    if (size == 0) {
        return 0;
    }
    buf_init(&out, 1 << 20);
    kinds[data[0] % 3](data + 1, size - 1, &out);
    buf_close(&out);
    return 0;
}
