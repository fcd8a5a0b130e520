#include "tests/bench/probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static struct probe *probe;
static bool nosync;

/* Before any other code of the process. */
__attribute__((constructor)) static void start(void)
{
    const char *path = getenv(PROBE_ENV);
    int fd = path == NULL ? -1 : open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    nosync = getenv(PROBE_ENV_NOSYNC) != NULL;
    if (fd >= 0 && ftruncate(fd, sizeof *probe) == 0) {
        void *at = mmap(NULL, sizeof *probe, PROT_READ | PROT_WRITE, MAP_SHARED,
                        fd, 0);
        probe = at == MAP_FAILED ? NULL : at;
    }
}

/* The function that ours stands before. */
static void *next(const char *name, void **kept)
{
    if (*kept == NULL) {
        *kept = dlsym(RTLD_NEXT, name);
    }
    return *kept;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Looked up each time: numbers are given again, and not every close passes
 * libc. */
static uint8_t kind_of(enum probe_call call, int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    struct stat st;

    if (call == PROBE_WAIT) {
        return PROBE_OTHER;
    }
    if (call != PROBE_SYNC &&
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0) {
        return domain == AF_UNIX ? PROBE_UNIX : PROBE_TCP;
    }
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? PROBE_FILE
                                                      : PROBE_OTHER;
}

static void note(enum probe_call call, int fd, uint64_t begin, ssize_t result)
{
    static __thread uint32_t thread;
    int error = errno;
    uint64_t ns = now_ns() - begin;
    uint32_t bytes = result > 0 ? (uint32_t)result : 0;
    struct probe_count *c;
    uint8_t on;

    if (probe != NULL) {
        on = kind_of(call, fd);
        if (thread == 0) {
            thread = (uint32_t)syscall(SYS_gettid);
        }
        c = &probe->count[call][on];
        __atomic_fetch_add(&c->calls, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&c->bytes, bytes, __ATOMIC_RELAXED);
        __atomic_fetch_add(&c->ns, ns, __ATOMIC_RELAXED);
        probe->event[__atomic_fetch_add(&probe->events, 1, __ATOMIC_RELAXED) %
                     PROBE_EVENTS] = (struct probe_event){
            begin,         (uint32_t)ns, bytes, (uint16_t)fd,
            (uint8_t)call, on,           thread};
    }
    errno = error;
}

/* One function that is stood before: its type, name, parameters, arguments,
 * what it is counted as, and on which descriptor. */
#define STAND_BEFORE(type, name, parameters, arguments, call, fd)           \
    EXPORT type name parameters;                                            \
    type name parameters                                                    \
    {                                                                       \
        static void *kept;                                                  \
        __typeof__(&(name)) real = (__typeof__(&(name)))next(#name, &kept); \
        uint64_t begin = now_ns();                                          \
        type result = real arguments;                                       \
        note(call, fd, begin, (ssize_t)result);                             \
        return result;                                                      \
    }

STAND_BEFORE(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), PROBE_READ,
             fd)
STAND_BEFORE(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n),
             PROBE_READ, fd)
STAND_BEFORE(ssize_t, pread64, (int fd, void *b, size_t n, off64_t at),
             (fd, b, n, at), PROBE_READ, fd)
STAND_BEFORE(ssize_t, recv, (int fd, void *b, size_t n, int flags),
             (fd, b, n, flags), PROBE_READ, fd)
STAND_BEFORE(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags),
             (fd, m, flags), PROBE_READ, fd)
STAND_BEFORE(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n),
             PROBE_WRITE, fd)
STAND_BEFORE(ssize_t, writev, (int fd, const struct iovec *v, int n),
             (fd, v, n), PROBE_WRITE, fd)
STAND_BEFORE(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at),
             (fd, b, n, at), PROBE_WRITE, fd)
STAND_BEFORE(ssize_t, pwritev64,
             (int fd, const struct iovec *v, int n, off64_t at), (fd, v, n, at),
             PROBE_WRITE, fd)
STAND_BEFORE(ssize_t, send, (int fd, const void *b, size_t n, int flags),
             (fd, b, n, flags), PROBE_WRITE, fd)
STAND_BEFORE(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags),
             (fd, m, flags), PROBE_WRITE, fd)
STAND_BEFORE(int, epoll_wait,
             (int fd, struct epoll_event *e, int n, int timeout),
             (fd, e, n, timeout), PROBE_WAIT, -1)
STAND_BEFORE(int, epoll_pwait,
             (int fd, struct epoll_event *e, int n, int timeout,
              const sigset_t *mask),
             (fd, e, n, timeout, mask), PROBE_WAIT, -1)

static int synced(const char *name, void **kept, int fd)
{
    int (*real)(int) = (int (*)(int))next(name, kept);
    uint64_t begin = now_ns();
    int result = nosync ? 0 : real(fd);

    note(PROBE_SYNC, fd, begin, result);
    return result;
}

EXPORT int fsync(int fd)
{
    static void *kept;

    return synced("fsync", &kept, fd);
}

EXPORT int fdatasync(int fd)
{
    static void *kept;

    return synced("fdatasync", &kept, fd);
}
