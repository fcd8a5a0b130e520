/* Hellos: what is accepted comes back the same after encoding it. */
#include "tests/fuzz/fuzz.h"
#include "wire/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello h, again;
    struct buf out;

    if (hello_decode(data, size, &h) != 0) {
        return 0;
    }
    buf_init(&out, 4096);
    CHECK(hello_encode(&h, &out) == 0);
    CHECK(hello_decode(out.data, out.len, &again) == 0);
    CHECK(memcmp(&h, &again, sizeof h) == 0);
    buf_close(&out);
    return 0;
}
