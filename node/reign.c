#include "node/reign.h"

#include <stdbool.h>
#include <string.h>

void reign_begin(struct reign *r, uint64_t term)
{
    memset(r, 0, sizeof *r);
    r->term = term;
}

/* A place for `node`: its own, a new one, or that of who was heard longest ago,
 * as when members come and go in a long reign. */
static unsigned place_of(struct reign *r, uint64_t node)
{
    unsigned oldest = 0;

    for (unsigned i = 0; i < r->n; i++) {
        if (r->heard[i].node == node) {
            return i;
        }
        oldest = r->heard[i].us < r->heard[oldest].us ? i : oldest;
    }
    if (r->n < NODES_MAX) {
        oldest = r->n++;
    }
    r->heard[oldest].node = node;
    r->heard[oldest].us = 0;
    return oldest;
}

void reign_heard(struct reign *r, uint64_t node, uint64_t term,
                 uint64_t stamp_us, uint64_t now_us)
{
    unsigned i;

    /* Whatever a peer sends: no time that has not been. */
    if (term != r->term || stamp_us > now_us) {
        return;
    }
    i = place_of(r, node);
    if (stamp_us > r->heard[i].us) {
        r->heard[i].us = stamp_us;
    }
}

static bool heard_since(const struct reign *r, uint64_t node, uint64_t us)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->heard[i].node == node) {
            return r->heard[i].us >= us;
        }
    }
    return false;
}

/* Are more than half in our term since `us`? */
static bool majority_since(const struct reign *r, const uint64_t *voters,
                           unsigned n, uint64_t self, uint64_t us)
{
    unsigned have = 0;

    for (unsigned i = 0; i < n; i++) {
        have += voters[i] == self || heard_since(r, voters[i], us);
    }
    return have > n / 2;
}

uint64_t reign_since(const struct reign *r, const uint64_t *voters, unsigned n,
                     uint64_t self, uint64_t now_us)
{
    uint64_t since = 0;

    if (majority_since(r, voters, n, self, now_us)) {
        return now_us; /* alone */
    }
    for (unsigned i = 0; i < r->n; i++) {
        if (r->heard[i].us > since &&
            majority_since(r, voters, n, self, r->heard[i].us)) {
            since = r->heard[i].us;
        }
    }
    return since;
}
