/* The arms: what is compared. Each is started in a fresh folder for one
 * workload of one round, and is gone afterwards. The folder stays until
 * arm_clean(): removing large files keeps some disks busy for a while, which
 * the next arm would suffer from. */
#ifndef BENCH_ARM_H
#define BENCH_ARM_H

#include "tests/bench/cluster.h"
#include "tests/bench/crew.h"
#include "tests/bench/dqlite_cluster.h"
#include "tests/bench/floor.h"
#include "tests/bench/options.h"

enum arm_kind { KIND_SQLITE, KIND_MARMOT, KIND_DQLITE, KIND_FLOOR };

struct arm_spec {
    const char *name;
    enum arm_kind kind;
    const char *synchronous; /* in the applications; "" where it has no sense */
    int nodes;
    bool nodelay;
    bool in_short; /* part of the short run */
};

extern const struct arm_spec arm_specs[];
extern const int arm_specs_n;

const struct arm_spec *arm_spec_named(const char *name);

struct arm {
    const struct arm_spec *spec;
    const struct options *options;
    char folder[200];
    char library[300]; /* what is preloaded into marmot's applications */
    char seed[400];    /* the content of every database at the start */
    struct cluster cluster;
    struct dqlite_cluster dqlite;
    struct floor floor;
};

/* Why an arm cannot run here, or NULL. */
const char *arm_missing(const struct arm_spec *spec, const struct options *o);

/* Before start: what `databases` need. Marmot's cluster may then be given
 * shards, a probe and so on. */
int arm_init(struct arm *a, const struct arm_spec *spec,
             const struct options *o, int databases);

/* 0, or -EIO with *why filled. `stop` is due in both cases. */
int arm_start(struct arm *a, const char **why);
void arm_stop(struct arm *a);

/* Remove the folders of all arms that were stopped. */
void arm_clean(const struct options *o);

/* The processes that serve the applications. Returns how many. */
int arm_nodes(const struct arm *a, const pid_t **pids);

/* Add a worker for a database where its writers belong, or, `node` >= 0, on
 * that node of marmot. */
struct seat *arm_add(struct arm *a, struct crew *crew, int database, int node);

/* The node of marmot where the writers of a database belong. */
int arm_writer_node(const struct arm *a, int database);

/* Make the database that all copies start from, in the options' folder; with
 * another number of rows under another name. */
int arm_make_seed(const struct options *o, const char *name, int64_t rows);

#define SEED_NAME "seed.db"

#endif
