#include "consensus/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(const char *folder, char *out)
{
    int n = snprintf(out, PATH_MAX, "%s/store.reserve", folder);

    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int reserve_make(const char *folder)
{
    char path[PATH_MAX];
    struct stat st;
    int fd, rv = path_of(folder, path);

    if (rv != 0) {
        return rv;
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) != 0) {
        rv = -errno;
    } else if (st.st_size < RESERVE_BYTES) {
        rv = -posix_fallocate(fd, 0, RESERVE_BYTES);
    }
    close(fd);
    if (rv != 0) {
        unlink(path);
    }
    return rv;
}

void reserve_release(const char *folder)
{
    char path[PATH_MAX];

    if (path_of(folder, path) == 0) {
        unlink(path);
    }
}
