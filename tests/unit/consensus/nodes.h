/* Whole nodes as consensus/ sees them, for test_groups.c: up to three of them
 * on one loop, each with its own folder, connected over loopback TCP. */
#ifndef TESTS_CONSENSUS_NODES_H
#define TESTS_CONSENSUS_NODES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "consensus/groups.h"
#include "wire/packet.h"

#define N 3
#define SHARDS_TEST_MAX 16
#define ENTRIES_MAX 40000

struct cluster;

struct node {
    struct cluster *c;
    uint64_t id;
    char folder[96], address[64];
    struct groups *g; /* NULL: not running */
    bool stopped;
    char fatal[256];
    /* what apply() brought, since the last start */
    uint64_t *values[SHARDS_TEST_MAX];
    unsigned n[SHARDS_TEST_MAX];
    uint64_t last_index[SHARDS_TEST_MAX];
    bool caught_up[SHARDS_TEST_MAX];
    unsigned leader_changes[SHARDS_TEST_MAX];
    unsigned packets;
    unsigned peers_up;
    /* where logs are shortened: the state is a number and a sum */
    uint64_t count[SHARDS_TEST_MAX], sum[SHARDS_TEST_MAX];
    unsigned snapshots, restored, settled; /* since the last start */
    bool busy, hold, closed_door; /* no snapshot; settle waits; none taken */
    bool held[SHARDS_TEST_MAX];
    bool joins;        /* it came later */
    struct uuid store; /* that it came with */
};

struct cluster {
    uv_loop_t loop;
    unsigned n, shards;
    uint64_t log_bytes_max, log_bytes_keep;
    unsigned log_entries_keep; /* 0: logs are not shortened */
    bool replica[N];
    char folder[64];
    struct node nodes[N];
    uint64_t next_value;
    /* The registry, when a test has one: in the place of the list of all. */
    struct groups_member members[2 * N];
    unsigned n_members;
    struct uuid id;
    uint64_t left; /* groups that said so of the leaving member, a bit each */
};

/* What a test does not need of this. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"

/* ---- callbacks ---------------------------------------------------------- */

static void on_apply(void *data, unsigned group, uint64_t index,
                     const void *bytes, size_t len)
{
    struct node *node = data;

    assert_true(len >= sizeof(uint64_t));
    assert_true(index > node->last_index[group]);
    node->last_index[group] = index;
    assert_true(node->n[group] < ENTRIES_MAX);
    memcpy(&node->values[group][node->n[group]], bytes, sizeof(uint64_t));
    node->count[group]++;
    node->sum[group] =
        node->sum[group] * 31 + node->values[group][node->n[group]++];
}

static int on_snapshot(void *data, unsigned group, struct buf *out)
{
    struct node *node = data;

    if (node->busy) {
        return ERR_BUSY;
    }
    node->snapshots++;
    buf_append(out, &node->count[group], sizeof(uint64_t));
    return buf_append(out, &node->sum[group], sizeof(uint64_t));
}

static int on_restore(void *data, unsigned group, const void *bytes, size_t len)
{
    struct node *node = data;
    uint64_t count;

    assert_int_equal(len, 2 * sizeof(uint64_t));
    memcpy(&count, bytes, sizeof count);
    assert_true(count >= node->count[group]);
    node->count[group] = count;
    memcpy(&node->sum[group], (const uint8_t *)bytes + 8, sizeof(uint64_t));
    node->restored++;
    return 0;
}

static void on_settle(void *data, unsigned group, bool received)
{
    struct node *node = data;

    (void)received;
    node->held[group] = node->hold;
    if (!node->hold) {
        node->settled++;
        groups_settled(node->g, group);
    }
}

static bool on_may_restore(void *data, unsigned group)
{
    struct node *node = data;

    (void)group;
    return !node->closed_door;
}

static void on_leader(void *data, unsigned group, uint64_t leader,
                      uint64_t term)
{
    struct node *node = data;

    (void)leader;
    (void)term;
    node->leader_changes[group]++;
}

static void on_caught_up(void *data, unsigned group)
{
    struct node *node = data;

    assert_false(node->caught_up[group]); /* once */
    node->caught_up[group] = true;
}

static void on_packet(void *data, uint64_t peer, uint8_t kind, unsigned group,
                      const void *payload, size_t len)
{
    struct node *node = data;

    assert_int_equal(kind, PACKET_HOST + 3);
    assert_int_equal(group, 1);
    assert_int_equal(len, 5);
    assert_memory_equal(payload, "hello", 5);
    assert_true(peer != node->id);
    node->packets++;
}

static void on_peer(void *data, uint64_t peer, bool up)
{
    struct node *node = data;

    (void)peer;
    node->peers_up += up ? 1u : -1u;
}

static void on_left(void *data, unsigned group, uint64_t id)
{
    struct node *node = data;

    for (unsigned i = 0; i < node->c->n_members; i++) {
        if (node->c->members[i].id == id) {
            assert_true(node->c->members[i].leaving);
            node->c->left |= (uint64_t)1 << group;
        }
    }
}

static void on_fatal(void *data, const char *why)
{
    struct node *node = data;

    snprintf(node->fatal, sizeof node->fatal, "%s", why);
}

static void on_stopped(void *data)
{
    struct node *node = data;

    node->stopped = true;
}

/* ---- driving the loop --------------------------------------------------- */

static void expire(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Run the loop until `done` says so. */
static bool run_until(struct cluster *c, bool (*done)(struct cluster *c),
                      unsigned ms)
{
    bool expired = false;
    uv_timer_t timer;

    uv_timer_init(&c->loop, &timer);
    timer.data = &expired;
    uv_timer_start(&timer, expire, ms, 0);
    while (!expired && !(done != NULL && done(c))) {
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&c->loop, UV_RUN_NOWAIT);
    return !expired;
}

static void must(struct cluster *c, bool (*done)(struct cluster *c),
                 const char *what)
{
    if (!run_until(c, done, 15000)) {
        for (unsigned i = 0; i < c->n; i++) {
            char why[512] = "not running";
            struct node *node = &c->nodes[i];
            if (node->g != NULL) {
                groups_why_no_quorum(node->g, 0, why, sizeof why);
            }
            print_message("node %u: applied %u, caught up %d, %s\n", i + 1,
                          node->n[0], node->caught_up[0], why);
        }
        fail_msg("not within 15 s: %s", what);
    }
}

/* ---- nodes -------------------------------------------------------------- */

/* Below the ports that the system gives to outgoing connections, or a node
 * that is stopped could lose its own to the dial of another. */
static void free_address(char *out, size_t size)
{
    static unsigned port;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (port == 0) {
        port = 10000 + (unsigned)getpid() * 31 % 20000;
    }
    do {
        port = port >= 30000 ? 10000 : port + 1;
        a.sin_port = htons((uint16_t)port);
    } while (bind(fd, (struct sockaddr *)&a, sizeof a) != 0);
    snprintf(out, size, "127.0.0.1:%u", port);
    close(fd);
}

static int try_start(struct node *node, char *why, size_t size)
{
    struct cluster *c = node->c;
    struct groups_member members[N];
    struct groups_options o = {.loop = &c->loop,
                               .path = node->folder,
                               .node_id = node->id,
                               .bind = node->address,
                               .advertise = node->address,
                               .shards = c->shards,
                               .members = members,
                               .n_members = c->n,
                               .log_bytes_max = c->log_bytes_max,
                               .log_bytes_keep = c->log_bytes_keep,
                               .log_entries_keep = c->log_entries_keep,
                               .data = node,
                               .apply = on_apply,
                               .leader = on_leader,
                               .caught_up = on_caught_up,
                               .packet = on_packet,
                               .peer = on_peer,
                               .left = on_left,
                               .fatal = on_fatal};

    if (c->log_entries_keep > 0) {
        o.snapshot = on_snapshot;
        o.restore = on_restore;
        o.settle = on_settle;
        o.may_restore = on_may_restore;
    }
    memset(members, 0, sizeof members);
    for (unsigned i = 0; i < c->n; i++) {
        /* The order of the flags must not matter. */
        struct groups_member *m = &members[(i + node->id) % c->n];
        m->id = c->nodes[i].id;
        m->replica = c->replica[i];
        snprintf(m->address, sizeof m->address, "%s", c->nodes[i].address);
    }
    if (c->n_members > 0) {
        o.members = c->members;
        o.n_members = c->n_members;
        o.registered = true;
        o.joined = node->joins;
        o.new_store = node->store;
        o.cluster = c->id;
    }
    for (unsigned s = 0; s < c->shards; s++) {
        node->n[s] = 0;
        node->last_index[s] = 0;
        node->caught_up[s] = false;
        node->leader_changes[s] = 0;
        node->count[s] = node->sum[s] = 0;
        node->held[s] = false;
    }
    node->snapshots = node->restored = node->settled = 0;
    node->peers_up = 0;
    node->fatal[0] = '\0';
    return groups_start(&o, &node->g, why, size);
}

static void start(struct node *node)
{
    char why[512] = "";

    if (try_start(node, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
}

static void stop(struct node *node, unsigned drain_ms)
{
    uint64_t begin = clock_ms();

    node->stopped = false;
    groups_stop(node->g, drain_ms, on_stopped, node);
    while (!node->stopped) {
        uv_run(&node->c->loop, UV_RUN_ONCE);
        assert_true(clock_ms() - begin < 15000);
    }
    node->g = NULL;
}

static struct cluster *cluster_new(unsigned n, unsigned shards)
{
    struct cluster *c = calloc(1, sizeof *c);

    snprintf(c->folder, sizeof c->folder, "/tmp/marmot-groups-XXXXXX");
    assert_non_null(mkdtemp(c->folder));
    uv_loop_init(&c->loop);
    c->n = n;
    c->shards = shards;
    c->log_bytes_max = 512 << 20;
    for (unsigned i = 0; i < n; i++) {
        struct node *node = &c->nodes[i];
        node->c = c;
        node->id = i + 1;
        snprintf(node->folder, sizeof node->folder, "%s/%u", c->folder, i + 1);
        free_address(node->address, sizeof node->address);
        for (unsigned s = 0; s < shards; s++) {
            node->values[s] = malloc(ENTRIES_MAX * sizeof(uint64_t));
        }
    }
    return c;
}

static void run_command(const char *what, const char *a, const char *b)
{
    char command[512];

    snprintf(command, sizeof command, "%s %s %s", what, a, b);
    assert_int_equal(system(command), 0);
}

static void cluster_free(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].g != NULL) {
            stop(&c->nodes[i], 0);
        }
        for (unsigned s = 0; s < c->shards; s++) {
            free(c->nodes[i].values[s]);
        }
    }
    uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    run_command("rm -rf", c->folder, "");
    free(c);
}

static void start_all(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        start(&c->nodes[i]);
    }
}

/* Returns the value, 0 when it was refused. */
static uint64_t propose(struct node *node, unsigned group, size_t len)
{
    uint64_t value = ++node->c->next_value;
    uint8_t *bytes = calloc(1, len);

    memcpy(bytes, &value, sizeof value);
    return groups_propose(node->g, group, bytes, len) == 0 ? value : 0;
}

static bool has(const struct node *node, unsigned group, uint64_t value)
{
    for (unsigned i = 0; i < node->n[group]; i++) {
        if (node->values[group][i] == value) {
            return true;
        }
    }
    return false;
}

static struct node *leader_of(struct cluster *c, unsigned group)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct node *node = &c->nodes[i];
        if (node->g != NULL && groups_leader(node->g, group) == node->id) {
            return node;
        }
    }
    return NULL;
}

/* ---- conditions --------------------------------------------------------- */

static bool all_agree_on_leaders(struct cluster *c)
{
    for (unsigned s = 0; s < c->shards; s++) {
        uint64_t leader = 0;
        for (unsigned i = 0; i < c->n; i++) {
            struct node *node = &c->nodes[i];
            uint64_t id;
            if (node->g == NULL) {
                continue;
            }
            id = groups_leader(node->g, s);
            if (id == 0 || (leader != 0 && id != leader)) {
                return false;
            }
            leader = id;
        }
        if (c->nodes[leader - 1].g == NULL) {
            return false; /* they have not noticed yet */
        }
    }
    return true;
}

static bool all_caught_up(struct cluster *c)
{
    for (unsigned s = 0; s < c->shards; s++) {
        for (unsigned i = 0; i < c->n; i++) {
            if (c->nodes[i].g != NULL && !c->nodes[i].caught_up[s]) {
                return false;
            }
        }
    }
    return all_agree_on_leaders(c);
}

static inline struct cluster *running_cluster(unsigned shards)
{
    struct cluster *c = cluster_new(3, shards);

    start_all(c);
    must(c, all_caught_up, "leaders");
    return c;
}

static inline void wait_ms(struct cluster *c, unsigned ms)
{
    (void)run_until(c, NULL, ms);
}

static inline bool all_have_the_same(struct cluster *c)
{
    const struct node *first = NULL;

    for (unsigned i = 0; i < c->n; i++) {
        const struct node *node = &c->nodes[i];
        if (node->g == NULL) {
            continue;
        }
        first = first == NULL ? node : first;
        for (unsigned s = 0; s < c->shards; s++) {
            if (node->n[s] != first->n[s] ||
                memcmp(node->values[s], first->values[s],
                       node->n[s] * sizeof(uint64_t)) != 0) {
                return false;
            }
        }
    }
    return true;
}

static uint64_t awaited; /* a value of group 0 */

static inline bool all_have_awaited(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].g != NULL && !has(&c->nodes[i], 0, awaited)) {
            return false;
        }
    }
    return true;
}

static bool leaders_are_placed(struct cluster *c)
{
    uint64_t voters[N];
    unsigned n = 0;

    for (unsigned i = 0; i < c->n; i++) {
        if (!c->replica[i]) {
            voters[n++] = c->nodes[i].id;
        }
    }
    for (unsigned s = 0; s < c->shards; s++) {
        for (unsigned i = 0; i < c->n; i++) {
            if (c->nodes[i].g != NULL && groups_leader(c->nodes[i].g, s) !=
                                             placement_leader(s, voters, n)) {
                return false;
            }
        }
    }
    return true;
}

static inline bool all_peers_up(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->nodes[i].peers_up != c->n - 1) {
            return false;
        }
    }
    return true;
}

#endif
