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

bool progress_wanted(void)
{
    return isatty(STDERR_FILENO) != 0;
}

/* Is it time for a word? */
static bool is_due(struct progress *p)
{
    uint64_t now = clock_ms();

    if (p->begun_ms == 0) {
        p->begun_ms = now;
    }
    if (now - p->shown_ms < SHOW_MS || !progress_wanted()) {
        return false;
    }
    p->shown_ms = now;
    return true;
}

static void print(const struct progress *p, uint64_t done, uint64_t all,
                  const char *of, uint64_t bytes)
{
    uint64_t ms = p->shown_ms - p->begun_ms;
    char room[32];

    fprintf(stderr, "\r%s %s: %3" PRIu64 " %% of %s", p->what, p->name,
            all == 0 ? 100 : 100 * done / all, of);
    if (ms >= SHOW_MS) {
        fprintf(stderr, ", %s/s", progress_bytes(bytes * 1000 / ms, room));
    }
    fputs("\033[K", stderr);
}

void progress_show(struct progress *p, uint64_t done, uint64_t all)
{
    char room[32];

    if (is_due(p)) {
        print(p, done, all, progress_bytes(all, room), done);
    }
}

void progress_pages(struct progress *p, uint64_t done, uint64_t all,
                    uint64_t page_size)
{
    char of[64];

    if (is_due(p)) {
        snprintf(of, sizeof of, "%" PRIu64 " pages (%" PRIu64 " read)", all,
                 done);
        print(p, done, all, of, done * page_size);
    }
}

void progress_end(struct progress *p)
{
    if (p->shown_ms != 0) {
        fputs("\r\033[K", stderr);
    }
}
