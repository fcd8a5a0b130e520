/* Virtual time: a heap of events, one source of chance, and the trace. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "consensus/alloc.h"
#include "tests/cluster/sim.h"

/* ---- events -------------------------------------------------------------- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us
                                : a->sequence < b->sequence;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event t = *a;

    *a = *b;
    *b = t;
}

void *sim_after(struct sim *s, uint64_t delay_us,
                void (*run)(struct sim *s, void *data), size_t size)
{
    void *data = must_alloc(size + 1);
    size_t i = s->n_events++;

    if (s->n_events > s->cap_events) {
        s->cap_events = s->cap_events == 0 ? 256 : 2 * s->cap_events;
        s->events = must_grow(s->events, s->cap_events * sizeof *s->events);
    }
    s->events[i] = (struct sim_event){.at_us = s->now_us + delay_us,
                                      .sequence = s->next_sequence++,
                                      .run = run,
                                      .data = data};
    for (; i > 0 && is_before(&s->events[i], &s->events[(i - 1) / 2]);
         i = (i - 1) / 2) {
        swap(&s->events[i], &s->events[(i - 1) / 2]);
    }
    return data;
}

static struct sim_event take_first(struct sim *s)
{
    struct sim_event first = s->events[0];
    size_t i = 0;

    s->events[0] = s->events[--s->n_events];
    for (;;) {
        size_t least = i, left = 2 * i + 1;
        for (size_t k = left; k < left + 2 && k < s->n_events; k++) {
            least = is_before(&s->events[k], &s->events[least]) ? k : least;
        }
        if (least == i) {
            return first;
        }
        swap(&s->events[i], &s->events[least]);
        i = least;
    }
}

bool sim_step(struct sim *s, uint64_t until_us)
{
    struct sim_event e;

    if (s->n_events == 0 || s->events[0].at_us > until_us) {
        s->now_us = until_us;
        return false;
    }
    e = take_first(s);
    s->now_us = e.at_us;
    s->report.events++;
    e.run(s, e.data);
    free(e.data);
    return true;
}

void sim_events_free(struct sim *s)
{
    for (size_t i = 0; i < s->n_events; i++) {
        free(s->events[i].data);
    }
    free(s->events);
    s->events = NULL;
    s->n_events = s->cap_events = 0;
}

/* ---- chance -------------------------------------------------------------- */

/* splitmix64 */
static uint64_t next_random(struct sim *s)
{
    uint64_t z = (s->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t draw(struct sim *s, uint64_t below)
{
    return below == 0 ? 0 : next_random(s) % below;
}

uint64_t draw_between(struct sim *s, uint64_t low, uint64_t high)
{
    return low + draw(s, high - low + 1);
}

bool chance(struct sim *s, uint64_t of, uint64_t in)
{
    return draw(s, in) < of;
}

void draw_bytes(struct sim *s, void *out, size_t len)
{
    uint8_t *at = out;

    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)draw(s, 256);
    }
}

/* ---- trace --------------------------------------------------------------- */

void trace(struct sim *s, uint64_t node, const char *what, uint64_t a,
           uint64_t b, uint64_t c)
{
    uint64_t line[6] = {s->now_us, node, a, b, c, s->report.hash};

    s->report.hash = XXH3_64bits_withSeed(line, sizeof line,
                                          XXH3_64bits(what, strlen(what)));
    if (s->plan.print) {
        printf("%4llu.%06llu %llu %-12s %llu %llu %llx\n",
               (unsigned long long)(s->now_us / SECOND),
               (unsigned long long)(s->now_us % SECOND),
               (unsigned long long)node, what, (unsigned long long)a,
               (unsigned long long)b, (unsigned long long)c);
    }
}

void violation(struct sim *s, const char *format, ...)
{
    va_list args;

    if (s->report.violated) {
        return;
    }
    s->report.violated = true;
    va_start(args, format);
    vsnprintf(s->report.why, sizeof s->report.why, format, args);
    va_end(args);
    trace(s, 0, "VIOLATION", 0, 0, 0);
    if (s->plan.print) {
        printf("violation: %s\n", s->report.why);
    }
}
