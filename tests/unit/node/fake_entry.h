/* Encoded log entries in a list, and checksums of what they hold.
 *
 * Header only; include after cmocka.h. */
#ifndef TESTS_UNIT_NODE_FAKE_ENTRY_H
#define TESTS_UNIT_NODE_FAKE_ENTRY_H

#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "vfs/checksum.h"
#include "wire/entry.h"

/* An entry on its way into the log, or a copy of one that has been. */
struct world_entry {
    struct list link;
    struct token token; /* decoded, where it was looked at */
    uint32_t kind, number;
    size_t len;
    uint8_t bytes[];
};

static inline void sum_copy(struct checksum *to, const struct checksum *from)
{
    checksum_close(to);
    assert_int_equal(checksum_resize(to, from->pages), 0);
    for (uint32_t i = 0; i < from->pages; i++) {
        assert_int_equal(checksum_set(to, i + 1, from->hashes[i]), 0);
    }
}

/* The pages of one encoded PART or TXN, and the size that a TXN gives. */
static inline void sum_entry(struct checksum *c, const void *bytes, size_t len)
{
    uint8_t *image = malloc(65536);
    struct entry_page_cursor pages;
    struct entry e;
    uint32_t number;

    assert_non_null(image);
    assert_int_equal(entry_decode(bytes, len, &e), 0);
    entry_pages_begin(&e.txn.pages, &pages);
    while (entry_pages_next_whole(&pages, &number, image) == 0) {
        assert_int_equal(
            checksum_set(c, number,
                         page_hash(number, image, e.txn.pages.page_size)),
            0);
    }
    if (e.kind == ENTRY_TXN) {
        assert_int_equal(checksum_resize(c, e.txn.db_pages), 0);
    }
    free(image);
}

static inline struct world_entry *world_entry(const void *bytes, size_t len)
{
    struct world_entry *e = malloc(sizeof *e + len);

    assert_non_null(e);
    memset(e, 0, sizeof *e);
    list_init(&e->link);
    e->len = len;
    memcpy(e->bytes, bytes, len);
    return e;
}

static inline void world_forget(struct list *entries)
{
    struct list *l;

    while ((l = list_pop(entries)) != NULL) {
        free(LIST_ENTRY(l, struct world_entry, link));
    }
}

#endif
