/* Where a refused writer waits: in the xSleep that SQLite's busy handler calls.
 *
 * The handler counts the sleeps that it asked for, and no read mark is held
 * there, so it is the place for a long wait: the sleep ends as soon as the node
 * offers the turn. Per thread, because the handler runs in the thread whose
 * lock was refused. */
#ifndef VFS_GUEST_WAIT_H
#define VFS_GUEST_WAIT_H

#include "vfs/guest_sqlite.h"

/* This thread's next sleep ends when the socket `fd` becomes readable. The
 * socket is only polled: should it be closed meanwhile, nothing is lost but the
 * rest of one sleep. -1: an ordinary sleep. */
void guest_wait_for(int fd);

/* This thread's next sleep is over at once: its turn is being kept. */
void guest_wait_skip(void);

/* xSleep over the base VFS. */
int guest_wait_sleep(sqlite3_vfs *base, int microseconds);

#endif
