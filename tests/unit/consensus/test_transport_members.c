/* Peers that come, move and go while the transport runs, and the question of
 * somebody who wants to be one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/consensus/transport_node.h"

static struct transport_peer peer_at(uint64_t id, const char *address)
{
    struct transport_peer p = {.id = id};

    snprintf(p.address, sizeof p.address, "%s", address);
    return p;
}

static void node_start_alone(struct node *n)
{
    n->running = true;
    assert_int_equal(node_try(n, NULL, 0, quick()), 0);
}

static void add(struct node *n, const struct node *peer)
{
    struct transport_peer p = peer_at(peer->id, peer->address);

    assert_int_equal(transport_add(n->transport, &p), 0);
}

/* Connections are counted down, but nobody is called when one is removed. */
static void forget(struct node *n, uint64_t id)
{
    bool was_up = transport_is_up(n->transport, id);

    transport_remove(n->transport, id);
    n->downs += was_up;
}

/* ---- peers --------------------------------------------------------------- */

static void added_peers_come_up(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");

    node_start_alone(&a);
    node_start_alone(&b);
    add(&b, &a); /* refused as a stranger, for the first time */
    run_for(*state, 100);
    assert_int_equal(a.ups + b.ups, 0);
    add(&a, &b);
    assert_true(run_until(*state, both_up, &a, &b));
    add(&a, &b); /* again: nothing changes */
    run_for(*state, 100);
    assert_int_equal(a.ups, 1);
    assert_int_equal(a.downs, 0);
    stop_pair(&a, &b);
}

static void a_removed_peer_is_a_stranger_and_may_come_back(void **state)
{
    struct node a, b;

    start_pair(*state, &a, &b);
    forget(&a, 2);
    assert_false(transport_is_up(a.transport, 2));
    assert_int_equal(transport_send(a.transport, 2, PACKET_RAFT, 0, "x", 1),
                     ERR_CLOSED);
    assert_true(run_until(*state, was_refused, &b, NULL));
    assert_non_null(strstr(b.refusal, "node 2 is not a member here"));
    assert_int_equal(a.ups, 1);
    add(&a, &b);
    assert_true(run_until(*state, both_up, &a, &b));
    forget(&a, 9); /* never was one */
    stop_pair(&a, &b);
}

/* In every state that a dial can be in. */
static void peers_come_and_go_in_a_hurry(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");
    struct transport_peer named = peer_at(3, "localhost:1");

    node_start_alone(&a);
    node_start_alone(&b);
    add(&b, &a);
    for (unsigned i = 0; i < 200; i++) {
        add(&a, &b);
        transport_add(a.transport, &named);
        for (unsigned k = 0; k < i % 7; k++) {
            uv_run(*state, UV_RUN_NOWAIT);
        }
        forget(&a, 2);
        transport_remove(a.transport, 3);
    }
    add(&a, &b);
    assert_true(run_until(*state, is_up, &a, NULL));
    stop_pair(&a, &b);
}

static void a_peer_that_moved_is_dialled_where_it_is(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");
    struct node old = node_at(*state, 2, "127.0.0.1");

    node_start(&a, 2, old.address, quick());   /* nobody is there */
    node_start(&b, 1, "127.0.0.1:9", quick()); /* and b cannot dial */
    run_for(*state, 100);
    assert_int_equal(a.ups, 0);
    add(&a, &b);
    assert_true(run_until(*state, both_up, &a, &b));
    stop_pair(&a, &b);
}

static void a_peer_moves_without_losing_its_connection(void **state)
{
    struct node a, b;
    struct transport_peer p = peer_at(2, "127.0.0.1:9");

    start_pair(*state, &a, &b);
    assert_int_equal(transport_add(a.transport, &p), 0);
    run_for(*state, 100);
    assert_true(transport_is_up(a.transport, 2));
    assert_int_equal(a.downs, 0);
    stop_pair(&a, &b);
}

static void what_is_no_address_is_refused(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct transport_peer p = peer_at(2, "nowhere");

    node_start_alone(&a);
    assert_int_equal(transport_add(a.transport, &p), -EINVAL);
    memset(p.address, ':', sizeof p.address);
    assert_int_equal(transport_add(a.transport, &p), -EINVAL);
    assert_null(transport_find(a.transport, 2));
    node_stop(&a);
}

static void there_is_room_for_so_many_peers(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct transport_peer p;

    node_start_alone(&a);
    for (uint64_t id = 2; id < 2 + NODES_MAX; id++) {
        p = peer_at(id, "127.0.0.1:9");
        assert_int_equal(transport_add(a.transport, &p), 0);
    }
    p = peer_at(999, "127.0.0.1:9");
    assert_int_equal(transport_add(a.transport, &p), ERR_FULL);
    forget(&a, 17);
    assert_int_equal(transport_add(a.transport, &p), 0);
    node_stop(&a);
}

/* ---- the question -------------------------------------------------------- */

static void question(struct buf *b)
{
    struct member_info m = {.id = 7, .address = "here:1"};

    buf_init(b, PACKET_BYTES_MAX);
    assert_int_equal(join_ask_encode(&m, b), 0);
}

static void whoever_asks_is_answered(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    static struct raw r;
    struct buf b;
    char text[256];

    node_start_alone(&a);
    question(&b);
    raw_connect(&r, &a);
    raw_packet(&r, PACKET_JOIN, b.data, b.len);
    assert_true(run_until(*state, raw_ended, &r, NULL));
    assert_int_equal(raw_take(&r, text, sizeof text), PACKET_JOINED);
    assert_string_equal(text, "welcome");
    assert_int_equal(a.asked_by, 7);
    close(r.fd);
    a.no = "not you";
    raw_connect(&r, &a);
    raw_packet(&r, PACKET_JOIN, b.data, b.len);
    assert_true(run_until(*state, raw_ended, &r, NULL));
    assert_int_equal(raw_take(&r, text, sizeof text), PACKET_REFUSED);
    assert_string_equal(text, "not you");
    close(r.fd);
    buf_close(&b);
    assert_int_equal(a.ups, 0);
    node_stop(&a);
}

static void what_is_no_question_is_refused(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    uint8_t *large = calloc(1, 1 << 20);
    static struct raw r;
    char text[256];

    node_start_alone(&a);
    memset(large, 0x91, 1 << 20);
    for (size_t len = 0; len <= 1 << 20; len = len == 0 ? 1 : len * 32) {
        raw_connect(&r, &a);
        raw_packet(&r, PACKET_JOIN, large, len < 60000 ? len : 60000);
        assert_true(run_until(*state, raw_ended, &r, NULL));
        assert_int_equal(raw_take(&r, text, sizeof text), PACKET_REFUSED);
        assert_non_null(strstr(text, "not a question to join"));
        close(r.fd);
    }
    assert_int_equal(a.joins, 0);
    free(large);
    node_stop(&a);
}

static void a_question_that_is_too_large_ends_the_connection(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    static struct raw r;
    struct buf b;

    node_start_alone(&a);
    buf_init(&b, 8u << 20);
    packet_write(&b, PACKET_JOIN, 0, "x", 1);
    memset(b.data, 0xff, 4); /* its length */
    raw_connect(&r, &a);
    raw_send(&r, b.data, b.len);
    assert_true(run_until(*state, raw_ended, &r, NULL));
    close(r.fd);
    buf_close(&b);
    assert_int_equal(a.joins, 0);
    node_stop(&a);
}

static void half_a_question_is_given_up(void **state)
{
    struct conn_timing soon = quick();
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");
    static struct raw r, gone;
    struct buf q, p;

    soon.greet_ms = 200;
    node_start(&a, 2, b.address, soon);
    question(&q);
    buf_init(&p, 1 << 16);
    packet_write(&p, PACKET_JOIN, 0, q.data, q.len);
    raw_connect(&r, &a);
    raw_connect(&gone, &a);
    raw_send(&r, p.data, p.len - 3);
    raw_send(&gone, p.data, p.len);
    close(gone.fd); /* does not wait for the answer */
    assert_true(run_until(*state, raw_ended, &r, NULL));
    assert_int_equal(a.joins, 1);
    close(r.fd);
    buf_close(&p);
    buf_close(&q);
    node_stop(&a);
}

/* A connection that has greeted is a peer's: no question there. */
static void a_peer_does_not_ask(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    static struct raw r;
    struct buf b;

    node_start(&a, 2, "127.0.0.1:9", quick());
    question(&b);
    raw_join(&r, &a, 2);
    assert_true(run_until(*state, is_up, &a, NULL));
    raw_packet(&r, PACKET_JOIN, b.data, b.len);
    run_for(*state, 50);
    assert_int_equal(a.joins, 0);
    close(r.fd);
    buf_close(&b);
    node_stop(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(added_peers_come_up),
        on_loop(a_removed_peer_is_a_stranger_and_may_come_back),
        on_loop(peers_come_and_go_in_a_hurry),
        on_loop(a_peer_that_moved_is_dialled_where_it_is),
        on_loop(a_peer_moves_without_losing_its_connection),
        on_loop(what_is_no_address_is_refused),
        on_loop(there_is_room_for_so_many_peers),
        on_loop(whoever_asks_is_answered),
        on_loop(what_is_no_question_is_refused),
        on_loop(a_question_that_is_too_large_ends_the_connection),
        on_loop(half_a_question_is_given_up),
        on_loop(a_peer_does_not_ask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
