/* Log entries, down to the last page, whole or a change: what is accepted must
 * be encodable, and decode to the same again. */
#include <string.h>

#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/entry.h"
#include "wire/page.h"
#include "wire/snapshot.h"

/* What every page was before the transaction. */
static bool image_before(void *data, uint32_t number, uint8_t *image)
{
    const struct entry_pages *pages = data;

    for (uint32_t i = 0; i < pages->page_size; i++) {
        image[i] = (uint8_t)(number + i * i / 7);
    }
    return number % 4 != 0;
}

/* All pages; false when an lz4 block is damaged. */
static bool unpack_all(struct entry_pages *pages, uint32_t *numbers,
                       uint8_t *images)
{
    struct entry_page_cursor c;
    struct entry_page page;

    entry_pages_begin(pages, &c);
    for (uint32_t i = 0; i < pages->count; i++) {
        uint8_t *image = images + (size_t)i * pages->page_size;
        CHECK(entry_pages_next(&c, &page) == 0);
        CHECK(page_number_valid(page.number));
        image_before(pages, page.number, image);
        if (entry_page_unpack(&page, pages->page_size, image) != 0) {
            return false;
        }
        numbers[i] = page.number;
    }
    CHECK(entry_pages_next(&c, &page) == ERR_NOT_FOUND);
    return true;
}

/* The same pages, in the same order. */
static void compare_all(struct entry_pages *pages, const uint32_t *numbers,
                        const uint8_t *images)
{
    uint32_t *other_numbers = calloc(pages->count + 1u, sizeof *numbers);
    uint8_t *others = malloc((size_t)pages->count * pages->page_size + 1);

    CHECK(other_numbers != NULL && others != NULL);
    CHECK(unpack_all(pages, other_numbers, others));
    CHECK(memcmp(numbers, other_numbers, pages->count * sizeof *numbers) == 0);
    CHECK(memcmp(images, others, (size_t)pages->count * pages->page_size) == 0);
    free(other_numbers);
    free(others);
}

/* Also where pages may come as changes, and where all must be whole. */
static void unpack_whole(const struct entry_pages *pages)
{
    uint8_t *image = malloc(pages->page_size + 1u);
    struct entry_page_cursor c, each;
    struct entry_page page;
    uint32_t number;
    int rc = 0;

    CHECK(image != NULL);
    entry_pages_begin(pages, &c);
    entry_pages_begin(pages, &each);
    while (rc == 0 && entry_pages_next(&each, &page) == 0) {
        rc = entry_pages_next_whole(&c, &number, image);
        CHECK(rc == 0 ? page.encoding != PAGE_CHANGE && number == page.number
                      : rc == ERR_CORRUPT && page.encoding != PAGE_RAW);
    }
    CHECK(rc != 0 ||
          entry_pages_next_whole(&c, &number, image) == ERR_NOT_FOUND);
    free(image);
}

static void encode_txn_again(struct entry *e, struct buf *out)
{
    struct entry_pages *pages = &e->txn.pages;
    struct entry_before before = {.get = image_before, .data = pages};
    size_t bytes = (size_t)pages->count * pages->page_size;
    uint32_t *numbers = calloc(pages->count + 1u, sizeof *numbers);
    uint8_t *images = malloc(bytes + 1);
    struct entry again;

    CHECK(bytes <= PART_BYTES_MAX && numbers != NULL && images != NULL);
    unpack_whole(pages);
    if (unpack_all(pages, numbers, images)) {
        for (int changes = 0; changes <= 1; changes++) {
            pages->before = changes ? &before : NULL;
            buf_reset(out);
            CHECK(entry_encode_txn(e->kind, &e->txn, numbers, images, out) ==
                  0);
            CHECK(entry_decode(out->data, out->len, &again) == 0);
            CHECK(again.txn.pages.count == pages->count);
            compare_all(&again.txn.pages, numbers, images);
        }
    }
    free(numbers);
    free(images);
}

static void encode_adopt_again(const struct entry_move *e, struct buf *out)
{
    struct unpack u = e->state;
    struct snapshot_db state;

    snapshot_next(&u, &state);
    CHECK(u.err == 0);
    CHECK(entry_encode_adopt(e, &state, out) == 0);
}

static void encode_members_again(const struct entry_members *e, struct buf *out)
{
    struct member_info list[NODES_MAX];
    struct unpack u = e->list;

    CHECK(e->n > 0 && e->n <= NODES_MAX);
    for (uint32_t i = 0; i < e->n; i++) {
        member_unpack(&u, &list[i]);
        CHECK(u.err == 0 && member_valid(&list[i]));
    }
    CHECK(entry_encode_members(e, list, out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct entry e, again;
    struct buf out;

    if (entry_decode(data, size, &e) != 0) {
        return 0;
    }
    buf_init(&out, PACKET_BYTES_MAX);
    switch (e.kind) {
    case ENTRY_CLUSTER:
        CHECK(entry_encode_cluster(&e.cluster, &out) == 0);
        break;
    case ENTRY_ENROLL:
        CHECK(entry_encode_enroll(&e.enroll, &out) == 0);
        break;
    case ENTRY_HOLDS:
        CHECK(entry_encode_holds(&e.holds, &out) == 0);
        break;
    case ENTRY_DROP:
        CHECK(entry_encode_drop(&e.holds, &out) == 0);
        break;
    case ENTRY_MEMBERS:
        encode_members_again(&e.members, &out);
        break;
    case ENTRY_MOVE:
        CHECK(entry_encode_move(&e.move, &out) == 0);
        break;
    case ENTRY_HELD:
        CHECK(entry_encode_held(&e.move, &out) == 0);
        break;
    case ENTRY_ADOPT:
        encode_adopt_again(&e.move, &out);
        break;
    case ENTRY_MOVED:
        CHECK(entry_encode_moved(&e.move, &out) == 0);
        break;
    case ENTRY_SHARDS:
        CHECK(entry_encode_shards(&e.shards, &out) == 0);
        break;
    case ENTRY_PART:
    case ENTRY_TXN:
        encode_txn_again(&e, &out);
        break;
    }
    if (out.len > 0) {
        CHECK(entry_decode(out.data, out.len, &again) == 0);
        CHECK(again.kind == e.kind);
    }
    buf_close(&out);
    return 0;
}
