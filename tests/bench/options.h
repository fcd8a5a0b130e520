/* The command line. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>

struct options {
    int rounds;
    double seconds;        /* of one workload in one arm and round */
    int rows;              /* in a database when a workload begins */
    bool full;             /* all arms and workloads, not the short choice */
    const char *arms;      /* a choice of the user's, "a,b,c", or NULL */
    const char *workloads; /* likewise */
    const char *output;    /* JSON lines go here too, or NULL */
    const char *folder;    /* where databases are made */
    const char *build;     /* where the products are */
    bool realtime;
    bool writers_at_leader; /* or all of them at node 1 */
    bool quiet;             /* JSON lines not to the standard output */
};

/* Returns 0, or -EINVAL after a message. */
int options_parse(struct options *o, int argc, char **argv);

/* Is `name` in the list "a,b,c"? */
bool options_listed(const char *list, const char *name);

extern const char options_help[];

#endif
