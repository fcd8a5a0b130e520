#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>

#include "tests/unit/consensus/transport_node.h"

#define NOBODY "127.0.0.1:9" /* the discard port: refused */

static unsigned connections_up(const struct node *n)
{
    const struct list *all = &n->transport->conns.all;
    unsigned count = 0;

    for (const struct list *link = all->next; link != all; link = link->next) {
        count += LIST_ENTRY(link, struct conn, link)->state == CONN_UP;
    }
    return count;
}

/* ---- refusals ------------------------------------------------------------ */

static void a_refusal_reaches_the_dialler_in_full(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");

    b.no = "another cluster: start node 1 with the right -bootstrap";
    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, NOBODY, quick());
    assert_true(run_until(*state, was_refused, &a, NULL));
    assert_string_equal(a.refusal, b.no);
    assert_int_equal(a.refused_by, 2);
    assert_int_equal(a.ups + b.ups, 0);
    stop_pair(&a, &b);
}

static void a_refusal_reaches_the_acceptor_too(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");

    a.no = "that store was copied";
    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, NOBODY, quick());
    assert_true(run_until(*state, was_refused, &b, NULL));
    assert_string_equal(b.refusal, a.no);
    assert_int_equal(a.ups + b.ups, 0);
    stop_pair(&a, &b);
}

/* A socket that is closed with unread input resets the connection, which may
 * take the refusal with it. */
static void a_refusal_survives_what_the_peer_sent_meanwhile(void **state)
{
    static const uint8_t chatter[150000];
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(7);
    char text[128];
    struct raw r;

    node_start(&a, 2, NOBODY, quick());
    raw_connect(&r, &a);
    raw_hello(&r, &hello);
    raw_packet(&r, PACKET_RAFT, chatter, sizeof chatter);
    assert_true(run_until(*state, raw_ended, &r, NULL));
    assert_int_equal(raw_take(&r, text, sizeof text), PACKET_REFUSED);
    assert_string_equal(text, "node 7 is not a member here");
    assert_false(r.reset);
    close(r.fd);
    node_stop(&a);
}

static void a_refused_peer_is_not_dialled_in_a_hurry(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");

    b.no = "no";
    node_start(&a, 2, b.address, quick());
    node_start(&b, 1, NOBODY, quick());
    assert_true(run_until(*state, was_refused, &a, NULL));
    run_for(*state, 800);
    assert_int_equal(a.refusals, 1);
    b.no = NULL;
    assert_true(run_until(*state, both_up, &a, &b));
    stop_pair(&a, &b);
}

static void another_node_than_the_dialled_is_refused_by_name(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node c = node_at(*state, 3, "127.0.0.1");

    node_start(&a, 2, c.address, quick());
    node_start(&c, 1, NOBODY, quick());
    assert_true(run_until(*state, was_refused, &c, NULL));
    assert_non_null(strstr(c.refusal, "node 3 answers at"));
    assert_non_null(strstr(c.refusal, "where node 2 should be"));
    assert_int_equal(a.accepts, 0);
    assert_int_equal(a.ups + c.ups, 0);
    stop_pair(&a, &c);
}

static void a_node_that_dials_itself_is_told_so(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");

    node_start(&a, 2, a.address, quick());
    assert_true(run_until(*state, was_refused, &a, NULL));
    assert_non_null(strstr(a.refusal, "both ends are node 1"));
    node_stop(&a);
}

static void a_stranger_is_refused_without_a_judgement(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 7, "127.0.0.1");

    node_start(&a, 2, NOBODY, quick());
    node_start(&b, 1, a.address, quick());
    assert_true(run_until(*state, was_refused, &b, NULL));
    assert_string_equal(b.refusal, "node 7 is not a member here");
    assert_int_equal(a.accepts, 0);
    stop_pair(&a, &b);
}

static void a_version_without_overlap_gets_a_readable_refusal(void **state)
{
    struct node a = node_at(*state, 2, "127.0.0.1");
    struct hello hello = hello_of(1);
    struct raw r;
    char text[512];

    node_start(&a, 1, NOBODY, quick());
    hello.version_min = hello.version_max = WIRE_VERSION_MAX + 1;
    raw_connect(&r, &a);
    raw_hello(&r, &hello);
    assert_true(run_until(*state, raw_has_packet, &r, NULL));
    assert_int_equal(raw_take(&r, text, sizeof text), PACKET_REFUSED);
    assert_non_null(strstr(text, "no common version"));
    assert_true(run_until(*state, raw_ended, &r, NULL));
    assert_int_equal(a.accepts, 0);
    close(r.fd);
    node_stop(&a);
}

/* ---- which of two connections -------------------------------------------- */

/* Both dials connect in the same turn of the loop, so both could come up. */
static void of_two_good_dials_that_of_the_lower_id_is_used(void **state)
{
    struct node a, b;

    start_pair(*state, &a, &b);
    /* Each judged a hello on either connection. */
    assert_int_equal(a.accepts, 2);
    assert_true(a.transport->peers[0]->conn->dialled);
    assert_false(b.transport->peers[0]->conn->dialled);
    run_for(*state, 100);
    assert_int_equal(a.ups + b.ups, 2);
    assert_int_equal(connections_up(&a), 1);
    assert_int_equal(connections_up(&b), 1);
    stop_pair(&a, &b);
}

/* Each node on a thread of its own, so that the order of events is up to the
 * machine. */
struct runner {
    uv_loop_t loop;
    struct node node;
    uv_thread_t thread;
    unsigned settle_ms;
    bool came_up;
};

static void run_node(void *data)
{
    struct runner *r = data;
    uint64_t until;

    r->came_up = run_until(&r->loop, is_up, &r->node, NULL);
    until = clock_ms() + r->settle_ms;
    run_until(&r->loop, never, &until, NULL);
}

static void one_race(unsigned round)
{
    struct runner r[2];

    for (unsigned i = 0; i < 2; i++) {
        r[i].settle_ms = 40;
        assert_int_equal(uv_loop_init(&r[i].loop), 0);
        r[i].node = node_at(&r[i].loop, i + 1, "127.0.0.1");
    }
    for (unsigned i = 0; i < 2; i++) {
        node_start(&r[i].node, 2 - i, r[1 - i].node.address, quick());
    }
    for (unsigned i = 0; i < 2; i++) {
        unsigned which = (i + round) % 2;
        assert_int_equal(
            uv_thread_create(&r[which].thread, run_node, &r[which]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        uv_thread_join(&r[i].thread);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_true(r[i].came_up);
        assert_int_equal(r[i].node.ups, 1);
        assert_int_equal(r[i].node.downs, 0);
        assert_int_equal(connections_up(&r[i].node), 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        /* The other loop does not run: nobody would answer a farewell. */
        node_stop_soon(&r[i].node, 0);
        node_stop(&r[i].node);
        assert_int_equal(uv_loop_close(&r[i].loop), 0);
    }
}

static void dialling_at_the_same_time_ends_with_one_up_each(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        one_race(round);
    }
}

static void one_sided_pair(uv_loop_t *loop, uint64_t a_id, uint64_t b_id)
{
    struct node a = node_at(loop, a_id, "127.0.0.1");
    struct node b = node_at(loop, b_id, "127.0.0.1");

    node_start(&a, b_id, NOBODY, quick());
    node_start(&b, a_id, a.address, quick());
    assert_true(run_until(loop, both_up, &a, &b));
    /* The dials that fail must not disturb it. */
    run_for(loop, 150);
    assert_int_equal(a.ups + b.ups, 2);
    stop_pair(&a, &b);
}

static void one_reachable_side_is_enough_whichever_it_is(void **state)
{
    one_sided_pair(*state, 1, 2);
    one_sided_pair(*state, 2, 1);
}

/* A listening socket that never answers: TCP connects, no hello comes. */
static int open_mute(char address[ADDRESS_MAX], int queue)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port = free_port();
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, queue), 0);
    snprintf(address, ADDRESS_MAX, "127.0.0.1:%u", port);
    return fd;
}

static void a_mute_address_does_not_keep_the_other_dial_out(void **state)
{
    struct conn_timing timing = {
        .greet_ms = 600, .dead_ms = 60000, .drain_ms = 100};
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct node b = node_at(*state, 2, "127.0.0.1");
    char mute[ADDRESS_MAX];
    int fd = open_mute(mute, 16);

    node_start(&a, 2, mute, timing);
    run_for(*state, 50);
    /* Parked until a's own dial has given up, then answered. */
    node_start(&b, 1, a.address, timing);
    assert_true(run_until(*state, both_up, &a, &b));
    assert_int_equal(a.accepts, 1);
    assert_int_equal(b.accepts, 1);
    close(fd);
    stop_pair(&a, &b);
}

/* Fill the queue of a socket that nobody accepts from, until the next dial
 * hangs. Returns how many descriptors that took; `max` if it never did. */
static unsigned fill_queue(const char *address, int *fds, unsigned max)
{
    struct sockaddr_storage to;
    struct address parsed;
    unsigned n = 0;

    assert_int_equal(address_parse(address, &parsed), 0);
    assert_int_equal(address_literal(&parsed, &to), 0);
    for (bool hangs = false; n < max && !hangs; n++) {
        struct pollfd poll_for = {.events = POLLOUT};
        fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[n], (struct sockaddr *)&to,
                      sizeof(struct sockaddr_in));
        poll_for.fd = fds[n];
        hangs = poll(&poll_for, 1, 50) == 0;
    }
    return n;
}

static void a_dial_that_hangs_gives_way_at_once(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(2);
    char full[ADDRESS_MAX];
    int fds[64], fd = open_mute(full, 0);
    unsigned n = fill_queue(full, fds, 64);
    struct raw r;

    node_start(&a, 2, full, quick());
    run_for(*state, 50);
    assert_non_null(a.transport->peers[0]->dial);
    assert_int_equal(a.transport->peers[0]->dial->state, CONN_CONNECTING);
    raw_connect(&r, &a);
    raw_hello(&r, &hello);
    assert_true(run_until(*state, raw_has_packet, &r, NULL));
    assert_null(a.transport->peers[0]->dial);
    assert_int_equal(raw_take(&r, NULL, 0), PACKET_HELLO);
    raw_packet(&r, PACKET_PING, NULL, 0);
    assert_true(run_until(*state, is_up, &a, NULL));
    while (n > 0) {
        close(fds[--n]);
    }
    close(fd);
    close(r.fd);
    node_stop(&a);
}

/* The node with the lower id has a connection; another one arrives. */
static void a_second_connection_waits_for_the_first_to_end(void **state)
{
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct hello hello = hello_of(2);
    struct raw first, second;

    node_start(&a, 2, NOBODY, quick());
    raw_join(&first, &a, 2);
    assert_true(run_until(*state, is_up, &a, NULL));
    raw_connect(&second, &a);
    raw_hello(&second, &hello);
    run_for(*state, 150);
    assert_false(raw_has_packet(&second, NULL));
    assert_false(second.ended);
    assert_int_equal(a.ups, 1);
    assert_int_equal(a.downs, 0);

    close(first.fd);
    assert_true(run_until(*state, raw_has_packet, &second, NULL));
    assert_int_equal(a.downs, 1);
    assert_int_equal(raw_take(&second, NULL, 0), PACKET_HELLO);
    raw_packet(&second, PACKET_PING, NULL, 0);
    assert_true(run_until(*state, is_up, &a, NULL));
    assert_int_equal(a.ups, 2);
    close(second.fd);
    node_stop(&a);
}

static bool twice_up(const void *a, const void *unused)
{
    return ((const struct node *)a)->ups == 2 && unused == NULL;
}

/* The node with the higher id has a connection; the lower one dials again,
 * which it does only when it has lost the first. */
static void a_connection_goes_only_when_its_successor_is_complete(void **state)
{
    struct node b = node_at(*state, 2, "127.0.0.1");
    struct hello hello = hello_of(1);
    struct raw first, second;

    node_start(&b, 1, NOBODY, quick());
    raw_join(&first, &b, 1);
    assert_true(run_until(*state, is_up, &b, NULL));
    raw_connect(&second, &b);
    raw_hello(&second, &hello);
    assert_true(run_until(*state, raw_has_packet, &second, NULL));
    run_for(*state, 50);
    assert_int_equal(b.ups, 1);
    assert_int_equal(b.downs, 0);
    assert_false(raw_ended(&first, NULL));

    raw_packet(&second, PACKET_PING, NULL, 0);
    assert_true(run_until(*state, twice_up, &b, NULL));
    assert_int_equal(b.downs, 1);
    assert_true(run_until(*state, raw_ended, &first, NULL));
    assert_false(raw_ended(&second, NULL));
    close(first.fd);
    close(second.fd);
    node_stop(&b);
}

static void break_link(struct node *n)
{
    struct conn *conn = n->transport->peers[0]->conn;

    if (conn != NULL) {
        conn_fail(conn, UV_ECONNRESET, "the test breaks it");
    }
}

static void a_link_that_breaks_again_and_again_always_comes_back(void **state)
{
    struct node a, b;
    unsigned seed = 1;

    start_pair(*state, &a, &b);
    for (unsigned round = 0; round < 30; round++) {
        seed = seed * 1103515245u + 12345u;
        break_link(seed >> 16 & 1 ? &a : &b);
        if (seed >> 17 & 1) {
            break_link(seed >> 16 & 1 ? &b : &a);
        }
        /* As after a link that lasted: do not wait for the patience. */
        a.transport->peers[0]->backoff_ms = b.transport->peers[0]->backoff_ms =
            0;
        run_for(*state, 1);
        assert_true(run_until(*state, both_up, &a, &b));
    }
    run_for(*state, 100);
    assert_true(both_up(&a, &b));
    assert_int_equal(connections_up(&a), 1);
    assert_int_equal(connections_up(&b), 1);
    stop_pair(&a, &b);
}

/* ---- peers that go silent ------------------------------------------------ */

static void a_peer_that_falls_silent_is_dropped(void **state)
{
    struct conn_timing timing = {
        .greet_ms = 5000, .dead_ms = 300, .drain_ms = 100};
    struct node a = node_at(*state, 1, "127.0.0.1");
    uint64_t begin, end;
    struct raw r;

    node_start(&a, 2, NOBODY, timing);
    raw_join(&r, &a, 2);
    assert_true(run_until(*state, is_up, &a, NULL));
    /* Bytes keep it alive for longer than dead_ms. */
    for (int i = 0; i < 10; i++) {
        raw_packet(&r, PACKET_PING, NULL, 0);
        run_for(*state, 60);
    }
    assert_int_equal(a.downs, 0);
    begin = clock_ms();
    assert_true(run_until(*state, is_down, &a, NULL));
    end = clock_ms();
    assert_in_range(end - begin, 100, 5000);
    assert_true(transport_silent_ms(a.transport, 2) >= 300);
    assert_true(run_until(*state, raw_ended, &r, NULL));
    close(r.fd);
    node_stop(&a);
}

/* What arrived while the loop was blocked has not been read when the timer
 * fires late. */
static void a_blocked_loop_does_not_take_its_peers_for_dead(void **state)
{
    struct conn_timing timing = {
        .greet_ms = 5000, .dead_ms = 200, .drain_ms = 100};
    struct node a = node_at(*state, 1, "127.0.0.1");
    struct timespec pause = {.tv_nsec = 400000000};
    struct raw r;

    node_start(&a, 2, NOBODY, timing);
    raw_join(&r, &a, 2);
    assert_true(run_until(*state, is_up, &a, NULL));
    raw_packet(&r, PACKET_PING, NULL, 0);
    nanosleep(&pause, NULL);
    run_for(*state, 20);
    assert_int_equal(a.downs, 0);
    close(r.fd);
    node_stop(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(a_refusal_reaches_the_dialler_in_full),
        on_loop(a_refusal_reaches_the_acceptor_too),
        on_loop(a_refusal_survives_what_the_peer_sent_meanwhile),
        on_loop(a_refused_peer_is_not_dialled_in_a_hurry),
        on_loop(another_node_than_the_dialled_is_refused_by_name),
        on_loop(a_node_that_dials_itself_is_told_so),
        on_loop(a_stranger_is_refused_without_a_judgement),
        on_loop(a_version_without_overlap_gets_a_readable_refusal),
        on_loop(of_two_good_dials_that_of_the_lower_id_is_used),
        cmocka_unit_test(dialling_at_the_same_time_ends_with_one_up_each),
        on_loop(one_reachable_side_is_enough_whichever_it_is),
        on_loop(a_mute_address_does_not_keep_the_other_dial_out),
        on_loop(a_dial_that_hangs_gives_way_at_once),
        on_loop(a_second_connection_waits_for_the_first_to_end),
        on_loop(a_connection_goes_only_when_its_successor_is_complete),
        on_loop(a_link_that_breaks_again_and_again_always_comes_back),
        on_loop(a_peer_that_falls_silent_is_dropped),
        on_loop(a_blocked_loop_does_not_take_its_peers_for_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
