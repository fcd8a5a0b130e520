/* One session with the node: asks over P-marmot and waits for the answers.
 *
 * Connects by itself at the first question, and again when the node was
 * restarted. Blocking, with a deadline on every wait; one thread at a time. An
 * answer that comes too late is never taken for another one: the connection is
 * dropped instead. In a child after fork() the connection is closed at once, so
 * that the node sees it end with the process that it belongs to.
 *
 * Failures are ERR_*; `text` then says in words why. ERR_NOT_FOUND: no node is
 * running. ERR_BUSY, ERR_READONLY, ERR_FULL, ERR_FOREIGN, ERR_VERSION, ERR_IO:
 * what the node answered (enum session_reason). */
#ifndef VFS_GUEST_CLIENT_H
#define VFS_GUEST_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "vfs/slot_word.h"
#include "wire/session.h"

#define CLIENT_TEXT_BYTES 512

struct guest_client {
    const char *path;       /* of the socket; borrowed */
    int fd;                 /* -1: not connected */
    bool greeting;          /* connected, but not welcomed yet */
    bool parked;            /* a LOCK of ours is in the node's queue */
    bool granted;           /* and this one was granted */
    struct slot_page *slot; /* NULL: the lock is always asked for */
    int slot_fd;
    uint32_t session; /* our number in it */
    struct session_hello hello;
    struct token token;   /* of the last proposal */
    struct position base; /* that the next proposal builds on */
    bool resumed;         /* the lock belongs to a connection that broke */
    uint32_t answer_ms;   /* how long a commit may wait for its answer */
    struct buf in, out;
    size_t used; /* bytes of `in` that the last message took */
    char text[CLIENT_TEXT_BYTES];
    struct list clients; /* all of the process: guest_fork.c */
};

/* One page of a proposal. */
struct proposal_page {
    uint32_t number;
    uint32_t frame;       /* for `read` */
    const uint8_t *image; /* NULL: ask `read` */
};

/* A transaction: each page once, ascending. */
struct proposal {
    uint32_t page_size;
    uint32_t db_pages; /* size after it */
    uint32_t count;
    const struct proposal_page *pages;
    int (*read)(void *arg, uint32_t frame, uint8_t *image);
    void *arg;
};

void guest_client_init(struct guest_client *c, const char *path);
void guest_client_close(struct guest_client *c);

/* Forget the connection; the node sees the session end. */
void guest_client_drop(struct guest_client *c);

/* Ask for the write lock, and wait a few milliseconds for it. On ERR_BUSY with
 * c->parked the node keeps our place in its queue: c->fd becomes readable when
 * it is our turn, and asking again is then granted at once. `hello` is used
 * when there is no connection yet. */
int guest_client_lock(struct guest_client *c, const struct session_hello *hello,
                      struct position *position);

/* Have we kept the write lock since the last time? guest_client_retake then
 * takes it without a question; false: ask. The WRITE slot of the -shm must be
 * held before. */
bool guest_client_kept(const struct guest_client *c);
bool guest_client_retake(struct guest_client *c);

/* After guest_client_lock, with the WRITE slot of the -shm: is the lock still
 * ours? A node that starts clears the slot word before it takes the WRITE slot
 * exclusively, so once both are ours, no later node touches the file. */
bool guest_client_owns(struct guest_client *c);

/* Is the connection on which the lock was granted still there? */
bool guest_client_alive(struct guest_client *c);

/* Propose a transaction under the lock and wait for its fate: 0 committed;
 * ERR_CONFLICT lost the race; ERR_CLOSED surely not proposed; ERR_FULL,
 * ERR_BUSY, ERR_READONLY, ERR_IO surely failed; ERR_UNKNOWN_OUTCOME: the
 * connection has been dropped. When the node goes away meanwhile, the next one
 * that starts is asked what became of it. */
int guest_client_propose(struct guest_client *c, const struct proposal *p);

/* Give the lock back. With `keep`, and unless the node wants it, nothing is
 * said and it is kept for the next time. `state` belongs to UNLOCK_PUBLISHED.
 */
void guest_client_unlock(struct guest_client *c, enum unlock_kind kind,
                         const struct wal_state *state, bool keep);

/* SESSION_STATUS, SESSION_POSITION, or SESSION_WAIT with `wait`: the node's
 * text as a C string in `text` (TEXT_MAX + 1 bytes), and its flag. */
int guest_client_ask(struct guest_client *c, const struct session_hello *hello,
                     enum session_kind kind, const struct session_wait *wait,
                     char *text, bool *ok);

#endif
