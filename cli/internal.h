/* The parts of the command line, for its own files.
 *
 *   cli.c      commands and their arguments
 *   http.c     one request to the pane
 *   show.c     status, info, list
 *   lead.c     move, shuffle
 *   table.c    columns for people */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was given besides the command. */
struct call {
    const char *pane; /* host:port or URL */
    bool json;        /* answers for programs */
    unsigned timeout_s;
    int argc; /* of the command, without flags */
    char **argv;
};

/* Print `marmot: ...` to stderr. Returns 1, the exit status. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- http.c ---- */

/* Ask the pane. On 2xx, and on 503 with `any`, returns the document, which the
 * caller lets go; otherwise says what is wrong on stderr and returns NULL. */
json_t *http_get(const struct call *c, const char *path, bool any);
json_t *http_post(const struct call *c, const char *path);

/* ---- show.c ---- */

int show_status(const struct call *c);
int show_info(const struct call *c);
int show_list(const struct call *c);
/* As it came, with line breaks. Returns 0. */
int show_json(const json_t *document);

/* Never NULL: "-" where there is nothing. `room` holds numbers. */
const char *show_text(const json_t *object, const char *key, char room[32]);
uint64_t show_number(const json_t *object, const char *key);

/* ---- lead.c ---- */

int lead_move(const struct call *c);
int lead_shuffle(const struct call *c);

#endif
