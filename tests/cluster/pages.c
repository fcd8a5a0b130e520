/* What the simulated databases hold: a counter on page 1, two accounts on
 * pages 2 and 3 whose sum never changes, and pages that come and go. */
#include <string.h>

#include "base/bytes.h"
#include "consensus/alloc.h"
#include "tests/cluster/guest.h"

enum { AT_VALUE = 100, AT_WRITER = 108 };

static void put_value(uint8_t *image, uint64_t value)
{
    put_le64(image + AT_VALUE, value);
}

uint64_t pages_counter(const struct file_state *f)
{
    return f->pages == 0 ? 0 : get_le64(f->images[0] + AT_VALUE);
}

uint64_t pages_total(const struct file_state *f)
{
    return f->pages < 3 ? ACCOUNTS_TOTAL
                        : get_le64(f->images[1] + AT_VALUE) +
                              get_le64(f->images[2] + AT_VALUE);
}

static void clear(struct file_state *f)
{
    memset(f, 0, sizeof *f);
    f->pages = 3;
    f->images[0][18] = f->images[0][19] = 2; /* WAL */
    put_value(f->images[1], ACCOUNTS_TOTAL);
}

void pages_fill(struct sim *s, struct file_state *f)
{
    clear(f);
    f->pages = (uint32_t)draw_between(s, 3, 8);
    for (uint32_t i = 3; i < f->pages; i++) {
        draw_bytes(s, f->images[i], SIM_PAGE);
    }
    f->sum = file_sum(f);
}

/* The list is kept ascending. */
static void change(struct guest *g, uint32_t number)
{
    uint32_t i = 0;

    while (i < g->n_changed && g->changed[i] < number) {
        i++;
    }
    if (i < g->n_changed && g->changed[i] == number) {
        return;
    }
    memmove(g->changed + i + 1, g->changed + i,
            (g->n_changed - i) * sizeof g->changed[0]);
    g->changed[i] = number;
    g->n_changed++;
}

static void transfer(struct guest *g)
{
    struct file_state *f = &g->next;
    uint64_t from = get_le64(f->images[1] + AT_VALUE);
    uint64_t to = get_le64(f->images[2] + AT_VALUE);
    uint64_t amount = draw(g->node->sim, from + 1);

    if (from < to) {
        amount = (uint64_t)0 - draw(g->node->sim, to + 1);
    }
    put_value(f->images[1], from - amount);
    put_value(f->images[2], to + amount);
    change(g, 2);
    change(g, 3);
}

/* Grow, shrink, or write over pages beyond the first three. */
static void change_others(struct guest *g)
{
    struct sim *s = g->node->sim;
    struct file_state *f = &g->next;
    uint32_t old = f->pages;

    if (chance(s, 1, 3)) {
        f->pages = (uint32_t)draw_between(s, 3, SIM_PAGES_MAX);
    }
    for (uint32_t i = old; i < f->pages; i++) {
        draw_bytes(s, f->images[i], 64);
        change(g, i + 1);
    }
    for (uint64_t k = draw(s, 4); k > 0 && f->pages > 3; k--) {
        uint32_t i = (uint32_t)draw_between(s, 3, f->pages - 1);
        draw_bytes(s, f->images[i], 64);
        change(g, i + 1);
    }
}

void guest_write(struct guest *g)
{
    struct file_state *f = &g->next;

    *f = g->node->files[g->db].now;
    g->n_changed = 0;
    change(g, 1);
    if (f->pages == 0) {
        clear(f);
        change(g, 2);
        change(g, 3);
    }
    put_value(f->images[0], pages_counter(f) + 1);
    put_le64(f->images[0] + AT_WRITER, (uint64_t)(g->node->number + 1) << 32 |
                                           g->number << 24 | ++g->attempts);
    transfer(g);
    change_others(g);
}

unsigned guest_parts(struct guest *g)
{
    return chance(g->node->sim, 1, 4)
               ? (unsigned)draw_between(g->node->sim, 1, g->n_changed)
               : 1;
}

struct guest_part *guest_part(const struct guest *g, unsigned part,
                              unsigned parts)
{
    struct guest_part *p = must_alloc(sizeof *p);
    uint32_t from = g->n_changed * part / parts;
    uint32_t to = g->n_changed * (part + 1) / parts;

    p->number = part;
    p->db_pages = part == parts - 1 ? g->next.pages : 0;
    for (uint32_t i = from; i < to; i++, p->count++) {
        put_le32(p->numbers + 4 * (size_t)p->count, g->changed[i]);
        memcpy(p->images + (size_t)p->count * SIM_PAGE,
               g->next.images[g->changed[i] - 1], SIM_PAGE);
    }
    return p;
}
