#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/syscall.h>

#include "tests/unit/consensus/transport_node.h"

/* libuv's writes of one buffer come through here. */
static int counted_fd_writes;

__attribute__((visibility("default"))) ssize_t write(int fd, const void *bytes,
                                                     size_t len)
{
    if (fd != STDERR_FILENO && fd != STDOUT_FILENO && len > 8) {
        counted_fd_writes++;
    }
    return syscall(SYS_write, fd, bytes, len);
}

static void send_numbers(struct node *from, uint64_t to, uint32_t first,
                         uint32_t count)
{
    uint8_t bytes[4];

    for (uint32_t i = first; i < first + count; i++) {
        put_le32(bytes, i);
        assert_int_equal(
            transport_send(from->transport, to, PACKET_RAFT, 3, bytes, 4), 0);
    }
}

static void two_nodes_come_up_once_each(void **state)
{
    struct node a, b;

    start_pair(*state, &a, &b);
    run_for(*state, 150);
    assert_int_equal(a.ups, 1);
    assert_int_equal(b.ups, 1);
    assert_int_equal(a.downs + b.downs, 0);
    assert_int_equal(a.last_up, 2);
    assert_int_equal(b.last_up, 1);
    stop_pair(&a, &b);
}

static void packets_arrive_in_order_both_ways(void **state)
{
    unsigned want = 3000;
    struct node a, b;

    start_pair(*state, &a, &b);
    for (uint32_t i = 0; i < want; i += 100) {
        send_numbers(&a, 2, i, 100);
        send_numbers(&b, 1, i, 100);
        uv_run(*state, UV_RUN_NOWAIT);
    }
    assert_true(run_until(*state, has_packets, &a, &want));
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_false(a.out_of_order || b.out_of_order);
    assert_int_equal(a.next_number, want);
    assert_int_equal(b.next_number, want);
    stop_pair(&a, &b);
}

static void one_turn_is_one_write(void **state)
{
    unsigned want = 1000;
    struct node a, b;

    start_pair(*state, &a, &b);
    run_for(*state, 20);
    counted_fd_writes = 0;
    send_numbers(&a, 2, 0, want);
    assert_int_equal(counted_fd_writes, 0);
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_int_equal(counted_fd_writes, 1);
    stop_pair(&a, &b);
}

static void queued_in_place_arrives_like_sent(void **state)
{
    unsigned want = 1;
    struct node a, b;
    struct buf *queue;
    size_t begin;

    start_pair(*state, &a, &b);
    assert_null(transport_queue(a.transport, 7));
    queue = transport_queue(a.transport, 2);
    assert_non_null(queue);
    begin = packet_begin(queue, PACKET_HOST, 5);
    buf_append(queue, "hello there", 11);
    assert_int_equal(packet_end(queue, begin), 0);
    transport_queued(a.transport, 2);
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_int_equal(b.last_len, 11);
    assert_int_equal(b.last_sum, sum_of((const uint8_t *)"hello there", 11));
    stop_pair(&a, &b);
}

/* Queues from a prepare handle, which may run after the transport's own. */
static void on_late_prepare(uv_prepare_t *prepare)
{
    struct node *n = prepare->data;

    uv_prepare_stop(prepare);
    send_numbers(n, 2, 0, 1);
}

static void what_is_queued_right_before_the_poll_does_not_wait(void **state)
{
    unsigned want = 1;
    uv_prepare_t late;
    struct node a, b;
    uv_timer_t alarm;

    start_pair(*state, &a, &b);
    run_for(*state, 20);
    /* libuv runs the newest first: start ours, then the transport's again. */
    uv_prepare_init(*state, &late);
    late.data = &a;
    uv_prepare_start(&late, on_late_prepare);
    uv_prepare_stop(&a.transport->flush);
    uv_prepare_start(&a.transport->flush, a.transport->flush.prepare_cb);

    uv_timer_init(*state, &alarm);
    uv_timer_start(&alarm, on_tick, 10000, 0);
    for (int turns = 0; b.packets < want && turns < 10; turns++) {
        uv_run(*state, UV_RUN_ONCE);
    }
    assert_int_equal(b.packets, 1);
    assert_true(uv_is_active((uv_handle_t *)&alarm));
    uv_close((uv_handle_t *)&alarm, NULL);
    uv_close((uv_handle_t *)&late, NULL);
    stop_pair(&a, &b);
}

static uint8_t *pattern(size_t len)
{
    uint8_t *bytes = malloc(len);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    return bytes;
}

static void the_largest_packet_arrives_whole(void **state)
{
    uint8_t *bytes = pattern(PACKET_BYTES_MAX);
    unsigned want = 3;
    struct node a, b;

    start_pair(*state, &a, &b);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(transport_send(a.transport, 2, PACKET_HOST, 0, bytes,
                                        PACKET_BYTES_MAX),
                         0);
    }
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_int_equal(b.last_len, PACKET_BYTES_MAX);
    assert_int_equal(b.last_sum, sum_of(bytes, PACKET_BYTES_MAX));
    assert_int_equal(b.downs, 0);
    free(bytes);
    stop_pair(&a, &b);
}

static void one_byte_above_the_largest_is_refused_without_harm(void **state)
{
    uint8_t *bytes = pattern(PACKET_BYTES_MAX + 1);
    unsigned want = 1;
    struct node a, b;

    start_pair(*state, &a, &b);
    assert_int_equal(transport_send(a.transport, 2, PACKET_HOST, 0, bytes,
                                    PACKET_BYTES_MAX + 1),
                     ERR_TOO_BIG);
    send_numbers(&a, 2, 0, 1);
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_int_equal(a.downs + b.downs, 0);
    free(bytes);
    stop_pair(&a, &b);
}

static void a_queue_above_its_limit_drops_the_connection_later(void **state)
{
    uint8_t *bytes = pattern(PACKET_BYTES_MAX);
    struct node a, b;
    unsigned sent = 0;
    int rc = 0;

    start_pair(*state, &a, &b);
    while (rc == 0 && sent < 1000) {
        rc = transport_send(a.transport, 2, PACKET_HOST, 0, bytes,
                            PACKET_BYTES_MAX);
        sent += rc == 0;
    }
    assert_int_equal(rc, ERR_FULL);
    assert_int_equal(
        sent, PEER_QUEUE_BYTES_MAX / (PACKET_BYTES_MAX + PACKET_HEADER_BYTES));
    /* Not from inside the call. */
    assert_int_equal(a.downs, 0);
    assert_false(transport_is_up(a.transport, 2));
    assert_null(transport_queue(a.transport, 2));
    assert_int_equal(transport_send(a.transport, 2, PACKET_PING, 0, NULL, 0),
                     ERR_CLOSED);
    assert_true(run_until(*state, is_down, &a, NULL));
    assert_int_equal(b.packets, 0);
    assert_true(run_until(*state, both_up, &a, &b));
    assert_int_equal(a.ups, 2);
    free(bytes);
    stop_pair(&a, &b);
}

static void a_port_in_use_is_told_at_once_and_leaves_nothing(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");
    struct transport *untouched = (struct transport *)(uintptr_t)16;

    node_start(&a, 2, b.address, quick());
    memcpy(b.address, a.address, sizeof b.address);
    b.transport = untouched;
    assert_int_equal(node_try(&b, NULL, 0, quick()), -EADDRINUSE);
    assert_ptr_equal(b.transport, untouched);
    node_stop(&a);
}

static void addresses_that_are_none_are_refused_at_start(void **state)
{
    struct transport_peer peer = {.id = 2, .address = "nowhere"};
    struct node a = node_at(*state, 1, "127.0.0.1");
    /* 192.0.2.0/24 is for documentation, no host has it. */
    struct node c = node_at(*state, 3, "192.0.2.1");

    assert_int_equal(node_try(&a, &peer, 1, quick()), -EINVAL);
    assert_int_equal(node_try(&a, &peer, NODES_MAX + 1, quick()), -EINVAL);
    assert_int_equal(node_try(&c, NULL, 0, quick()), -EADDRNOTAVAIL);
    snprintf(a.address, sizeof a.address, "127.0.0.1");
    assert_int_equal(node_try(&a, NULL, 0, quick()), -EINVAL);
}

static void a_restarted_node_is_found_again(void **state)
{
    unsigned want = 1;
    struct node a, b, again = {.loop = *state, .id = 2};

    start_pair(*state, &a, &b);
    memcpy(again.address, b.address, sizeof again.address);
    for (unsigned round = 1; round <= 3; round++) {
        node_stop(&b);
        assert_true(run_until(*state, is_down, &a, NULL));
        assert_int_equal(a.downs, round);
        assert_int_equal(
            transport_send(a.transport, 2, PACKET_PING, 0, NULL, 0),
            ERR_CLOSED);
        b = again;
        node_start(&b, 1, a.address, quick());
        assert_true(run_until(*state, both_up, &a, &b));
    }
    send_numbers(&b, 1, 0, 1);
    assert_true(run_until(*state, has_packets, &a, &want));
    stop_pair(&a, &b);
}

static void what_was_queued_before_the_stop_still_arrives(void **state)
{
    uint8_t *bytes = pattern(PACKET_BYTES_MAX);
    unsigned want = 8;
    struct node a, b;

    start_pair(*state, &a, &b);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(transport_send(a.transport, 2, PACKET_HOST, 0, bytes,
                                        PACKET_BYTES_MAX),
                         0);
        /* Unread input must not take the last bytes away. */
        send_numbers(&b, 1, (uint32_t)i, 1);
    }
    node_stop_soon(&a, 10000);
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_true(run_until(*state, has_stopped, &a, NULL));
    assert_int_equal(a.packets, 0);
    assert_int_equal(a.downs, 0);
    free(bytes);
    stop_pair(&a, &b);
}

static void stopping_does_not_wait_for_a_peer_that_does_not_read(void **state)
{
    uint8_t *bytes = pattern(PACKET_BYTES_MAX);
    struct node a = node_at(*state, 2, "127.0.0.1");
    uint64_t begin;
    struct raw r;

    node_start(&a, 1, "127.0.0.1:9", quick());
    raw_join(&r, &a, 1);
    assert_true(run_until(*state, is_up, &a, NULL));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(transport_send(a.transport, 1, PACKET_HOST, 0, bytes,
                                        PACKET_BYTES_MAX),
                         0);
    }
    begin = clock_ms();
    node_stop_soon(&a, 200);
    assert_true(run_until(*state, has_stopped, &a, NULL));
    assert_in_range(clock_ms() - begin, 150, 5000);
    close(r.fd);
    free(bytes);
}

static void a_callback_may_stop_the_transport(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");

    a.stop_on_up = true;
    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, a.address, quick());
    assert_true(run_until(*state, has_stopped, &a, NULL));
    assert_int_equal(a.ups, 1);
    assert_int_equal(a.downs, 0);
    node_stop(&b);

    start_pair(*state, &a, &b);
    b.stop_on_packet = true;
    send_numbers(&a, 2, 0, 100);
    assert_true(run_until(*state, has_stopped, &b, NULL));
    assert_int_equal(b.packets, 1);
    assert_int_equal(b.downs, 0);
    assert_int_equal(b.stops, 1);
    stop_pair(&a, &b);
}

static void a_name_is_looked_up_and_its_addresses_are_tried(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "localhost");

    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, "127.0.0.1:9", quick());
    assert_true(run_until(*state, both_up, &a, &b));
    stop_pair(&a, &b);
}

/* Not a name's, but set by hand: what names a host has is not ours to say. */
static void all_addresses_are_tried_before_patience_begins(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");
    struct address dead, good;
    struct peer *p;

    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, "127.0.0.1:9", quick());
    p = a.transport->peers[0];
    assert_int_equal(address_parse("127.0.0.1:9", &dead), 0);
    assert_int_equal(address_parse(b.address, &good), 0);
    for (p->n_found = 0; p->n_found < 4; p->n_found++) {
        assert_int_equal(address_literal(&dead, &p->found[p->n_found]), 0);
    }
    assert_int_equal(address_literal(&good, &p->found[p->n_found++]), 0);
    assert_true(run_until(*state, both_up, &a, &b));
    assert_int_equal(p->backoff_ms, 0);
    stop_pair(&a, &b);
}

static void an_unknown_name_is_tried_again_without_harm(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");

    node_start(&a, 2, "no-such-host.invalid:8610", quick());
    run_for(*state, 300);
    assert_int_equal(a.ups, 0);
    node_stop(&a);
}

static void nodes_meet_over_ipv6(void **state)
{
    struct node a = node_at(*state, 1, "[::1]");
    struct node b = node_at(*state, 2, "[::1]");
    int rc = node_try(&a, NULL, 0, quick());

    if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT) {
        print_message("no IPv6 loopback on this host: %s\n", err_str(rc));
        skip();
    }
    assert_int_equal(rc, 0);
    node_stop(&a);
    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, a.address, quick());
    assert_true(run_until(*state, both_up, &a, &b));
    stop_pair(&a, &b);
}

static void silence_is_measured_from_the_last_byte(void **state)
{
    unsigned want = 1;
    struct node a, b;

    start_pair(*state, &a, &b);
    assert_true(transport_silent_ms(a.transport, 2) < 5000);
    assert_true(transport_silent_ms(a.transport, 9) == UINT64_MAX);
    run_for(*state, 120);
    assert_in_range(transport_silent_ms(b.transport, 1), 100, 5000);
    send_numbers(&a, 2, 0, 1);
    assert_true(run_until(*state, has_packets, &b, &want));
    assert_true(transport_silent_ms(b.transport, 1) < 100);
    stop_pair(&a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(two_nodes_come_up_once_each),
        on_loop(packets_arrive_in_order_both_ways),
        on_loop(one_turn_is_one_write),
        on_loop(queued_in_place_arrives_like_sent),
        on_loop(what_is_queued_right_before_the_poll_does_not_wait),
        on_loop(the_largest_packet_arrives_whole),
        on_loop(one_byte_above_the_largest_is_refused_without_harm),
        on_loop(a_queue_above_its_limit_drops_the_connection_later),
        on_loop(a_port_in_use_is_told_at_once_and_leaves_nothing),
        on_loop(addresses_that_are_none_are_refused_at_start),
        on_loop(a_restarted_node_is_found_again),
        on_loop(what_was_queued_before_the_stop_still_arrives),
        on_loop(stopping_does_not_wait_for_a_peer_that_does_not_read),
        on_loop(a_callback_may_stop_the_transport),
        on_loop(a_name_is_looked_up_and_its_addresses_are_tried),
        on_loop(all_addresses_are_tried_before_patience_begins),
        on_loop(an_unknown_name_is_tried_again_without_harm),
        on_loop(nodes_meet_over_ipv6),
        on_loop(silence_is_measured_from_the_last_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
