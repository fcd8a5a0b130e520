/* What image.c (writing), image_install.c (taking the database's place),
 * image_aside.c (keeping the old one) and file.c share. */
#ifndef VFS_IMAGE_INTERNAL_H
#define VFS_IMAGE_INTERNAL_H

#include <limits.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "vfs/checksum.h"

#define IMAGE_SUFFIX ".marmot-image"

/* Copied at a time; SQLite's VFS fails writes of 128 KiB and more. */
#define IMAGE_RUN_BYTES 65536u

struct image_writer {
    const char *path; /* of the database; from sqlite3_create_filename */
    char *temp;       /* the image; sqlite3_free */
    int fd;           /* of `temp`, -1 once closed */
    uint32_t page_size, pages;
    struct checksum sum;
};

/* Is there room for `bytes` more beside `path`? 0, ERR_FULL or -errno. */
int image_room(const char *path, uint64_t bytes);

/* Give `fd` the owner and mode of the database at `path`, or of its folder
 * (without the x bits) when there is none. */
int image_take_owner(int fd, const char *path);

/* fsync the folder that holds `path`. */
int image_sync_folder(const char *path);

/* All of `len` bytes at `offset`, or -errno; ERR_FULL for want of room. */
int image_write(int fd, const void *bytes, size_t len, uint64_t offset);
int image_read(int fd, void *bytes, size_t len, uint64_t offset);

/* Keep the file at the path, which is complete in itself, under a second name
 * before the first one goes to the image. */
int aside_by_link(const struct image_writer *w, char aside[PATH_MAX]);

/* Keep a copy of the database that `r` reads, WAL included. */
struct page_reader;
int aside_by_copy(const struct image_writer *w, struct page_reader *r,
                  char aside[PATH_MAX]);

/* Run `sql`, whose one answer must be `want`. ERR_BUSY when it is another: the
 * way in which a PRAGMA says that somebody else uses the file. */
int file_expect_answer(sqlite3 *db, const char *sql, const char *want);

#endif
