/* Lease, image and leadership packets: what is accepted is encoded the same
 * way, and a range of pages that is valid has all its hashes in the packet. */
#include "base/bytes.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/host.h"
#include "wire/page.h"

static void check_range(const struct host_image *m)
{
    uint64_t sum = 0;

    if (!host_image_range_valid(m)) {
        return;
    }
    CHECK(m->count <= IMAGE_RANGE_PAGES_MAX);
    CHECK(m->count == 0 ||
          (page_number_valid(m->first) &&
           (uint64_t)m->first + m->count - 1 <= PAGE_NUMBER_MAX));
    for (uint32_t i = 0; m->part_len > 0 && i < m->count; i++) {
        sum += get_le64(m->part + 8u * i);
    }
    CHECK(m->count != 0 || sum == 0);
}

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
        check_range(&image);
    }
    if (host_prefer_decode(data, size, &prefer) == 0) {
        buf_reset(&out);
        CHECK(host_prefer_encode(&prefer, &out) == 0);
        check_equal(&out, data, size);
    }
    buf_close(&out);
    return 0;
}
