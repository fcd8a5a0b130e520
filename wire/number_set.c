#include "wire/number_set.h"

#include <assert.h>
#include <string.h>

#include "wire/page.h"

void number_set_init(struct number_set *set, uint32_t count)
{
    uint32_t size = 2;

    assert(count <= NUMBER_SET_MAX);
    while (size < 2 * count) {
        size *= 2;
    }
    memset(set->slots, 0, size * sizeof set->slots[0]);
    set->mask = size - 1;
}

bool number_set_add(struct number_set *set, uint32_t number)
{
    uint32_t at = (number * 2654435761u >> 16) & set->mask;

    if (!page_number_valid(number)) {
        return false;
    }
    while (set->slots[at] != 0) {
        if (set->slots[at] == number) {
            return false;
        }
        at = (at + 1) & set->mask;
    }
    set->slots[at] = number;
    return true;
}
