/* Shared by raft_io.c (log, messages, life) and raft_io_snapshot.c; nobody else
 * includes this. */
#ifndef CONSENSUS_RAFT_IO_INTERNAL_H
#define CONSENSUS_RAFT_IO_INTERNAL_H

#include "consensus/raft_io.h"

/* Call back when closing and nothing is in flight any more. */
void raft_io_finish_close(struct raft_io_group *g);

int raft_io_snapshot_put(struct raft_io *raw, unsigned trailing,
                         struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *snapshot,
                         raft_io_snapshot_put_cb cb);
int raft_io_snapshot_get(struct raft_io *raw, struct raft_io_snapshot_get *req,
                         raft_io_snapshot_get_cb cb);

/* Call back the gets of this turn. */
void raft_io_snapshot_gets(struct raft_io_host *host);

/* What was loaded with the log; NULL: none. RAFT_CORRUPT when its
 * configuration is. */
int raft_io_snapshot_load(struct raft_io_group *g, struct raft_snapshot **out);

/* Closing: a snapshot that still waits is not stored. */
void raft_io_snapshot_cancel(struct raft_io_group *g);

#endif
