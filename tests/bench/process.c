#include "tests/bench/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

void sleep_us(uint64_t us)
{
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    (void)nanosleep(&t, NULL);
}

static void become(const struct command *command, pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    if (command->log != NULL) {
        int fd = open(command->log, O_CREAT | O_APPEND | O_WRONLY, 0600);
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
        close(fd);
    }
    if (command->keep_fd >= 0) {
        (void)fcntl(command->keep_fd, F_SETFD, 0);
    }
    for (int i = 0; i < 4 && command->env[i] != NULL; i += 2) {
        (void)setenv(command->env[i], command->env[i + 1], 1);
    }
    if (command->preload != NULL) {
        (void)setenv("LD_PRELOAD", command->preload, 1);
    }
    execv(command->argv[0], (char *const *)command->argv);
    _exit(127);
}

pid_t process_start(const struct command *command)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        become(command, parent);
    }
    return pid;
}

bool process_end(pid_t *pid, int signal, unsigned ms)
{
    uint64_t end = clock_ms() + ms;
    bool ended = false;

    if (*pid <= 0) {
        return true;
    }
    if (signal != 0) {
        kill(*pid, signal);
    }
    while (!ended && clock_ms() < end) {
        ended = waitpid(*pid, NULL, WNOHANG) == *pid;
        if (!ended) {
            sleep_us(1000);
        }
    }
    if (!ended) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    *pid = 0;
    return ended;
}

/* The number behind `name` in a file of /proc. */
static uint64_t number_in(const char *path, const char *name)
{
    uint64_t value = 0;
    char line[256];
    FILE *f = fopen(path, "re");

    if (f == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            value = strtoull(line + strlen(name), NULL, 10);
            break;
        }
    }
    fclose(f);
    return value;
}

double process_rss_mb(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    return (double)number_in(path, "VmRSS:") / 1024;
}

/* The sum over all threads of the number behind `name` in one of their files.
 */
static uint64_t sum_of_threads(pid_t pid, const char *file, const char *name)
{
    char path[384];
    uint64_t sum = 0;
    struct dirent *e;
    DIR *threads;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    threads = opendir(path);
    while (threads != NULL && (e = readdir(threads)) != NULL) {
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "/proc/%d/task/%s/%s", (int)pid,
                     e->d_name, file);
            sum += number_in(path, name);
        }
    }
    if (threads != NULL) {
        closedir(threads);
    }
    return sum;
}

double process_cpu_us(pid_t pid)
{
    return (double)sum_of_threads(pid, "schedstat", "") / 1000;
}

uint64_t process_waits(pid_t pid)
{
    return sum_of_threads(pid, "status", "voluntary_ctxt_switches:");
}

int free_ports(unsigned *ports, int n)
{
    int fds[8], err = 0;

    for (int i = 0; i < n; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET};
        socklen_t len = sizeof at;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fds[i], (struct sockaddr *)&at, sizeof at) != 0 ||
            getsockname(fds[i], (struct sockaddr *)&at, &len) != 0) {
            err = -errno;
        }
        ports[i] = ntohs(at.sin_port);
    }
    for (int i = 0; i < n; i++) {
        close(fds[i]);
    }
    return err;
}

int copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out, err = 0;
    char bytes[65536];
    ssize_t n = 0;

    if (in < 0) {
        return -errno;
    }
    out = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    while (out >= 0 && (n = read(in, bytes, sizeof bytes)) > 0) {
        if (write(out, bytes, (size_t)n) != n) {
            n = -1;
            break;
        }
    }
    if (out < 0 || n < 0) {
        err = -errno;
    }
    close(in);
    if (out >= 0) {
        close(out);
    }
    return err;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int remove_tree(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -errno;
}
