/* The parts of the command line, for its own files.
 *
 *   cli.c      commands and their arguments
 *   http.c     one request to the pane
 *   show.c     status, info, list
 *   lead.c     move, shuffle
 *   members.c  remove
 *   databases.c attach, detach, drop
 *   rename.c    rename
 *   shards.c    shards
 *   backup.c   backup
 *   restore.c  restore
 *   verify.c   verify
 *   doctor*.c  doctor
 *   library.c  where the libraries are
 *   progress.c how far it is
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
    bool yes;         /* nothing is asked back */
    bool quiet;       /* nothing is said when it fails */
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

/* The same, with a call about once a second while the answer is awaited. */
json_t *http_post_watched(const struct call *c, const char *path,
                          void (*tick)(void *arg), void *arg);

/* Takes an answer as it comes. */
struct http_sink {
    void *arg;
    void (*header)(void *arg, const char *name, const char *value);
    /* Not 0: stop; it has said why. */
    int (*bytes)(void *arg, const void *bytes, size_t len);
};

/* Returns 0, or 1 after a line on stderr. */
int http_stream(const struct call *c, const char *path, struct http_sink *sink);

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

/* ---- members.c ---- */

int members_remove(const struct call *c);

/* ---- databases.c ---- */

int databases_attach(const struct call *c);
int databases_detach(const struct call *c);
int databases_drop(const struct call *c);
int rename_command(const struct call *c);
int shards_command(const struct call *c);

/* ---- backup.c, restore.c, verify.c ---- */

int backup_command(const struct call *c);
int restore_command(const struct call *c);
int verify_command(const struct call *c);

/* ---- doctor.c ---- */

int doctor_command(const struct call *c);

/* ---- library.c ---- */

/* Where a library of Marmot is. Returns 0, or 1: nowhere near. */
int library_find(const char *name, char *out, size_t size);

/* ---- progress.c ---- */

/* "backup main: 45 % of 1.2 GiB, 80.0 MiB/s" on a terminal, now and then. */
struct progress {
    const char *what, *name;
    uint64_t shown_ms, begun_ms;
};
bool progress_wanted(void);
void progress_show(struct progress *p, uint64_t done, uint64_t all);
/* The same in pages. */
void progress_pages(struct progress *p, uint64_t done, uint64_t all,
                    uint64_t page_size);
/* Clear the line. */
void progress_end(struct progress *p);

/* "1.2 GiB" */
const char *progress_bytes(uint64_t bytes, char room[32]);

#endif
