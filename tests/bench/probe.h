/* What the system calls of a node cost, counted from inside the process.
 *
 * libprobe.so is preloaded and stands before libc's functions. It counts in a
 * file that the benchmark maps too, and keeps the last calls with their times,
 * which all processes of a machine take from the same clock. Calls that a
 * library makes without libc, such as dqlite's to the disk, are not seen. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <stdint.h>

#define PROBE_ENV "MARMOT_BENCH_COUNTERS"      /* the file */
#define PROBE_ENV_NOSYNC "MARMOT_BENCH_NOSYNC" /* syncs do nothing */

enum probe_call {
    PROBE_READ,
    PROBE_WRITE,
    PROBE_SYNC,
    PROBE_WAIT,
    PROBE_CALLS
};

enum probe_on { PROBE_FILE, PROBE_UNIX, PROBE_TCP, PROBE_OTHER, PROBE_ONS };

struct probe_count {
    uint64_t calls;
    uint64_t bytes;
    uint64_t ns;
};

struct probe_event {
    uint64_t begin_ns;
    uint32_t ns;
    uint32_t bytes; /* 0 also when the call failed or found nothing */
    uint16_t fd;
    uint8_t call;
    uint8_t on;
    uint32_t thread;
};

#define PROBE_EVENTS (1u << 18) /* of which the last ones are kept */

struct probe {
    struct probe_count count[PROBE_CALLS][PROBE_ONS];
    uint64_t events; /* so far */
    struct probe_event event[PROBE_EVENTS];
};

#endif
