/* marmot recover: one node that was left of a cluster goes on alone, after its
 * number was typed. Its store is changed (consensus/recover.h), and the file of
 * the members, while it does not run. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/recover.h"
#include "node/node.h"
#include "node/recover_from.h"
#include "wire/entry.h"

struct recovery {
    const char *raft_path;
    const char *from, *name; /* a file that becomes the truth; NULL */
    uint64_t node_id;
    bool yes;
    struct roster roster;
    struct uuid cluster; /* the new one */
};

static const char usage[] =
    "usage: marmot recover -raft-path DIR -node-id N [-yes]\n"
    "       marmot recover -from FILE [-db NAME] -raft-path DIR -node-id N "
    "[-yes]\n"
    "\n"
    "For a cluster that has lost the majority of its nodes for ever: makes "
    "node "
    "N,\nwhich must not run, a cluster of its own. The others join it then, "
    "each "
    "with an\nempty -raft-path and -join.\n"
    "\n"
    "With -from: FILE, an SQLite database, becomes the content of NAME on all "
    "nodes as\nsoon as node N, which must not run now, is started and the "
    "cluster has a majority.\nWhat each node had is kept aside.\n";

/* ---- flags --------------------------------------------------------------- */

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "marmot: %s: %s\n", what, why);
    return 2;
}

static int parse_id(const char *text, uint64_t *id)
{
    char *end;

    errno = 0;
    *id = strtoull(text, &end, 10);
    return errno == 0 && *text >= '1' && *text <= '9' && *end == '\0'
               ? 0
               : complain("-node-id", "must be a positive number");
}

/* Returns 0, -1 when help was shown, or the exit status. */
static int parse(int argc, char **argv, struct recovery *r)
{
    static const struct option flags[] = {
        {"raft-path", required_argument, NULL, 'r'},
        {"node-id", required_argument, NULL, 'n'},
        {"from", required_argument, NULL, 'f'},
        {"db", required_argument, NULL, 'd'},
        {"yes", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int flag;

    opterr = 0;
    optind = 1;
    while ((flag = getopt_long_only(argc, argv, ":", flags, NULL)) != -1) {
        if (flag == 'r') {
            r->raft_path = optarg;
        } else if (flag == 'f') {
            r->from = optarg;
        } else if (flag == 'd') {
            r->name = optarg;
        } else if (flag == 'y') {
            r->yes = true;
        } else if (flag == 'h') {
            fputs(usage, stdout);
            return -1;
        } else if (flag != 'n') {
            return complain(
                "%s: an unknown flag, or one without its value; "
                "see marmot recover -help",
                argv[optind - 1]);
        } else if (parse_id(optarg, &r->node_id) != 0) {
            return 2;
        }
    }
    if (r->raft_path == NULL || r->node_id == 0 || optind < argc ||
        (r->name != NULL && r->from == NULL)) {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}

/* ---- asking -------------------------------------------------------------- */

static void explain(const struct recovery *r, const struct recover *store)
{
    char text[UUID_TEXT_BYTES];

    uuid_text(&recover_identity(store)->cluster, text);
    printf("Node %" PRIu64 " of cluster %s, %u shards, in %s\n\n", r->node_id,
           text, recover_identity(store)->shards, r->raft_path);
    printf(
        "It becomes a cluster of its own, with another id. Its log is kept "
        "as it is here:\n"
        "- what other nodes acknowledged and this one has not, is lost;\n"
        "- what this node has and nobody acknowledged, counts.\n\n");
    for (unsigned i = 0; i < r->roster.n; i++) {
        const struct member_info *m = &r->roster.members[i];
        if (m->id != r->node_id) {
            printf("Node %" PRIu64 " at %s is refused from then on", m->id,
                   m->address);
            printf("; it must not run now.\n");
        }
    }
    printf(
        "The others come back with an empty -raft-path and -join. If a "
        "majority of them still\nlives, do not do this: start them, and "
        "take lost nodes out with marmot remove.\n\n");
}

static bool confirmed(const struct recovery *r)
{
    char line[64];
    uint64_t typed;
    char *end;

    if (r->yes) {
        return true;
    }
    printf("Type the number of this node to go on: ");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        return false;
    }
    typed = strtoull(line, &end, 10);
    return line[0] >= '1' && line[0] <= '9' && typed == r->node_id &&
           (*end == '\n' || *end == '\0');
}

/* ---- doing it ------------------------------------------------------------ */

/* Its address is what it says itself as soon as it runs. */
static void describe(const struct recovery *r, const struct recover *store,
                     struct member_info *m)
{
    *m = (struct member_info){.id = r->node_id,
                              .store = recover_identity(store)->store};
    snprintf(m->address, sizeof m->address, "unknown:0");
    for (unsigned i = 0; i < r->roster.n; i++) {
        if (r->roster.members[i].id == m->id) {
            memcpy(m->address, r->roster.members[i].address, ADDRESS_MAX);
        }
    }
}

static int change_store(struct recovery *r, struct recover *store,
                        const struct member_info *self, char *why, size_t size)
{
    struct entry_members e = {.action = MEMBERS_ALONE, .n = 1};
    struct buf last;
    int rv;

    buf_init(&last, PACKET_BYTES_MAX);
    rv = entry_encode_members(&e, self, &last);
    if (rv == 0 && uuid_random(&r->cluster) != 0) {
        rv = ERR_IO;
    }
    if (rv != 0) {
        snprintf(why, size, "%s", err_str(rv));
    } else {
        struct recover_change change = {
            .cluster = r->cluster, .last = last.data, .last_len = last.len};
        rv = recover_alone(store, &change, why, size);
    }
    buf_close(&last);
    return rv;
}

static int write_members(const struct recovery *r, const struct recover *store,
                         const struct member_info *self, char *why, size_t size)
{
    struct roster alone = {.cluster = r->cluster,
                           .store = self->store,
                           .shards = recover_identity(store)->shards,
                           .n = 1,
                           .members = {*self}};

    if (roster_write(r->raft_path, &alone) != 0) {
        snprintf(why, size, "cannot write %s/members; give the command again",
                 r->raft_path);
        return ERR_IO;
    }
    return 0;
}

static int recover(struct recovery *r, struct recover *store)
{
    struct member_info self;
    char why[1024], text[UUID_TEXT_BYTES];

    explain(r, store);
    if (!confirmed(r)) {
        printf("Nothing was changed.\n");
        return 1;
    }
    describe(r, store, &self);
    if (change_store(r, store, &self, why, sizeof why) != 0 ||
        write_members(r, store, &self, why, sizeof why) != 0) {
        fprintf(stderr, "marmot: %s\n", why);
        return 1;
    }
    uuid_text(&r->cluster, text);
    printf("Node %" PRIu64
           " is cluster %s now. Start it with its usual flags;\n"
           "what -bootstrap or -join say there is not looked at.\n",
           r->node_id, text);
    return 0;
}

/* Whoever only follows proposes nothing. */
static int make_truth(const struct recovery *r)
{
    const struct recover_from from = {.raft_path = r->raft_path,
                                      .node_id = r->node_id,
                                      .file = r->from,
                                      .name = r->name,
                                      .yes = r->yes};

    for (unsigned i = 0; i < r->roster.n; i++) {
        if (r->roster.members[i].id == r->node_id &&
            r->roster.members[i].replica) {
            (void)complain("-from",
                           "this node is a replica: give it to a "
                           "voter");
            return 1;
        }
    }
    return recover_from(&from);
}

int recover_run(int argc, char **argv)
{
    static struct recovery r;
    struct recover *store;
    char why[1024];
    int rv = parse(argc, argv, &r), status;

    if (rv != 0) {
        return rv < 0 ? 0 : rv;
    }
    rv = roster_read(r.raft_path, &r.roster, why, sizeof why);
    if (rv == 0 && r.roster.joining && r.roster.n == 0) {
        snprintf(why, sizeof why, "node %" PRIu64 " has not joined a cluster",
                 r.node_id);
        rv = ERR_MISMATCH;
    }
    if (rv == 0 || rv == ERR_NOT_FOUND) {
        rv = recover_open(r.raft_path, r.node_id, &store, why, sizeof why);
    }
    if (rv != 0) {
        fprintf(stderr, "marmot: %s\n", why);
        return 1;
    }
    status = r.from != NULL ? make_truth(&r) : recover(&r, store);
    recover_close(store);
    return status;
}
