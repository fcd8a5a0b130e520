#include <stdlib.h>
#include <string.h>

#include "consensus/store.h"

void store_group_free(struct store_group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        raft_free(g->entries[i].buf.base);
    }
    raft_free(g->entries);
    free(g->snapshot.conf);
    free(g->snapshot.data);
    memset(g, 0, sizeof *g);
}
