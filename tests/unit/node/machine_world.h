/* A state machine, what it tells, and entries for it, for the tests of
 * node/machine.c. Header only; include after cmocka.h. */
#ifndef TESTS_UNIT_NODE_MACHINE_WORLD_H
#define TESTS_UNIT_NODE_MACHINE_WORLD_H

#include <string.h>

#include "node/machine.h"

#define PAGE 512u

struct world {
    struct machine machine;
    struct machine_events events;
    unsigned enrolled, accepted, decided, held, named, jumped;
    unsigned parts; /* of the last accepted transaction */
    enum machine_verdict verdict;
};

static inline void on_cluster(void *data, const struct entry_cluster *e)
{
    struct world *w = data;

    w->named += e->shards;
}

static inline void on_enrolled(void *data, struct machine_db *db)
{
    struct world *w = data;

    (void)db;
    w->enrolled++;
}

static inline void on_jumped(void *data, struct machine_db *db)
{
    struct world *w = data;

    (void)db;
    w->jumped++;
}

static inline void on_holds(void *data, struct machine_db *db, uint64_t node)
{
    struct world *w = data;

    assert_true(machine_holds(db, node));
    w->held++;
}

static inline void on_accepted(void *data, struct machine_db *db,
                               const struct machine_accept *a)
{
    struct world *w = data;

    assert_true(position_equal(&a->position, &db->position));
    w->parts = 0;
    for (struct list *l = a->parts->next; l != a->parts; l = l->next) {
        assert_int_equal(LIST_ENTRY(l, struct machine_part, link)->number,
                         w->parts);
        w->parts++;
    }
    w->accepted++;
}

static inline void on_decided(void *data, struct machine_db *db,
                              const struct token *token,
                              enum machine_verdict verdict)
{
    struct world *w = data;

    (void)db;
    (void)token;
    w->decided++;
    w->verdict = verdict;
}

static inline void on_no_shards(void *data, uint32_t shards, bool exact)
{
    (void)data;
    (void)shards;
    (void)exact;
}

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->events = (struct machine_events){.data = w,
                                        .cluster = on_cluster,
                                        .enrolled = on_enrolled,
                                        .jumped = on_jumped,
                                        .holds = on_holds,
                                        .accepted = on_accepted,
                                        .decided = on_decided,
                                        .shards = on_no_shards};
    machine_init(&w->machine, &w->events);
}

static inline int setup(void **state)
{
    static struct world w;

    world_init(&w);
    *state = &w;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    machine_close(&w->machine);
    return 0;
}

static inline void apply(struct world *w, struct buf *out)
{
    assert_int_equal(out->err, 0);
    assert_int_equal(machine_apply(&w->machine, out->data, out->len), 0);
    buf_close(out);
}

static inline struct uuid uuid_of(uint8_t n)
{
    struct uuid u = {{n}};

    return u;
}

static inline struct machine_db *enroll(struct world *w, const char *name,
                                        uint8_t id)
{
    struct entry_enroll e = {.db = uuid_of(id), .node = 1};
    struct buf out;

    strcpy(e.name, name);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_enroll(&e, &out);
    apply(w, &out);
    return machine_find(&w->machine, name);
}

static inline struct token token_of(uint64_t sequence)
{
    return (struct token){1, 77, 3, sequence};
}

static inline void put(struct world *w, enum entry_kind kind,
                       struct entry_txn e)
{
    static const uint8_t image[PAGE];
    const uint32_t number = e.number + 2;
    struct buf out;

    e.pages.page_size = PAGE;
    e.pages.count = 1;
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_txn(kind, &e, &number, image, &out);
    apply(w, &out);
}

static inline void put_fence(struct world *w, const struct machine_db *db,
                             uint64_t sequence)
{
    struct entry_txn e = {.db = db->uuid,
                          .base = db->position,
                          .token = token_of(sequence),
                          .db_pages = db->pages,
                          .checksum = db->checksum,
                          .pages = {.page_size = db->page_size}};
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_txn(ENTRY_TXN, &e, NULL, NULL, &out);
    apply(w, &out);
}

/* It brings one page, and so does each part. */
static inline void put_sized(struct world *w, const struct machine_db *db,
                             uint64_t sequence, uint32_t parts,
                             uint32_t db_pages)
{
    put(w, ENTRY_TXN,
        (struct entry_txn){.db = db->uuid,
                           .base = db->position,
                           .token = token_of(sequence),
                           .db_pages = db_pages,
                           .parts = parts,
                           .checksum = sequence});
}

static inline void put_txn(struct world *w, const struct machine_db *db,
                           struct position base, uint64_t sequence,
                           uint32_t parts)
{
    struct machine_db at = {.uuid = db->uuid, .position = base};

    put_sized(w, &at, sequence, parts, 2);
}

static inline void put_part(struct world *w, const struct machine_db *db,
                            uint64_t sequence, uint32_t number)
{
    put(w, ENTRY_PART,
        (struct entry_txn){.db = db->uuid,
                           .base = db->position,
                           .token = token_of(sequence),
                           .number = number});
}

#endif
