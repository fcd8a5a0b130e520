#include "vfs/guest_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

#define RECEIVE_BYTES 4096u /* answers are small */
#define IOV_AT_ONCE 512     /* below IOV_MAX */

static int connect_to(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    if (len >= sizeof address.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, len);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        return -errno;
    }
    return 0;
}

/* A descriptor of the socket file itself has a short name in /proc. */
static int connect_long(int fd, const char *path)
{
    char name[64];
    int file = open(path, O_PATH | O_CLOEXEC);
    int rc;

    if (file < 0) {
        return -errno;
    }
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    rc = connect_to(fd, name);
    close(file);
    return rc;
}

int guest_socket_connect(const char *path, int *out)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int moved;
    int rc;

    if (fd < 0) {
        return -errno;
    }
    if (fd <= STDERR_FILENO) {
        moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        rc = -errno;
        close(fd);
        if (moved < 0) {
            return rc;
        }
        fd = moved;
    }
    rc = connect_to(fd, path);
    if (rc == -ENAMETOOLONG) {
        rc = connect_long(fd, path);
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

/* 0 when `events` came (or an error that the next call will tell). */
static int wait_for(int fd, short events, uint64_t deadline_us)
{
    struct pollfd p = {.fd = fd, .events = events};
    struct timespec t;
    uint64_t now;
    int n;

    do {
        now = clock_us();
        if (now >= deadline_us) {
            return -ETIMEDOUT;
        }
        t.tv_sec = (time_t)((deadline_us - now) / 1000000u);
        t.tv_nsec = (long)((deadline_us - now) % 1000000u) * 1000;
        n = ppoll(&p, 1, &t, NULL);
    } while (n == 0 || (n < 0 && errno == EINTR));
    return n < 0 ? -errno : 0;
}

static int error_of(int e)
{
    return e == EPIPE || e == ECONNRESET ? ERR_CLOSED : -e;
}

/* Take `n` sent bytes off the front of the list. */
static void advance(struct iovec **iov, int *count, size_t n)
{
    while (*count > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

static size_t total(const struct iovec *iov, int count)
{
    size_t sum = 0;

    for (int i = 0; i < count; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

int guest_socket_send(int fd, struct iovec *iov, int count,
                      uint64_t deadline_us, size_t *left)
{
    struct msghdr m;
    ssize_t n;
    int rc = 0;

    while (rc == 0 && count > 0) {
        memset(&m, 0, sizeof m);
        m.msg_iov = iov;
        m.msg_iovlen = (size_t)(count < IOV_AT_ONCE ? count : IOV_AT_ONCE);
        n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            advance(&iov, &count, (size_t)n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            rc = wait_for(fd, POLLOUT, deadline_us);
        } else if (errno != EINTR) {
            rc = error_of(errno);
        }
    }
    *left = total(iov, count);
    return rc;
}

int guest_socket_receive(int fd, struct buf *in, uint64_t deadline_us)
{
    uint8_t *room = buf_room(in, RECEIVE_BYTES);
    ssize_t n;
    int rc;

    if (room == NULL) {
        return in->err;
    }
    for (;;) {
        rc = deadline_us > 0 ? wait_for(fd, POLLIN, deadline_us) : 0;
        if (rc != 0) {
            return rc;
        }
        n = recv(fd, room, RECEIVE_BYTES, MSG_DONTWAIT);
        if (n > 0) {
            buf_added(in, (size_t)n);
            return 0;
        }
        if (n == 0) {
            return ERR_CLOSED;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (deadline_us == 0) {
                return -ETIMEDOUT;
            }
        } else if (errno != EINTR) {
            return error_of(errno);
        }
    }
}
