#include "vfs/guest_new.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "vfs/wal_format.h"

/* Bytes of page 1 that say which journal readers and writers need. */
#define WRITE_VERSION_AT 18
#define READ_VERSION_AT 19
#define VERSION_WAL 2

void guest_new_init(struct guest_new *n)
{
    memset(n, 0, sizeof *n);
}

static void drop_from(struct guest_new *n, uint32_t first)
{
    for (uint32_t i = first; i < n->capacity; i++) {
        if (n->images[i] != NULL) {
            free(n->images[i]);
            n->images[i] = NULL;
        }
    }
}

void guest_new_close(struct guest_new *n)
{
    drop_from(n, 0);
    free(n->images);
    guest_new_init(n);
}

void guest_new_begin(struct guest_new *n)
{
    guest_new_close(n);
    n->active = true;
}

void guest_new_end(struct guest_new *n)
{
    bool reread = n->reread;

    guest_new_close(n);
    n->reread = reread;
}

int guest_new_read(const struct guest_new *n, uint8_t *bytes, size_t len,
                   int64_t offset)
{
    size_t done = 0;
    size_t piece;
    uint64_t at;
    const uint8_t *image;

    memset(bytes, 0, len);
    while (done < len && offset + (int64_t)done < n->size) {
        at = (uint64_t)offset + done;
        piece = n->page_size - (size_t)(at % n->page_size);
        if (piece > len - done) {
            piece = len - done;
        }
        image = n->images[at / n->page_size];
        if (image != NULL) {
            memcpy(bytes + done, image + at % n->page_size, piece);
        }
        done += piece;
    }
    return done == len ? 0 : ERR_SHORT;
}

static int make_room(struct guest_new *n, uint32_t pages)
{
    uint32_t capacity = n->capacity > 0 ? n->capacity : 16;
    uint8_t **images;

    while (capacity < pages) {
        capacity *= 2;
    }
    if (capacity == n->capacity) {
        return 0;
    }
    images = realloc(n->images, capacity * sizeof *images);
    if (images == NULL) {
        return -ENOMEM;
    }
    memset(images + n->capacity, 0, (capacity - n->capacity) * sizeof *images);
    n->images = images;
    n->capacity = capacity;
    return 0;
}

int guest_new_write(struct guest_new *n, const uint8_t *bytes, size_t len,
                    int64_t offset)
{
    int64_t end = offset + (int64_t)len;
    uint32_t index;
    int rc;

    if (!wal_page_size_ok((uint32_t)len) || offset % (int64_t)len != 0 ||
        (n->size > 0 && len != n->page_size)) {
        return ERR_CORRUPT;
    }
    if ((uint64_t)end > TXN_BYTES_MAX) {
        return ERR_FULL;
    }
    n->page_size = (uint32_t)len;
    index = (uint32_t)(offset / (int64_t)len);
    rc = make_room(n, index + 1);
    if (rc != 0) {
        return rc;
    }
    if (n->images[index] == NULL) {
        n->images[index] = malloc(len);
        if (n->images[index] == NULL) {
            return -ENOMEM;
        }
    }
    memcpy(n->images[index], bytes, len);
    n->size = end > n->size ? end : n->size;
    return 0;
}

void guest_new_truncate(struct guest_new *n, int64_t size)
{
    if (size < n->size) {
        n->size = size;
        drop_from(n, (uint32_t)(size / n->page_size));
    }
}

/* A page that SQLite never wrote is free: every node takes it as zeros. */
static int fill_holes(struct guest_new *n, uint32_t pages)
{
    for (uint32_t i = 0; i < pages; i++) {
        if (n->images[i] == NULL) {
            n->images[i] = calloc(1, n->page_size);
            if (n->images[i] == NULL) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

int guest_new_proposal(struct guest_new *n, struct proposal *p)
{
    uint32_t count = (uint32_t)(n->size / n->page_size);
    struct proposal_page *pages = calloc(count, sizeof *pages);
    int rc = pages == NULL ? -ENOMEM : fill_holes(n, count);

    if (rc != 0) {
        free(pages);
        return rc;
    }
    n->images[0][WRITE_VERSION_AT] = VERSION_WAL;
    n->images[0][READ_VERSION_AT] = VERSION_WAL;
    for (uint32_t i = 0; i < count; i++) {
        pages[i].number = i + 1;
        pages[i].image = n->images[i];
    }
    memset(p, 0, sizeof *p);
    p->page_size = n->page_size;
    p->db_pages = count;
    p->count = count;
    p->pages = pages;
    return 0;
}
