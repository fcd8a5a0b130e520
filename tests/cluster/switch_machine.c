/* node/machine.c, with a switch that is off: MUTANT_BLIND_SWAP takes the
 * compare out of the compare-and-swap. Takes the place of the product's own
 * object at the link, so that there is no second copy of its text. */
#include "tests/cluster/sim.h"
#include "wire/ids.h"

static bool same_position(const struct position *a, const struct position *b)
{
    return sim_now->plan.mutant == MUTANT_BLIND_SWAP || position_equal(a, b);
}

#define position_equal(a, b) same_position(a, b)
#include "node/machine.c" /* NOLINT(bugprone-suspicious-include) */
