/* Writing an image: a plain file of ours, opened by hand, since SQLite knows
 * nothing of it until it takes the database's place (image_install.c). */
#include "vfs/image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
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

/* Reserve the whole size, so that a full disk shows now. */
static int reserve(struct image_writer *w)
{
    off_t size = (off_t)w->pages * w->page_size;
    int err = image_room(w->path, (uint64_t)size);

    if (err != 0) {
        return err;
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

    w->temp = sqlite3_mprintf("%s%s", w->path, IMAGE_SUFFIX);
    if (w->temp == NULL) {
        return -ENOMEM;
    }
    w->fd = open(w->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                 0600);
    if (w->fd < 0) {
        return -errno;
    }
    err = image_take_owner(w->fd, w->path);
    return err != 0 ? err : reserve(w);
}

int image_writer_open(const char *path, uint32_t page_size, uint32_t pages,
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
        err = create_temp(w);
    }
    if (err != 0) {
        image_writer_cancel(w);
        return err;
    }
    *out = w;
    return 0;
}

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

uint64_t image_writer_checksum(const struct image_writer *w)
{
    return w->sum.sum;
}

void image_writer_cancel(struct image_writer *w)
{
    if (w->fd >= 0) {
        close(w->fd);
    }
    if (w->temp != NULL) {
        unlink(w->temp);
        sqlite3_free(w->temp);
    }
    if (w->path != NULL) {
        sqlite3_free_filename(w->path);
    }
    checksum_close(&w->sum);
    free(w);
}
