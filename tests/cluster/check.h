/* What check.c and model.c remember of a run. */
#ifndef TESTS_CLUSTER_CHECK_H
#define TESTS_CLUSTER_CHECK_H

#include "tests/cluster/guest.h"

/* From 64-bit keys to 64-bit values; a value of 0 is none. */
struct map {
    struct {
        uint64_t key, value;
    } * slots;
    size_t n, cap; /* a power of two */
};

uint64_t *map_at(struct map *m, uint64_t key, bool *is_new);
uint64_t map_get(const struct map *m, uint64_t key);
uint64_t token_key(unsigned db, const struct token *t);

/* A database after one accepted transaction. */
struct model_state {
    struct position position;
    uint64_t sum;
    uint32_t pages;
};

struct model_part {
    struct model_part *next;
    struct token token;
    uint32_t number;
    size_t len;
    uint8_t bytes[];
};

struct model_db {
    bool known;
    char name[DB_NAME_MAX + 1];
    struct uuid uuid;
    struct position position;
    uint64_t acknowledged; /* the newest txid that a session was told */
    struct file_state now;
    struct model_state *states; /* by txid */
    size_t cap;
    struct model_part *parts;
};

/* What was applied at an index, and where the databases stood then. */
struct applied {
    uint64_t hash; /* 0: nothing */
    uint64_t txid[SIM_DBS];
    bool known[SIM_DBS];
};

struct log {
    struct applied *entries; /* by index */
    size_t cap;
    uint64_t last;
};

/* The members of a group: 1 + RAFT_VOTER and the like, by node number; 0: none.
 */
struct conf {
    uint64_t index;
    uint8_t role[SIM_NODES_MAX];
};

struct check {
    struct map leaders;  /* of a group's term: node id */
    struct map written;  /* of a group's index and term: hash of the entry */
    struct map accepted; /* of a token: txid */
    struct map failed;   /* tokens that were told to have failed */
    struct map votes;    /* of a node, group and term: for whom */
    struct conf confs[SIM_SHARDS]; /* the last committed */
    /* A group that has a node whose store is lost. */
    bool stale[SIM_NODES_MAX][SIM_SHARDS];
    struct log logs[SIM_SHARDS];
    struct model_db dbs[SIM_DBS];
};

/* ---- model.c ------------------------------------------------------------- */

/* The next committed entry of a group. */
void model_apply(struct sim *s, unsigned group, const void *bytes, size_t len);
/* NULL: that transaction never was. */
const struct model_state *model_state(const struct model_db *m, uint64_t txid);
void model_free(struct check *c);

#endif
