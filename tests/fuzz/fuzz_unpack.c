/* The pull decoder, driven by the first half of the input: any order of calls
 * must be safe, and errors must stick. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/unpack.h"

static void one_call(struct unpack *u, uint8_t which, unsigned *depth)
{
    uint8_t exact[16];
    char text[32];
    size_t len;

    switch (which % 7) {
    case 0:
        unpack_uint(u, which < 128 ? UINT64_MAX : 1000);
        break;
    case 1:
        unpack_bool(u);
        break;
    case 2:
        if (unpack_bin(u, 64, &len) != NULL) {
            CHECK(len <= 64 && u->at <= u->end);
        }
        break;
    case 3:
        unpack_bin_exact(u, exact, sizeof exact);
        break;
    case 4:
        unpack_str(u, text, sizeof text);
        CHECK(strlen(text) < sizeof text);
        break;
    case 5:
        CHECK(unpack_array(u) <= (size_t)(u->end - u->at));
        *depth += u->err == 0;
        break;
    case 6:
        if (*depth > 0) {
            unpack_leave(u);
            *depth -= u->err == 0;
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t calls = size / 2;
    unsigned depth = 0;
    struct unpack u;

    unpack_init(&u, data + calls, size - calls);
    for (size_t i = 0; i < calls; i++) {
        int before = u.err;

        one_call(&u, data[i], &depth);
        CHECK(before == 0 || u.err == before);
        CHECK(depth <= MSGPACK_DEPTH_MAX);
    }
    CHECK(u.err == 0 || unpack_end(&u) == u.err);
    return 0;
}
