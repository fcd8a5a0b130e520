/* Log entries, down to the last page: what is accepted must be encodable, and
 * decode to the same again. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "wire/entry.h"
#include "wire/page.h"

/* All pages; false when an lz4 block is damaged. */
static bool unpack_all(const struct entry_pages *pages, uint32_t *numbers,
                       uint8_t *images)
{
    struct entry_page_cursor c;
    uint32_t number;
    int rc = 0;

    entry_pages_begin(pages, &c);
    for (uint32_t i = 0; i < pages->count; i++) {
        rc = entry_pages_next_whole(&c, &number,
                                    images + (size_t)i * pages->page_size);
        if (rc != 0) {
            CHECK(rc == ERR_CORRUPT);
            return false;
        }
        CHECK(page_number_valid(number));
        numbers[i] = number;
    }
    CHECK(entry_pages_next_whole(&c, &number, images) == ERR_NOT_FOUND);
    return true;
}

static void encode_txn_again(const struct entry *e, struct buf *out)
{
    const struct entry_pages *pages = &e->txn.pages;
    size_t bytes = (size_t)pages->count * pages->page_size;
    uint32_t *numbers = calloc(pages->count + 1u, sizeof *numbers);
    uint8_t *images = malloc(bytes + 1);

    CHECK(bytes <= PART_BYTES_MAX && numbers != NULL && images != NULL);
    if (unpack_all(pages, numbers, images)) {
        CHECK(entry_encode_txn(e->kind, &e->txn, numbers, images, out) == 0);
    }
    free(numbers);
    free(images);
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
