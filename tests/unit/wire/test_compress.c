/* lz4 blocks that are bounded on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/err.h"
#include "wire/compress.h"

static void a_block_is_kept_only_if_it_saves_a_sixteenth(void **state)
{
    uint8_t bytes[4096], packed[4096];
    uint32_t x = 1;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i / 99);
    }
    assert_in_range(compress_block(bytes, 4096, packed), 1, compress_max(4096));
    /* Noise, less and less of it. */
    for (size_t i = 0; i < sizeof bytes; i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(x >> 24);
    }
    assert_int_equal(compress_block(bytes, 4096, packed), 0);
    memset(bytes + 4096 - 150, 0, 150);
    assert_int_equal(compress_block(bytes, 4096, packed), 0);
    memset(bytes + 4096 - 400, 0, 400);
    assert_in_range(compress_block(bytes, 4096, packed), 3600,
                    compress_max(4096));
}

static void a_block_must_give_exactly_the_asked_length(void **state)
{
    static const uint8_t zeros[4096];
    uint8_t packed[4096], back[8192];
    size_t n;

    (void)state;
    n = compress_block(zeros, 4096, packed);
    assert_int_equal(decompress_block(packed, n, back, 4096), 0);
    assert_memory_equal(back, zeros, 4096);
    assert_int_equal(decompress_block(packed, n, back, 4095), ERR_CORRUPT);
    assert_int_equal(decompress_block(packed, n, back, 8192), ERR_CORRUPT);
    assert_int_equal(decompress_block(packed, n - 1, back, 4096), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_kept_only_if_it_saves_a_sixteenth),
        cmocka_unit_test(a_block_must_give_exactly_the_asked_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
