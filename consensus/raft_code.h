/* Raft's result codes as ours (base/err.h): the only translation. */
#ifndef CONSENSUS_RAFT_CODE_H
#define CONSENSUS_RAFT_CODE_H

/* `code` is 0 or one of raft.h's RAFT_* codes. */
int raft_code(int code);

#endif
