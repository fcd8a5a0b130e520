/* The packets of a verification: what is accepted is encoded the same way. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct verify_ask ask;
    struct verify_answer answer;
    struct buf out;

    buf_init(&out, size + 1);
    if (verify_ask_decode(data, size, &ask) == 0) {
        CHECK(verify_ask_encode(&ask, &out) == 0);
        check_equal(&out, data, size);
        buf_reset(&out);
    }
    if (verify_answer_decode(data, size, &answer) == 0) {
        CHECK(verify_answer_encode(&answer, &out) == 0);
        check_equal(&out, data, size);
    }
    buf_close(&out);
    return 0;
}
