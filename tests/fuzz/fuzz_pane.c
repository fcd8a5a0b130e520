/* Paths and headers of the control pane, as a stranger may send them: nothing
 * but a decision comes of them, and no key is found by chance. The input is
 * split at its zero bytes. */
#include <netinet/in.h>
#include <string.h>

#include "base/err.h"
#include "pane/access.h"
#include "pane/route.h"
#include "tests/fuzz/fuzz.h"

#define PARTS 5

static void check_path(const char *path)
{
    struct route r;
    char why[512] = "";

    if (route_parse(path, &r, why, sizeof why) != 0) {
        CHECK(why[0] != '\0');
    } else if (r.kind == ROUTE_BACKUP) {
        CHECK(strlen(r.name) <= DB_NAME_MAX && strchr(r.name, '/') == NULL);
    } else if (r.kind == ROUTE_MOVE) {
        CHECK(r.node > 0 && r.changes);
    }
}

static void check_access(const char *const *parts)
{
    struct sockaddr_in far = {.sin_family = AF_INET};
    struct access_request r = {.client = (struct sockaddr *)&far,
                               .authorization = parts[1],
                               .host = parts[2],
                               .origin = parts[3],
                               .fetch_site = parts[4],
                               .changes = true};
    struct access a = {.bind_host = "localhost"};

    far.sin_addr.s_addr = htonl(0xc0000201u);
    CHECK(access_check(&a, &r) == ACCESS_NOT_LOOPBACK);
    a.auth_key = "a-key-that-no-input-holds-f19d2c:4b";
    CHECK(access_check(&a, &r) == ACCESS_NO_KEY);
    a.auth_key = NULL;
    far.sin_addr.s_addr = htonl(0x7f000001u);
    (void)access_check(&a, &r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *parts[PARTS] = {"", NULL, NULL, NULL, NULL};
    char *text = malloc(size + 1);
    char small[16];
    size_t at = 0;

    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    for (unsigned i = 0; i < PARTS && at <= size; i++) {
        parts[i] = text + at;
        at += strlen(text + at) + 1;
    }
    check_path(parts[0]);
    check_access(parts);
    CHECK(access_base64(parts[0], small, sizeof small) <= (int)sizeof small);
    free(text);
    return 0;
}
