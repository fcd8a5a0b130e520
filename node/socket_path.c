/* sun_path holds 108 bytes; a longer path is reached through an O_PATH
 * descriptor of its folder: /proc/self/fd/N/name. */
#include "node/socket_path.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int folder_of(const char *path, char *out)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", path);
    snprintf(out, PATH_MAX, "%s", dirname(copy));
    return open(out, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int make_address(int folder, const char *path, struct sockaddr_un *a)
{
    const char *name = strrchr(path, '/');
    int n;

    a->sun_family = AF_UNIX;
    n = snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s", folder,
                 name == NULL ? path : name + 1);
    return n < (int)sizeof a->sun_path ? 0 : -ENAMETOOLONG;
}

/* Is anybody listening there? Removes a socket that nobody serves. */
static int remove_stale(const char *path, const struct sockaddr_un *a)
{
    struct stat st;
    int fd, rv;

    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    rv = connect(fd, (const struct sockaddr *)a, sizeof *a);
    rv = rv == 0 || errno == EAGAIN ? -EADDRINUSE : 0;
    close(fd);
    if (rv == 0 && unlink(path) != 0) {
        rv = -errno;
    }
    return rv;
}

/* Whoever may write the database may connect. */
static void take_owner_and_mode(const char *path, const char *like,
                                const char *folder)
{
    struct stat st;

    if (stat(like, &st) != 0 && stat(folder, &st) != 0) {
        return;
    }
    if (chown(path, st.st_uid, st.st_gid) != 0 ||
        chmod(path, st.st_mode & 0666) != 0) {
        return; /* not the owner: the kernel's defaults then */
    }
}

void socket_like(const char *path, const char *like)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", path);
    take_owner_and_mode(path, like, dirname(copy));
}

int socket_listen(const char *path, const char *like)
{
    struct sockaddr_un a;
    char folder[PATH_MAX];
    int dir, fd, rv;

    dir = folder_of(path, folder);
    if (dir < 0) {
        return -errno;
    }
    rv = make_address(dir, path, &a);
    if (rv == 0) {
        rv = remove_stale(path, &a);
    }
    if (rv != 0) {
        close(dir);
        return rv;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0) {
        rv = -errno;
        if (fd >= 0) {
            close(fd);
        }
        close(dir);
        return rv;
    }
    take_owner_and_mode(path, like, folder);
    close(dir);
    return fd;
}
