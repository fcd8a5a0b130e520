/* Writing an image: a plain file of ours, opened by hand, since SQLite knows
 * nothing of it until it takes the database's place (image_install.c). */
#include "vfs/image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "vfs/apply.h"
#include "vfs/base_files.h"
#include "vfs/image_internal.h"
#include "vfs/wal_format.h"
#include "wire/entry.h"

static void folder_of(const char *path, char folder[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);

    if (slash == NULL || len >= PATH_MAX) {
        memcpy(folder, ".", sizeof ".");
    } else if (len == 0) {
        memcpy(folder, "/", sizeof "/");
    } else {
        memcpy(folder, path, len);
        folder[len] = '\0';
    }
}

int image_room(const char *path, uint64_t bytes)
{
    char folder[PATH_MAX];
    struct statvfs fs;

    folder_of(path, folder);
    if (statvfs(folder, &fs) != 0) {
        return -errno;
    }
    return (uint64_t)fs.f_bavail * fs.f_frsize < bytes ? ERR_FULL : 0;
}

int image_take_owner(int fd, const char *path)
{
    char folder[PATH_MAX];
    struct stat st;

    if (stat(path, &st) != 0) {
        folder_of(path, folder);
        if (stat(folder, &st) != 0) {
            return -errno;
        }
    }
    /* Only root can give files away; without that the owner is ours anyway or
     * the folder is shared, and then its group has to do. */
    if (fchown(fd, st.st_uid, st.st_gid) != 0 && errno != EPERM) {
        return -errno;
    }
    return fchmod(fd, st.st_mode & 0666) != 0 ? -errno : 0;
}

int image_sync_folder(const char *path)
{
    char folder[PATH_MAX];
    int fd, err;

    folder_of(path, folder);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    err = fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return err;
}

int image_write(int fd, const void *bytes, size_t len, uint64_t offset)
{
    const uint8_t *at = bytes;

    while (len > 0) {
        ssize_t n = pwrite(fd, at, len, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            bool full = n == 0 || errno == ENOSPC || errno == EDQUOT;
            return full ? ERR_FULL : -errno;
        }
        at += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int image_read(int fd, void *bytes, size_t len, uint64_t offset)
{
    uint8_t *at = bytes;

    while (len > 0) {
        ssize_t n = pread(fd, at, len, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? ERR_SHORT : -errno;
        }
        at += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* Have room for the whole size, so that a full disk shows now. */
static int reserve(struct image_writer *w)
{
    off_t size = (off_t)w->pages * w->page_size;
    struct stat st;
    uint64_t there;
    int err;

    if (fstat(w->fd, &st) != 0) {
        return -errno;
    }
    there = (uint64_t)st.st_blocks * 512;
    err = (uint64_t)size > there ? image_room(w->path, (uint64_t)size - there)
                                 : 0;
    if (err != 0) {
        return err;
    }
    if (st.st_size > size && ftruncate(w->fd, size) != 0) {
        return -errno;
    }
    if (fallocate(w->fd, 0, 0, size) == 0) {
        return 0;
    }
    if (errno == ENOSPC || errno == EDQUOT) {
        return ERR_FULL;
    }
    /* Not every file system can reserve. */
    return ftruncate(w->fd, size) != 0 ? -errno : 0;
}

static int create_temp(struct image_writer *w)
{
    int err;

    /* Never by truncating: it may be the database itself under a second name,
     * left by a death between link and unlink. */
    if (unlink(w->temp) != 0 && errno != ENOENT) {
        return -errno;
    }
    w->fd =
        open(w->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->fd < 0) {
        return -errno;
    }
    err = image_take_owner(w->fd, w->path);
    return err != 0 ? err : reserve(w);
}

static int writer_new(const char *path, uint32_t page_size, uint32_t pages,
                      struct image_writer **out)
{
    struct image_writer *w;
    int err;

    if (!wal_page_size_ok(page_size) || pages == 0) {
        return ERR_CORRUPT;
    }
    w = calloc(1, sizeof *w);
    if (w == NULL) {
        return -ENOMEM;
    }
    w->fd = -1;
    w->page_size = page_size;
    w->pages = pages;
    checksum_init(&w->sum);
    err = base_files_name(path, &w->path);
    if (err == 0) {
        w->temp = sqlite3_mprintf("%s%s", w->path, IMAGE_SUFFIX);
        err = w->temp == NULL ? -ENOMEM : 0;
    }
    if (err != 0) {
        image_writer_keep(w);
        return err;
    }
    *out = w;
    return 0;
}

int image_writer_open(const char *path, uint32_t page_size, uint32_t pages,
                      struct image_writer **out)
{
    struct image_writer *w;
    int err = writer_new(path, page_size, pages, &w);

    if (err != 0) {
        return err;
    }
    err = create_temp(w);
    if (err != 0) {
        image_writer_cancel(w);
        return err;
    }
    *out = w;
    return 0;
}

/* ---- going on ------------------------------------------------------------ */

/* What an earlier writer left: a file of its own, under one name only. */
static int open_left(struct image_writer *w, uint32_t *pages)
{
    struct stat st;

    w->fd = open(w->temp, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (w->fd < 0) {
        return ERR_NOT_FOUND;
    }
    if (fstat(w->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
        st.st_size == 0) {
        close(w->fd);
        w->fd = -1;
        return ERR_NOT_FOUND;
    }
    *pages = st.st_size / w->page_size < w->pages
                 ? (uint32_t)(st.st_size / w->page_size)
                 : w->pages;
    return reserve(w);
}

/* Note the hashes of `pages` pages that are there. */
static int hash_left(struct image_writer *w, uint32_t pages)
{
    uint32_t step = IMAGE_RUN_BYTES / w->page_size;
    uint8_t *run = malloc(IMAGE_RUN_BYTES);
    int err = run == NULL ? -ENOMEM : 0;

    for (uint32_t n = 1; n <= pages && err == 0; n += step) {
        uint32_t count = pages - n + 1 < step ? pages - n + 1 : step;
        err = image_read(w->fd, run, (size_t)count * w->page_size,
                         (uint64_t)(n - 1) * w->page_size);
        for (uint32_t i = 0; i < count && err == 0; i++) {
            err = checksum_set(
                &w->sum, n + i,
                page_hash(n + i, run + (size_t)i * w->page_size, w->page_size));
        }
    }
    free(run);
    return err;
}

/* Begin with the pages of the database that is here. */
static int copy_old(struct image_writer *w, struct apply *old)
{
    uint32_t step = IMAGE_RUN_BYTES / w->page_size, pages;
    uint8_t *run = malloc(IMAGE_RUN_BYTES);
    struct page_reader *r = NULL;
    int err = run == NULL ? -ENOMEM : page_reader_open(old, &r);

    pages = err != 0 ? 0 : page_reader_count(r);
    pages = pages < w->pages ? pages : w->pages;
    for (uint32_t n = 1; n <= pages && err == 0; n += step) {
        uint32_t count = pages - n + 1 < step ? pages - n + 1 : step;
        err = page_reader_run(r, n, count, run);
        for (uint32_t i = 0; i < count && err == 0; i++) {
            err = image_writer_page(w, n + i, run + (size_t)i * w->page_size);
        }
    }
    if (r != NULL) {
        page_reader_close(r);
    }
    free(run);
    return err;
}

int image_writer_resume(const char *path, uint32_t page_size, uint32_t pages,
                        struct apply *old, struct image_writer **out)
{
    struct image_writer *w;
    uint32_t there = 0;
    int err = writer_new(path, page_size, pages, &w);

    if (err != 0) {
        return err;
    }
    err = open_left(w, &there);
    if (err == ERR_NOT_FOUND) {
        err = create_temp(w);
        if (err == 0) {
            err = checksum_resize(&w->sum, pages);
        }
        if (err == 0 && old != NULL && apply_page_size(old) == page_size) {
            err = copy_old(w, old);
        }
    } else if (err == 0) {
        err = checksum_resize(&w->sum, pages);
        if (err == 0) {
            err = hash_left(w, there);
        }
    }
    if (err != 0) {
        image_writer_keep(w);
        return err;
    }
    *out = w;
    return 0;
}

int image_writer_resize(struct image_writer *w, uint32_t pages)
{
    uint32_t before = w->pages;
    int err;

    if (pages == 0) {
        return ERR_CORRUPT;
    }
    w->pages = pages;
    err = reserve(w);
    if (err == 0) {
        err = checksum_resize(&w->sum, pages);
    }
    if (err != 0) {
        w->pages = before;
    }
    return err;
}

/* ---- pages --------------------------------------------------------------- */

int image_writer_page(struct image_writer *w, uint32_t number,
                      const uint8_t *image)
{
    int err;

    if (number == 0 || number > w->pages) {
        return ERR_CORRUPT;
    }
    if (number == wal_lock_page(w->page_size)) {
        return 0;
    }
    err = image_write(w->fd, image, w->page_size,
                      (uint64_t)(number - 1) * w->page_size);
    if (err == 0) {
        err = checksum_set(&w->sum, number,
                           page_hash(number, image, w->page_size));
    }
    return err;
}

const struct checksum *image_writer_sum(const struct image_writer *w)
{
    return &w->sum;
}

uint32_t image_writer_page_size(const struct image_writer *w)
{
    return w->page_size;
}

/* ---- the end ------------------------------------------------------------- */

void image_writer_keep(struct image_writer *w)
{
    if (w->fd >= 0) {
        close(w->fd);
    }
    sqlite3_free(w->temp);
    if (w->path != NULL) {
        sqlite3_free_filename(w->path);
    }
    checksum_close(&w->sum);
    free(w);
}

void image_writer_cancel(struct image_writer *w)
{
    if (w->temp != NULL) {
        unlink(w->temp);
    }
    image_writer_keep(w);
}

void image_forget(const char *path)
{
    char temp[PATH_MAX + sizeof IMAGE_SUFFIX];

    snprintf(temp, sizeof temp, "%s%s", path, IMAGE_SUFFIX);
    unlink(temp);
}
