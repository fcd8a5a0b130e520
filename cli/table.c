#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *text, size_t len)
{
    char *out = malloc(len + 1);

    if (out == NULL) {
        abort(); /* a command of one screen */
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return out;
}

static void add(struct table *t, const char *text, size_t len)
{
    if (t->n == t->cap) {
        char **cells;
        t->cap = t->cap == 0 ? 64 : 2 * t->cap;
        cells = realloc(t->cells, t->cap * sizeof *cells);
        if (cells == NULL) {
            abort();
        }
        t->cells = cells;
    }
    if (len > t->widths[t->n % t->columns]) {
        t->widths[t->n % t->columns] = len;
    }
    t->cells[t->n++] = copy(text, len);
}

void table_init(struct table *t, const char *head)
{
    *t = (struct table){.columns = 1};
    for (const char *c = head; *c != '\0'; c++) {
        t->columns += *c == ' ' && t->columns < TABLE_COLUMNS_MAX;
    }
    for (unsigned i = 0; i < t->columns; i++) {
        size_t len = strcspn(head, " ");
        add(t, head, len);
        head += len + (head[len] == ' ');
    }
}

void table_add(struct table *t, const char *cell)
{
    add(t, cell, strlen(cell));
}

void table_print(struct table *t, FILE *out)
{
    for (size_t i = 0; i < t->n; i++) {
        unsigned column = (unsigned)(i % t->columns);
        if (column + 1 == t->columns) {
            fprintf(out, "%s\n", t->cells[i]);
        } else {
            fprintf(out, "%-*s  ", (int)t->widths[column], t->cells[i]);
        }
        free(t->cells[i]);
    }
    free(t->cells);
    *t = (struct table){.columns = 1};
}
