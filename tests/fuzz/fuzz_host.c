/* Lease, image and leadership packets: what is accepted is encoded the same
 * way. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host_lease lease;
    struct host_image image;
    struct host_prefer prefer;
    struct buf out;

    buf_init(&out, size + 1);
    if (host_lease_decode(data, size, &lease) == 0) {
        CHECK(host_lease_encode(&lease, &out) == 0);
        check_equal(&out, data, size);
        buf_reset(&out);
    }
    if (host_image_decode(data, size, &image) == 0) {
        CHECK(host_image_encode(&image, &out) == 0);
        check_equal(&out, data, size);
    }
    if (host_prefer_decode(data, size, &prefer) == 0) {
        buf_reset(&out);
        CHECK(host_prefer_encode(&prefer, &out) == 0);
        check_equal(&out, data, size);
    }
    buf_close(&out);
    return 0;
}
