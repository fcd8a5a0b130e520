/* Columns for people: as wide as their widest cell. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table {
    unsigned columns;
    size_t widths[TABLE_COLUMNS_MAX];
    char **cells; /* row after row, the head first */
    size_t n, cap;
};

/* `head`: names of the columns, one space between them. */
void table_init(struct table *t, const char *head);
/* The next cell, left to right; copied. */
void table_add(struct table *t, const char *cell);
/* Print and free. */
void table_print(struct table *t, FILE *out);

#endif
