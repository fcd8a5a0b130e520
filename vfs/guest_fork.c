#include "vfs/guest_fork.h"

#include <pthread.h>
#include <unistd.h>

#include "base/list.h"
#include "vfs/guest_client.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list clients;

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

static void install(void)
{
    list_init(&clients);
    pthread_atfork(before_fork, in_parent, in_child);
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
