/* The quorum floor: the least that a commit on a majority can cost here.
 *
 * A client sends an entry over a Unix socket to a leader, which sends it to two
 * followers over TCP. Each of the three appends it to a file whose blocks were
 * written before and syncs; the client is answered when two have. Entries that
 * arrive meanwhile share the next write and sync. No SQLite and no Raft. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <sys/types.h>

/* About two pages, what a row with an index changes. */
#define FLOOR_ENTRY_BYTES 8448
#define FLOOR_CLIENTS_MAX 16

struct floor {
    pid_t pid[3];
    char path[256]; /* the leader's socket */
};

/* Returns 0 when clients can connect, or -EIO. */
int floor_start(struct floor *f, const char *folder);
void floor_stop(struct floor *f);

#endif
