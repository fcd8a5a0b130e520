/* marmot doctor: the parts.
 *
 *   doctor.c          the command, the report
 *   doctor_program.c  which file is run, and what it and its libraries are
 *   doctor_modules.c  what an interpreter loads only later
 *   doctor_node.c     the node, its databases, permissions */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <limits.h>

#include "cli/elf_look.h"
#include "cli/internal.h"

enum finding {
    FINDING_WORKS,
    FINDING_NOT,     /* this will not be replicated */
    FINDING_UNKNOWN, /* cannot tell */
    FINDING_NOTE     /* decides nothing */
};

struct doctor {
    const struct call *call;
    char program[PATH_MAX]; /* what is run in the end */
    char script[PATH_MAX];  /* what was asked for, if that is a script */
    json_t *findings;
    unsigned count[FINDING_NOTE + 1];
};

/* One line of the report: `about` a file, mostly; what to do, or NULL. */
void doctor_say(struct doctor *d, enum finding finding, const char *about,
                const char *todo, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* What a program prints, `size` - 1 bytes at the most, ended by a 0. Returns
 * its exit status, or -1: not run, killed by a signal, or longer than 10 s.
 * LD_PRELOAD is not passed on. */
int doctor_run(char *const argv[], char *out, size_t size);

/* ---- doctor_program.c ---- */

/* Fills d->program; false when there is nothing more to look at. */
bool doctor_find(struct doctor *d, const char *command);
void doctor_program(struct doctor *d);
/* A library or module by itself: what does it say about SQLite? */
void doctor_module(struct doctor *d, const char *path, const char *what);

/* ---- doctor_modules.c ---- */

/* Returns false where the program is no interpreter that is known. */
bool doctor_modules(struct doctor *d);

/* ---- doctor_node.c ---- */
void doctor_node(struct doctor *d);

#endif
