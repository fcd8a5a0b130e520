/* Raft's messages for the tests of wire/raft_message.c, and libraft's
 * allocator, counted. Header only; include after cmocka.h. */
#ifndef TESTS_UNIT_WIRE_RAFT_SAMPLES_H
#define TESTS_UNIT_WIRE_RAFT_SAMPLES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "wire/pack.h"
#include "wire/raft_message.h"

#define INDEX_LIMIT (1ull << 44)

/* ---- libraft's allocator, counted and made to fail ---------------------- */

static int live;         /* blocks that were not freed */
static int fail_at = -1; /* the allocation that fails, from 0; -1: none */

static inline bool may_allocate(void)
{
    return fail_at < 0 || fail_at-- > 0;
}

static inline void *count_malloc(void *data, size_t size)
{
    void *p = may_allocate() ? malloc(size) : NULL;

    (void)data;
    live += p != NULL;
    return p;
}

static inline void count_free(void *data, void *p)
{
    (void)data;
    live -= p != NULL;
    free(p);
}

static inline void *count_calloc(void *data, size_t n, size_t size)
{
    void *p = may_allocate() ? calloc(n, size) : NULL;

    (void)data;
    live += p != NULL;
    return p;
}

static inline void *count_realloc(void *data, void *old, size_t size)
{
    void *p = may_allocate() ? realloc(old, size) : NULL;

    (void)data;
    live += p != NULL && old == NULL;
    return p;
}

static struct raft_heap heap = {.malloc = count_malloc,
                                .free = count_free,
                                .calloc = count_calloc,
                                .realloc = count_realloc};

static inline int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 2 * PACKET_BYTES_MAX);
    *state = &out;
    live = 0;
    fail_at = -1;
    raft_heap_set(&heap);
    return 0;
}

static inline int teardown(void **state)
{
    buf_close(*state);
    raft_heap_set_default();
    return live == 0 ? 0 : -1;
}

/* ---- samples ------------------------------------------------------------ */

static inline int decode(const uint8_t *bytes, size_t len)
{
    struct raft_message m;
    int rc = raft_message_decode(bytes, len, &m);

    if (rc == 0) {
        raft_message_close(&m);
    }
    return rc;
}

static inline struct raft_message pass(struct buf *out,
                                       const struct raft_message *m)
{
    struct raft_message back;

    buf_reset(out);
    assert_int_equal(raft_message_encode(m, out), 0);
    assert_int_equal(raft_message_decode(out->data, out->len, &back), 0);
    assert_int_equal(back.type, m->type);
    assert_int_equal(back.server_id, 0);
    assert_null(back.server_address);
    return back;
}

static inline void make_conf(struct raft_configuration *conf, unsigned n)
{
    raft_configuration_init(conf);
    for (unsigned i = 0; i < n; i++) {
        char address[32];

        snprintf(address, sizeof address, "host-%u:8610", i);
        assert_int_equal(
            raft_configuration_add(conf, i + 1, address, (int)(i % 3)), 0);
    }
}

static inline struct raft_buffer make_change(unsigned n)
{
    struct raft_configuration conf;
    struct raft_buffer change;

    make_conf(&conf, n);
    assert_int_equal(raft_configuration_encode(&conf, &change), 0);
    raft_configuration_close(&conf);
    return change;
}

static inline struct raft_message append_of(struct raft_entry *entries,
                                            unsigned n)
{
    return (struct raft_message){.type = RAFT_IO_APPEND_ENTRIES,
                                 .server_id = 7,
                                 .server_address = (char *)1, /* never read */
                                 .append_entries = {.term = 5,
                                                    .prev_log_index = 10,
                                                    .prev_log_term = 4,
                                                    .leader_commit = 9,
                                                    .entries = entries,
                                                    .n_entries = n}};
}

static inline struct raft_entry entry_of(unsigned short type, void *base,
                                         size_t len)
{
    return (struct raft_entry){.term = 5, .type = type, .buf = {base, len}};
}

static inline struct raft_message install_of(unsigned servers)
{
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT,
                             .install_snapshot = {.term = 5,
                                                  .last_index = 6,
                                                  .last_term = 4,
                                                  .conf_index = 2,
                                                  .data = {"content", 7}}};

    make_conf(&m.install_snapshot.conf, servers);
    return m;
}

static inline int decode_conf(const uint8_t *bytes, size_t len)
{
    struct raft_configuration conf;
    int rc = raft_conf_decode(bytes, len, &conf);

    if (rc == 0) {
        raft_configuration_close(&conf);
    }
    return rc;
}

#endif
