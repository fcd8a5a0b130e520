#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/internal.h"

#define SHOW_MS 200u

const char *progress_bytes(uint64_t bytes, char room[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    unsigned i = 0;

    while (n >= 1024 && i < 4) {
        n /= 1024;
        i++;
    }
    snprintf(room, 32, i == 0 ? "%.0f %s" : "%.1f %s", n, units[i]);
    return room;
}

void progress_show(struct progress *p, uint64_t done, uint64_t all)
{
    char room[32];

    if (clock_ms() - p->shown_ms < SHOW_MS || !isatty(STDERR_FILENO)) {
        return;
    }
    p->shown_ms = clock_ms();
    fprintf(stderr, "\r%s %s: %3" PRIu64 " %% of %s ", p->what, p->name,
            all == 0 ? 100 : 100 * done / all, progress_bytes(all, room));
}

void progress_end(struct progress *p)
{
    if (p->shown_ms != 0) {
        fputs("\r\033[K", stderr);
    }
}
