#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include "consensus/groups.h"

unsigned placement_group(const char *name, unsigned shards)
{
    assert(shards > 0);
    return (unsigned)(XXH3_64bits(name, strlen(name)) % shards);
}

uint64_t placement_leader(unsigned group, const uint64_t *voters, unsigned n)
{
    assert(n > 0);
    return voters[group % n];
}
