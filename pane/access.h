/* Who is served (docs/PANE.md, "Who is served"). Pure.
 *
 * Without a key, whoever comes from this host; with one, whoever has it. A
 * browser lets any page send requests to any host, so a request is also looked
 * at for a page that has no business here: a name in Host that could have been
 * rebound to this address, an Origin of another site. */
#ifndef PANE_ACCESS_H
#define PANE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct access {
    const char *auth_key;  /* NULL or "": none */
    const char *bind_host; /* the host in -bind-pane: a name that is ours */
};

/* Headers as they came; NULL: not there. */
struct access_request {
    const struct sockaddr *client;
    const char *authorization, *host, *origin, *fetch_site;
    bool changes; /* something, or only reads */
};

enum access_verdict {
    ACCESS_SERVED,
    ACCESS_NO_KEY,       /* 401 */
    ACCESS_NOT_LOOPBACK, /* 403 */
    ACCESS_BAD_HOST,     /* 403 */
    ACCESS_BAD_ORIGIN    /* 403 */
};

enum access_verdict access_check(const struct access *a,
                                 const struct access_request *r);

/* One line for people; "" when served. */
const char *access_text(enum access_verdict verdict);

/* Do the first `len` bytes of `given` equal `expected`? The time depends on
 * `len` alone. */
bool access_equal(const char *given, size_t len, const char *expected);

/* Decode base64 of any padding; at most `size` bytes. Returns their number, or
 * ERR_CORRUPT or ERR_TOO_BIG. */
int access_base64(const char *text, char *out, size_t size);

#endif
