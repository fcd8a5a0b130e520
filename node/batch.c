/* All images and changes are sorted by page, then by age. A page begins with
 * the last image that is whole, or with what the file has, and the changes
 * after it are laid upon that: whatever the transactions were, each page is
 * written once. */
#include "node/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "node/database.h"
#include "vfs/image.h"
#include "wire/entry.h"

struct version {
    struct entry_page page; /* borrowed from the pending entries */
    uint32_t age;           /* counts up */
};

/* What the transactions do to the pages. */
struct versions {
    struct version *list;
    uint32_t count, cap;
    uint32_t page_size; /* of all */
    bool sorted;        /* already as they came */
};

/* Where images are put together and go. */
struct merge {
    uint32_t page_size, db_pages;
    uint8_t *image;
    void *data;
    /* The page as the file has it. */
    int (*before)(void *data, uint32_t number, uint8_t *image);
    int (*page)(void *data, uint32_t number, const uint8_t *image);
};

static const struct pending *newest(const struct list *pending)
{
    return LIST_ENTRY(pending->prev, struct pending, link);
}

static int version_add(struct versions *v, const struct entry_page *page)
{
    if (v->count == v->cap) {
        uint32_t cap = v->cap == 0 ? 64 : 2 * v->cap;
        struct version *grown = realloc(v->list, cap * sizeof *grown);
        if (grown == NULL) {
            return -ENOMEM;
        }
        v->list = grown;
        v->cap = cap;
    }
    if (v->count > 0 && v->list[v->count - 1].page.number >= page->number) {
        v->sorted = false;
    }
    v->list[v->count] = (struct version){.page = *page, .age = v->count};
    v->count++;
    return 0;
}

static int gather_entry(struct versions *v, const uint8_t *bytes, size_t len)
{
    struct entry_page_cursor c;
    struct entry_page page;
    struct entry e;
    int rv = entry_decode(bytes, len, &e);

    if (rv != 0) {
        return rv;
    }
    /* The state machine looks at the size in an ENTRY_TXN, not in its parts. */
    if (e.txn.pages.count > 0 && e.txn.pages.page_size != v->page_size) {
        return ERR_CORRUPT;
    }
    entry_pages_begin(&e.txn.pages, &c);
    while (rv == 0 && (rv = entry_pages_next(&c, &page)) == 0) {
        rv = version_add(v, &page);
    }
    return rv == ERR_NOT_FOUND ? 0 : rv;
}

static int by_page_then_age(const void *left, const void *right)
{
    const struct version *a = left, *b = right;

    if (a->page.number != b->page.number) {
        return a->page.number < b->page.number ? -1 : 1;
    }
    return a->age < b->age ? -1 : 1;
}

static int gather(struct versions *v, const struct list *pending)
{
    int rv = 0;

    v->sorted = true;
    for (struct list *l = pending->next; rv == 0 && l != pending; l = l->next) {
        const struct pending *p = LIST_ENTRY(l, struct pending, link);
        for (unsigned i = 0; rv == 0 && i < p->n_entries; i++) {
            rv = gather_entry(v, p->entries[i].bytes, p->entries[i].len);
        }
    }
    if (rv == 0 && !v->sorted) {
        qsort(v->list, v->count, sizeof *v->list, by_page_then_age);
    }
    return rv;
}

/* `count` versions of one page, oldest first. */
static int merge_page(struct merge *m, const struct version *v, uint32_t count)
{
    uint32_t number = v[0].page.number, from = count - 1;
    int rv = 0;

    while (from > 0 && v[from].page.encoding == PAGE_CHANGE) {
        from--;
    }
    if (v[from].page.encoding == PAGE_CHANGE) {
        rv = m->before(m->data, number, m->image);
    }
    for (uint32_t i = from; rv == 0 && i < count; i++) {
        rv = entry_page_unpack(&v[i].page, m->page_size, m->image);
    }
    return rv != 0 ? rv : m->page(m->data, number, m->image);
}

static int merge_all(struct merge *m, const struct list *pending)
{
    struct versions v = {.page_size = newest(pending)->page_size};
    uint32_t first = 0;
    int rv = gather(&v, pending);

    m->page_size = v.page_size;
    m->db_pages = newest(pending)->db_pages;
    m->image = malloc(m->page_size);
    if (m->image == NULL) {
        rv = -ENOMEM;
    }
    while (rv == 0 && first < v.count &&
           v.list[first].page.number <= m->db_pages) {
        uint32_t end = first + 1;
        while (end < v.count &&
               v.list[end].page.number == v.list[first].page.number) {
            end++;
        }
        rv = merge_page(m, v.list + first, end - first);
        first = end;
    }
    free(m->image);
    free(v.list);
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
    const struct checksum *checksum; /* of the file as it is */
    uint32_t damaged;
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

/* A change upon a damaged page would hide what is damaged. */
static int page_of_file(void *data, uint32_t number, uint8_t *image)
{
    struct changes *c = data;
    int rv = number > c->checksum->pages ? ERR_CORRUPT
                                         : apply_read(c->apply, number, image);

    if (rv == 0 && page_hash(number, image, c->page_size) !=
                       c->checksum->hashes[number - 1]) {
        c->damaged = number;
        rv = ERR_MISMATCH;
    }
    return rv;
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
                const struct list *pending, uint32_t *damaged)
{
    const struct pending *last = newest(pending);
    struct changes c = {
        .apply = a, .checksum = checksum, .page_size = last->page_size};
    struct merge m = {.data = &c, .before = page_of_file, .page = on_page};
    struct wal_state state;
    int rv;

    *damaged = 0;
    if (last->page_size != apply_page_size(a)) {
        return ERR_MISMATCH;
    }
    rv = apply_begin(a, last->db_pages);
    if (rv != 0) {
        return rv;
    }
    rv = merge_all(&m, pending);
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
    *damaged = c.damaged;
    free(c.numbers);
    free(c.hashes);
    return rv;
}

/* Nobody knows a page of a file that is not there. */
static int page_of_nothing(void *data, uint32_t number, uint8_t *image)
{
    (void)data;
    (void)number;
    (void)image;
    return ERR_CORRUPT;
}

static int on_new_page(void *data, uint32_t number, const uint8_t *image)
{
    return image_writer_page(data, number, image);
}

int batch_create(const char *path, const struct list *pending)
{
    const struct pending *last = newest(pending);
    struct merge m = {.before = page_of_nothing, .page = on_new_page};
    struct image_writer *w;
    int rv = image_writer_open(path, last->page_size, last->db_pages, &w);

    if (rv != 0) {
        return rv;
    }
    m.data = w;
    rv = merge_all(&m, pending);
    if (rv == 0) {
        rv = image_writer_install(w, last->checksum, 0, NULL);
    }
    if (rv != 0) {
        image_writer_cancel(w);
    }
    return rv;
}
