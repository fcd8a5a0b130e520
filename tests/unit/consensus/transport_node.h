/* For the tests of the transport: nodes on one loop that note what happens, and
 * raw sockets that misbehave.
 *
 * Every wait ends at a deadline and then fails the test. Include after
 * cmocka.h. */
#ifndef TESTS_TRANSPORT_NODE_H
#define TESTS_TRANSPORT_NODE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "consensus/transport_internal.h"

#define UNUSED __attribute__((unused))
#define WAIT_MS 20000u

struct node {
    uv_loop_t *loop;
    struct transport *transport; /* NULL: not running */
    uint64_t id;
    char address[ADDRESS_MAX];

    const char *no; /* accept answers with this refusal */
    bool stop_on_up, stop_on_packet;
    bool running; /* up, down or packet may be called */

    unsigned ups, downs, accepts, refusals, packets, stops;
    uint64_t last_up; /* peer */
    char refusal[2048];
    uint64_t refused_by;
    /* Of PACKET_RAFT packets whose payload is one u32: 0, 1, 2, ... */
    uint32_t next_number;
    bool out_of_order;
    size_t last_len;
    uint64_t last_sum;
    unsigned joins;
    uint64_t asked_by; /* the last of them */
    bool wrong;        /* a callback that must not come came */
};

static UNUSED struct hello hello_of(uint64_t id)
{
    return (struct hello){
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .node_id = id,
        .shards = 1,
        .role = ROLE_VOTER,
        .advertise = "somewhere:1",
        .members = "1,2",
    };
}

static UNUSED uint64_t sum_of(const uint8_t *bytes, size_t len)
{
    uint64_t sum = len;

    for (size_t i = 0; i < len; i++) {
        sum = sum * 1099511628211u + bytes[i];
    }
    return sum;
}

static void on_stopped(void *data)
{
    struct node *n = data;

    n->stops++;
    n->transport = NULL;
}

static void node_stop_soon(struct node *n, unsigned linger_ms)
{
    n->running = false;
    transport_stop(n->transport, linger_ms, on_stopped, n);
}

static void on_hello(void *data, struct hello *out)
{
    struct node *n = data;

    *out = hello_of(n->id);
}

static bool on_accept(void *data, const struct hello *peer, char *why,
                      size_t size)
{
    struct node *n = data;

    n->wrong = n->wrong || !n->running || peer->node_id == n->id;
    n->accepts++;
    if (n->no != NULL) {
        snprintf(why, size, "%s", n->no);
    }
    return n->no == NULL;
}

static bool on_join(void *data, const struct member_info *who, struct buf *out,
                    char *why, size_t size)
{
    struct node *n = data;

    n->joins++;
    n->asked_by = who->id;
    if (n->no != NULL) {
        snprintf(why, size, "%s", n->no);
        return false;
    }
    return buf_append(out, "welcome", 7) == 0;
}

static void on_refused(void *data, uint64_t peer, const char *why)
{
    struct node *n = data;

    n->wrong = n->wrong || !n->running;
    n->refusals++;
    n->refused_by = peer;
    snprintf(n->refusal, sizeof n->refusal, "%s", why);
}

static void on_up(void *data, uint64_t peer, const struct hello *hello)
{
    struct node *n = data;

    n->wrong = n->wrong || !n->running || hello->node_id != peer ||
               !transport_is_up(n->transport, peer);
    n->ups++;
    n->last_up = peer;
    if (n->stop_on_up) {
        node_stop_soon(n, 0);
    }
}

static void on_down(void *data, uint64_t peer)
{
    struct node *n = data;

    n->downs++;
    n->wrong = n->wrong || !n->running || n->downs > n->ups ||
               transport_is_up(n->transport, peer);
}

static void on_packet(void *data, uint64_t peer, const struct packet *packet)
{
    struct node *n = data;

    n->wrong = n->wrong || !n->running || n->ups == n->downs ||
               !transport_is_up(n->transport, peer);
    n->packets++;
    n->last_len = packet->len;
    if (packet->kind == PACKET_RAFT && packet->len == 4) {
        n->out_of_order =
            n->out_of_order || get_le32(packet->payload) != n->next_number;
        n->next_number++;
    } else {
        n->last_sum = sum_of(packet->payload, packet->len);
    }
    if (n->stop_on_packet) {
        node_stop_soon(n, 0);
    }
}

/* ---- waiting ------------------------------------------------------------- */

static void on_tick(uv_timer_t *unused)
{
    (void)unused;
}

/* Run the loop until the condition holds; returns false at the deadline. */
typedef bool (*condition)(const void *a, const void *b);

static UNUSED bool run_until(uv_loop_t *loop, condition holds, const void *a,
                             const void *b)
{
    uint64_t end = clock_ms() + WAIT_MS;
    uv_timer_t tick;
    bool ok;

    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    while (!(ok = holds(a, b)) && clock_ms() < end) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return ok;
}

static bool never(const void *until_ms, const void *unused)
{
    (void)unused;
    return clock_ms() >= *(const uint64_t *)until_ms;
}

static UNUSED void run_for(uv_loop_t *loop, unsigned ms)
{
    uint64_t until = clock_ms() + ms;

    assert_true(run_until(loop, never, &until, NULL));
}

static UNUSED bool both_up(const void *a, const void *b)
{
    const struct node *x = a, *y = b;

    return x->ups == x->downs + 1 && y->ups == y->downs + 1;
}

static UNUSED bool is_up(const void *a, const void *unused)
{
    return both_up(a, a) && unused == NULL;
}

static UNUSED bool is_down(const void *a, const void *unused)
{
    const struct node *n = a;

    return n->ups == n->downs && n->ups > 0 && unused == NULL;
}

static UNUSED bool has_packets(const void *a, const void *count)
{
    return ((const struct node *)a)->packets >= *(const unsigned *)count;
}

static UNUSED bool was_refused(const void *a, const void *unused)
{
    return ((const struct node *)a)->refusals > 0 && unused == NULL;
}

static UNUSED bool has_stopped(const void *a, const void *unused)
{
    return ((const struct node *)a)->transport == NULL && unused == NULL;
}

/* ---- nodes --------------------------------------------------------------- */

/* A port that nobody has now. Outside the range the kernel gives to dialling
 * sockets, so that nobody takes it meanwhile. */
static UNUSED unsigned free_port(void)
{
    static unsigned next;

    if (next == 0) {
        next = 10000 + (unsigned)(getpid() * 37) % 20000;
    }
    for (;;) {
        struct sockaddr_in at = {.sin_family = AF_INET};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
        next = next < 30000 ? next + 1 : 10000;
        at.sin_port = htons((uint16_t)next);
        assert_true(fd >= 0);
        rc = bind(fd, (struct sockaddr *)&at, sizeof at);
        close(fd);
        if (rc == 0) {
            return next;
        }
    }
}

static UNUSED struct node node_at(uv_loop_t *loop, uint64_t id,
                                  const char *host)
{
    struct node n = {.loop = loop, .id = id};

    snprintf(n.address, sizeof n.address, "%s:%u", host, free_port());
    return n;
}

static UNUSED struct conn_timing quick(void)
{
    return (struct conn_timing){
        .greet_ms = 5000, .dead_ms = 60000, .drain_ms = 1000};
}

static int node_try(struct node *n, const struct transport_peer *peers,
                    unsigned count, struct conn_timing timing)
{
    struct transport_options options = {
        .loop = n->loop,
        .bind = n->address,
        .node_id = n->id,
        .data = n,
        .hello = on_hello,
        .accept = on_accept,
        .join = on_join,
        .refused = on_refused,
        .up = on_up,
        .down = on_down,
        .packet = on_packet,
    };

    return transport_start_timed(&options, peers, count, &timing,
                                 &n->transport);
}

/* Start `n` with the peer `id` at `address`. */
static UNUSED void node_start(struct node *n, uint64_t id, const char *address,
                              struct conn_timing timing)
{
    struct transport_peer peer = {.id = id};

    snprintf(peer.address, sizeof peer.address, "%s", address);
    n->running = true;
    assert_int_equal(node_try(n, &peer, 1, timing), 0);
}

static UNUSED void node_stop(struct node *n)
{
    if (n->transport != NULL && !n->transport->stopping) {
        node_stop_soon(n, 1000);
    }
    assert_true(run_until(n->loop, has_stopped, n, NULL));
    assert_false(n->wrong);
}

/* Two nodes that know each other, both up. */
static UNUSED void start_pair(uv_loop_t *loop, struct node *a, struct node *b)
{
    *a = node_at(loop, 1, "127.0.0.1");
    *b = node_at(loop, 2, "127.0.0.1");
    node_start(a, 2, b->address, quick());
    node_start(b, 1, a->address, quick());
    assert_true(run_until(loop, both_up, a, b));
}

static UNUSED void stop_pair(struct node *a, struct node *b)
{
    node_stop(a);
    node_stop(b);
}

static UNUSED int loop_setup(void **state)
{
    uv_loop_t *loop = malloc(sizeof *loop);

    if (loop == NULL || uv_loop_init(loop) != 0) {
        return -1;
    }
    *state = loop;
    return 0;
}

/* Fails when a test left a handle or a request behind. */
static UNUSED int loop_teardown(void **state)
{
    uv_loop_t *loop = *state;
    int rc;

    uv_run(loop, UV_RUN_NOWAIT);
    rc = uv_loop_close(loop);
    free(loop);
    return rc;
}

#define on_loop(test) \
    cmocka_unit_test_setup_teardown(test, loop_setup, loop_teardown)

/* ---- raw sockets --------------------------------------------------------- */

struct raw {
    int fd;
    bool ended; /* the node closed it */
    bool reset; /* and did not say goodbye */
    size_t len;
    uint8_t bytes[1 << 16];
};

static UNUSED void raw_connect(struct raw *r, const struct node *n)
{
    struct sockaddr_storage to;
    struct address address;

    memset(r, 0, sizeof *r);
    assert_int_equal(address_parse(n->address, &address), 0);
    assert_int_equal(address_literal(&address, &to), 0);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(
        connect(r->fd, (struct sockaddr *)&to, sizeof(struct sockaddr_in)), 0);
    fcntl(r->fd, F_SETFL, O_NONBLOCK);
}

static UNUSED void raw_send(struct raw *r, const void *bytes, size_t len)
{
    assert_int_equal(send(r->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static UNUSED void raw_packet(struct raw *r, uint8_t kind, const void *payload,
                              size_t len)
{
    struct buf b;

    buf_init(&b, 8u << 20);
    assert_int_equal(packet_write(&b, kind, 0, payload, len), 0);
    raw_send(r, b.data, b.len);
    buf_close(&b);
}

static UNUSED void raw_hello(struct raw *r, const struct hello *hello)
{
    struct buf b;

    buf_init(&b, 8u << 20);
    assert_int_equal(hello_encode(hello, &b), 0);
    raw_packet(r, PACKET_HELLO, b.data, b.len);
    buf_close(&b);
}

static void raw_read(struct raw *r)
{
    ssize_t n =
        recv(r->fd, r->bytes + r->len, sizeof r->bytes - r->len, MSG_DONTWAIT);

    if (n > 0) {
        r->len += (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        r->ended = true;
        r->reset = r->reset || n < 0;
    }
}

static UNUSED bool raw_ended(const void *raw, const void *unused)
{
    struct raw *r = (struct raw *)(uintptr_t)raw;

    raw_read(r);
    return r->ended && unused == NULL;
}

/* A whole packet is there. */
static UNUSED bool raw_has_packet(const void *raw, const void *unused)
{
    struct raw *r = (struct raw *)(uintptr_t)raw;
    struct packet packet;
    size_t used;

    raw_read(r);
    return packet_read(r->bytes, r->len, &packet, &used) == 0 && unused == NULL;
}

/* Take the first packet's kind; its payload goes to `text`, if any. */
static UNUSED int raw_take(struct raw *r, char *text, size_t size)
{
    struct packet packet;
    size_t used;

    if (packet_read(r->bytes, r->len, &packet, &used) != 0) {
        return -1;
    }
    if (text != NULL) {
        snprintf(text, size, "%.*s", (int)packet.len,
                 (const char *)packet.payload);
    }
    memmove(r->bytes, r->bytes + used, r->len - used);
    r->len -= used;
    return packet.kind;
}

/* Become the peer `id` of `n`. */
static UNUSED void raw_join(struct raw *r, struct node *n, uint64_t id)
{
    struct hello hello = hello_of(id);

    raw_connect(r, n);
    raw_hello(r, &hello);
    assert_true(run_until(n->loop, raw_has_packet, r, NULL));
    assert_int_equal(raw_take(r, NULL, 0), PACKET_HELLO);
    raw_packet(r, PACKET_PING, NULL, 0);
}

#endif
