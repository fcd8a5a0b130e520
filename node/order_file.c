/* The files of an order (docs/FORMATS.md). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "node/order.h"
#include "wire/page.h"

static void order_path(const char *folder, const char *name, const char *suffix,
                       char out[ORDER_PATH_BYTES])
{
    snprintf(out, ORDER_PATH_BYTES, "%s/%s.order%s", folder, name, suffix);
}

void order_content(const char *folder, const char *name,
                   char out[ORDER_PATH_BYTES])
{
    order_path(folder, name, ".db", out);
}

static void sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd); /* some file systems cannot */
        close(fd);
    }
}

static bool parse(FILE *f, struct order *o)
{
    return fscanf(f,
                  "order %" SCNx64 "\ncontent %" SCNu32 " %" SCNu32 " %" SCNx64
                  "\ntried %" SCNu64 " %" SCNu64 " %" SCNx64 "\n",
                  &o->number, &o->page_size, &o->pages, &o->checksum, &o->tried,
                  &o->base.txid, &o->base.hash) == 7 &&
           page_size_valid(o->page_size) && o->pages > 0 &&
           (uint64_t)o->pages * o->page_size <= TXN_BYTES_MAX;
}

int order_read(const char *folder, const char *name, struct order *o)
{
    char path[ORDER_PATH_BYTES];
    struct order read = {0};
    bool good;
    FILE *f;

    order_path(folder, name, "", path);
    f = fopen(path, "re");
    if (f == NULL) {
        return errno == ENOENT ? ERR_NOT_FOUND : -errno;
    }
    good = parse(f, &read);
    fclose(f);
    if (!good) {
        return ERR_CORRUPT;
    }
    *o = read;
    return 0;
}

static bool print(FILE *f, const struct order *o)
{
    int n = fprintf(f,
                    "order %016" PRIx64 "\ncontent %" PRIu32 " %" PRIu32
                    " %016" PRIx64 "\ntried %" PRIu64 " %" PRIu64 " %016" PRIx64
                    "\n",
                    o->number, o->page_size, o->pages, o->checksum, o->tried,
                    o->base.txid, o->base.hash);

    return n > 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
}

int order_write(const char *folder, const char *name, const struct order *o)
{
    char path[ORDER_PATH_BYTES], temp[ORDER_PATH_BYTES];
    bool good;
    FILE *f;

    order_path(folder, name, "", path);
    order_path(folder, name, ".new", temp);
    f = fopen(temp, "we");
    if (f == NULL) {
        return -errno;
    }
    good = print(f, o);
    good = fclose(f) == 0 && good;
    FAILPOINT("file.order");
    if (!good || rename(temp, path) != 0) {
        unlink(temp);
        return ERR_IO;
    }
    sync_folder(folder);
    return 0;
}

void order_remove(const char *folder, const char *name)
{
    char path[ORDER_PATH_BYTES];

    order_path(folder, name, "", path);
    unlink(path);
    sync_folder(folder);
    order_content(folder, name, path);
    unlink(path);
}
