#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "consensus/address.h"

static void parses_to(const char *text, const char *host, const char *port)
{
    struct address a;

    assert_int_equal(address_parse(text, &a), 0);
    assert_string_equal(a.host, host);
    assert_string_equal(a.port, port);
}

static void a_name_or_a_literal_with_a_port_parses(void **state)
{
    (void)state;
    parses_to("localhost:8610", "localhost", "8610");
    parses_to("db-1.example_net.org:1", "db-1.example_net.org", "1");
    parses_to("10.0.0.7:65535", "10.0.0.7", "65535");
    parses_to("[::1]:80", "::1", "80");
    parses_to("[fe80::1%lo]:80", "fe80::1%lo", "80");
}

static void what_is_no_address_is_refused_and_touches_nothing(void **state)
{
    static const char *const bad[] = {
        "",          ":",           "host",         "host:",
        ":80",       "host:0",      "host:65536",   "host:080",
        "host:8 0",  "host:-1",     "host:+80",     "host:123456",
        "::1:80",    "[::1]80",     "[]:80",        "[::1:80",
        "::1]:80",   "[host]:80",   "[1.2.3.4]:80", "ho st:80",
        "host/x:80", "host\n:80",   "[:80",         "]:80",
        "a:b:80",    "http://h:80", "[::1]]:80",    "[[::1]:80",
    };
    struct address a, before;

    (void)state;
    memset(&a, 7, sizeof a);
    before = a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (address_parse(bad[i], &a) != -EINVAL) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_memory_equal(&a, &before, sizeof a);
    }
}

static void the_longest_host_fits_and_one_more_byte_does_not(void **state)
{
    char text[ADDRESS_MAX + 16];
    struct address a;

    (void)state;
    memset(text, 'h', sizeof text);
    strcpy(text + ADDRESS_MAX - 1, ":80");
    assert_int_equal(address_parse(text, &a), 0);
    assert_int_equal(strlen(a.host), ADDRESS_MAX - 1);

    memset(text, 'h', sizeof text);
    strcpy(text + ADDRESS_MAX, ":80");
    assert_int_equal(address_parse(text, &a), -EINVAL);
}

static void literal_is(const char *text)
{
    struct sockaddr_storage found;
    struct address a;
    char back[64];

    assert_int_equal(address_parse(text, &a), 0);
    assert_int_equal(address_literal(&a, &found), 0);
    address_text(&found, back, sizeof back);
    assert_string_equal(back, text);
}

static void a_literal_survives_the_way_there_and_back(void **state)
{
    struct sockaddr_storage found;
    struct address a;

    (void)state;
    literal_is("127.0.0.1:8610");
    literal_is("[::1]:8610");
    literal_is("[2001:db8::7]:1");
    assert_int_equal(address_parse("localhost:1", &a), 0);
    assert_int_equal(address_literal(&a, &found), -EINVAL);
}

static void the_name_localhost_resolves_and_a_wrong_one_does_not(void **state)
{
    struct sockaddr_storage found[ADDRESS_FOUND_MAX];
    unsigned count = 99;
    struct address a;
    char text[64];

    (void)state;
    assert_int_equal(address_parse("localhost:8610", &a), 0);
    assert_int_equal(address_resolve(&a, found, &count), 0);
    assert_in_range(count, 1, ADDRESS_FOUND_MAX);
    address_text(&found[0], text, sizeof text);
    assert_non_null(strstr(text, "1:8610"));

    assert_int_equal(address_parse("no-such-host.invalid:1", &a), 0);
    assert_int_equal(address_resolve(&a, found, &count), -EADDRNOTAVAIL);
}

struct answer {
    int calls, status;
    unsigned count;
};

static void on_answer(void *data, int status,
                      const struct sockaddr_storage *found, unsigned count)
{
    struct answer *answer = data;

    (void)found;
    answer->calls++;
    answer->status = status;
    answer->count = count;
}

static struct answer look_up(const char *text, int forget)
{
    struct answer answer = {0};
    struct lookup *lookup;
    struct address a;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(address_parse(text, &a), 0);
    assert_int_equal(lookup_start(&loop, &a, on_answer, &answer, &lookup), 0);
    assert_int_equal(answer.calls, 0);
    if (forget) {
        lookup_forget(lookup);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return answer;
}

static void a_lookup_calls_back_once_unless_it_was_forgotten(void **state)
{
    struct answer answer = look_up("localhost:8610", 0);

    (void)state;
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.status, 0);
    assert_in_range(answer.count, 1, ADDRESS_FOUND_MAX);

    answer = look_up("no-such-host.invalid:1", 0);
    assert_int_equal(answer.calls, 1);
    assert_true(answer.status < 0);
    assert_int_equal(answer.count, 0);

    answer = look_up("localhost:8610", 1);
    assert_int_equal(answer.calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_or_a_literal_with_a_port_parses),
        cmocka_unit_test(what_is_no_address_is_refused_and_touches_nothing),
        cmocka_unit_test(the_longest_host_fits_and_one_more_byte_does_not),
        cmocka_unit_test(a_literal_survives_the_way_there_and_back),
        cmocka_unit_test(the_name_localhost_resolves_and_a_wrong_one_does_not),
        cmocka_unit_test(a_lookup_calls_back_once_unless_it_was_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
