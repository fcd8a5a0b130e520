/* Listening sockets for -bind-pane. Blocks for a name's addresses. */
#ifndef PANE_LISTEN_H
#define PANE_LISTEN_H

#include <stddef.h>

#define LISTEN_MAX 8 /* addresses of one name */

/* Listen on every address of `host:port`; an empty host is all of them.
 * Returns how many, at least 1, or -EINVAL, -EADDRINUSE, ... with a line in
 * `why`. One address that is in use is enough to fail. */
int listen_open(const char *bind, int fds[LISTEN_MAX], char *why, size_t size);

/* The host of `host:port`, without brackets; `out` holds ADDRESS_MAX. */
void listen_host(const char *bind, char *out);

#endif
