/* A log store in a folder of its own, for the tests of consensus/store.c.
 * Header only; include after cmocka.h. */
#ifndef TESTS_CONSENSUS_STORE_FIXTURE_H
#define TESTS_CONSENSUS_STORE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "consensus/store.h"

#define SHARDS 3
#define LARGE ((size_t)1 << 20) /* not written by the loop itself */

struct fixture {
    uv_loop_t loop;
    char folder[64];
    struct store *store;
    struct store_options options;
    unsigned done;      /* writes completed */
    uint64_t last_done; /* sequence number */
    char fatal[256];
    bool closed;
};

struct item {
    struct store_write write;
    struct fixture *f;
    struct raft_entry entry;
    uint8_t *bytes;
};

static inline void on_fatal(void *data, const char *why)
{
    struct fixture *f = data;

    snprintf(f->fatal, sizeof f->fatal, "%s", why);
}

static inline void on_closed(void *data)
{
    struct fixture *f = data;

    f->closed = true;
}

static inline int try_open(struct fixture *f, char *why, size_t size)
{
    int rv = store_open(&f->options, &f->store, why, size);

    if (rv == 0) {
        assert_int_equal(store_start(f->store), 0);
    }
    return rv;
}

static inline void open_store(struct fixture *f)
{
    char why[256] = "";

    f->last_done = 0;
    if (try_open(f, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
}

static inline void close_store(struct fixture *f)
{
    f->closed = false;
    store_close(f->store, on_closed, f);
    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    f->store = NULL;
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->folder, sizeof f->folder, "/tmp/marmot-store-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    uv_loop_init(&f->loop);
    f->options = (struct store_options){.loop = &f->loop,
                                        .folder = f->folder,
                                        .node_id = 1,
                                        .shards = SHARDS,
                                        .members = "1,2,3",
                                        .conf = "configuration",
                                        .conf_len = 13,
                                        .data = f,
                                        .fatal = on_fatal};
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->store != NULL) {
        close_store(f);
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static inline void on_done(struct store_write *write)
{
    struct item *item = write->data;
    struct fixture *f = item->f;

    assert_true(write->sequence == f->last_done + 1); /* strictly in order */
    f->last_done = write->sequence;
    f->done++;
    free(item->bytes);
    free(item);
}

static inline struct item *new_item(struct fixture *f,
                                    enum store_write_kind kind, uint32_t group)
{
    struct item *item = calloc(1, sizeof *item);

    item->f = f;
    item->write.kind = kind;
    item->write.group = group;
    item->write.done = on_done;
    item->write.data = item;
    return item;
}

static inline void push_append(struct fixture *f, uint32_t group,
                               uint64_t index, uint64_t term, size_t len)
{
    struct item *item = new_item(f, STORE_APPEND, group);

    item->bytes = malloc(len + 1);
    memset(item->bytes, (int)(index & 0xff), len);
    item->entry = (struct raft_entry){.term = term,
                                      .type = RAFT_COMMAND,
                                      .buf = {.base = item->bytes, .len = len}};
    item->write.index = index;
    item->write.entries = &item->entry;
    item->write.n = 1;
    store_push(f->store, &item->write);
}

static inline void push_truncate(struct fixture *f, uint32_t group,
                                 uint64_t index)
{
    struct item *item = new_item(f, STORE_TRUNCATE, group);

    item->write.index = index;
    store_push(f->store, &item->write);
}

static inline void push_meta(struct fixture *f, uint32_t group, uint64_t term,
                             uint64_t vote)
{
    struct item *item = new_item(f, STORE_META, group);

    item->write.term = term;
    item->write.vote = vote;
    store_push(f->store, &item->write);
}

/* Submit, and let the loop run until all is done. */
static inline void sync_all(struct fixture *f)
{
    store_submit(f->store);
    while (store_durable(f->store) < store_pushed(f->store)) {
        uv_run(&f->loop, UV_RUN_ONCE);
        store_submit(f->store);
    }
}

static inline struct store_group load(struct fixture *f, uint32_t group)
{
    struct store_group got;
    struct store *s;
    char why[256] = "";

    assert_null(f->store);
    if (store_open(&f->options, &s, why, sizeof why) != 0 ||
        store_load(s, group, &got, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
    store_discard(s);
    return got;
}

#endif
