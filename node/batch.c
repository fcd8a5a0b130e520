/* Pages are walked from the newest to the oldest and the first image met of
 * each page is taken: that merges any number of transactions. */
#include "node/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "node/database.h"
#include "vfs/image.h"
#include "wire/entry.h"

/* What a walk hands out. Returns 0 to go on. */
typedef int (*page_fn)(void *data, uint32_t number, const uint8_t *image);

struct walk {
    uint8_t *seen; /* a bit a page */
    uint8_t *image;
    uint32_t db_pages;
    page_fn page;
    void *data;
};

/* Was `number` met before? Marks it. Pages beyond the end count as met. */
static bool skip(struct walk *w, uint32_t number)
{
    uint8_t bit = (uint8_t)(1u << (number & 7));

    if (number > w->db_pages || (w->seen[number >> 3] & bit) != 0) {
        return true;
    }
    w->seen[number >> 3] |= bit;
    return false;
}

static int walk_entry(struct walk *w, const uint8_t *bytes, size_t len)
{
    struct entry_page_cursor c;
    struct entry e;
    uint32_t number;
    int rv = entry_decode(bytes, len, &e);

    if (rv != 0) {
        return rv;
    }
    entry_pages_begin(&e.txn.pages, &c);
    while ((rv = entry_pages_next(&c, &number, w->image)) == 0) {
        if (!skip(w, number)) {
            rv = w->page(w->data, number, w->image);
            if (rv != 0) {
                return rv;
            }
        }
    }
    return rv == ERR_NOT_FOUND ? 0 : rv;
}

static const struct pending *newest(const struct list *pending)
{
    return LIST_ENTRY(pending->prev, struct pending, link);
}

static int walk_all(const struct list *pending, page_fn page, void *data)
{
    struct walk w = {.page = page, .data = data};
    int rv = 0;

    w.db_pages = newest(pending)->db_pages;
    w.seen = calloc(1, w.db_pages / 8 + 1);
    w.image = malloc(65536);
    if (w.seen == NULL || w.image == NULL) {
        rv = -ENOMEM;
    }
    for (struct list *l = pending->prev; rv == 0 && l != pending; l = l->prev) {
        const struct pending *p = LIST_ENTRY(l, struct pending, link);
        for (unsigned i = p->n_entries; rv == 0 && i > 0; i--) {
            rv = walk_entry(&w, p->entries[i - 1].bytes, p->entries[i - 1].len);
        }
    }
    free(w.seen);
    free(w.image);
    return rv;
}

bool batch_has_pages(const struct list *pending)
{
    for (const struct list *l = pending->next; l != pending; l = l->next) {
        if (LIST_ENTRY(l, struct pending, link)->brings_pages) {
            return true;
        }
    }
    return false;
}

struct changes {
    uint32_t *numbers;
    uint64_t *hashes;
    uint32_t count, cap;
    uint32_t page_size;
    struct apply *apply;
};

static int change_room(struct changes *c)
{
    uint32_t cap = c->cap ? 2 * c->cap : 64;
    uint32_t *numbers;
    uint64_t *hashes;

    if (c->count < c->cap) {
        return 0;
    }
    numbers = realloc(c->numbers, cap * sizeof *numbers);
    if (numbers == NULL) {
        return -ENOMEM;
    }
    c->numbers = numbers;
    hashes = realloc(c->hashes, cap * sizeof *hashes);
    if (hashes == NULL) {
        return -ENOMEM;
    }
    c->hashes = hashes;
    c->cap = cap;
    return 0;
}

static int on_page(void *data, uint32_t number, const uint8_t *image)
{
    struct changes *c = data;
    int rv = change_room(c);

    if (rv != 0) {
        return rv;
    }
    c->numbers[c->count] = number;
    c->hashes[c->count++] = page_hash(number, image, c->page_size);
    return apply_page(c->apply, number, image);
}

static int keep_hashes(struct checksum *sum, const struct changes *c,
                       uint32_t db_pages)
{
    int rv = 0;

    for (uint32_t i = 0; rv == 0 && i < c->count; i++) {
        rv = checksum_set(sum, c->numbers[i], c->hashes[i]);
    }
    return rv != 0 ? rv : checksum_resize(sum, db_pages);
}

int batch_apply(struct apply *a, struct checksum *checksum,
                const struct list *pending)
{
    const struct pending *last = newest(pending);
    struct changes c = {.apply = a, .page_size = last->page_size};
    struct wal_state state;
    int rv;

    if (last->page_size != apply_page_size(a)) {
        return ERR_MISMATCH;
    }
    rv = apply_begin(a, last->db_pages);
    if (rv != 0) {
        return rv;
    }
    rv = walk_all(pending, on_page, &c);
    if (rv == 0 && checksum_preview(checksum, c.numbers, c.hashes, c.count,
                                    last->db_pages) != last->checksum) {
        rv = ERR_MISMATCH;
    }
    if (rv == 0) {
        rv = apply_commit(a, &state);
    }
    if (rv != 0) {
        apply_abort(a);
    } else {
        rv = keep_hashes(checksum, &c, last->db_pages);
    }
    free(c.numbers);
    free(c.hashes);
    return rv;
}

static int on_new_page(void *data, uint32_t number, const uint8_t *image)
{
    return image_writer_page(data, number, image);
}

int batch_create(const char *path, const struct list *pending)
{
    const struct pending *last = newest(pending);
    struct image_writer *w;
    int rv = image_writer_open(path, last->page_size, last->db_pages, &w);

    if (rv != 0) {
        return rv;
    }
    rv = walk_all(pending, on_new_page, w);
    if (rv == 0) {
        rv = image_writer_install(w, last->checksum, 0, NULL);
    }
    if (rv != 0) {
        image_writer_cancel(w);
    }
    return rv;
}
