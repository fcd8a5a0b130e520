#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/entry.h"
#include "wire/pack.h"

static const struct uuid db = {{1, 2, 3}};
static const struct token token = {1, 0xfedcba9876543210, 3, 4};

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

/* Unpacks the pages too: only that shows what is inside lz4 blocks. */
static int decode(const uint8_t *bytes, size_t len)
{
    static uint8_t image[65536];
    struct entry_page_cursor c;
    struct entry e;
    uint32_t number;
    int rc = entry_decode(bytes, len, &e);

    if (rc != 0 || (e.kind != ENTRY_TXN && e.kind != ENTRY_PART)) {
        return rc;
    }
    entry_pages_begin(&e.txn.pages, &c);
    do {
        rc = entry_pages_next_whole(&c, &number, image);
    } while (rc == 0);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static struct entry_txn txn_of(uint32_t page_size, uint32_t count)
{
    return (struct entry_txn){
        .db = db,
        .base = {41, 0x1122334455667788},
        .token = token,
        .db_pages = 100,
        .checksum = UINT64_MAX,
        .pages = {.page_size = page_size, .count = count},
    };
}

static struct entry_txn part_of(uint32_t page_size, uint32_t count)
{
    struct entry_txn part = txn_of(page_size, count);

    part.db_pages = 0;
    part.checksum = 0;
    part.number = 7;
    return part;
}

/* Bytes that lz4 makes smaller in even pages, and cannot in odd ones. */
static uint8_t *make_images(uint32_t page_size, uint32_t count)
{
    uint8_t *images = calloc(count > 0 ? count : 1, page_size);
    uint64_t x = 1;

    assert_non_null(images);
    for (size_t i = 0; i < (size_t)page_size * count; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        images[i] = i / page_size % 2 ? (uint8_t)(x >> 56) : (uint8_t)(i / 99);
    }
    return images;
}

static uint32_t *make_numbers(uint32_t count)
{
    uint32_t *numbers = calloc(count > 0 ? count : 1, sizeof *numbers);

    assert_non_null(numbers);
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = 3 * i + 1;
    }
    return numbers;
}

static int encode(struct buf *out, enum entry_kind kind,
                  const struct entry_txn *e)
{
    uint32_t page_size = e->pages.page_size;
    uint8_t *images = make_images(page_size, e->pages.count);
    uint32_t *numbers = make_numbers(e->pages.count);
    int rc;

    buf_reset(out);
    rc = entry_encode_txn(kind, e, numbers, images, out);
    free(images);
    free(numbers);
    return rc;
}

static void assert_pages_come_back(const struct entry_pages *pages)
{
    uint8_t *images = make_images(pages->page_size, pages->count);
    uint8_t *image = malloc(pages->page_size);
    struct entry_page_cursor c;
    uint32_t number;

    assert_non_null(image);
    entry_pages_begin(pages, &c);
    for (uint32_t i = 0; i < pages->count; i++) {
        assert_int_equal(entry_pages_next_whole(&c, &number, image), 0);
        assert_int_equal(number, 3 * i + 1);
        assert_memory_equal(image, images + (size_t)i * pages->page_size,
                            pages->page_size);
    }
    assert_int_equal(entry_pages_next_whole(&c, &number, image), ERR_NOT_FOUND);
    free(images);
    free(image);
}

static void a_cluster_comes_back(void **state)
{
    struct entry_cluster cluster = {.cluster = {{9}}, .shards = SHARDS_MAX};
    struct buf *out = *state;
    struct entry e;

    assert_int_equal(entry_encode_cluster(&cluster, out), 0);
    assert_int_equal(entry_decode(out->data, out->len, &e), 0);
    assert_int_equal(e.kind, ENTRY_CLUSTER);
    assert_int_equal(e.cluster.shards, SHARDS_MAX);
    assert_true(uuid_equal(&e.cluster.cluster, &cluster.cluster));
}

static void an_enrolment_comes_back(void **state)
{
    struct entry_enroll enroll = {.name = "app-1.db_x",
                                  .db = db,
                                  .node = 3,
                                  .page_size = 65536,
                                  .pages = 0xfffffffe,
                                  .checksum = 77};
    struct buf *out = *state;
    struct entry e;

    assert_int_equal(entry_encode_enroll(&enroll, out), 0);
    assert_int_equal(entry_decode(out->data, out->len, &e), 0);
    assert_int_equal(e.kind, ENTRY_ENROLL);
    assert_string_equal(e.enroll.name, "app-1.db_x");
    assert_true(uuid_equal(&e.enroll.db, &db));
    assert_int_equal(e.enroll.node, 3);
    assert_int_equal(e.enroll.page_size, 65536);
    assert_int_equal(e.enroll.pages, 0xfffffffe);
    assert_int_equal(e.enroll.checksum, 77);
}

static void a_holder_comes_back(void **state)
{
    struct entry_holds holds = {.db = db, .node = UINT64_MAX};
    struct buf *out = *state;
    struct entry e;

    assert_int_equal(entry_encode_holds(&holds, out), 0);
    assert_int_equal(entry_decode(out->data, out->len, &e), 0);
    assert_int_equal(e.kind, ENTRY_HOLDS);
    assert_true(uuid_equal(&e.holds.db, &db));
    assert_true(e.holds.node == UINT64_MAX);
}

static void transactions_of_every_page_size_come_back(void **state)
{
    struct buf *out = *state;
    struct entry e;

    for (uint32_t size = 512; size <= 65536; size *= 2) {
        struct entry_txn txn = txn_of(size, 5);

        txn.parts = TXN_PARTS_MAX;
        assert_int_equal(encode(out, ENTRY_TXN, &txn), 0);
        assert_int_equal(entry_decode(out->data, out->len, &e), 0);
        assert_int_equal(e.kind, ENTRY_TXN);
        assert_true(uuid_equal(&e.txn.db, &db));
        assert_true(position_equal(&e.txn.base, &txn.base));
        assert_true(token_equal(&e.txn.token, &token));
        assert_int_equal(e.txn.db_pages, 100);
        assert_int_equal(e.txn.parts, TXN_PARTS_MAX);
        assert_true(e.txn.checksum == UINT64_MAX);
        assert_int_equal(e.txn.pages.page_size, size);
        assert_int_equal(e.txn.pages.count, 5);
        assert_pages_come_back(&e.txn.pages);
    }
}

static void a_part_comes_back(void **state)
{
    struct entry_txn part = part_of(4096, 3);
    struct buf *out = *state;
    struct entry e;

    assert_int_equal(encode(out, ENTRY_PART, &part), 0);
    assert_int_equal(entry_decode(out->data, out->len, &e), 0);
    assert_int_equal(e.kind, ENTRY_PART);
    assert_int_equal(e.txn.number, 7);
    assert_pages_come_back(&e.txn.pages);
}

static void a_transaction_may_have_no_pages(void **state)
{
    struct entry_txn txn = txn_of(0, 0);
    struct buf *out = *state;
    struct entry_page_cursor c;
    struct entry e;
    uint32_t number;

    txn.db_pages = 0;
    assert_int_equal(entry_encode_txn(ENTRY_TXN, &txn, NULL, NULL, out), 0);
    assert_int_equal(entry_decode(out->data, out->len, &e), 0);
    entry_pages_begin(&e.txn.pages, &c);
    assert_int_equal(entry_pages_next_whole(&c, &number, NULL), ERR_NOT_FOUND);
}

static void the_largest_part_fits_and_one_page_more_does_not(void **state)
{
    struct buf *out = *state;

    for (uint32_t size = 512; size <= 65536; size *= 2) {
        struct entry_txn part = part_of(size, PART_BYTES_MAX / size);

        assert_int_equal(encode(out, ENTRY_PART, &part), 0);
        assert_int_equal(decode(out->data, out->len), 0);
        part.pages.count++;
        assert_int_equal(encode(out, ENTRY_PART, &part), ERR_TOO_BIG);
    }
}

/* What the encoder refuses to write, by hand. */
static void pack_txn(struct buf *out, uint32_t page_size, uint32_t elements)
{
    buf_reset(out);
    pack_array(out, 12);
    pack_uint(out, ENTRY_TXN);
    pack_uint(out, ENTRY_VERSION);
    pack_bin(out, db.b, 16);
    pack_uint(out, 1);
    pack_uint(out, 2);
    pack_bin(out, "0123456789abcdef0123456789abcdef", 32);
    pack_uint(out, 100);
    pack_uint(out, 0);
    pack_uint(out, 0);
    pack_uint(out, 5);
    pack_uint(out, page_size);
    pack_array(out, elements);
}

static void page_sizes_are_checked(void **state)
{
    static const struct {
        uint32_t page_size;
        int code;
    } cases[] = {
        {512, 0},           {65536, 0},          {0, 0},
        {256, ERR_CORRUPT}, {1000, ERR_CORRUPT}, {65537, ERR_TOO_BIG},
    };
    struct buf *out = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pack_txn(out, cases[i].page_size, 0);
        assert_int_equal(decode(out->data, out->len), cases[i].code);
    }
}

static void no_page_is_encoded_twice(void **state)
{
    uint32_t numbers[] = {7, 8, 7};
    struct entry_txn txn = txn_of(512, 3);
    uint8_t *images = make_images(512, 3);
    struct buf *out = *state;

    assert_int_equal(entry_encode_txn(ENTRY_TXN, &txn, numbers, images, out),
                     ERR_CORRUPT);
    assert_int_equal(out->len, 0);
    free(images);
}

static void page_zero_is_not_encoded(void **state)
{
    uint32_t number = 0;
    struct entry_txn txn = txn_of(512, 1);
    uint8_t *images = make_images(512, 1);

    assert_int_equal(entry_encode_txn(ENTRY_TXN, &txn, &number, images, *state),
                     ERR_CORRUPT);
    free(images);
}

static void fields_of_a_transaction_must_agree(void **state)
{
    struct entry_txn good = txn_of(512, 1), bad;
    struct buf *out = *state;

    assert_int_equal(encode(out, ENTRY_TXN, &good), 0);
    bad = good;
    bad.db = (struct uuid){{0}};
    assert_int_equal(encode(out, ENTRY_TXN, &bad), ERR_CORRUPT);
    bad = good;
    bad.token = (struct token){0};
    assert_int_equal(encode(out, ENTRY_TXN, &bad), ERR_CORRUPT);
    bad = good;
    bad.base.txid = UINT64_MAX;
    assert_int_equal(encode(out, ENTRY_TXN, &bad), ERR_CORRUPT);
    bad = good;
    bad.number = 1;
    assert_int_equal(encode(out, ENTRY_TXN, &bad), ERR_CORRUPT);
    bad = good;
    bad.db_pages = 0;
    assert_int_equal(encode(out, ENTRY_TXN, &bad), ERR_CORRUPT);
    bad = good;
    bad.parts = TXN_PARTS_MAX + 1;
    assert_int_equal(encode(out, ENTRY_TXN, &bad), ERR_TOO_BIG);
}

static void fields_of_a_part_must_agree(void **state)
{
    struct entry_txn good = part_of(512, 1), bad;
    struct buf *out = *state;

    assert_int_equal(encode(out, ENTRY_PART, &good), 0);
    bad = good;
    bad.db_pages = 1;
    assert_int_equal(encode(out, ENTRY_PART, &bad), ERR_CORRUPT);
    bad = good;
    bad.parts = 1;
    assert_int_equal(encode(out, ENTRY_PART, &bad), ERR_CORRUPT);
    bad = good;
    bad.checksum = 1;
    assert_int_equal(encode(out, ENTRY_PART, &bad), ERR_CORRUPT);
    bad = good;
    bad.pages.count = 0;
    assert_int_equal(encode(out, ENTRY_PART, &bad), ERR_CORRUPT);
    bad = good;
    bad.number = TXN_PARTS_MAX;
    assert_int_equal(encode(out, ENTRY_PART, &bad), ERR_TOO_BIG);
}

static int encode_name(struct buf *out, const char *name)
{
    struct entry_enroll enroll = {.db = db, .node = 1};

    assert_true(strlen(name) < sizeof enroll.name);
    buf_reset(out);
    memcpy(enroll.name, name, strlen(name));
    return entry_encode_enroll(&enroll, out);
}

static void names_have_a_small_alphabet(void **state)
{
    static const char *const bad[] = {"",    ".",   "..",       "a/b",
                                      "a b", "a\n", "\xc3\xa4", "a:b"};
    char longest[DB_NAME_MAX + 2];
    struct buf *out = *state;

    assert_int_equal(encode_name(out, "..."), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(encode_name(out, bad[i]), ERR_CORRUPT);
    }
    memset(longest, 'n', sizeof longest);
    longest[DB_NAME_MAX] = '\0';
    assert_int_equal(encode_name(out, longest), 0);
    assert_int_equal(decode(out->data, out->len), 0);
}

static void a_name_above_its_maximum_is_too_big(void **state)
{
    char name[DB_NAME_MAX + 2];
    struct buf *out = *state;

    memset(name, 'n', sizeof name);
    name[DB_NAME_MAX + 1] = '\0';
    pack_array(out, 8);
    pack_uint(out, ENTRY_ENROLL);
    pack_uint(out, ENTRY_VERSION);
    pack_str(out, name);
    pack_bin(out, db.b, 16);
    for (int i = 0; i < 4; i++) {
        pack_uint(out, 1);
    }
    assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
}

static void fields_of_an_enrolment_must_agree(void **state)
{
    static const struct entry_enroll bad[] = {
        {.name = "a", .node = 1},
        {.name = "a", .db = {{1}}},
        {.name = "a", .db = {{1}}, .node = 1, .pages = 1},
        {.name = "a", .db = {{1}}, .node = 1, .checksum = 1},
        {.name = "a", .db = {{1}}, .node = 1, .page_size = 513, .pages = 1},
        {.name = "a", .db = {{1}}, .node = 1, .page_size = 512},
    };
    struct buf *out = *state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_reset(out);
        assert_int_equal(entry_encode_enroll(&bad[i], out), ERR_CORRUPT);
    }
}

static void clusters_and_holders_need_their_ids(void **state)
{
    struct entry_cluster none = {.shards = 1}, shards = {.cluster = {{1}}};
    struct entry_holds nothing = {.node = 1}, nobody = {.db = db};
    struct buf *out = *state;

    assert_int_equal(entry_encode_cluster(&none, out), ERR_CORRUPT);
    buf_reset(out);
    assert_int_equal(entry_encode_cluster(&shards, out), ERR_CORRUPT);
    buf_reset(out);
    shards.shards = SHARDS_MAX + 1;
    assert_int_equal(entry_encode_cluster(&shards, out), ERR_TOO_BIG);
    buf_reset(out);
    assert_int_equal(entry_encode_holds(&nothing, out), ERR_CORRUPT);
    buf_reset(out);
    assert_int_equal(entry_encode_holds(&nobody, out), ERR_CORRUPT);
    assert_int_equal(out->len, 0);
}

static int decode_head(struct buf *out, uint64_t kind, uint64_t version)
{
    buf_reset(out);
    pack_array(out, 2);
    pack_uint(out, kind);
    pack_uint(out, version);
    return decode(out->data, out->len);
}

static void newer_kinds_and_versions_are_told_from_damage(void **state)
{
    assert_int_equal(decode_head(*state, ENTRY_TXN, ENTRY_VERSION),
                     ERR_CORRUPT);
    assert_int_equal(decode_head(*state, ENTRY_TXN, ENTRY_VERSION + 1),
                     ERR_VERSION);
    assert_int_equal(decode_head(*state, ENTRY_SHARDS + 1, ENTRY_VERSION),
                     ERR_VERSION);
    assert_int_equal(decode_head(*state, 1ull << 40, 1ull << 40), ERR_VERSION);
    assert_int_equal(decode_head(*state, 0, ENTRY_VERSION), ERR_CORRUPT);
    assert_int_equal(decode_head(*state, ENTRY_TXN, 0), ERR_CORRUPT);
}

static void an_entry_above_a_packet_is_too_big(void **state)
{
    struct entry_holds holds = {.db = db, .node = 1};
    uint8_t *bytes = calloc(1, PACKET_BYTES_MAX + 1);
    struct buf *out = *state;

    assert_non_null(bytes);
    entry_encode_holds(&holds, out);
    memcpy(bytes, out->data, out->len);
    assert_int_equal(decode(bytes, PACKET_BYTES_MAX + 1), ERR_TOO_BIG);
    assert_int_equal(decode(bytes, PACKET_BYTES_MAX), ERR_CORRUPT);
    free(bytes);
}

static void damaged_entries_are_survived(void **state)
{
    static const uint8_t huge[] = {0xdd, 0x0f, 0xff, 0xff, 0xff, 0xc0};
    struct entry_cluster cluster = {.cluster = {{9}}, .shards = 16};
    struct entry_enroll enroll = {.name = "app",
                                  .db = db,
                                  .node = 1,
                                  .page_size = 4096,
                                  .pages = 12,
                                  .checksum = 5};
    struct entry_txn txn = txn_of(512, 2);
    struct buf *out = *state;

    assert_int_equal(mangle_exact(decode, huge, sizeof huge), ERR_CORRUPT);
    entry_encode_cluster(&cluster, out);
    mangle(decode, out->data, out->len);
    buf_reset(out);
    entry_encode_enroll(&enroll, out);
    mangle(decode, out->data, out->len);
    encode(out, ENTRY_TXN, &txn);
    mangle(decode, out->data, out->len);
}

static void the_entry_stays_as_it_is_on_failure(void **state)
{
    struct entry_txn txn = txn_of(512, 1);
    struct entry e = {.kind = ENTRY_HOLDS, .holds = {.node = 99}};
    struct buf *out = *state;

    encode(out, ENTRY_TXN, &txn);
    assert_int_equal(entry_decode(out->data, out->len - 1, &e), ERR_CORRUPT);
    assert_int_equal(e.kind, ENTRY_HOLDS);
    assert_int_equal(e.holds.node, 99);
}

static void an_entry_that_does_not_fit_leaves_the_reason(void **state)
{
    struct entry_txn txn = txn_of(65536, 2);
    struct buf small;

    (void)state;
    buf_init(&small, 4096);
    assert_int_equal(encode(&small, ENTRY_TXN, &txn), ERR_TOO_BIG);
    assert_int_equal(small.err, ERR_TOO_BIG);
    buf_close(&small);
}

static void pages_that_compress_are_stored_small(void **state)
{
    static const uint8_t zeros[65536];
    struct entry_txn txn = txn_of(65536, 1);
    uint32_t number = 1;
    struct buf *out = *state;

    entry_encode_txn(ENTRY_TXN, &txn, &number, zeros, out);
    assert_in_range(out->len, 1, 1000);
    assert_int_equal(decode(out->data, out->len), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cluster_comes_back),
        TEST(an_enrolment_comes_back),
        TEST(a_holder_comes_back),
        TEST(transactions_of_every_page_size_come_back),
        TEST(a_part_comes_back),
        TEST(a_transaction_may_have_no_pages),
        TEST(the_largest_part_fits_and_one_page_more_does_not),
        TEST(page_sizes_are_checked),
        TEST(no_page_is_encoded_twice),
        TEST(page_zero_is_not_encoded),
        TEST(fields_of_a_transaction_must_agree),
        TEST(fields_of_a_part_must_agree),
        TEST(names_have_a_small_alphabet),
        TEST(a_name_above_its_maximum_is_too_big),
        TEST(fields_of_an_enrolment_must_agree),
        TEST(clusters_and_holders_need_their_ids),
        TEST(newer_kinds_and_versions_are_told_from_damage),
        TEST(an_entry_above_a_packet_is_too_big),
        TEST(damaged_entries_are_survived),
        TEST(the_entry_stays_as_it_is_on_failure),
        TEST(an_entry_that_does_not_fit_leaves_the_reason),
        TEST(pages_that_compress_are_stored_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
