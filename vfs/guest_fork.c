#include "vfs/guest_fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/list.h"
#include "vfs/guest_client.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list clients;

/* The process's pid, in a page that the kernel empties in every child, however
 * it was forked: a read of memory where getpid would be a system call, several
 * for each statement. NULL where the kernel has no such page. */
static _Atomic pid_t *own_pid;

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

static void in_child(void)
{
    struct guest_client *c;

    for (struct list *l = clients.next; l != &clients; l = l->next) {
        c = LIST_ENTRY(l, struct guest_client, clients);
        if (c->fd >= 0) {
            close(c->fd);
            c->fd = -1;
            c->greeting = false;
        }
        if (c->slot_fd >= 0) {
            close(c->slot_fd); /* the mapping is not the child's anyway */
            c->slot_fd = -1;
            c->slot = NULL;
        }
    }
    pthread_mutex_unlock(&mutex);
}

static void map_own_pid(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return;
    }
    if (madvise(page, size, MADV_WIPEONFORK) != 0) {
        munmap(page, size);
        return;
    }
    own_pid = page;
}

static void install(void)
{
    list_init(&clients);
    map_own_pid();
    pthread_atfork(before_fork, in_parent, in_child);
}

pid_t guest_fork_pid(void)
{
    pid_t pid;

    pthread_once(&once, install);
    if (own_pid == NULL) {
        return getpid();
    }
    pid = atomic_load_explicit(own_pid, memory_order_relaxed);
    if (pid == 0) {
        pid = getpid();
        atomic_store_explicit(own_pid, pid, memory_order_relaxed);
    }
    return pid;
}

void guest_fork_watch(struct guest_client *c)
{
    pthread_once(&once, install);
    pthread_mutex_lock(&mutex);
    list_push(&clients, &c->clients);
    pthread_mutex_unlock(&mutex);
}

void guest_fork_forget(struct guest_client *c)
{
    pthread_mutex_lock(&mutex);
    list_remove(&c->clients);
    pthread_mutex_unlock(&mutex);
}
