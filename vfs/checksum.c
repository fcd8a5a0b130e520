/* The sum is kept equal to the XOR of `hashes` at all times. */
#include "vfs/checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "vfs/apply.h"
#include "wire/entry.h"

/* Read this much at a time when scanning. */
#define SCAN_BYTES (256u << 10)

void checksum_init(struct checksum *c)
{
    *c = (struct checksum){.hashes = NULL};
}

void checksum_close(struct checksum *c)
{
    free(c->hashes);
    checksum_init(c);
}

static int grow(struct checksum *c, uint32_t pages)
{
    if (pages > c->capacity) {
        uint64_t room = pages + (uint64_t)pages / 2 + 64;
        uint64_t *grown = realloc(c->hashes, room * sizeof *grown);
        if (grown == NULL) {
            return -ENOMEM;
        }
        c->hashes = grown;
        c->capacity = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    }
    memset(c->hashes + c->pages, 0,
           (size_t)(pages - c->pages) * sizeof *c->hashes);
    c->pages = pages;
    return 0;
}

int checksum_set(struct checksum *c, uint32_t number, uint64_t hash)
{
    if (number == 0) {
        return ERR_CORRUPT;
    }
    if (number > c->pages) {
        int err = grow(c, number);
        if (err != 0) {
            return err;
        }
    }
    c->sum ^= c->hashes[number - 1] ^ hash;
    c->hashes[number - 1] = hash;
    return 0;
}

int checksum_resize(struct checksum *c, uint32_t pages)
{
    if (pages > c->pages) {
        return grow(c, pages);
    }
    for (uint32_t i = pages; i < c->pages; i++) {
        c->sum ^= c->hashes[i];
    }
    c->pages = pages;
    return 0;
}

uint64_t checksum_preview(const struct checksum *c, const uint32_t *numbers,
                          const uint64_t *hashes, uint32_t count,
                          uint32_t db_pages)
{
    uint64_t sum = c->sum;

    for (uint32_t i = db_pages; i < c->pages; i++) {
        sum ^= c->hashes[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        if (numbers[i] == 0 || numbers[i] > db_pages) {
            continue;
        }
        sum ^= hashes[i];
        if (numbers[i] <= c->pages) {
            sum ^= c->hashes[numbers[i] - 1];
        }
    }
    return sum;
}

static int scan(struct checksum *c, struct page_reader *r, uint32_t page_size)
{
    uint32_t pages = page_reader_count(r), run = SCAN_BYTES / page_size;
    uint8_t *images = malloc(SCAN_BYTES);
    int err = images == NULL ? -ENOMEM : 0;

    for (uint32_t first = 1; first <= pages && err == 0;) {
        uint32_t left = pages - first + 1;
        uint32_t count = left < run ? left : run;
        err = page_reader_run(r, first, count, images);
        for (uint32_t i = 0; i < count && err == 0; i++) {
            err = checksum_set(
                c, first + i,
                page_hash(first + i, images + (size_t)i * page_size,
                          page_size));
        }
        first += count;
    }
    free(images);
    return err;
}

int checksum_scan(struct checksum *c, struct apply *a)
{
    struct checksum found;
    struct page_reader *r;
    int err = page_reader_open(a, &r);

    if (err != 0) {
        return err;
    }
    checksum_init(&found);
    err = checksum_resize(&found, page_reader_count(r));
    if (err == 0) {
        err = scan(&found, r, apply_page_size(a));
    }
    page_reader_close(r);
    if (err != 0) {
        checksum_close(&found);
        return err;
    }
    checksum_close(c);
    *c = found;
    return 0;
}
