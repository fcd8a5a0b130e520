/* Child processes and what /proc says about them. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct command {
    const char *const *argv; /* argv[0]: the program's path */
    const char *preload;     /* LD_PRELOAD, or NULL: none */
    const char *env[4];      /* two more variables and their values, or NULL */
    const char *log; /* both outputs are added to this file; NULL: ours */
    int keep_fd;     /* stays open in the child; -1: none */
};

/* Returns the child, which dies with this program, or -1. */
pid_t process_start(const struct command *command);

/* Send a signal (0: none) and wait. True if the child ended within `ms`; after
 * that it is killed. *pid becomes 0. */
bool process_end(pid_t *pid, int signal, unsigned ms);

/* Resident memory in MB; 0 when the process is gone. */
double process_rss_mb(pid_t pid);

/* Processor time that its threads used, those that live. */
double process_cpu_us(pid_t pid);

/* How often its threads left the processor by themselves. */
uint64_t process_waits(pid_t pid);

/* Ports that were free a moment ago. Returns 0 or -errno. */
int free_ports(unsigned *ports, int n);

/* Copy a file; remove a folder with everything in it. 0 or -errno. */
int copy_file(const char *from, const char *to);
int remove_tree(const char *path);

void sleep_us(uint64_t us);

#endif
