/* Memory for messages and log writes.
 *
 * libraft 0.15.0 has no safe way to hear that a write or a message could not be
 * made (a failed append reuses an index), so running out of memory here ends
 * the process: what is durable stays so, nothing else was promised. */
#ifndef CONSENSUS_ALLOC_H
#define CONSENSUS_ALLOC_H

#include <stdlib.h>

#include "base/log.h"

/* Zeroed; never NULL. Freed with free(). */
static inline void *must_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (p == NULL) {
        log_error("out_of_memory", "bytes=%zu", size);
        abort();
    }
    return p;
}

/* The same for a growing array. */
static inline void *must_grow(void *old, size_t size)
{
    void *p = realloc(old, size);

    if (p == NULL) {
        log_error("out_of_memory", "bytes=%zu", size);
        abort();
    }
    return p;
}

#endif
