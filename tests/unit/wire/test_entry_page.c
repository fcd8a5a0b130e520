/* The pages of a log entry: whole or as changes, there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/compress.h"
#include "wire/entry_page.h"
#include "wire/pack.h"

static const uint32_t sizes[] = {512, 4096, 65536};

/* What page `number` was: page 1 is the first of the images. */
struct known {
    const uint8_t *images;
    uint32_t page_size, count;
};

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

/* What lz4 cannot make smaller; not the same for two seeds. */
static void noise(uint8_t *image, size_t len, uint64_t seed)
{
    uint64_t x = seed;

    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        image[i] = (uint8_t)(x >> 56);
    }
}

/* What lz4 makes smaller. */
static void text(uint8_t *image, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        image[i] = (uint8_t)(i / 99);
    }
}

/* A row here and there. */
static void change_some(uint8_t *image, uint32_t page_size, uint32_t step)
{
    for (uint32_t i = step; i < page_size; i += page_size / 4) {
        image[i] ^= 0x5a;
    }
}

static bool known_image(void *data, uint32_t number, uint8_t *image)
{
    const struct known *k = data;

    if (number > k->count) {
        memset(image, 0xaa, k->page_size); /* must not be looked at */
        return false;
    }
    memcpy(image, k->images + (size_t)(number - 1) * k->page_size,
           k->page_size);
    return true;
}

/* As packed into `out`, and decoded; pages 1, 2, ... */
static struct entry_pages pack_images(struct buf *out, uint32_t page_size,
                                      const uint8_t *images, uint32_t count,
                                      const struct entry_before *before)
{
    struct entry_pages pages = {
        .page_size = page_size, .count = count, .before = before};
    struct entry_pages back = {.page_size = page_size};
    uint32_t numbers[8];
    struct unpack u;

    assert_in_range(count, 1, 8);
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = i + 1;
    }
    buf_reset(out);
    entry_pages_pack(&pages, numbers, images, out);
    assert_int_equal(out->err, 0);
    unpack_init(&u, out->data, out->len);
    assert_int_equal(entry_pages_decode(&u, &back), 0);
    assert_int_equal(back.count, count);
    assert_int_equal(back.packed_len, out->len);
    return back;
}

/* Page 1 of an entry that has no other; borrowed from `out`. */
static struct entry_page pack_one(struct buf *out, uint32_t page_size,
                                  const uint8_t *image,
                                  const struct entry_before *before)
{
    struct entry_pages pages = pack_images(out, page_size, image, 1, before);
    struct entry_page_cursor c;
    struct entry_page page, none;

    entry_pages_begin(&pages, &c);
    assert_int_equal(entry_pages_next(&c, &page), 0);
    assert_int_equal(page.number, 1);
    assert_int_equal(entry_pages_next(&c, &none), ERR_NOT_FOUND);
    return page;
}

/* Whatever was in the memory before. */
static void assert_whole(const struct entry_page *page, const uint8_t *image,
                         uint32_t page_size)
{
    static uint8_t back[PAGE_SIZE_MAX];

    memset(back, 0x77, sizeof back);
    assert_int_equal(entry_page_unpack(page, page_size, back), 0);
    assert_memory_equal(back, image, page_size);
}

/* ---- changes ------------------------------------------------------------- */

static void changes_come_back_exactly(void **state)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t size = sizes[i];
        uint8_t *old = malloc(3 * (size_t)size),
                *new = malloc(3 * (size_t)size);
        struct known k = {.images = old, .page_size = size, .count = 3};
        struct entry_before before = {.get = known_image, .data = &k};
        struct entry_page_cursor c;
        struct entry_pages pages;
        struct entry_page page;

        assert_true(old != NULL && new != NULL);
        noise(old, 3 * (size_t)size, 1);
        memcpy(new, old, 3 * (size_t)size);
        for (uint32_t p = 0; p < 3; p++) {
            change_some(new + (size_t)p *size, size, p * (size / 4 - 1) / 2);
        }
        pages = pack_images(*state, size, new, 3, &before);
        entry_pages_begin(&pages, &c);
        for (uint32_t p = 0; p < 3; p++) {
            uint8_t *image = old + (size_t)p * size;
            assert_int_equal(entry_pages_next(&c, &page), 0);
            assert_int_equal(page.number, p + 1);
            assert_int_equal(page.encoding, PAGE_CHANGE);
            assert_int_equal(entry_page_unpack(&page, size, image), 0);
        }
        assert_memory_equal(old, new, 3 * (size_t)size);
        free(old);
        free(new);
    }
}

static void changes_are_laid_one_upon_the_other(void **state)
{
    uint8_t image[4096], back[4096], old[4096];
    struct known k = {.images = old, .page_size = 4096, .count = 1};
    struct entry_before before = {.get = known_image, .data = &k};

    noise(image, sizeof image, 1);
    memcpy(back, image, sizeof back);
    for (uint32_t i = 0; i < 4; i++) {
        struct entry_page page;
        memcpy(old, image, sizeof old);
        change_some(image, 4096, 100 * i); /* some bytes twice */
        change_some(image, 4096, 100);
        page = pack_one(*state, 4096, image, &before);
        assert_int_equal(page.encoding, PAGE_CHANGE);
        assert_int_equal(entry_page_unpack(&page, 4096, back), 0);
        assert_memory_equal(back, image, sizeof back);
    }
}

static void a_small_change_is_a_small_blob(void **state)
{
    static uint8_t old[PAGE_SIZE_MAX], new[PAGE_SIZE_MAX];

    noise(old, sizeof old, 1);
    memcpy(new, old, sizeof new);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct known k = {.images = old, .page_size = sizes[i], .count = 1};
        struct entry_before before = {.get = known_image, .data = &k};
        struct entry_page page;

        new[sizes[i] / 2] = (uint8_t)(old[sizes[i] / 2] + 1);
        page = pack_one(*state, sizes[i], new, &before);
        assert_int_equal(page.encoding, PAGE_CHANGE);
        /* lz4 wants a byte for 255. */
        assert_in_range(page.len, 1, 40 + sizes[i] / 255);
    }
}

static void a_page_that_stays_the_same_is_a_change_of_nothing(void **state)
{
    uint8_t image[4096], back[4096];
    struct known k = {.images = image, .page_size = 4096, .count = 1};
    struct entry_before before = {.get = known_image, .data = &k};
    struct entry_page page;

    noise(image, sizeof image, 1);
    memcpy(back, image, sizeof back);
    page = pack_one(*state, 4096, image, &before);
    assert_int_equal(page.encoding, PAGE_CHANGE);
    assert_int_equal(entry_page_unpack(&page, 4096, back), 0);
    assert_memory_equal(back, image, sizeof image);
}

static void an_image_that_has_nothing_of_the_old_one_goes_whole(void **state)
{
    static uint8_t old[PAGE_SIZE_MAX], new[PAGE_SIZE_MAX];

    noise(old, sizeof old, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct known k = {.images = old, .page_size = sizes[i], .count = 1};
        struct entry_before before = {.get = known_image, .data = &k};
        struct entry_page page;

        noise(new, sizeof new, 2);
        page = pack_one(*state, sizes[i], new, &before);
        assert_int_equal(page.encoding, PAGE_RAW);
        assert_whole(&page, new, sizes[i]);
        text(new, sizeof new);
        page = pack_one(*state, sizes[i], new, &before);
        assert_int_equal(page.encoding, PAGE_LZ4);
        assert_whole(&page, new, sizes[i]);
    }
}

static void what_nobody_knows_goes_whole(void **state)
{
    static uint8_t images[3 * 4096];
    struct known k = {.images = images, .page_size = 4096, .count = 1};
    struct entry_before before = {.get = known_image, .data = &k};
    struct entry_page_cursor c;
    struct entry_pages pages;
    struct entry_page page;

    text(images, 2 * 4096);
    noise(images + 2 * 4096, 4096, 1);
    pages = pack_images(*state, 4096, images, 3, &before);
    entry_pages_begin(&pages, &c);
    assert_int_equal(entry_pages_next(&c, &page), 0);
    assert_int_equal(page.encoding, PAGE_CHANGE);
    assert_int_equal(entry_pages_next(&c, &page), 0);
    assert_int_equal(page.encoding, PAGE_LZ4);
    assert_whole(&page, images + 4096, 4096);
    assert_int_equal(entry_pages_next(&c, &page), 0);
    assert_int_equal(page.encoding, PAGE_RAW);
    assert_whole(&page, images + 2 * 4096, 4096);
    page = pack_one(*state, 4096, images, NULL);
    assert_int_equal(page.encoding, PAGE_LZ4);
    assert_whole(&page, images, 4096);
}

static void no_change_is_taken_where_pages_must_be_whole(void **state)
{
    static uint8_t images[2 * 512];
    struct known k = {.images = images + 512, .page_size = 512, .count = 1};
    struct entry_before before = {.get = known_image, .data = &k};
    struct entry_page_cursor c;
    struct entry_pages pages;
    uint8_t image[512];
    uint32_t number;

    text(images, sizeof images);
    pages = pack_images(*state, 512, images, 2, NULL);
    entry_pages_begin(&pages, &c);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(entry_pages_next_whole(&c, &number, image), 0);
        assert_int_equal(number, i + 1);
        assert_memory_equal(image, images + (size_t)i * 512, 512);
    }
    assert_int_equal(entry_pages_next_whole(&c, &number, image), ERR_NOT_FOUND);
    pages = pack_images(*state, 512, images, 2, &before);
    entry_pages_begin(&pages, &c);
    assert_int_equal(entry_pages_next_whole(&c, &number, image), ERR_CORRUPT);
}

static void pages_that_do_not_fit_leave_the_reason(void **state)
{
    static const uint8_t filler[255];
    uint8_t image[4096];
    struct known k = {.images = image, .page_size = 4096, .count = 1};
    struct entry_before before = {.get = known_image, .data = &k};
    struct entry_pages pages = {
        .page_size = 4096, .count = 1, .before = &before};
    uint32_t number = 1;
    struct buf small;

    (void)state;
    noise(image, sizeof image, 1);
    /* Up to the end of the first memory that a buffer takes. */
    for (size_t len = 200; len <= sizeof filler; len++) {
        buf_init(&small, 256);
        assert_int_equal(buf_append(&small, filler, len), 0);
        entry_pages_pack(&pages, &number, image, &small);
        assert_int_equal(small.err, ERR_TOO_BIG);
        buf_close(&small);
    }
}

/* ---- damage -------------------------------------------------------------- */

static void a_block_that_is_too_short_or_too_long_is_corrupt(void **state)
{
    uint8_t old[4096], new[4096], image[4096], packed[4096];
    struct known k = {.images = old, .page_size = 4096, .count = 1};
    struct entry_before before = {.get = known_image, .data = &k};
    struct entry_page page;

    noise(old, sizeof old, 1);
    memcpy(new, old, sizeof new);
    change_some(new, 4096, 7);
    page = pack_one(*state, 4096, new, &before);
    assert_int_equal(page.encoding, PAGE_CHANGE);
    page.len--;
    assert_int_equal(entry_page_unpack(&page, 4096, image), ERR_CORRUPT);
    page.blob = packed;
    for (size_t len = 4095; len <= 4097; len += 2) {
        static const uint8_t zeros[4097];
        page.len = compress_block(zeros, len, packed);
        assert_true(page.len > 0);
        for (int e = PAGE_LZ4; e <= PAGE_CHANGE; e++) {
            page.encoding = (enum page_encoding)e;
            assert_int_equal(entry_page_unpack(&page, 4096, image),
                             ERR_CORRUPT);
        }
    }
}

static int decode_packed(const uint8_t *bytes, size_t len,
                         struct entry_pages *pages)
{
    struct unpack u;

    pages->page_size = 512;
    unpack_init(&u, bytes, len);
    return entry_pages_decode(&u, pages);
}

/* Unpacks too: only that shows what is inside lz4 blocks. */
static int decode(const uint8_t *bytes, size_t len)
{
    static uint8_t image[512];
    struct entry_pages pages;
    struct entry_page_cursor c;
    struct entry_page page;
    int rc = decode_packed(bytes, len, &pages);

    if (rc != 0) {
        return rc;
    }
    entry_pages_begin(&pages, &c);
    while (rc == 0 && (rc = entry_pages_next(&c, &page)) == 0) {
        rc = entry_page_unpack(&page, 512, image);
    }
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static void damaged_changes_are_survived(void **state)
{
    uint8_t old[2 * 512], new[2 * 512];
    struct known k = {.images = old, .page_size = 512, .count = 2};
    struct entry_before before = {.get = known_image, .data = &k};
    struct buf *out = *state;

    noise(old, sizeof old, 1);
    memcpy(new, old, sizeof new);
    change_some(new, 512, 7);
    change_some(new + 512, 512, 70);
    pack_images(out, 512, new, 2, &before);
    mangle(decode, out->data, out->len);
}

/* ---- what the decoder refuses -------------------------------------------- */

static void pack_page(struct buf *out, uint64_t number, unsigned encoding,
                      size_t len)
{
    static const uint8_t zeros[513];

    assert_true(len <= sizeof zeros);
    pack_uint(out, number);
    pack_uint(out, encoding);
    pack_bin(out, zeros, len);
}

static void one_page_must_be_whole(void **state)
{
    static const struct {
        uint64_t number;
        unsigned encoding;
        size_t len;
        int code;
    } cases[] = {
        {1, PAGE_RAW, 512, 0},
        {0xfffffffe, PAGE_RAW, 512, 0},
        {0, PAGE_RAW, 512, ERR_CORRUPT},
        {0xffffffff, PAGE_RAW, 512, ERR_TOO_BIG},
        {1, PAGE_RAW, 511, ERR_CORRUPT},
        {1, PAGE_RAW, 513, ERR_TOO_BIG},
        {1, PAGE_LZ4, 0, ERR_CORRUPT},
        {1, PAGE_LZ4, 480, 0}, /* but it is not an lz4 block */
        {1, PAGE_LZ4, 481, ERR_TOO_BIG},
        {1, PAGE_CHANGE, 0, ERR_CORRUPT},
        {1, PAGE_CHANGE, 480, 0},
        {1, PAGE_CHANGE, 481, ERR_TOO_BIG},
    };
    struct buf *out = *state;
    struct entry_pages pages;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_reset(out);
        pack_array(out, 3);
        pack_page(out, cases[i].number, cases[i].encoding, cases[i].len);
        assert_int_equal(decode_packed(out->data, out->len, &pages),
                         cases[i].code);
        if (cases[i].encoding != PAGE_RAW && cases[i].code == 0) {
            assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
        }
    }
}

static void there_are_three_encodings(void **state)
{
    static const unsigned bad[] = {PAGE_CHANGE + 1, 127, 128, 65536};
    struct buf *out = *state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct entry_page page = {.encoding = (enum page_encoding)bad[i],
                                  .blob = out->data};
        uint8_t image[512];

        buf_reset(out);
        pack_array(out, 3);
        pack_page(out, 1, bad[i], 480);
        assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
        assert_int_equal(entry_page_unpack(&page, 512, image), ERR_CORRUPT);
    }
}

static void a_page_comes_only_once(void **state)
{
    static const uint32_t twice[] = {7, 8, 7}, once[] = {7, 8, 9};
    struct buf *out = *state;

    assert_true(entry_pages_distinct(once, 3));
    assert_false(entry_pages_distinct(twice, 3));
    for (uint64_t second = 7; second <= 8; second++) {
        buf_reset(out);
        pack_array(out, 6);
        pack_page(out, 7, PAGE_RAW, 512);
        pack_page(out, second, PAGE_RAW, 512);
        assert_int_equal(decode(out->data, out->len),
                         second == 7 ? ERR_CORRUPT : 0);
    }
}

static void pages_are_whole_triples(void **state)
{
    struct buf *out = *state;

    pack_array(out, 4);
    pack_page(out, 1, PAGE_RAW, 512);
    pack_uint(out, 2);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
}

static void the_decoder_knows_the_largest_part(void **state)
{
    struct buf *out = *state;

    for (uint32_t most = PART_BYTES_MAX / 512, i = most; i <= most + 1; i++) {
        buf_reset(out);
        pack_array(out, 3 * i);
        for (uint32_t number = 1; number <= i; number++) {
            pack_page(out, number, PAGE_RAW, 512);
        }
        assert_int_equal(decode(out->data, out->len),
                         i > most ? ERR_TOO_BIG : 0);
    }
}

static void a_page_has_one_of_the_sizes_of_sqlite(void **state)
{
    static const uint32_t bad[] = {0, 256, 511, 1000, 65537, 131072};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct entry_pages pages = {.page_size = bad[i], .count = 1};
        assert_int_equal(entry_pages_valid(&pages), ERR_CORRUPT);
        pages.count = 0;
        assert_int_equal(entry_pages_valid(&pages),
                         bad[i] == 0 ? 0 : ERR_CORRUPT);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(changes_come_back_exactly),
        TEST(changes_are_laid_one_upon_the_other),
        TEST(a_small_change_is_a_small_blob),
        TEST(a_page_that_stays_the_same_is_a_change_of_nothing),
        TEST(an_image_that_has_nothing_of_the_old_one_goes_whole),
        TEST(what_nobody_knows_goes_whole),
        TEST(no_change_is_taken_where_pages_must_be_whole),
        TEST(pages_that_do_not_fit_leave_the_reason),
        TEST(a_block_that_is_too_short_or_too_long_is_corrupt),
        TEST(damaged_changes_are_survived),
        TEST(one_page_must_be_whole),
        TEST(there_are_three_encodings),
        TEST(a_page_comes_only_once),
        TEST(pages_are_whole_triples),
        TEST(the_decoder_knows_the_largest_part),
        TEST(a_page_has_one_of_the_sizes_of_sqlite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
