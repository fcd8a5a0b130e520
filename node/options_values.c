#include "node/options_values.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int options_bad(struct parse *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->why, p->why_size, format, args);
    va_end(args);
    return -1;
}

int options_parse_number(struct parse *p, const char *flag, const char *text,
                         uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || v < min ||
        v > max) {
        return options_bad(p, "-%s %s: must be a number from %llu to %llu",
                           flag, text, (unsigned long long)min,
                           (unsigned long long)max);
    }
    *out = v;
    return 0;
}

int options_parse_bool(struct parse *p, const char *flag, const char *text,
                       bool *out)
{
    if (text == NULL || strcmp(text, "true") == 0 || strcmp(text, "1") == 0) {
        *out = true;
    } else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0) {
        *out = false;
    } else {
        return options_bad(p, "-%s %s: must be true or false", flag, text);
    }
    return 0;
}

/* host:port, [v6]:port; the host may be empty (all addresses). */
int options_check_address(struct parse *p, const char *flag, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (colon == NULL || strlen(text) >= ADDRESS_MAX) {
        return options_bad(p, "-%s %s: must be HOST:PORT", flag, text);
    }
    return options_parse_number(p, flag, colon + 1, 1, 65535, &port);
}

int options_copy_address(struct parse *p, const char *flag, const char *text,
                         char *out)
{
    if (options_check_address(p, flag, text) != 0) {
        return -1;
    }
    snprintf(out, ADDRESS_MAX, "%s", text);
    return 0;
}
