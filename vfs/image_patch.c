/* The transaction stays open as long as pages come, perhaps from one node after
 * the other, and grows behind the last committed frame, where nobody looks
 * (apply_write.c). The table of hashes is what the commit would make of the
 * database: it says which pages are still to come, and what the checksum will
 * be. */
#include "vfs/image_patch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/apply_internal.h"
#include "vfs/image_internal.h"
#include "wire/entry.h"

struct image_patch {
    struct apply *apply;
    struct checksum sum;
};

/* Is there room for the database to become so large? Before there is memory for
 * its table: the number comes from a peer. */
static int check_size(const struct apply *a, uint32_t pages)
{
    uint32_t now = apply_pages(a);

    return pages <= now ? 0
                        : image_room(a->files.name, (uint64_t)(pages - now) *
                                                        a->files.page_size);
}

static int copy_sum(const struct checksum *from, struct checksum *to)
{
    int err;

    checksum_init(to);
    err = checksum_resize(to, from->pages);
    if (err == 0 && from->pages > 0) {
        memcpy(to->hashes, from->hashes,
               (size_t)from->pages * sizeof *to->hashes);
        to->sum = from->sum;
    }
    return err;
}

int image_patch_open(struct apply *a, const struct checksum *sum,
                     uint32_t pages, struct image_patch **out)
{
    struct image_patch *p = calloc(1, sizeof *p);
    int err = p == NULL ? -ENOMEM : check_size(a, pages);

    if (err == 0) {
        err = copy_sum(sum, &p->sum);
    }
    if (err == 0) {
        err = checksum_resize(&p->sum, pages);
    }
    if (err == 0) {
        err = apply_begin(a, pages);
    }
    if (err != 0) {
        if (p != NULL) {
            checksum_close(&p->sum);
        }
        free(p);
        return err;
    }
    p->apply = a;
    *out = p;
    return 0;
}

int image_patch_resize(struct image_patch *p, uint32_t pages)
{
    int err = pages == 0 ? ERR_CORRUPT : check_size(p->apply, pages);

    if (err == 0) {
        err = checksum_resize(&p->sum, pages);
    }
    if (err == 0) {
        apply_resize(p->apply, pages);
    }
    return err;
}

void image_patch_distrust(struct image_patch *p, uint32_t number)
{
    if (number != 0 && number <= p->sum.pages) {
        (void)checksum_set(&p->sum, number, 0); /* within the table */
    }
}

int image_patch_page(struct image_patch *p, uint32_t number,
                     const uint8_t *image)
{
    uint32_t size = apply_page_size(p->apply);
    int err;

    if (number == 0 || number > p->sum.pages) {
        return ERR_CORRUPT;
    }
    err = apply_page(p->apply, number, image);
    if (err == 0) {
        err = checksum_set(&p->sum, number, page_hash(number, image, size));
    }
    return err;
}

const struct checksum *image_patch_sum(const struct image_patch *p)
{
    return &p->sum;
}

int image_patch_commit(struct image_patch *p, uint64_t checksum,
                       struct checksum *sum)
{
    struct wal_state state;
    int err;

    if (p->sum.sum != checksum) {
        return ERR_MISMATCH;
    }
    FAILPOINT("image.patch");
    err = apply_check_identity(p->apply);
    if (err == 0) {
        err = apply_commit(p->apply, &state);
    }
    if (err != 0) {
        return err;
    }
    FAILPOINT("image.patched");
    /* A sync that fails takes nothing back: the log has it all. */
    (void)apply_sync(p->apply);
    *sum = p->sum;
    free(p);
    return 0;
}

void image_patch_cancel(struct image_patch *p)
{
    apply_abort(p->apply);
    /* What cannot be given back is overwritten by what comes next. */
    (void)apply_trim(p->apply);
    checksum_close(&p->sum);
    free(p);
}
