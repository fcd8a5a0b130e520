/* One database and what the group says about it, written by hand, for the tests
 * of node/placing.c. Header only; include after cmocka.h. */
#ifndef TESTS_UNIT_NODE_PLACE_H
#define TESTS_UNIT_NODE_PLACE_H

#include <stdlib.h>
#include <string.h>

#include "node/database.h"

#define PLACE_PAGES 7u /* of every state here */

struct place {
    struct db_env env;
    uint64_t voters[5];
    struct database db;
    struct machine_db m;
    bool woken;
};

static inline void place_on_wake(void *data, struct database *db)
{
    struct place *p = data;

    assert_ptr_equal(db, &p->db);
    p->woken = true;
}

static inline int place_setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    assert_non_null(p);
    for (unsigned i = 0; i < 5; i++) {
        p->voters[i] = 10 + i;
    }
    p->env = (struct db_env){.data = p,
                             .node_id = 10,
                             .voters = 3,
                             .voter_ids = p->voters,
                             .wake = place_on_wake};
    database_init(&p->db, &p->env, "main", 0);
    p->db.state = DB_PLACING;
    p->db.caught_up = true;
    p->db.kind = FILE_WAL;
    list_init(&p->m.parts);
    p->m.pages = PLACE_PAGES;
    p->m.checksum = 100;
    *state = p;
    return 0;
}

static inline int place_teardown(void **state)
{
    struct place *p = *state;

    database_close(&p->db);
    free(p);
    return 0;
}

/* The file was scanned and has this checksum. */
static inline void place_scan(struct place *p, uint64_t sum)
{
    p->db.scanned = true;
    p->db.checksum.sum = sum;
    p->db.checksum.pages = PLACE_PAGES;
    placing_scanned(&p->db);
}

static inline void place_enroll(struct place *p)
{
    placing_enrolled(&p->db, &p->m);
}

#endif
