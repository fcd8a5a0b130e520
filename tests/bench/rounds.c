#include "tests/bench/rounds.h"

#include <stdio.h>

bool rounds_arm_chosen(const struct arm_spec *spec, const struct options *o)
{
    if (arm_missing(spec, o) != NULL) {
        return false;
    }
    return o->arms != NULL ? options_listed(o->arms, spec->name)
                           : o->full || spec->in_short;
}

bool rounds_workload_chosen(const char *name, bool in_short,
                            const struct options *o)
{
    return o->workloads != NULL ? options_listed(o->workloads, name)
                                : o->full || in_short;
}

static bool can_do(const struct arm_spec *spec, const struct workload *w,
                   const struct options *o)
{
    return rounds_arm_chosen(spec, o) &&
           (spec->kind != KIND_FLOOR || w->on_floor);
}

/* Beginning with another arm than the round before. */
static void one_round(const struct workload *w, const struct options *o,
                      int round, struct results *r)
{
    for (int k = 0; k < arm_specs_n; k++) {
        const struct arm_spec *spec = &arm_specs[(round + k) % arm_specs_n];
        if (can_do(spec, w, o)) {
            (void)workload_run(w, spec, o, round, r);
        }
    }
    arm_clean(o);
}

void rounds_run(const struct options *o, struct results *r)
{
    for (int i = 0; i < workloads_n; i++) {
        const struct workload *w = &workloads[i];
        if (!rounds_workload_chosen(w->name, w->in_short, o)) {
            continue;
        }
        fprintf(stderr, "%s: %s\n", w->name, w->what);
        for (int round = 0; round < o->rounds; round++) {
            one_round(w, o, round, r);
        }
    }
}
