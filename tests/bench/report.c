#include "tests/bench/report.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/arm.h"
#include "tests/bench/goals.h"
#include "tests/bench/special.h"
#include "tests/bench/workload.h"

static void cpu_name(char *name, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");

    snprintf(name, size, "unknown");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\"\n"),
                     colon + 2);
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

void report_machine(const struct options *o, bool realtime, struct results *r)
{
    char cpu[128], date[32];
    struct utsname system;
    struct statfs disk;
    time_t now = time(NULL);
    double load = 0;
    struct tm parts;

    cpu_name(cpu, sizeof cpu);
    (void)uname(&system);
    (void)gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (statfs(o->folder, &disk) != 0) {
        disk.f_type = 0;
    }
    (void)getloadavg(&load, 1);
    results_note(r, "machine",
                 "\"date\":\"%s\",\"cpu\":\"%s\",\"cores\":%ld,"
                 "\"kernel\":\"%s\",\"filesystem\":\"0x%lx\","
                 "\"sqlite\":\"%s\",\"rounds\":%d,\"seconds\":%g,\"rows\":%d,"
                 "\"realtime\":%s,\"writers\":\"%s\",\"load\":%.2f",
                 date, cpu, sysconf(_SC_NPROCESSORS_ONLN), system.release,
                 (unsigned long)disk.f_type, sqlite3_libversion(), o->rounds,
                 o->seconds, o->rows, realtime ? "true" : "false",
                 o->writers_at_leader ? "leader" : "first", load);
}

static void workload_row(struct results *r, const char *workload,
                         const char *arm, FILE *out)
{
    struct spread rate = results_spread(r, workload, arm, "rate");
    struct spread ratio = results_ratio(r, workload, arm, ARM_SQLITE, "rate");
    double p50 = results_spread(r, workload, arm, "p50_us").median;
    double p99 = results_spread(r, workload, arm, "p99_us").median;
    double client = results_spread(r, workload, arm, "client_cpu_us").median;
    double nodes = results_spread(r, workload, arm, "nodes_cpu_us").median;
    char times[64] = "";
    struct spread busy = results_spread(r, workload, arm, "busy");
    struct spread errors = results_spread(r, workload, arm, "errors");

    if (rate.n == 0) {
        return;
    }
    if (ratio.n > 0) {
        snprintf(times, sizeof times, "%.2fx (%.2f-%.2f)", ratio.median,
                 ratio.low, ratio.high);
    }
    fprintf(
        out,
        "  %-14s %10.0f /s  %-20s p50 %8.1f us  p99 %9.1f us  cpu %.0f+%.0f "
        "us",
        arm, rate.median, times, p50, p99, client, nodes);
    if (busy.high > 0 || errors.high > 0) {
        fprintf(out, "  busy %.0f, errors %.0f", busy.median, errors.high);
    }
    fputc('\n', out);
    results_note(r, "result",
                 "\"workload\":\"%s\",\"arm\":\"%s\",\"rounds\":%zu,"
                 "\"rate\":%.6g,\"ratio\":%.4g,\"ratio_low\":%.4g,"
                 "\"ratio_high\":%.4g,\"p50_us\":%.6g,\"p99_us\":%.6g,"
                 "\"client_cpu_us\":%.4g,\"nodes_cpu_us\":%.4g,"
                 "\"busy\":%.6g,\"errors\":%.6g",
                 workload, arm, rate.n, rate.median, ratio.median, ratio.low,
                 ratio.high, p50, p99, client, nodes, busy.median, errors.high);
}

static void workload_table(struct results *r, const struct workload *w,
                           FILE *out)
{
    struct control control = goals_control(r, w->name);
    bool any = false;

    for (int i = 0; i < arm_specs_n; i++) {
        any = any || results_spread(r, w->name, arm_specs[i].name, "rate").n;
    }
    if (!any) {
        return;
    }
    fprintf(out, "\n%s  %s", w->name, w->what);
    if (control.ratio.n > 0) {
        fprintf(out, "  (control %.2f, %.2f-%.2f%s)", control.ratio.median,
                control.ratio.low, control.ratio.high,
                control.noisy ? ": noisy" : "");
    }
    fputc('\n', out);
    results_note(r, "workload",
                 "\"workload\":\"%s\",\"what\":\"%s\",\"control\":%.4g,"
                 "\"control_low\":%.4g,\"control_high\":%.4g,"
                 "\"noisy\":%s",
                 w->name, w->what, control.ratio.median, control.ratio.low,
                 control.ratio.high, control.noisy ? "true" : "false");
    for (int i = 0; i < arm_specs_n; i++) {
        workload_row(r, w->name, arm_specs[i].name, out);
    }
}

/* Figures of one arm that are no ratios. */
static void special_table(struct results *r, const struct special *s, FILE *out)
{
    bool said = false;

    for (int i = 0; i < arm_specs_n; i++) {
        const char *arm = arm_specs[i].name;
        for (int m = 0; m < SPECIAL_METRICS_MAX && s->metric[m] != NULL; m++) {
            struct spread v = results_spread(r, s->name, arm, s->metric[m]);
            if (v.n == 0) {
                continue;
            }
            if (!said) {
                fprintf(out, "\n%s  %s\n", s->name, s->what);
                said = true;
            }
            fprintf(out, "  %-14s %-24s %10.4g  (%.4g-%.4g)\n", arm,
                    s->metric[m], v.median, v.low, v.high);
            results_note(r, "figure",
                         "\"workload\":\"%s\",\"what\":\"%s\",\"arm\":\"%s\","
                         "\"metric\":\"%s\",\"rounds\":%zu,\"median\":%.6g,"
                         "\"low\":%.6g,\"high\":%.6g",
                         s->name, s->what, arm, s->metric[m], v.n, v.median,
                         v.low, v.high);
        }
    }
}

static void goal_row(struct results *r, const struct goal *g, FILE *out)
{
    struct verdict v = goal_verdict(g, r);

    fprintf(out, "  %-4s %-48s", g->name, g->what);
    if (v.value.n > 0) {
        fprintf(out, " %8.3g (%.3g-%.3g)", v.value.median, v.value.low,
                v.value.high);
    }
    fprintf(out, "  %s  [must %g, target %g, moonshot %g]\n", v.text, g->must,
            g->target, g->moonshot);
    results_note(
        r, "goal",
        "\"goal\":\"%s\",\"what\":\"%s\",\"rounds\":%zu,"
        "\"median\":%.4g,\"low\":%.4g,\"high\":%.4g,"
        "\"control\":%.4g,\"verdict\":\"%s\",\"must\":%g,"
        "\"target\":%g,\"moonshot\":%g",
        g->name, g->what, v.value.n, v.value.median, v.value.low, v.value.high,
        g->control != NULL ? goals_control(r, g->control).ratio.median : 0.0,
        v.text, g->must, g->target, g->moonshot);
}

static void tables(struct results *r, FILE *out)
{
    for (int i = 0; i < workloads_n; i++) {
        workload_table(r, &workloads[i], out);
    }
    for (int i = 0; i < specials_n; i++) {
        special_table(r, &specials[i], out);
    }
    fprintf(out, "\nGoals (medians; lowest and highest round)\n");
    for (size_t i = 0; i < goals_n; i++) {
        goal_row(r, &goals[i], out);
    }
}

void report_end(struct results *r, FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *table = open_memstream(&text, &len); /* after the JSON lines */

    if (table != NULL) {
        tables(r, table);
        fclose(table);
        fwrite(text, 1, len, out);
    }
    free(text);
}
