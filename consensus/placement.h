/* Which group has what, and who should lead it. Pure. */
#ifndef CONSENSUS_PLACEMENT_H
#define CONSENSUS_PLACEMENT_H

#include <stdint.h>

/* The group of a database: XXH3(name) % shards. */
unsigned placement_group(const char *name, unsigned shards);
/* Preferred leader of a group among sorted voter ids: voters[group % n]. */
uint64_t placement_leader(unsigned group, const uint64_t *voters, unsigned n);

#endif
