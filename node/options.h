/* The node's command line: flags, defaults, and their checks. */
#ifndef NODE_OPTIONS_H
#define NODE_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct option_db {
    char name[DB_NAME_MAX + 1];
    char path[PATH_MAX];
};

struct option_member {
    uint64_t id;
    char address[ADDRESS_MAX];
    bool replica;
};

struct options {
    struct option_db *dbs; /* freed by options_close */
    unsigned n_dbs;
    char db_dir[PATH_MAX]; /* empty: not given */
    uint64_t node_id;
    char bind[ADDRESS_MAX];
    char advertise[ADDRESS_MAX];
    struct option_member members[NODES_MAX]; /* sorted by id, this node too */
    unsigned n_members;
    char join[1024]; /* "host:port,..."; empty: not given */
    unsigned shards;
    bool shards_given;
    char raft_path[PATH_MAX];
    bool replica;
    bool verbose;
    bool cleanup;
    bool insecure;
    bool accept_cluster_copy;
    bool help;
    uint64_t max_log_bytes;
    unsigned max_log_entries;
    uint64_t image_rate;  /* bytes a second; 0: no bound */
    uint64_t scrub_hours; /* 0: never */
    char pane[ADDRESS_MAX];
    bool pane_given, pane_compat, replicate_given, default_path;
};

/* Returns 0, or -1 with one line in `why` that says what is wrong and what to
 * do. Does not touch the disk, does not print. */
int options_parse(struct options *o, int argc, char **argv, char *why,
                  size_t why_size);
void options_close(struct options *o);

/* What `marmot -help` prints. */
extern const char options_help[];

#endif
