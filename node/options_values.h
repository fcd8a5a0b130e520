/* Values of flags, for options.c: each function returns 0, or -1 with a line
 * that names the flag. */
#ifndef NODE_OPTIONS_VALUES_H
#define NODE_OPTIONS_VALUES_H

#include "node/options.h"

struct parse {
    struct options *o;
    char *why;
    size_t why_size;
};

/* Write the line; returns -1. */
int options_bad(struct parse *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

int options_parse_number(struct parse *p, const char *flag, const char *text,
                         uint64_t min, uint64_t max, uint64_t *out);
int options_parse_bool(struct parse *p, const char *flag, const char *text,
                       bool *out);
int options_check_address(struct parse *p, const char *flag, const char *text);
/* `out` holds ADDRESS_MAX bytes. */
int options_copy_address(struct parse *p, const char *flag, const char *text,
                         char *out);

#endif
