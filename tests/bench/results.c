#include "tests/bench/results.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void results_open_line(struct results *r, const char *workload, const char *arm,
                       int round)
{
    r->workload = workload;
    r->arm = arm;
    r->round = round;
    r->line_start = r->n;
}

void results_put(struct results *r, const char *metric, double value)
{
    if (r->n == r->room) {
        r->room = r->room == 0 ? 256 : r->room * 2;
        r->figures = realloc(r->figures, r->room * sizeof *r->figures);
        if (r->figures == NULL) {
            abort();
        }
    }
    r->figures[r->n++] =
        (struct figure){r->workload, r->arm, metric, r->round, value};
}

static void print_line(const struct results *r, FILE *f)
{
    if (f == NULL) {
        return;
    }
    fprintf(f,
            "{\"type\":\"round\",\"workload\":\"%s\",\"arm\":\"%s\","
            "\"round\":%d",
            r->workload, r->arm, r->round);
    for (size_t i = r->line_start; i < r->n; i++) {
        fprintf(f, ",\"%s\":%.6g", r->figures[i].metric, r->figures[i].value);
    }
    fputs("}\n", f);
    fflush(f);
}

void results_close_line(struct results *r)
{
    print_line(r, r->lines);
    print_line(r, r->lines_2);
    r->line_start = r->n;
}

void results_note(struct results *r, const char *type, const char *format, ...)
{
    FILE *both[2] = {r->lines, r->lines_2};

    for (int i = 0; i < 2; i++) {
        va_list ap;
        if (both[i] == NULL) {
            continue;
        }
        fprintf(both[i], "{\"type\":\"%s\",", type);
        va_start(ap, format);
        vfprintf(both[i], format, ap);
        va_end(ap);
        fputs("}\n", both[i]);
        fflush(both[i]);
    }
}

void results_failed(struct results *r, const char *workload, const char *arm,
                    int round, const char *why)
{
    char clean[256];
    size_t n = 0;

    for (; *why != '\0' && n + 1 < sizeof clean; why++) {
        bool plain = *why >= ' ' && *why != '"' && *why != '\\';
        clean[n++] = plain ? *why : '_';
    }
    clean[n] = '\0';
    results_note(r, "failed",
                 "\"workload\":\"%s\",\"arm\":\"%s\",\"round\":%d,"
                 "\"why\":\"%s\"",
                 workload, arm, round, clean);
    fprintf(stderr, "bench: %s, %s, round %d: %s\n", workload, arm, round,
            clean);
}

static bool is(const struct figure *f, const char *workload, const char *arm,
               const char *metric)
{
    return strcmp(f->metric, metric) == 0 && strcmp(f->arm, arm) == 0 &&
           strcmp(f->workload, workload) == 0;
}

bool results_get(const struct results *r, const char *workload, const char *arm,
                 const char *metric, int round, double *value)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->figures[i].round == round &&
            is(&r->figures[i], workload, arm, metric)) {
            *value = r->figures[i].value;
            return true;
        }
    }
    return false;
}

struct spread results_spread(const struct results *r, const char *workload,
                             const char *arm, const char *metric)
{
    double values[STATS_VALUES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < r->n && n < STATS_VALUES_MAX; i++) {
        if (is(&r->figures[i], workload, arm, metric)) {
            values[n++] = r->figures[i].value;
        }
    }
    return stats_spread(values, n);
}

size_t results_ratios(const struct results *r, const char *workload,
                      const char *arm, const char *base, const char *metric,
                      double *ratios)
{
    double other;
    size_t n = 0;

    for (size_t i = 0; i < r->n && n < STATS_VALUES_MAX; i++) {
        const struct figure *f = &r->figures[i];
        if (is(f, workload, arm, metric) &&
            results_get(r, workload, base, metric, f->round, &other) &&
            other > 0) {
            ratios[n++] = f->value / other;
        }
    }
    return n;
}

struct spread results_ratio(const struct results *r, const char *workload,
                            const char *arm, const char *base,
                            const char *metric)
{
    double ratios[STATS_VALUES_MAX];
    size_t n = results_ratios(r, workload, arm, base, metric, ratios);

    return stats_spread(ratios, n);
}

void results_close(struct results *r)
{
    free(r->figures);
    r->figures = NULL;
    r->n = r->room = 0;
}
