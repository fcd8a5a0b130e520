#include "pane/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/auth_key.h"
#include "base/err.h"
#include "base/limits.h"

#define CREDENTIALS_MAX 1024 /* user:password, decoded */

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* ---- the key ------------------------------------------------------------- */

bool access_equal(const char *given, size_t len, const char *expected)
{
    size_t expected_len = strlen(expected);
    volatile unsigned char difference = len != expected_len;

    /* One byte of `expected` is there in any case: its end. */
    for (size_t i = 0; i < len; i++) {
        difference |=
            (unsigned char)(given[i] ^ expected[i % (expected_len + 1)]);
    }
    return difference == 0;
}

static int base64_value(char c)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(letters, c);

    return at == NULL ? -1 : (int)(at - letters);
}

int access_base64(const char *text, char *out, size_t size)
{
    unsigned held = 0, bits = 0;
    size_t n = 0;
    int value;

    for (; (value = base64_value(*text)) >= 0; text++) {
        held = held << 6 | (unsigned)value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (n == size) {
                return ERR_TOO_BIG;
            }
            out[n++] = (char)(held >> bits & 0xff);
        }
    }
    while (*text == '=') {
        text++;
    }
    return *text == '\0' ? (int)n : ERR_CORRUPT;
}

/* Basic credentials: `key` is user:password, or, when it is a header of another
 * kind, the password of any user. A browser knows no other way to bring it. */
static bool basic_matches(const char *encoded, const char *key)
{
    char given[CREDENTIALS_MAX];
    int len = access_base64(encoded, given, sizeof given);
    const char *colon;

    if (len < 0) {
        return false;
    }
    if (!auth_key_is_header(key)) {
        return access_equal(given, (size_t)len, key);
    }
    colon = memchr(given, ':', (size_t)len);
    return colon != NULL &&
           access_equal(colon + 1, (size_t)(given + len - colon - 1), key);
}

static bool has_key(const char *authorization, const char *key)
{
    if (authorization == NULL) {
        return false;
    }
    if (auth_key_is_header(key) &&
        access_equal(authorization, strlen(authorization), key)) {
        return true;
    }
    return strncasecmp(authorization, "Basic ", 6) == 0 &&
           basic_matches(authorization + 6, key);
}

/* ---- where it comes from ------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;

    if (address == NULL) {
        return false;
    }
    if (address->sa_family == AF_INET) {
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    return address->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
             v6->sin6_addr.s6_addr[12] == 127));
}

/* The host of `host:port`, `host`, `[v6]:port`; false when it is none. */
static bool host_part(const char *text, char out[ADDRESS_MAX])
{
    const char *end;
    size_t len;

    if (text[0] == '[') {
        text++;
        end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
    } else {
        end = text + strcspn(text, ":");
    }
    len = (size_t)(end - text);
    if (len == 0 || len >= ADDRESS_MAX) {
        return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

/* Only a name can be made to point here by somebody else: a number cannot, and
 * localhost and the name we were told to listen at are ours. */
static bool host_is_ours(const struct access *a, const char *header)
{
    char host[ADDRESS_MAX];
    struct in6_addr number;

    return host_part(header, host) &&
           (inet_pton(AF_INET, host, &number) == 1 ||
            inet_pton(AF_INET6, host, &number) == 1 ||
            strcasecmp(host, "localhost") == 0 ||
            (is_set(a->bind_host) && strcasecmp(host, a->bind_host) == 0));
}

/* `scheme://host:port` of the page that asks, against our own. */
static bool same_origin(const struct access_request *r)
{
    const char *site = r->fetch_site;
    const char *at;

    if (site != NULL && strcmp(site, "same-origin") != 0 &&
        strcmp(site, "none") != 0) {
        return false;
    }
    if (r->origin == NULL) {
        return true; /* no browser, which always says */
    }
    at = strstr(r->origin, "://");
    return at != NULL && r->host != NULL && strcasecmp(at + 3, r->host) == 0;
}

enum access_verdict access_check(const struct access *a,
                                 const struct access_request *r)
{
    if (is_set(a->auth_key)) {
        if (!has_key(r->authorization, a->auth_key)) {
            return ACCESS_NO_KEY;
        }
    } else if (!is_loopback(r->client)) {
        return ACCESS_NOT_LOOPBACK;
    } else if (r->host != NULL && !host_is_ours(a, r->host)) {
        return ACCESS_BAD_HOST;
    }
    return r->changes && !same_origin(r) ? ACCESS_BAD_ORIGIN : ACCESS_SERVED;
}

const char *access_text(enum access_verdict verdict)
{
    switch (verdict) {
    case ACCESS_NO_KEY:
        return "the Authorization header is missing or not the AUTH_KEY of "
               "this node";
    case ACCESS_NOT_LOOPBACK:
        return "without AUTH_KEY in its environment this node serves its own "
               "host only";
    case ACCESS_BAD_HOST:
        return "the Host header is a name that is not this node's: use its "
               "address, or the name in -bind-pane";
    case ACCESS_BAD_ORIGIN:
        return "a page of another site asks for a change";
    default:
        return "";
    }
}
