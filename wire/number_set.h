/* A set of page numbers, to find one that comes twice in an entry: such an
 * entry would have no well-defined result. Lives on the stack. */
#ifndef WIRE_NUMBER_SET_H
#define WIRE_NUMBER_SET_H

#include <stdbool.h>
#include <stdint.h>

#define NUMBER_SET_MAX 2048u

/* Open addressing, at most half full. */
struct number_set {
    uint32_t slots[2 * NUMBER_SET_MAX]; /* 0 = free */
    uint32_t mask;
};

/* Empty, with room for `count` <= NUMBER_SET_MAX numbers; no more may be
 * added. */
void number_set_init(struct number_set *set, uint32_t count);

/* Returns false when the number is no page number, or in the set already. */
bool number_set_add(struct number_set *set, uint32_t number);

#endif
