#include "tests/bench/crew.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bench/process.h"

#define READY_MS 30000

int crew_init(struct crew *crew)
{
    int err;

    memset(crew, 0, sizeof *crew);
    crew->fd = memfd_create("crew", MFD_CLOEXEC);
    if (crew->fd < 0) {
        return -errno;
    }
    if (ftruncate(crew->fd, sizeof *crew->memory) != 0) {
        goto err_fd;
    }
    crew->memory = mmap(NULL, sizeof *crew->memory, PROT_READ | PROT_WRITE,
                        MAP_SHARED, crew->fd, 0);
    if (crew->memory == MAP_FAILED) {
        goto err_fd;
    }
    return 0;

err_fd:
    err = -errno;
    close(crew->fd);
    return err;
}

struct seat *crew_add(struct crew *crew, const char *preload)
{
    crew->preload[crew->n] = preload;
    return &crew->memory->seat[crew->n++];
}

static pid_t start_worker(struct crew *crew, int i)
{
    char seat[32];
    const char *argv[] = {"/proc/self/exe", "worker", seat, NULL};
    struct command command = {
        .argv = argv, .preload = crew->preload[i], .keep_fd = crew->fd};

    snprintf(seat, sizeof seat, "%d:%d", crew->fd, i);
    return process_start(&command);
}

/* True if the worker has ended; *failed tells how. */
static bool ended(struct crew *crew, int i, bool *failed)
{
    int status = 0;

    if (crew->pid[i] > 0 &&
        waitpid(crew->pid[i], &status, WNOHANG) == crew->pid[i]) {
        crew->pid[i] = 0;
        *failed = *failed || status != 0;
    }
    return crew->pid[i] <= 0;
}

static const char *reason(const struct crew *crew, int i)
{
    const char *why = crew->memory->seat[i].why;

    return why[0] != '\0' ? why : "a worker died";
}

int crew_start(struct crew *crew, const char **why)
{
    uint64_t end = clock_ms() + READY_MS;
    bool failed = false;

    for (int i = 0; i < crew->n; i++) {
        crew->pid[i] = start_worker(crew, i);
    }
    for (int i = 0; i < crew->n; i++) {
        while (!crew->memory->seat[i].ready) {
            if (ended(crew, i, &failed) || clock_ms() > end) {
                *why = reason(crew, i);
                return -EIO;
            }
            sleep_us(500);
        }
    }
    return 0;
}

void crew_go(struct crew *crew)
{
    crew->memory->start_us = clock_us() + 2000;
}

int crew_wait(struct crew *crew, int n, unsigned ms, const char **why)
{
    uint64_t end = clock_ms() + ms;
    bool failed = false;

    for (int i = 0; i < n; i++) {
        while (!ended(crew, i, &failed)) {
            if (clock_ms() > end) {
                *why = "a worker does not end";
                return -ETIMEDOUT;
            }
            sleep_us(1000);
        }
        if (failed) {
            *why = reason(crew, i);
            return -EIO;
        }
    }
    return 0;
}

void crew_close(struct crew *crew)
{
    for (int i = 0; i < crew->n; i++) {
        (void)process_end(&crew->pid[i], SIGKILL, 5000);
    }
    munmap(crew->memory, sizeof *crew->memory);
    close(crew->fd);
}
