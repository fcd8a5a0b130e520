/* Keeping the database that an image replaces, as `P.before-marmot-<time>`. A
 * name is never used twice. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vfs/apply.h"
#include "vfs/image.h"
#include "vfs/image_internal.h"

#define ASIDE_NAMES_MAX 100

/* The n-th name to try. */
static int aside_name(const struct image_writer *w, int n, char out[PATH_MAX])
{
    time_t now = time(NULL);
    char stamp[32], again[16] = "";
    struct tm tm;
    int len;

    localtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    if (n > 0) {
        sqlite3_snprintf(sizeof again, again, "-%d", n + 1);
    }
    len =
        snprintf(out, PATH_MAX, "%s.before-marmot-%s%s", w->path, stamp, again);
    return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int aside_by_link(const struct image_writer *w, char aside[PATH_MAX])
{
    for (int n = 0; n < ASIDE_NAMES_MAX; n++) {
        int err = aside_name(w, n, aside);
        if (err != 0) {
            return err;
        }
        if (link(w->path, aside) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            return -errno;
        }
    }
    return -EEXIST;
}

static int create_aside(const struct image_writer *w, char aside[PATH_MAX],
                        int *fd)
{
    for (int n = 0; n < ASIDE_NAMES_MAX; n++) {
        int err = aside_name(w, n, aside);
        if (err != 0) {
            return err;
        }
        *fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (*fd >= 0) {
            return 0;
        }
        if (errno != EEXIST) {
            return -errno;
        }
    }
    return -EEXIST;
}

static int copy_pages(struct page_reader *r, uint32_t page_size, int fd)
{
    uint32_t pages = page_reader_count(r), step = IMAGE_RUN_BYTES / page_size;
    uint8_t *run = malloc(IMAGE_RUN_BYTES);
    int err = run == NULL ? -ENOMEM : 0;

    for (uint32_t n = 1; n <= pages && err == 0; n += step) {
        uint32_t count = pages - n + 1 < step ? pages - n + 1 : step;
        err = page_reader_run(r, n, count, run);
        if (err == 0) {
            err = image_write(fd, run, (size_t)count * page_size,
                              (uint64_t)(n - 1) * page_size);
        }
    }
    if (err == 0 && fsync(fd) != 0) {
        err = -errno;
    }
    free(run);
    return err;
}

int aside_by_copy(const struct image_writer *w, struct page_reader *r,
                  char aside[PATH_MAX])
{
    int fd, err = create_aside(w, aside, &fd);

    if (err != 0) {
        return err;
    }
    err = image_take_owner(fd, w->path);
    if (err == 0) {
        err = copy_pages(r, w->page_size, fd);
    }
    close(fd);
    if (err == 0) {
        err = image_sync_folder(aside);
    }
    if (err != 0) {
        unlink(aside);
    }
    return err;
}

int image_keep_aside(const char *path, struct apply *a, char *aside)
{
    struct image_writer w = {.path = path, .page_size = apply_page_size(a)};
    uint64_t bytes = (uint64_t)apply_pages(a) * w.page_size;
    struct page_reader *r;
    int err = image_room(path, bytes);

    if (err == 0) {
        err = page_reader_open(a, &r);
    }
    if (err == 0) {
        err = aside_by_copy(&w, r, aside);
        page_reader_close(r);
    }
    return err;
}
