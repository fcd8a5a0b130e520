#include "vfs/image_source.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "vfs/wal_format.h"
#include "wire/entry.h"

#define VERIFY_BYTES (256u << 10) /* read at a time */

struct image_source {
    struct page_reader *reader;
    uint32_t page_size, lock;
    uint32_t first, count; /* the pages whose hashes are here */
    uint64_t hashes[];
};

int image_source_open(struct apply *a, const struct checksum *sum,
                      uint32_t first, uint32_t count, struct image_source **out)
{
    uint32_t left =
        first == 0 || first > sum->pages ? 0 : sum->pages - first + 1;
    struct image_source *s;
    int err;

    count = count < left ? count : left;
    s = malloc(sizeof *s + (size_t)count * sizeof s->hashes[0]);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->page_size = apply_page_size(a);
    s->lock = wal_lock_page(s->page_size);
    s->first = first;
    s->count = count;
    if (count > 0) {
        memcpy(s->hashes, sum->hashes + first - 1,
               (size_t)count * sizeof s->hashes[0]);
    }
    err = page_reader_open(a, &s->reader);
    if (err != 0) {
        free(s);
        return err;
    }
    if (page_reader_count(s->reader) != sum->pages) {
        image_source_close(s);
        return ERR_MISMATCH;
    }
    *out = s;
    return 0;
}

void image_source_close(struct image_source *s)
{
    page_reader_close(s->reader);
    free(s);
}

uint32_t image_source_pages(const struct image_source *s)
{
    return page_reader_count(s->reader);
}

static bool is_here(const struct image_source *s, uint32_t first,
                    uint32_t count)
{
    return first >= s->first && first - s->first <= s->count &&
           count <= s->count - (first - s->first);
}

static bool is_lacking(const struct image_source *s, uint32_t number,
                       const uint8_t *have)
{
    uint64_t theirs = have == NULL ? 0 : get_le64(have);

    return number != s->lock &&
           (theirs == 0 || theirs != s->hashes[number - s->first]);
}

/* Read `count` pages that lie one after the other, and check them. */
static int read_run(struct image_source *s, uint32_t first, uint32_t count,
                    uint8_t *images, uint32_t *damaged)
{
    int err = page_reader_run(s->reader, first, count, images);

    for (uint32_t i = 0; i < count && err == 0; i++) {
        if (page_hash(first + i, images + (size_t)i * s->page_size,
                      s->page_size) != s->hashes[first + i - s->first]) {
            *damaged = first + i;
            err = ERR_MISMATCH;
        }
    }
    return err;
}

int image_source_read(struct image_source *s, uint32_t first, uint32_t count,
                      const uint8_t *have, uint32_t max, uint32_t *numbers,
                      uint8_t *images, struct image_found *found)
{
    uint32_t got = 0, read = 0, i = 0;
    int err = 0;

    if (!is_here(s, first, count)) {
        return ERR_NOT_FOUND;
    }
    for (; i < count && got < max; i++) {
        if (is_lacking(s, first + i, have == NULL ? NULL : have + 8u * i)) {
            numbers[got++] = first + i;
        }
    }
    while (read < got && err == 0) {
        uint32_t run = 1;
        while (read + run < got && numbers[read + run] == numbers[read] + run) {
            run++;
        }
        err = read_run(s, numbers[read], run,
                       images + (size_t)read * s->page_size, &found->damaged);
        read += run;
    }
    if (err == 0) {
        found->covered = i;
        found->count = got;
    }
    return err;
}

int image_source_verify(struct image_source *s, uint32_t max, uint32_t *numbers,
                        struct image_found *found)
{
    uint32_t run = VERIFY_BYTES / s->page_size, done = 0, bad = 0;
    uint8_t *images = malloc(VERIFY_BYTES);
    int err = images == NULL ? -ENOMEM : 0;

    while (done < s->count && bad < max && err == 0) {
        uint32_t left = s->count - done;
        uint32_t count = left < run ? left : run;
        err = page_reader_run(s->reader, s->first + done, count, images);
        for (uint32_t i = 0; i < count && bad < max && err == 0; i++) {
            const uint8_t *image = images + (size_t)i * s->page_size;
            uint32_t number = s->first + done + i;
            if (page_hash(number, image, s->page_size) != s->hashes[done + i]) {
                numbers[bad++] = number;
            }
        }
        done += count;
    }
    free(images);
    if (err == 0) {
        found->covered = done;
        found->count = bad;
    }
    return err;
}
