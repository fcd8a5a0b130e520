#include "tests/bench/arm.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/goals.h"
#include "tests/bench/process.h"

#define ARM_PREFIX "arm-"

/* The control stands far from what it repeats, so that it sees the drift that
 * the arms between them see. */
const struct arm_spec arm_specs[] = {
    {ARM_SQLITE, KIND_SQLITE, "FULL", 1, false, true},
    {ARM_MARMOT, KIND_MARMOT, "FULL", 3, false, true},
    {ARM_DQLITE, KIND_DQLITE, "", 3, true, true},
    {"sqlite_off", KIND_SQLITE, "OFF", 1, false, false},
    {ARM_CONTROL, KIND_SQLITE, "FULL", 1, false, true},
    {"marmot1", KIND_MARMOT, "FULL", 1, false, false},
    {"floor", KIND_FLOOR, "", 3, false, true},
    {"dqlite", KIND_DQLITE, "", 3, false, false},
};
const int arm_specs_n = sizeof arm_specs / sizeof *arm_specs;

const struct arm_spec *arm_spec_named(const char *name)
{
    for (int i = 0; i < arm_specs_n; i++) {
        if (strcmp(arm_specs[i].name, name) == 0) {
            return &arm_specs[i];
        }
    }
    return NULL;
}

const char *arm_missing(const struct arm_spec *spec, const struct options *o)
{
    char path[512];

    if (spec->kind == KIND_DQLITE && !dqlite_available(o->build)) {
        return "libdqlite-dev is not installed";
    }
    snprintf(path, sizeof path, "%s/marmot", o->build);
    if (spec->kind == KIND_MARMOT && access(path, X_OK) != 0) {
        return "marmot is not built";
    }
    return NULL;
}

int arm_make_seed(const struct options *o, const char *name, int64_t rows)
{
    char path[400], sql[1024];
    sqlite3 *db;
    int rc;

    snprintf(path, sizeof path, "%s/%s", o->folder, name);
    snprintf(sql, sizeof sql,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; %s; %s;"
             "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL"
             " SELECT i + 1 FROM c LIMIT %lld)"
             " INSERT INTO t(k, v) SELECT abs(random()) %% 1000000000,"
             " hex(randomblob(50)) FROM c",
             statement_table, statement_index, (long long)rows);
    rc = sqlite3_open(path, &db);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        fprintf(stderr, "bench: %s: %s\n", path, sqlite3_errmsg(db));
    }
    sqlite3_close(db); /* which moves the WAL into the file */
    return rc == SQLITE_OK ? 0 : -EIO;
}

int arm_init(struct arm *a, const struct arm_spec *spec,
             const struct options *o, int databases)
{
    memset(a, 0, sizeof *a);
    a->spec = spec;
    a->options = o;
    snprintf(a->folder, sizeof a->folder, "%s/" ARM_PREFIX "XXXXXX", o->folder);
    if (mkdtemp(a->folder) == NULL) {
        return -errno;
    }
    snprintf(a->library, sizeof a->library, "%s/libmarmot-preload.so",
             o->build);
    snprintf(a->seed, sizeof a->seed, "%s/%s", o->folder, SEED_NAME);
    snprintf(a->cluster.folder, sizeof a->cluster.folder, "%s", a->folder);
    a->cluster.build = o->build;
    a->cluster.nodes = spec->kind == KIND_MARMOT ? spec->nodes : 0;
    a->cluster.databases = databases;
    return 0;
}

static int start_plain(struct arm *a, const char **why)
{
    char path[CLUSTER_PATH_MAX];
    int err = 0;

    snprintf(path, sizeof path, "%s/n1", a->folder);
    if (mkdir(path, 0700) != 0) {
        err = -errno;
    }
    for (int d = 0; d < a->cluster.databases && err == 0; d++) {
        err = copy_file(a->seed, cluster_path(&a->cluster, 0, d, "", path));
    }
    if (err != 0) {
        *why = "cannot copy a database";
    }
    return err;
}

int arm_start(struct arm *a, const char **why)
{
    *why = NULL;
    switch (a->spec->kind) {
    case KIND_MARMOT:
        return cluster_start(&a->cluster, a->seed, why);
    case KIND_DQLITE:
        return dqlite_cluster_start(&a->dqlite, a->options->build, a->folder,
                                    a->spec->nodelay, a->cluster.databases,
                                    a->options->rows, why);
    case KIND_FLOOR:
        *why = "the floor does not start";
        return floor_start(&a->floor, a->folder);
    default:
        return start_plain(a, why);
    }
}

void arm_stop(struct arm *a)
{
    cluster_stop(&a->cluster);
    dqlite_cluster_stop(&a->dqlite);
    floor_stop(&a->floor);
}

void arm_clean(const struct options *o)
{
    char path[600];
    struct dirent *e;
    DIR *folder = opendir(o->folder);

    while (folder != NULL && (e = readdir(folder)) != NULL) {
        if (strncmp(e->d_name, ARM_PREFIX, strlen(ARM_PREFIX)) == 0) {
            snprintf(path, sizeof path, "%s/%s", o->folder, e->d_name);
            (void)remove_tree(path);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    sync();
}

int arm_nodes(const struct arm *a, const pid_t **pids)
{
    switch (a->spec->kind) {
    case KIND_MARMOT:
        *pids = a->cluster.pid;
        return a->cluster.nodes;
    case KIND_DQLITE:
        *pids = a->dqlite.pid;
        return DQLITE_NODES;
    case KIND_FLOOR:
        *pids = a->floor.pid;
        return 3;
    default:
        *pids = NULL;
        return 0;
    }
}

int arm_writer_node(const struct arm *a, int database)
{
    int leader = -1;

    if (a->spec->kind == KIND_MARMOT && a->options->writers_at_leader) {
        leader = cluster_leader(&a->cluster, 0, database);
    }
    return leader < 0 ? 0 : leader;
}

struct seat *arm_add(struct arm *a, struct crew *crew, int database, int node)
{
    bool managed = a->spec->kind == KIND_MARMOT;
    struct seat *seat = crew_add(crew, managed ? a->library : NULL);
    struct target *t = &seat->target;
    char path[CLUSTER_PATH_MAX];

    snprintf(t->database, sizeof t->database, "d%d", database);
    snprintf(t->synchronous, sizeof t->synchronous, "%s", a->spec->synchronous);
    seat->rows = a->options->rows;
    seat->us = (uint64_t)(a->options->seconds * 1e6);
    switch (a->spec->kind) {
    case KIND_DQLITE:
        t->driver = DRIVER_DQLITE;
        snprintf(t->address, sizeof t->address, "%s", a->dqlite.address[0]);
        break;
    case KIND_FLOOR:
        t->driver = DRIVER_FLOOR;
        snprintf(t->address, sizeof t->address, "%s", a->floor.path);
        break;
    default:
        if (node < 0) {
            node = arm_writer_node(a, database);
        }
        t->driver = DRIVER_SQLITE;
        snprintf(t->address, sizeof t->address, "%s",
                 cluster_path(&a->cluster, node, database, "", path));
    }
    return seat;
}
