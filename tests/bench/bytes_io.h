/* Whole messages over blocking sockets. */
#ifndef BENCH_BYTES_IO_H
#define BENCH_BYTES_IO_H

#include <stddef.h>

/* 0, or -EIO: the other side is gone. */
int read_all(int fd, void *bytes, size_t len);
int write_all(int fd, const void *bytes, size_t len);

/* A connected socket or -1. TCP: to that port on loopback, with NODELAY. */
int connect_tcp(const char *host_port);
int connect_unix(const char *path);

#endif
