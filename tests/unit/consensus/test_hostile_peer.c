/* Bytes that no node sends. After each of them the listener must still work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/consensus/transport_node.h"

#define NOBODY "127.0.0.1:9"

/* A well-behaved peer still gets in. */
static void assert_alive(struct node *n)
{
    unsigned before = n->ups;
    struct raw r;

    raw_join(&r, n, 2);
    assert_true(run_until(n->loop, is_up, n, NULL));
    assert_int_equal(n->ups, before + 1);
    close(r.fd);
    assert_true(run_until(n->loop, is_down, n, NULL));
}

/* Sent right after connecting, `bytes` end the connection. */
static void assert_rejected(struct node *n, const void *bytes, size_t len)
{
    struct raw r;

    raw_connect(&r, n);
    raw_send(&r, bytes, len);
    assert_true(run_until(n->loop, raw_ended, &r, NULL));
    assert_int_equal(n->accepts, 0);
    close(r.fd);
}

static void garbage_instead_of_a_hello_ends_the_connection(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct node a = node_at(*state, 1, "127.0.0.1");
    uint8_t noise[4096];

    node_start(&a, 2, NOBODY, quick());
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (uint8_t)(i * 197 + 13);
    }
    assert_rejected(&a, http, sizeof http - 1);
    assert_rejected(&a, noise, sizeof noise);
    memset(noise, 0, sizeof noise);
    assert_rejected(&a, noise, sizeof noise);
    memset(noise, 0xff, sizeof noise);
    assert_rejected(&a, noise, sizeof noise);
    assert_alive(&a);
    node_stop(&a);
}

static size_t packed(uint8_t *out, uint8_t kind, const void *payload,
                     size_t len)
{
    struct buf b;
    size_t whole;

    buf_init(&b, 1u << 20);
    assert_int_equal(packet_write(&b, kind, 0, payload, len), 0);
    whole = b.len;
    memcpy(out, b.data, whole);
    buf_close(&b);
    return whole;
}

static void a_first_packet_that_is_no_hello_ends_the_connection(void **state)
{
    static const uint8_t kinds[] = {PACKET_PING, PACKET_RAFT, PACKET_REFUSED,
                                    PACKET_HOST};
    struct node a = node_at(*state, 1, "127.0.0.1");
    uint8_t bytes[256];
    size_t len;

    node_start(&a, 2, NOBODY, quick());
    for (size_t i = 0; i < sizeof kinds; i++) {
        len = packed(bytes, kinds[i], "abc", 3);
        assert_rejected(&a, bytes, len);
    }
    len = packed(bytes, PACKET_HELLO, "not msgpack", 11);
    assert_rejected(&a, bytes, len);
    len = packed(bytes, PACKET_HELLO, NULL, 0);
    assert_rejected(&a, bytes, len);
    assert_alive(&a);
    node_stop(&a);
}

static void a_hello_that_announces_megabytes_is_not_waited_for(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    uint8_t bytes[256];

    node_start(&a, 2, NOBODY, quick());
    packed(bytes, PACKET_HELLO, NULL, 0);
    put_le32(bytes, 1u << 20);
    assert_rejected(&a, bytes, PACKET_HEADER_BYTES);
    put_le32(bytes, (64u << 10) - PACKET_HEADER_BYTES + 1);
    assert_rejected(&a, bytes, PACKET_HEADER_BYTES);
    assert_alive(&a);
    node_stop(&a);
}

/* A peer in good standing sends `bytes`: down, once. */
static void assert_dropped(struct node *n, const void *bytes, size_t len)
{
    unsigned downs = n->downs, packets = n->packets;
    struct raw r;

    raw_join(&r, n, 2);
    assert_true(run_until(n->loop, is_up, n, NULL));
    raw_packet(&r, PACKET_RAFT, "good", 4);
    raw_send(&r, bytes, len);
    assert_true(run_until(n->loop, raw_ended, &r, NULL));
    assert_int_equal(n->downs, downs + 1);
    assert_int_equal(n->packets, packets + 1);
    close(r.fd);
}

static void a_bad_packet_from_a_peer_ends_the_connection(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    uint8_t bytes[256];
    size_t len;

    node_start(&a, 2, NOBODY, quick());
    len = packed(bytes, PACKET_RAFT, "abc", 3);
    bytes[len - 1] ^= 1;
    assert_dropped(&a, bytes, len);

    len = packed(bytes, PACKET_KIND_MAX + 1, "abc", 3);
    assert_dropped(&a, bytes, len);

    len = packed(bytes, PACKET_RAFT, "abc", 3);
    bytes[4] = PACKET_VERSION + 1;
    assert_dropped(&a, bytes, len);

    packed(bytes, PACKET_RAFT, NULL, 0);
    put_le32(bytes, PACKET_BYTES_MAX + 1);
    assert_dropped(&a, bytes, PACKET_HEADER_BYTES);
    assert_alive(&a);
    node_stop(&a);
}

static void a_second_hello_or_a_late_refusal_ends_the_connection(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(2);
    uint8_t bytes[4096];
    struct buf b;
    size_t len;

    node_start(&a, 2, NOBODY, quick());
    buf_init(&b, sizeof bytes);
    assert_int_equal(hello_encode(&hello, &b), 0);
    len = packed(bytes, PACKET_HELLO, b.data, b.len);
    assert_dropped(&a, bytes, len);
    len = packed(bytes, PACKET_REFUSED, "no", 2);
    assert_dropped(&a, bytes, len);
    assert_int_equal(a.refusals, 0);
    buf_close(&b);
    node_stop(&a);
}

static void a_peer_that_talks_before_our_answer_is_dropped(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(2);
    struct raw first, second;

    node_start(&a, 2, NOBODY, quick());
    raw_join(&first, &a, 2);
    assert_true(run_until(*state, is_up, &a, NULL));
    raw_connect(&second, &a);
    raw_hello(&second, &hello);
    raw_packet(&second, PACKET_PING, NULL, 0);
    assert_true(run_until(*state, raw_ended, &second, NULL));
    assert_int_equal(a.downs, 0);
    close(first.fd);
    close(second.fd);
    node_stop(&a);
}

static void silence_instead_of_a_hello_ends_the_connection(void **state)
{
    struct conn_timing timing = {
        .greet_ms = 200, .dead_ms = 60000, .drain_ms = 100};
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(2);
    uint8_t bytes[64];
    struct raw mute, slow, half;

    node_start(&a, 2, NOBODY, timing);
    raw_connect(&mute, &a);
    raw_connect(&slow, &a);
    packed(bytes, PACKET_HELLO, NULL, 0);
    raw_send(&slow, bytes, 5);
    raw_connect(&half, &a);
    raw_hello(&half, &hello); /* and no confirmation */
    run_for(*state, 100);
    assert_false(raw_ended(&mute, NULL) || raw_ended(&slow, NULL));
    assert_true(run_until(*state, raw_ended, &mute, NULL));
    assert_true(run_until(*state, raw_ended, &slow, NULL));
    assert_true(run_until(*state, raw_ended, &half, NULL));
    assert_int_equal(a.ups, 0);
    close(mute.fd);
    close(slow.fd);
    close(half.fd);
    assert_alive(&a);
    node_stop(&a);
}

static void strangers_above_the_limit_are_turned_away(void **state)
{
    static struct raw crowd[STRANGERS_MAX + 1];
    struct node a = node_at(*state, 1, "127.0.0.1");
    unsigned ended = 0;

    node_start(&a, 2, NOBODY, quick());
    for (unsigned i = 0; i < STRANGERS_MAX; i++) {
        raw_connect(&crowd[i], &a);
        uv_run(*state, UV_RUN_NOWAIT);
    }
    run_for(*state, 50);
    raw_connect(&crowd[STRANGERS_MAX], &a);
    assert_true(run_until(*state, raw_ended, &crowd[STRANGERS_MAX], NULL));
    for (unsigned i = 0; i < STRANGERS_MAX; i++) {
        ended += raw_ended(&crowd[i], NULL);
    }
    assert_int_equal(ended, 0);
    for (unsigned i = 0; i <= STRANGERS_MAX; i++) {
        close(crowd[i].fd);
    }
    run_for(*state, 50);
    assert_alive(&a);
    node_stop(&a);
}

/* Every byte apart: packets are put together from any pieces. */
static void a_hello_and_a_packet_may_come_byte_by_byte(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(2);
    uint8_t bytes[4096];
    unsigned want = 1;
    struct buf b;
    struct raw r;
    size_t len;

    node_start(&a, 2, NOBODY, quick());
    buf_init(&b, sizeof bytes);
    assert_int_equal(hello_encode(&hello, &b), 0);
    len = packed(bytes, PACKET_HELLO, b.data, b.len);
    len += packed(bytes + len, PACKET_PING, NULL, 0);
    len += packed(bytes + len, PACKET_RAFT, "abcdefgh", 8);
    raw_connect(&r, &a);
    for (size_t i = 0; i < len; i++) {
        raw_send(&r, bytes + i, 1);
        uv_run(*state, UV_RUN_NOWAIT);
    }
    assert_true(run_until(*state, has_packets, &a, &want));
    assert_int_equal(a.last_sum, sum_of((const uint8_t *)"abcdefgh", 8));
    buf_close(&b);
    close(r.fd);
    node_stop(&a);
}

static void a_refusal_with_odd_bytes_becomes_plain_text(void **state)
{
    struct node b = node_at(*state, 2, "127.0.0.1");
    struct hello hello = hello_of(1);
    struct raw r;

    node_start(&b, 1, NOBODY, quick());
    raw_connect(&r, &b);
    raw_hello(&r, &hello);
    assert_true(run_until(*state, raw_has_packet, &r, NULL));
    raw_packet(&r, PACKET_REFUSED, "a\nb\0c\x1b[1m", 9);
    assert_true(run_until(*state, was_refused, &b, NULL));
    assert_string_equal(b.refusal, "a?b?c?[1m");
    close(r.fd);
    node_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(garbage_instead_of_a_hello_ends_the_connection),
        on_loop(a_first_packet_that_is_no_hello_ends_the_connection),
        on_loop(a_hello_that_announces_megabytes_is_not_waited_for),
        on_loop(a_bad_packet_from_a_peer_ends_the_connection),
        on_loop(a_second_hello_or_a_late_refusal_ends_the_connection),
        on_loop(a_peer_that_talks_before_our_answer_is_dropped),
        on_loop(silence_instead_of_a_hello_ends_the_connection),
        on_loop(strangers_above_the_limit_are_turned_away),
        on_loop(a_hello_and_a_packet_may_come_byte_by_byte),
        on_loop(a_refusal_with_odd_bytes_becomes_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
