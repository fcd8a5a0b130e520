/* marmot recover -from FILE: a file becomes the truth. */
#ifndef NODE_RECOVER_FROM_H
#define NODE_RECOVER_FROM_H

#include <stdbool.h>
#include <stdint.h>

struct recover_from {
    const char *raft_path; /* of a node whose store is open here, not there */
    uint64_t node_id;
    const char *file;
    const char *name; /* NULL: the only one */
    bool yes;
};

/* Returns the exit status. */
int recover_from(const struct recover_from *given);

#endif
