/* Proof, in time, that a leader still leads.
 *
 * The leader asks the voters whether they still are in its term. A voter that
 * says so had not voted in a newer one yet, so nobody else had been elected at
 * the time when the question left that the last of a majority has answered:
 * any majority that elects another leader has one of these voters in it. Only
 * the leader's own clock is read.
 *
 * Pure. */
#ifndef NODE_REIGN_H
#define NODE_REIGN_H

#include <stdint.h>

#include "base/limits.h"

struct reign {
    uint64_t term;
    uint64_t probed_us; /* when the last questions left */
    struct {
        uint64_t node, us; /* when the last question left that it answered */
    } heard[NODES_MAX];
    unsigned n;
};

/* Elected: nothing is proved yet. */
void reign_begin(struct reign *r, uint64_t term);

/* `node` has answered a question that left at `stamp_us`. */
void reign_heard(struct reign *r, uint64_t node, uint64_t term,
                 uint64_t stamp_us, uint64_t now_us);

/* The latest time for which it is proved that `self` led, by the answers of
 * more than half of the `n` voters; 0: none. */
uint64_t reign_since(const struct reign *r, const uint64_t *voters, unsigned n,
                     uint64_t self, uint64_t now_us);

#endif
