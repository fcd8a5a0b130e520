/* fork(): a child closes its copies of the sockets to the node, at once.
 *
 * Otherwise the node would not see the session of a dead parent end while a
 * child lives. Everything else that a child inherits is left alone. */
#ifndef VFS_GUEST_FORK_H
#define VFS_GUEST_FORK_H

#include <sys/types.h>

struct guest_client;

/* getpid(), without a system call where the kernel allows it. */
pid_t guest_fork_pid(void);

/* From now on c->fd is closed and set to -1 in every forked child. */
void guest_fork_watch(struct guest_client *c);
void guest_fork_forget(struct guest_client *c);

#endif
