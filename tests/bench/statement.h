/* The table and the statements of all arms. One statement is one transaction,
 * so that every arm does the same. */
#ifndef BENCH_STATEMENT_H
#define BENCH_STATEMENT_H

#include <stdbool.h>

enum op {
    OP_INSERT, /* number: indexed column; text */
    OP_FILL,   /* number: how many rows */
    OP_UPDATE, /* number: row; text */
    OP_DELETE, /* number: row */
    OP_READ,   /* number: row */
    OP_FIRST,  /* answers the lowest row number, 0: the table is empty */
    OP_LAST,   /* the highest */
    OPS
};

struct statement {
    const char *sql;
    bool number, text; /* parameters, in this order */
    bool reads;
};

extern const struct statement statements[OPS];

extern const char *const statement_table;
extern const char *const statement_index;

#define TEXT_BYTES 100

#endif
