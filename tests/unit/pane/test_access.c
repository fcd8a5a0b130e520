/* Who is served, and who is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "pane/access.h"

struct asked {
    struct access access;
    struct access_request request;
    struct sockaddr_storage client;
};

static void comes_from(struct asked *a, const char *address)
{
    struct sockaddr_in *v4 = (void *)&a->client;
    struct sockaddr_in6 *v6 = (void *)&a->client;

    memset(&a->client, 0, sizeof a->client);
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, address, &v6->sin6_addr), 1);
        v6->sin6_family = AF_INET6;
    }
    a->request.client = (void *)&a->client;
}

static struct asked asked_from(const char *address)
{
    struct asked a = {.access.bind_host = "localhost"};

    comes_from(&a, address);
    return a;
}

static enum access_verdict judged(struct asked *a)
{
    a->request.client = (void *)&a->client;
    return access_check(&a->access, &a->request);
}

static enum access_verdict with_key(const char *key, const char *header)
{
    struct asked a = asked_from("192.0.2.7");

    a.access.auth_key = key;
    a.request.authorization = header;
    return judged(&a);
}

static enum access_verdict with_host(const char *host)
{
    struct asked a = asked_from("127.0.0.1");

    a.access.bind_host = "pane.example";
    a.request.host = host;
    return judged(&a);
}

static enum access_verdict with_origin(const char *host, const char *origin,
                                       const char *site)
{
    struct asked a = asked_from("127.0.0.1");

    a.request.host = host;
    a.request.origin = origin;
    a.request.fetch_site = site;
    a.request.changes = true;
    return judged(&a);
}

static void without_a_key_only_this_host_is_served(void **state)
{
    static const char *const near[] = {"127.0.0.1", "127.9.8.7", "::1",
                                       "::ffff:127.0.0.1"};
    static const char *const far[] = {
        "192.0.2.1", "126.0.0.1", "::2", "::", "::ffff:192.0.2.1", "fe80::1"};

    (void)state;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        struct asked a = asked_from(near[i]);
        assert_int_equal(judged(&a), ACCESS_SERVED);
    }
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        struct asked a = asked_from(far[i]);
        assert_int_equal(judged(&a), ACCESS_NOT_LOOPBACK);
        a.access.auth_key = "";
        assert_int_equal(judged(&a), ACCESS_NOT_LOOPBACK);
        a.request.client = NULL;
        assert_int_equal(access_check(&a.access, &a.request),
                         ACCESS_NOT_LOOPBACK);
    }
}

static void with_a_key_loopback_needs_it_too(void **state)
{
    struct asked a = asked_from("127.0.0.1");

    (void)state;
    a.access.auth_key = "Basic YTpi";
    assert_int_equal(judged(&a), ACCESS_NO_KEY);
    a.request.authorization = "Basic YTpi";
    assert_int_equal(judged(&a), ACCESS_SERVED);
}

static void a_header_is_compared_as_it_is(void **state)
{
    (void)state;
    assert_int_equal(with_key("Basic YTpi", "Basic YTpi"), ACCESS_SERVED);
    assert_int_equal(with_key("Basic YTpi", "Basic YTpj"), ACCESS_NO_KEY);
    assert_int_equal(with_key("Basic YTpi", "Basic YTp"), ACCESS_NO_KEY);
    assert_int_equal(with_key("Basic YTpi", "Basic YTpii"), ACCESS_NO_KEY);
    assert_int_equal(with_key("Basic YTpi", ""), ACCESS_NO_KEY);
    assert_int_equal(with_key("Bearer a:b", "Bearer a:b"), ACCESS_SERVED);
    assert_int_equal(with_key("opaque", "opaque"), ACCESS_SERVED);
    assert_int_equal(with_key("opaque", "Opaque"), ACCESS_NO_KEY);
}

static void user_and_password_come_as_basic_credentials(void **state)
{
    (void)state;
    assert_int_equal(with_key("joe:se cret", "Basic am9lOnNlIGNyZXQ="),
                     ACCESS_SERVED);
    assert_int_equal(with_key("joe:se cret", "basic am9lOnNlIGNyZXQ"),
                     ACCESS_SERVED);
    assert_int_equal(with_key("joe:se cret", "joe:se cret"), ACCESS_NO_KEY);
    assert_int_equal(with_key("joe:secret", "Basic am9lOnNlIGNyZXQ="),
                     ACCESS_NO_KEY);
    assert_int_equal(with_key("joe:secret", "Basic am9l"), ACCESS_NO_KEY);
    assert_int_equal(with_key("joe:secret", "Basic !"), ACCESS_NO_KEY);
    assert_int_equal(with_key("joe:secret", "Basic "), ACCESS_NO_KEY);
}

/* A browser cannot send another header by itself. */
static void a_browser_brings_another_key_as_the_password(void **state)
{
    (void)state;
    /* any:opaque, :opaque */
    assert_int_equal(with_key("opaque", "Basic YW55Om9wYXF1ZQ=="),
                     ACCESS_SERVED);
    assert_int_equal(with_key("opaque", "Basic Om9wYXF1ZQ=="), ACCESS_SERVED);
    /* opaque without a colon, any:opaquf */
    assert_int_equal(with_key("opaque", "Basic b3BhcXVl"), ACCESS_NO_KEY);
    assert_int_equal(with_key("opaque", "Basic YW55Om9wYXF1Zg=="),
                     ACCESS_NO_KEY);
}

static void a_name_that_is_not_ours_may_have_been_rebound(void **state)
{
    (void)state;
    assert_int_equal(with_host(NULL), ACCESS_SERVED);
    assert_int_equal(with_host("localhost:6010"), ACCESS_SERVED);
    assert_int_equal(with_host("LOCALHOST"), ACCESS_SERVED);
    assert_int_equal(with_host("127.0.0.1:6010"), ACCESS_SERVED);
    assert_int_equal(with_host("[::1]:6010"), ACCESS_SERVED);
    assert_int_equal(with_host("[::1]"), ACCESS_SERVED);
    assert_int_equal(with_host("pane.example:6010"), ACCESS_SERVED);
    assert_int_equal(with_host("evil.example:6010"), ACCESS_BAD_HOST);
    assert_int_equal(with_host("127.0.0.1.evil.example"), ACCESS_BAD_HOST);
    assert_int_equal(with_host("localhost.evil.example"), ACCESS_BAD_HOST);
    assert_int_equal(with_host(""), ACCESS_BAD_HOST);
    assert_int_equal(with_host("[::1"), ACCESS_BAD_HOST);
    assert_int_equal(with_host("[::1]evil"), ACCESS_BAD_HOST);
    assert_int_equal(with_host(":6010"), ACCESS_BAD_HOST);
}

static void another_site_may_change_nothing(void **state)
{
    const char *here = "localhost:6010";

    (void)state;
    assert_int_equal(with_origin(here, NULL, NULL), ACCESS_SERVED);
    assert_int_equal(with_origin(here, "http://localhost:6010", "same-origin"),
                     ACCESS_SERVED);
    assert_int_equal(with_origin(here, "http://LocalHost:6010", "none"),
                     ACCESS_SERVED);
    assert_int_equal(with_origin(here, "http://localhost:6011", NULL),
                     ACCESS_BAD_ORIGIN);
    assert_int_equal(with_origin(here, "http://evil.example", NULL),
                     ACCESS_BAD_ORIGIN);
    assert_int_equal(with_origin(here, "null", NULL), ACCESS_BAD_ORIGIN);
    assert_int_equal(with_origin(here, "", NULL), ACCESS_BAD_ORIGIN);
    assert_int_equal(with_origin(here, NULL, "cross-site"), ACCESS_BAD_ORIGIN);
    assert_int_equal(with_origin(here, NULL, "same-site"), ACCESS_BAD_ORIGIN);
    assert_int_equal(with_origin(NULL, "http://localhost:6010", NULL),
                     ACCESS_BAD_ORIGIN);
}

static void a_key_does_not_open_changes_to_other_sites(void **state)
{
    struct asked a = asked_from("192.0.2.7");

    (void)state;
    a.access.auth_key = "opaque";
    a.request.authorization = "opaque";
    a.request.host = "node.example:6010";
    a.request.origin = "http://evil.example";
    assert_int_equal(judged(&a), ACCESS_SERVED); /* it reads only */
    a.request.changes = true;
    assert_int_equal(judged(&a), ACCESS_BAD_ORIGIN);
}

static void every_refusal_has_words(void **state)
{
    (void)state;
    for (enum access_verdict v = ACCESS_NO_KEY; v <= ACCESS_BAD_ORIGIN; v++) {
        assert_true(strlen(access_text(v)) > 20);
    }
    assert_string_equal(access_text(ACCESS_SERVED), "");
}

static void base64_of_any_padding_is_read(void **state)
{
    char out[8];

    (void)state;
    assert_int_equal(access_base64("", out, sizeof out), 0);
    assert_int_equal(access_base64("YQ==", out, sizeof out), 1);
    assert_int_equal(access_base64("YWI=", out, sizeof out), 2);
    assert_int_equal(access_base64("YWJj", out, sizeof out), 3);
    assert_memory_equal(out, "abc", 3);
    assert_int_equal(access_base64("+/+/", out, sizeof out), 3);
    assert_memory_equal(out, "\xfb\xff\xbf", 3);
    assert_int_equal(access_base64("YWJj YWJj", out, sizeof out), ERR_CORRUPT);
    assert_int_equal(access_base64("YQ==YQ==", out, sizeof out), ERR_CORRUPT);
    assert_int_equal(access_base64("YWJjYWJjYWI=", out, sizeof out), 8);
    assert_int_equal(access_base64("YWJjYWJjYWJj", out, sizeof out),
                     ERR_TOO_BIG);
}

static void equal_looks_at_every_byte_and_the_length(void **state)
{
    (void)state;
    assert_true(access_equal("abc", 3, "abc"));
    assert_true(access_equal("", 0, ""));
    assert_false(access_equal("abc", 3, ""));
    assert_false(access_equal("", 0, "abc"));
    assert_false(access_equal("abcabc", 6, "abc"));
    assert_false(access_equal("abc\0abc", 7, "abc"));
    assert_false(access_equal("xbc", 3, "abc"));
    assert_false(access_equal("abx", 3, "abc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_key_only_this_host_is_served),
        cmocka_unit_test(with_a_key_loopback_needs_it_too),
        cmocka_unit_test(a_header_is_compared_as_it_is),
        cmocka_unit_test(user_and_password_come_as_basic_credentials),
        cmocka_unit_test(a_browser_brings_another_key_as_the_password),
        cmocka_unit_test(a_name_that_is_not_ours_may_have_been_rebound),
        cmocka_unit_test(another_site_may_change_nothing),
        cmocka_unit_test(a_key_does_not_open_changes_to_other_sites),
        cmocka_unit_test(every_refusal_has_words),
        cmocka_unit_test(base64_of_any_padding_is_read),
        cmocka_unit_test(equal_looks_at_every_byte_and_the_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
