/* One raft core for test_filters.c, bare or filtered, over a raft_io whose
 * disk, network and clock are worked by hand. */
#ifndef TESTS_CONSENSUS_BENCH_H
#define TESTS_CONSENSUS_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/filters.h"
#include "consensus/raft_peek.h"

#define UNUSED __attribute__((unused))
#define SENT_MAX 256
#define APPENDS_MAX 64

struct sent {
    struct raft_message m;
    struct raft_io_send *req;
    raft_io_send_cb cb;
};

/* Server 1 of 3, and all that it does. */
struct bench {
    struct raft raft;
    struct raft_io raw;
    struct raft_fsm fsm;
    struct filters filters;
    bool filtered, closed;
    raft_time now;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb close_cb;
    int send_fails; /* with this */
    /* before the start */
    raft_term term;
    unsigned n_extra;
    raft_term extra[8];    /* terms of entries after the configuration */
    unsigned last_servers; /* the last of them brings so many servers */
    raft_index snapshot;   /* the log begins behind it; 0: with entry 1 */
    /* since then */
    struct sent sent[SENT_MAX];
    unsigned n_sent;
    struct raft_io_append *appends[APPENDS_MAX];
    unsigned n_appends, n_stored;
    uint64_t written, durable;
    struct raft_io_snapshot_put *put;
    unsigned applied;
    size_t bytes_max;
};

/* ---- the raft_io -------------------------------------------------------- */

static struct bench *bench_of(struct raft_io *raw)
{
    return raw->impl;
}

static int raw_init(struct raft_io *raw, raft_id id, const char *address)
{
    (void)raw;
    (void)id;
    (void)address;
    return 0;
}

static struct raft_buffer some_bytes(size_t len)
{
    struct raft_buffer b = {.base = raft_malloc(len), .len = len};

    memset(b.base, 'x', len);
    return b;
}

/* Servers 1 to n. */
static void conf_of(struct raft_configuration *conf, unsigned n)
{
    raft_configuration_init(conf);
    for (raft_id id = 1; id <= n; id++) {
        char name[2] = {(char)('0' + id), '\0'}; /* each has its own */
        raft_configuration_add(conf, id, name, RAFT_VOTER);
    }
}

static void load_snapshot(struct bench *b, struct raft_snapshot **out)
{
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);

    s->index = b->snapshot;
    s->term = 1;
    conf_of(&s->configuration, 3);
    s->configuration_index = 1;
    s->bufs = raft_malloc(sizeof *s->bufs);
    s->bufs[0] = some_bytes(8);
    s->n_bufs = 1;
    *out = s;
}

static void set_change(struct raft_entry *e, unsigned servers)
{
    struct raft_configuration conf;

    e->type = RAFT_CHANGE;
    conf_of(&conf, servers);
    raft_configuration_encode(&conf, &e->buf);
    raft_configuration_close(&conf);
}

static int raw_load(struct raft_io *raw, raft_term *term, raft_id *voted_for,
                    struct raft_snapshot **snapshot, raft_index *start,
                    struct raft_entry *entries[], size_t *n)
{
    struct bench *b = bench_of(raw);
    unsigned first = b->snapshot == 0 ? 1 : 0;

    *n = first + b->n_extra;
    *entries = *n == 0 ? NULL : raft_calloc(*n, sizeof **entries);
    if (first == 1) {
        (*entries)[0].term = 1;
        set_change(&(*entries)[0], 3);
    }
    for (unsigned i = 0; i < b->n_extra; i++) {
        struct raft_entry *e = &(*entries)[first + i];
        e->term = b->extra[i];
        if (i + 1 == b->n_extra && b->last_servers > 0) {
            set_change(e, b->last_servers);
        } else {
            e->type = RAFT_COMMAND;
            e->buf = some_bytes(8);
        }
    }
    *term = b->term;
    *voted_for = 0;
    *snapshot = NULL;
    *start = b->snapshot + 1;
    if (b->snapshot > 0) {
        load_snapshot(b, snapshot);
    }
    return 0;
}

static int raw_start(struct raft_io *raw, unsigned ms, raft_io_tick_cb tick,
                     raft_io_recv_cb recv)
{
    struct bench *b = bench_of(raw);

    (void)ms;
    b->tick = tick;
    b->recv = recv;
    return 0;
}

static int raw_set_term(struct raft_io *raw, raft_term term)
{
    (void)term;
    bench_of(raw)->written++;
    return 0;
}

static int raw_set_vote(struct raft_io *raw, raft_id id)
{
    (void)id;
    bench_of(raw)->written++;
    return 0;
}

static int raw_send(struct raft_io *raw, struct raft_io_send *req,
                    const struct raft_message *m, raft_io_send_cb cb)
{
    struct bench *b = bench_of(raw);

    if (b->send_fails != 0) {
        return b->send_fails;
    }
    assert_true(b->n_sent < SENT_MAX);
    b->sent[b->n_sent++] = (struct sent){*m, req, cb};
    return 0;
}

static int raw_append(struct raft_io *raw, struct raft_io_append *req,
                      const struct raft_entry entries[], unsigned n,
                      raft_io_append_cb cb)
{
    struct bench *b = bench_of(raw);

    (void)entries;
    (void)n;
    req->cb = cb;
    assert_true(b->n_appends < APPENDS_MAX);
    b->appends[b->n_appends++] = req;
    b->written++;
    return 0;
}

static int raw_truncate(struct raft_io *raw, raft_index index)
{
    (void)raw;
    (void)index;
    return 0;
}

static int raw_put(struct raft_io *raw, unsigned trailing,
                   struct raft_io_snapshot_put *req,
                   const struct raft_snapshot *snapshot,
                   raft_io_snapshot_put_cb cb)
{
    (void)trailing;
    (void)snapshot;
    req->cb = cb;
    bench_of(raw)->put = req;
    return 0;
}

static raft_time raw_time(struct raft_io *raw)
{
    return bench_of(raw)->now;
}

static int raw_random(struct raft_io *raw, int min, int max)
{
    (void)raw;
    (void)max;
    return min;
}

static void raw_close(struct raft_io *raw, raft_io_close_cb cb)
{
    bench_of(raw)->close_cb = cb;
}

/* ---- the state machine -------------------------------------------------- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
                     void **result)
{
    struct bench *b = fsm->data;

    (void)buf;
    *result = NULL;
    b->applied++;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
                        unsigned *n)
{
    (void)fsm;
    (void)bufs;
    (void)n;
    return RAFT_BUSY;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

/* ---- working it --------------------------------------------------------- */

static uint64_t written(void *data)
{
    return ((struct bench *)data)->written;
}

static uint64_t durable(void *data)
{
    return ((struct bench *)data)->durable;
}

static int snapshot_conf(void *data, struct raft_configuration *conf,
                         raft_index *index)
{
    conf_of(conf, 3);
    *index = 1;
    return ((struct bench *)data)->snapshot > 0 ? 0 : -1;
}

static struct bench *bench_new(bool filtered)
{
    struct bench *b = calloc(1, sizeof *b);

    b->filtered = filtered;
    b->term = 1;
    b->bytes_max = 1 << 20;
    b->raw = (struct raft_io){.version = 1,
                              .impl = b,
                              .init = raw_init,
                              .close = raw_close,
                              .load = raw_load,
                              .start = raw_start,
                              .set_term = raw_set_term,
                              .set_vote = raw_set_vote,
                              .send = raw_send,
                              .append = raw_append,
                              .truncate = raw_truncate,
                              .snapshot_put = raw_put,
                              .time = raw_time,
                              .random = raw_random};
    b->fsm = (struct raft_fsm){.version = 1,
                               .data = b,
                               .apply = fsm_apply,
                               .snapshot = fsm_snapshot,
                               .restore = fsm_restore};
    return b;
}

static void bench_start(struct bench *b)
{
    struct filters_options options = {.data = b,
                                      .written = written,
                                      .durable = durable,
                                      .snapshot_conf = snapshot_conf,
                                      .bytes_max = b->bytes_max,
                                      .entries_max = 1000};
    struct raft_io *io = &b->raw;

    if (b->filtered) {
        filters_init(&b->filters, &b->raft, &b->raw, &options);
        io = &b->filters.io;
    }
    assert_int_equal(raft_init(&b->raft, io, &b->fsm, 1, "1"), 0);
    raft_set_election_timeout(&b->raft, 1000);
    raft_set_heartbeat_timeout(&b->raft, 100);
    assert_int_equal(raft_start(&b->raft), 0);
}

static void set_durable(struct bench *b, uint64_t write)
{
    b->durable = write;
    if (b->filtered) {
        filters_durable(&b->filters);
    }
}

/* The oldest append reaches the disk. */
static void store_one(struct bench *b)
{
    struct raft_io_append *req;

    assert_true(b->n_stored < b->n_appends);
    req = b->appends[b->n_stored++];
    b->durable = b->written;
    req->cb(req, 0);
    if (b->filtered) {
        filters_durable(&b->filters);
    }
}

static void store_all(struct bench *b)
{
    while (b->n_stored < b->n_appends) {
        store_one(b);
    }
    set_durable(b, b->written);
}

/* The network takes what was sent. */
static void transmit(struct bench *b)
{
    for (unsigned i = 0; i < b->n_sent; i++) {
        struct sent *s = &b->sent[i];
        if (s->cb != NULL) {
            raft_io_send_cb cb = s->cb;
            s->cb = NULL;
            cb(s->req, 0);
        }
    }
}

static void forget_sent(struct bench *b)
{
    transmit(b);
    b->n_sent = 0;
}

static void tick(struct bench *b, unsigned ms)
{
    b->now += ms;
    b->tick(&b->raw);
}

static void receive(struct bench *b, raft_id from, struct raft_message *m)
{
    m->server_id = from;
    m->server_address = "x";
    b->recv(&b->raw, m);
}

static void on_closed(struct raft *raft)
{
    ((struct bench *)raft->data)->closed = true;
}

static void bench_free(struct bench *b)
{
    b->raft.data = b;
    transmit(b);
    raft_close(&b->raft, on_closed);
    transmit(b);
    while (b->n_stored < b->n_appends) {
        store_one(b);
    }
    assert_false(b->closed);
    b->close_cb(&b->raw);
    assert_true(b->closed);
    free(b);
}

/* ---- messages ----------------------------------------------------------- */

static void entries_in(struct bench *b, raft_id from, raft_term term,
                       raft_index prev, raft_term prev_term, unsigned n,
                       raft_index commit)
{
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES};
    struct raft_append_entries *ae = &m.append_entries;

    ae->term = term;
    ae->prev_log_index = prev;
    ae->prev_log_term = prev_term;
    ae->leader_commit = commit;
    ae->n_entries = n;
    if (n > 0) {
        uint8_t *batch = raft_malloc(8 * n);
        memset(batch, 'y', 8 * n);
        ae->entries = raft_calloc(n, sizeof *ae->entries);
        for (unsigned i = 0; i < n; i++) {
            ae->entries[i] =
                (struct raft_entry){.term = term,
                                    .type = RAFT_COMMAND,
                                    .batch = batch,
                                    .buf = {.base = batch + 8 * i, .len = 8}};
        }
    }
    receive(b, from, &m);
}

static UNUSED void result_in(struct bench *b, raft_id from, raft_term term,
                             raft_index last)
{
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES_RESULT};

    m.append_entries_result.term = term;
    m.append_entries_result.last_log_index = last;
    receive(b, from, &m);
}

static UNUSED void vote_wanted(struct bench *b, raft_id from, raft_term term,
                               raft_index last, raft_term last_term)
{
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE};

    m.request_vote.term = term;
    m.request_vote.candidate_id = from;
    m.request_vote.last_log_index = last;
    m.request_vote.last_log_term = last_term;
    receive(b, from, &m);
}

static UNUSED void become_leader(struct bench *b)
{
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE_RESULT};

    tick(b, 1001);
    assert_int_equal(raft_state(&b->raft), RAFT_CANDIDATE);
    set_durable(b, b->written);
    m.request_vote_result.term = peek_term(&b->raft);
    m.request_vote_result.vote_granted = true;
    m.request_vote_result.pre_vote = raft_tribool_false;
    receive(b, 2, &m);
    assert_int_equal(raft_state(&b->raft), RAFT_LEADER);
    forget_sent(b);
}

static void ignore_result(struct raft_apply *req, int status, void *result)
{
    (void)status;
    (void)result;
    free(req);
}

static UNUSED void apply(struct bench *b, size_t len)
{
    struct raft_apply *req = calloc(1, sizeof *req);
    struct raft_buffer buf = some_bytes(len);

    assert_int_equal(raft_apply(&b->raft, req, &buf, 1, ignore_result), 0);
}

/* The last message of a type to a server, or NULL. */
static UNUSED const struct raft_message *last_sent(const struct bench *b,
                                                   int type, raft_id to)
{
    for (unsigned i = b->n_sent; i-- > 0;) {
        const struct raft_message *m = &b->sent[i].m;
        if (m->type == type && m->server_id == to) {
            return m;
        }
    }
    return NULL;
}

#endif
