#include "vfs/guest_wait.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>

#include "base/clock.h"

static _Thread_local int refused_fd = -1;
static _Thread_local bool skip;

void guest_wait_for(int fd)
{
    refused_fd = fd;
    skip = false;
}

void guest_wait_skip(void)
{
    refused_fd = -1;
    skip = true;
}

/* Returns how many microseconds are left: 0 when the time is over or `fd`
 * became readable. */
static int poll_for(int fd, int microseconds)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t end = clock_us() + (uint64_t)microseconds;
    struct timespec t;
    uint64_t now;
    int n;

    for (now = clock_us(); now < end; now = clock_us()) {
        t.tv_sec = (time_t)((end - now) / 1000000u);
        t.tv_nsec = (long)((end - now) % 1000000u) * 1000;
        n = ppoll(&p, 1, &t, NULL);
        if (n > 0) {
            refused_fd = -1;
            return (p.revents & POLLNVAL) != 0 ? (int)(end - now) : 0;
        }
        if (n < 0 && errno != EINTR) {
            return (int)(end - now);
        }
    }
    return 0;
}

int guest_wait_sleep(sqlite3_vfs *base, int microseconds)
{
    int left = microseconds;

    if (skip) {
        skip = false;
        return microseconds;
    }
    if (refused_fd >= 0) {
        left = poll_for(refused_fd, microseconds);
    }
    if (left > 0) {
        base->xSleep(base, left);
    }
    return microseconds;
}
