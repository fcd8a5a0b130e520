#include "pane/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/limits.h"

#define BACKLOG 64

void listen_host(const char *bind, char *out)
{
    const char *colon = strrchr(bind, ':');
    size_t len = colon == NULL ? strlen(bind) : (size_t)(colon - bind);

    if (len >= 2 && bind[0] == '[' && bind[len - 1] == ']') {
        bind++;
        len -= 2;
    }
    snprintf(out, ADDRESS_MAX, "%.*s", (int)len, bind);
}

static int open_one(const struct addrinfo *a)
{
    int fd =
        socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes = 1;
    int rv;

    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (a->ai_family == AF_INET6) {
        /* The IPv4 addresses have a socket of their own. */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        rv = -errno;
        close(fd);
        return rv;
    }
    return fd;
}

/* A host may have a name for an address family that it does not have. */
static bool is_absent(int rv)
{
    return rv == -EADDRNOTAVAIL || rv == -EAFNOSUPPORT;
}

static int open_all(const struct addrinfo *list, int fds[LISTEN_MAX])
{
    int n = 0, rv = -EADDRNOTAVAIL;

    for (const struct addrinfo *a = list; a != NULL && n < LISTEN_MAX;
         a = a->ai_next) {
        rv = open_one(a);
        if (rv >= 0) {
            fds[n++] = rv;
        } else if (!is_absent(rv)) {
            while (n > 0) {
                close(fds[--n]);
            }
            return rv;
        }
    }
    return n > 0 ? n : rv;
}

int listen_open(const char *bind, int fds[LISTEN_MAX], char *why, size_t size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    char host[ADDRESS_MAX];
    const char *port = strrchr(bind, ':');
    int rv;

    if (port == NULL) {
        snprintf(why, size, "-bind-pane %s: must be HOST:PORT", bind);
        return -EINVAL;
    }
    listen_host(bind, host);
    rv = getaddrinfo(host[0] == '\0' ? NULL : host, port + 1, &hints, &list);
    if (rv != 0) {
        snprintf(why, size, "-bind-pane %s: %s", bind, gai_strerror(rv));
        return -EINVAL;
    }
    rv = open_all(list, fds);
    freeaddrinfo(list);
    if (rv < 0) {
        snprintf(why, size, "-bind-pane %s: %s", bind,
                 rv == -EADDRINUSE
                     ? "the port is in use, perhaps by another node: give "
                       "this one another -bind-pane"
                     : err_str(rv));
    }
    return rv;
}
