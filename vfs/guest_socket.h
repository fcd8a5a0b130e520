/* A Unix stream socket to the node, from somebody else's process.
 *
 * Never a signal (SIGPIPE), never a descriptor that survives exec, never one
 * that takes the place of stdin, stdout or stderr. Every wait has a deadline,
 * in microseconds of clock_us(). Returns 0, -errno or ERR_*. */
#ifndef VFS_GUEST_SOCKET_H
#define VFS_GUEST_SOCKET_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"

/* Connect to the socket file at `path`, which may be longer than sun_path.
 * -ECONNREFUSED: the file is there but nobody listens. */
int guest_socket_connect(const char *path, int *fd);

/* Send all of `iov` (which is changed on the way). ERR_CLOSED when the other
 * side is gone, -ETIMEDOUT at the deadline; *left are the bytes that the kernel
 * has not taken, and they are never delivered. */
int guest_socket_send(int fd, struct iovec *iov, int count,
                      uint64_t deadline_us, size_t *left);

/* Append what has arrived to `in`, waiting for at least one byte. ERR_CLOSED
 * at the end of the stream, -ETIMEDOUT at the deadline (0: do not wait). */
int guest_socket_receive(int fd, struct buf *in, uint64_t deadline_us);

#endif
