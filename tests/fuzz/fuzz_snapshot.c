/* Snapshots: what is accepted comes back the same after encoding it. */
#include "tests/fuzz/fuzz.h"
#include "wire/snapshot.h"

static void encode(const uint8_t *data, size_t size, struct buf *out)
{
    struct snapshot_head h;
    struct snapshot_db db;
    struct unpack u;

    buf_init(out, SNAPSHOT_BYTES_MAX);
    snapshot_begin(&u, data, size, &h);
    CHECK(snapshot_encode_head(&h, out) == 0);
    for (uint32_t i = 0; i < h.n_dbs; i++) {
        snapshot_next(&u, &db);
        CHECK(u.err == 0);
        CHECK(snapshot_encode_db(&db, out) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once, twice;

    if (snapshot_check(data, size) != 0) {
        return 0;
    }
    encode(data, size, &once);
    CHECK(snapshot_check(once.data, once.len) == 0);
    encode(once.data, once.len, &twice);
    check_equal(&twice, once.data, once.len);
    buf_close(&once);
    buf_close(&twice);
    return 0;
}
