#include "tests/bench/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bytes_io.h"

#define FILE_BYTES (64u << 20)
#define BATCH_BYTES (FLOOR_CLIENTS_MAX * (size_t)FLOOR_ENTRY_BYTES)
#define FOLLOWERS 2
#define CLIENT_FIRST 16 /* epoll data: below are follower numbers */

/* Leader to follower: this, then `entries` entries. Back: the number alone. */
struct batch_header {
    uint32_t number;
    uint32_t entries;
};

struct log_file {
    int fd;
    off_t at;
};

struct leader {
    struct log_file log;
    int epoll, listener;
    int follower[FOLLOWERS];
    int client[FLOOR_CLIENTS_MAX]; /* in the batch that is being collected */
    size_t clients;
    int waiting[FLOOR_CLIENTS_MAX]; /* in the batch that is on its way */
    size_t waiters;
    uint32_t number, acked;   /* of batches: sent, synced by a follower */
    struct batch_header *out; /* and BATCH_BYTES behind it */
};

/* Blocks that were written once: only data goes to the disk at a sync. */
static void log_open(struct log_file *log, const char *folder, int id)
{
    char path[300];
    char *block = calloc(1, 1 << 20);

    snprintf(path, sizeof path, "%s/floor%d", folder, id);
    log->fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    log->at = 0;
    if (block == NULL || log->fd < 0) {
        _exit(1);
    }
    memset(block, 1, 1 << 20);
    for (unsigned i = 0; i < FILE_BYTES >> 20; i++) {
        if (write(log->fd, block, 1 << 20) != 1 << 20) {
            _exit(1);
        }
    }
    (void)fsync(log->fd);
    free(block);
}

static void log_append(struct log_file *log, const void *bytes, size_t len)
{
    if (log->at + (off_t)len > (off_t)FILE_BYTES) {
        log->at = 0;
    }
    if (pwrite(log->fd, bytes, len, log->at) != (ssize_t)len ||
        fdatasync(log->fd) != 0) {
        _exit(1);
    }
    log->at += (off_t)len;
}

static void follow(int fd, const char *folder, int id)
{
    struct log_file log;
    struct batch_header h = {0, 0};
    char *bytes = malloc(BATCH_BYTES);

    log_open(&log, folder, id);
    if (bytes == NULL || write_all(fd, &h.number, sizeof h.number) != 0) {
        _exit(1);
    }
    while (read_all(fd, &h, sizeof h) == 0 && h.entries <= FLOOR_CLIENTS_MAX &&
           read_all(fd, bytes, (size_t)h.entries * FLOOR_ENTRY_BYTES) == 0) {
        log_append(&log, bytes, (size_t)h.entries * FLOOR_ENTRY_BYTES);
        if (write_all(fd, &h.number, sizeof h.number) != 0) {
            break;
        }
    }
    _exit(0);
}

static void watch(struct leader *l, int fd, uint64_t what)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = what};

    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        _exit(1);
    }
}

static void on_event(struct leader *l, uint64_t what)
{
    char *room = (char *)(l->out + 1);

    if (what < FOLLOWERS) {
        uint32_t number;
        if (read_all(l->follower[what], &number, sizeof number) != 0) {
            _exit(0);
        }
        if ((int32_t)(number - l->acked) > 0) {
            l->acked = number;
        }
    } else if (what == (uint64_t)(CLIENT_FIRST + l->listener)) {
        int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            watch(l, fd, (uint64_t)(CLIENT_FIRST + fd));
        }
    } else {
        int fd = (int)what - CLIENT_FIRST;
        if (l->clients == FLOOR_CLIENTS_MAX ||
            read_all(fd, room + l->clients * FLOOR_ENTRY_BYTES,
                     FLOOR_ENTRY_BYTES) != 0) {
            close(fd);
            return;
        }
        l->client[l->clients++] = fd;
    }
}

/* The followers write at the same time as the leader. */
static void send_batch(struct leader *l)
{
    size_t len = l->clients * FLOOR_ENTRY_BYTES;

    *l->out = (struct batch_header){++l->number, (uint32_t)l->clients};
    for (int i = 0; i < FOLLOWERS; i++) {
        if (write_all(l->follower[i], l->out, sizeof *l->out + len) != 0) {
            _exit(0);
        }
    }
    memcpy(l->waiting, l->client, sizeof l->waiting);
    l->waiters = l->clients;
    l->clients = 0;
    log_append(&l->log, l->out + 1, len);
}

static void lead(struct leader *l, const char *folder)
{
    struct epoll_event events[32];

    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->out = malloc(sizeof *l->out + BATCH_BYTES);
    log_open(&l->log, folder, 0);
    for (unsigned i = 0; i < FOLLOWERS; i++) {
        watch(l, l->follower[i], i);
    }
    watch(l, l->listener, (uint64_t)(CLIENT_FIRST + l->listener));
    for (;;) {
        int n = epoll_wait(l->epoll, events, 32, -1);
        for (int i = 0; i < n; i++) {
            on_event(l, events[i].data.u64);
        }
        if (l->waiters > 0 && l->acked == l->number) {
            for (size_t i = 0; i < l->waiters; i++) {
                (void)write_all(l->waiting[i], "1", 1);
            }
            l->waiters = 0;
        }
        if (l->clients > 0 && l->waiters == 0) {
            send_batch(l);
        }
    }
}

/* Two ends of a TCP connection over loopback. */
static int tcp_pair(int pair[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0 ||
        connect(pair[0], (struct sockaddr *)&at, sizeof at) != 0) {
        return -EIO;
    }
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    for (int i = 0; i < 2; i++) {
        (void)setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return pair[1] < 0 ? -EIO : 0;
}

static int listen_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(fd, 64) != 0) {
        return -1;
    }
    return fd;
}

int floor_start(struct floor *f, const char *folder)
{
    struct leader l = {0};
    int pair[FOLLOWERS][2];

    memset(f, 0, sizeof *f);
    snprintf(f->path, sizeof f->path, "%s/floor.sock", folder);
    l.listener = listen_unix(f->path);
    if (l.listener < 0) {
        return -EIO;
    }
    for (int i = 0; i < FOLLOWERS; i++) {
        if (tcp_pair(pair[i]) != 0) {
            return -EIO;
        }
        l.follower[i] = pair[i][0];
    }
    for (int i = 0; i < 3; i++) {
        f->pid[i] = fork();
        if (f->pid[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (i == FOLLOWERS) {
                lead(&l, folder);
            }
            follow(pair[i][1], folder, i + 1);
        }
    }
    for (int i = 0; i < FOLLOWERS; i++) {
        close(pair[i][0]);
        close(pair[i][1]);
    }
    close(l.listener);
    return 0;
}

void floor_stop(struct floor *f)
{
    for (int i = 0; i < 3; i++) {
        if (f->pid[i] > 0) {
            kill(f->pid[i], SIGKILL);
            waitpid(f->pid[i], NULL, 0);
            f->pid[i] = 0;
        }
    }
}
