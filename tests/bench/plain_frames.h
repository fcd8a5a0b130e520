/* How many frames some statements put into a WAL, from plain SQLite. */
#ifndef BENCH_PLAIN_FRAMES_H
#define BENCH_PLAIN_FRAMES_H

#include <stdint.h>

#include "tests/bench/options.h"
#include "tests/bench/statement.h"

#define PAGE_BYTES 4096

/* OP_FILL (1000 rows) or OP_INSERT on a copy of the seed, until there are
 * `transactions` of them or at least `frames` frames, whatever comes first.
 * Both become what they were at the end. Returns 0 or -EIO. */
int plain_frames(const struct options *o, enum op op, int64_t *transactions,
                 int64_t *frames);

/* The highest row number as stock SQLite reads it now; -1: it cannot. */
int64_t plain_last_row(const char *path);

/* How many pages the database has; -1: it cannot be read. */
int64_t plain_pages(const char *path);

#endif
