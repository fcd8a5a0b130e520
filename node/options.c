#include "node/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/image_pace.h"
#include "node/options_values.h"
#include "wire/ids.h"

static bool name_is_good(const char *text, size_t len)
{
    char name[DB_NAME_MAX + 1];

    return len <= DB_NAME_MAX &&
           snprintf(name, sizeof name, "%.*s", (int)len, text) >= 0 &&
           db_name_valid(name);
}

static int add_db(struct parse *p, const char *text)
{
    struct options *o = p->o;
    const char *eq = strchr(text, '=');
    const char *slash = strchr(text, '/');
    struct option_db db = {.name = "main"};
    struct option_db *dbs;
    size_t len;

    if (eq != NULL && (slash == NULL || eq < slash)) {
        len = (size_t)(eq - text);
        if (!name_is_good(text, len)) {
            return options_bad(
                p,
                "-db-path %s: a name has 1 to %d of the characters "
                "A-Z a-z 0-9 . _ -",
                text, DB_NAME_MAX);
        }
        snprintf(db.name, sizeof db.name, "%.*s", (int)len, text);
        text = eq + 1;
    }
    if (*text == '\0' || strlen(text) >= sizeof db.path - 32) {
        return options_bad(p, "-db-path %s: not a usable path", text);
    }
    snprintf(db.path, sizeof db.path, "%s", text);
    if (o->n_dbs == DATABASES_MAX) {
        return options_bad(p, "-db-path: at most %d databases", DATABASES_MAX);
    }
    dbs = realloc(o->dbs, (o->n_dbs + 1) * sizeof *dbs);
    if (dbs == NULL) {
        return options_bad(p, "out of memory");
    }
    dbs[o->n_dbs++] = db;
    o->dbs = dbs;
    return 0;
}

static int take_folder(struct parse *p, const char *arg)
{
    struct options *o = p->o;

    if (*arg == '\0' || strlen(arg) >= sizeof o->db_dir - DB_NAME_MAX - 64) {
        return options_bad(p, "-db-dir %s: not a usable path", arg);
    }
    snprintf(o->db_dir, sizeof o->db_dir, "%s", arg);
    return 0;
}

static int check_dbs(struct parse *p)
{
    struct options *o = p->o;

    for (unsigned i = 0; i < o->n_dbs; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(o->dbs[i].name, o->dbs[k].name) == 0) {
                return options_bad(
                    p,
                    "-db-path: two databases are called %s; name them: "
                    "-db-path NAME=PATH",
                    o->dbs[i].name);
            }
            if (strcmp(o->dbs[i].path, o->dbs[k].path) == 0) {
                return options_bad(p, "-db-path: %s is named twice",
                                   o->dbs[i].path);
            }
        }
    }
    return 0;
}

static int add_member(struct parse *p, uint64_t id, const char *address,
                      bool replica)
{
    struct options *o = p->o;
    unsigned at = o->n_members;

    if (o->n_members == NODES_MAX) {
        return options_bad(p, "-bootstrap: at most %d nodes", NODES_MAX);
    }
    while (at > 0 && o->members[at - 1].id > id) {
        o->members[at] = o->members[at - 1];
        at--;
    }
    if (at > 0 && o->members[at - 1].id == id) {
        return options_bad(p, "-bootstrap: node id %llu is used twice",
                           (unsigned long long)id);
    }
    o->members[at].id = id;
    o->members[at].replica = replica;
    snprintf(o->members[at].address, ADDRESS_MAX, "%s", address);
    o->n_members++;
    return 0;
}

/* "2@host:port" or "2@host:port/replica" */
static int parse_member(struct parse *p, char *text)
{
    char *at = strchr(text, '@');
    char *slash;
    uint64_t id = 0;
    bool replica = false;

    if (at == NULL) {
        return options_bad(p, "-bootstrap %s: must be ID@HOST:PORT[/replica]",
                           text);
    }
    *at = '\0';
    if (options_parse_number(p, "bootstrap", text, 1, INT64_MAX, &id) != 0) {
        return -1;
    }
    slash = strchr(at + 1, '/');
    if (slash != NULL) {
        *slash = '\0';
        if (strcmp(slash + 1, "replica") != 0) {
            return options_bad(p, "-bootstrap %s@%s/%s: only /replica is known",
                               text, at + 1, slash + 1);
        }
        replica = true;
    }
    if (options_check_address(p, "bootstrap", at + 1) != 0) {
        return -1;
    }
    return add_member(p, id, at + 1, replica);
}

static int parse_bootstrap(struct parse *p, const char *text)
{
    char *copy = strdup(text);
    char *rest = copy, *one;
    int rv = copy == NULL ? options_bad(p, "out of memory") : 0;

    while (rv == 0 && (one = strsep(&rest, ",")) != NULL) {
        if (*one != '\0') {
            rv = parse_member(p, one);
        }
    }
    free(copy);
    return rv;
}

static int parse_join(struct parse *p, const char *text)
{
    struct options *o = p->o;
    char copy[sizeof o->join];
    char *rest = copy, *one;

    if (snprintf(o->join, sizeof o->join, "%s", text) >= (int)sizeof o->join) {
        return options_bad(p, "-join: too many addresses");
    }
    snprintf(copy, sizeof copy, "%s", text);
    while ((one = strsep(&rest, ",")) != NULL) {
        if (*one != '\0' && options_check_address(p, "join", one) != 0) {
            return -1;
        }
    }
    return 0;
}

enum flag {
    F_DB_PATH = 1000,
    F_DB_DIR,
    F_NODE_ID,
    F_BIND,
    F_ADVERTISE,
    F_BOOTSTRAP,
    F_JOIN,
    F_ROLE,
    F_SHARDS,
    F_RAFT_PATH,
    F_MAX_LOG,
    F_MAX_ENTRIES,
    F_IMAGE_RATE,
    F_SCRUB,
    F_ACCEPT,
    F_INSECURE,
    F_CLEANUP,
    F_PANE,
    F_PANE_COMPAT,
    F_REPLICATE,
    F_VERBOSE,
    F_HELP
};

static const struct option flags[] = {
    {"db-path", required_argument, NULL, F_DB_PATH},
    {"db-dir", required_argument, NULL, F_DB_DIR},
    {"node-id", required_argument, NULL, F_NODE_ID},
    {"bind", required_argument, NULL, F_BIND},
    {"advertise", required_argument, NULL, F_ADVERTISE},
    {"join", required_argument, NULL, F_JOIN},
    {"bootstrap", required_argument, NULL, F_BOOTSTRAP},
    {"role", required_argument, NULL, F_ROLE},
    {"shards", required_argument, NULL, F_SHARDS},
    {"raft-path", required_argument, NULL, F_RAFT_PATH},
    {"max-log-bytes", required_argument, NULL, F_MAX_LOG},
    {"max-log-entries", required_argument, NULL, F_MAX_ENTRIES},
    {"image-rate", required_argument, NULL, F_IMAGE_RATE},
    {"scrub-hours", required_argument, NULL, F_SCRUB},
    {"accept-cluster-copy", optional_argument, NULL, F_ACCEPT},
    {"insecure", optional_argument, NULL, F_INSECURE},
    {"cleanup", optional_argument, NULL, F_CLEANUP},
    {"bind-pane", required_argument, NULL, F_PANE},
    {"pane-compat", optional_argument, NULL, F_PANE_COMPAT},
    {"replicate", required_argument, NULL, F_REPLICATE},
    {"verbose", optional_argument, NULL, F_VERBOSE},
    {"help", no_argument, NULL, F_HELP},
    {NULL, 0, NULL, 0},
};

static int parse_role(struct parse *p, const char *text)
{
    p->o->replica = strcmp(text, "replica") == 0;
    if (!p->o->replica && strcmp(text, "voter") != 0) {
        return options_bad(p, "-role %s: must be voter or replica", text);
    }
    return 0;
}

static int parse_pane(struct parse *p, const char *text)
{
    p->o->pane_given = true;
    if (strcmp(text, "none") == 0) {
        p->o->pane[0] = '\0';
        return 0;
    }
    return options_copy_address(p, "bind-pane", text, p->o->pane);
}

static int parse_unsigned(struct parse *p, const char *flag, const char *text,
                          uint64_t min, uint64_t max, unsigned *out)
{
    uint64_t n = 0;
    int rv = options_parse_number(p, flag, text, min, max, &n);

    *out = (unsigned)n;
    return rv;
}

static int parse_flag(struct parse *p, int flag, const char *arg)
{
    struct options *o = p->o;

    switch (flag) {
    case F_DB_PATH:
        return add_db(p, arg);
    case F_DB_DIR:
        return take_folder(p, arg);
    case F_NODE_ID:
        return options_parse_number(p, "node-id", arg, 1, INT64_MAX,
                                    &o->node_id);
    case F_BIND:
        return options_copy_address(p, "bind", arg, o->bind);
    case F_ADVERTISE:
        return options_copy_address(p, "advertise", arg, o->advertise);
    case F_BOOTSTRAP:
        return parse_bootstrap(p, arg);
    case F_JOIN:
        return parse_join(p, arg);
    case F_ROLE:
        return parse_role(p, arg);
    case F_SHARDS:
        o->shards_given = true;
        return parse_unsigned(p, "shards", arg, 1, SHARDS_MAX, &o->shards);
    case F_RAFT_PATH:
        if (*arg == '\0' || strlen(arg) >= sizeof o->raft_path - 64) {
            return options_bad(p, "-raft-path %s: not a usable path", arg);
        }
        snprintf(o->raft_path, sizeof o->raft_path, "%s", arg);
        return 0;
    case F_MAX_LOG:
        return options_parse_number(p, "max-log-bytes", arg, 1 << 20, INT64_MAX,
                                    &o->max_log_bytes);
    case F_MAX_ENTRIES:
        return parse_unsigned(p, "max-log-entries", arg, 16, 1 << 30,
                              &o->max_log_entries);
    case F_IMAGE_RATE:
        return options_parse_number(p, "image-rate", arg, IMAGE_RATE_MIN,
                                    INT64_MAX, &o->image_rate);
    case F_SCRUB:
        return options_parse_number(p, "scrub-hours", arg, 0, 24 * 365,
                                    &o->scrub_hours);
    case F_ACCEPT:
        return options_parse_bool(p, "accept-cluster-copy", arg,
                                  &o->accept_cluster_copy);
    case F_INSECURE:
        return options_parse_bool(p, "insecure", arg, &o->insecure);
    case F_CLEANUP:
        return options_parse_bool(p, "cleanup", arg, &o->cleanup);
    case F_PANE:
        return parse_pane(p, arg);
    case F_PANE_COMPAT:
        return options_parse_bool(p, "pane-compat", arg, &o->pane_compat);
    case F_REPLICATE:
        o->replicate_given = true;
        return 0;
    case F_VERBOSE:
        return options_parse_bool(p, "verbose", arg, &o->verbose);
    case F_HELP:
        o->help = true;
        return 0;
    default:
        return options_bad(p, "unknown flag");
    }
}

static bool host_is(const char *address, const char *host)
{
    size_t len = strlen(host);

    return strncmp(address, host, len) == 0 && address[len] == ':';
}

/* 127.0.0.0/8, as a number: a name may begin like that. */
static bool is_loopback_number(const char *address)
{
    size_t len = strspn(address, "0123456789.");

    return strncmp(address, "127.", 4) == 0 && address[len] == ':';
}

static bool is_loopback(const char *address)
{
    return is_loopback_number(address) || host_is(address, "localhost") ||
           host_is(address, "[::1]");
}

static bool is_wildcard(const char *address)
{
    return host_is(address, "0.0.0.0") || host_is(address, "[::]") ||
           host_is(address, "");
}

static int check_network(struct parse *p)
{
    struct options *o = p->o;

    if (!is_loopback(o->bind) && !o->insecure) {
        return options_bad(
            p,
            "-bind %s can be reached from other hosts and peers are not "
            "authenticated yet: use a private network and add -insecure",
            o->bind);
    }
    if (o->advertise[0] == '\0') {
        if (is_wildcard(o->bind)) {
            return options_bad(
                p,
                "-bind %s is a wildcard: add -advertise HOST:PORT, the "
                "address at which the other nodes reach this one",
                o->bind);
        }
        snprintf(o->advertise, sizeof o->advertise, "%s", o->bind);
    }
    return 0;
}

static int check_members(struct parse *p)
{
    struct options *o = p->o;
    unsigned voters = 0;

    for (unsigned i = 0; i < o->n_members; i++) {
        if (o->members[i].id == o->node_id) {
            return options_bad(
                p,
                "-bootstrap names node %llu, which is this node: name "
                "only the others",
                (unsigned long long)o->node_id);
        }
    }
    if (add_member(p, o->node_id, o->advertise, o->replica) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < o->n_members; i++) {
        voters += !o->members[i].replica;
    }
    if (o->join[0] != '\0' && o->n_members > 1) {
        return options_bad(
            p,
            "-join and -bootstrap exclude each other: -bootstrap "
            "makes a cluster, -join enters one");
    }
    if (voters == 0 && o->join[0] == '\0') {
        return options_bad(p,
                           "no voter: at least one node must not be a replica");
    }
    return 0;
}

static int finish(struct parse *p)
{
    struct options *o = p->o;

    if (o->n_dbs == 0 && o->db_dir[0] == '\0') {
        o->default_path = true;
        if (add_db(p, "/tmp/marmot.db") != 0) {
            return -1;
        }
    }
    if (check_dbs(p) != 0) {
        return -1;
    }
    if (o->raft_path[0] == '\0' && o->n_dbs == 0) {
        snprintf(o->raft_path, sizeof o->raft_path, "%.*s/.marmot-raft",
                 (int)sizeof o->raft_path - 64, o->db_dir);
    }
    if (o->raft_path[0] == '\0') {
        if (strlen(o->dbs[0].path) >= sizeof o->raft_path - 64) {
            return options_bad(
                p,
                "-db-path is too long to derive -raft-path from it: "
                "give one");
        }
        snprintf(o->raft_path, sizeof o->raft_path, "%.*s-raft",
                 (int)sizeof o->raft_path - 64, o->dbs[0].path);
    }
    if (o->cleanup) {
        return 0;
    }
    if (o->node_id == 0) {
        return options_bad(
            p,
            "-node-id is required: a positive number, unique in the "
            "cluster");
    }
    return check_network(p) != 0 || check_members(p) != 0 ? -1 : 0;
}

int options_parse(struct options *o, int argc, char **argv, char *why,
                  size_t why_size)
{
    struct parse p = {o, why, why_size};
    int flag;

    *o = (struct options){.shards = 16,
                          .max_log_bytes = 16u << 20,
                          .max_log_entries = 16384,
                          .scrub_hours = 24};
    snprintf(o->bind, sizeof o->bind, "127.0.0.1:8610");
    snprintf(o->pane, sizeof o->pane, "localhost:6010");
    opterr = 0;
    optind = 0;
    while ((flag = getopt_long_only(argc, argv, ":", flags, NULL)) != -1) {
        if (flag == '?') {
            return options_bad(&p, "unknown flag %s; see marmot -help",
                               argv[optind - 1]);
        }
        if (flag == ':') {
            return options_bad(&p, "%s needs a value; see marmot -help",
                               argv[optind - 1]);
        }
        if (parse_flag(&p, flag, optarg) != 0) {
            return -1;
        }
    }
    if (optind < argc) {
        return options_bad(&p, "%s: not a flag; see marmot -help",
                           argv[optind]);
    }
    return o->help ? 0 : finish(&p);
}

void options_close(struct options *o)
{
    free(o->dbs);
    o->dbs = NULL;
}
