#include "consensus/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    uv_getaddrinfo_t req;
    lookup_done done; /* NULL: forgotten */
    void *data;
};

static bool is_port(const char *text)
{
    size_t len = strspn(text, "0123456789");
    long port;

    if (len == 0 || len > 5 || text[len] != '\0' || text[0] == '0') {
        return false;
    }
    port = strtol(text, NULL, 10);
    return port <= 65535;
}

static bool is_v6(const char *host)
{
    struct sockaddr_in6 ignored;

    return uv_ip6_addr(host, 0, &ignored) == 0;
}

static bool is_name(const char *host)
{
    for (const char *c = host; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL) {
            return false;
        }
    }
    return host[0] != '\0';
}

int address_parse(const char *text, struct address *out)
{
    const char *colon = strrchr(text, ':');
    struct address a;
    bool v6 = text[0] == '[';
    size_t len;

    if (colon == NULL || colon == text || !is_port(colon + 1)) {
        return -EINVAL;
    }
    len = (size_t)(colon - text);
    if (v6) {
        if (len < 3 || colon[-1] != ']') {
            return -EINVAL;
        }
        text += 1;
        len -= 2;
    }
    if (len >= sizeof a.host) {
        return -EINVAL;
    }
    memcpy(a.host, text, len);
    a.host[len] = '\0';
    snprintf(a.port, sizeof a.port, "%.5s", colon + 1);
    if (v6 ? !is_v6(a.host) : !is_name(a.host)) {
        return -EINVAL;
    }
    *out = a;
    return 0;
}

int address_literal(const struct address *a, struct sockaddr_storage *out)
{
    struct sockaddr_storage ss;
    int port = atoi(a->port);

    memset(&ss, 0, sizeof ss);
    if (uv_ip4_addr(a->host, port, (struct sockaddr_in *)&ss) != 0) {
        memset(&ss, 0, sizeof ss);
        if (uv_ip6_addr(a->host, port, (struct sockaddr_in6 *)&ss) != 0) {
            return -EINVAL;
        }
    }
    *out = ss;
    return 0;
}

static const struct addrinfo hints = {
    .ai_family = AF_UNSPEC,
    .ai_socktype = SOCK_STREAM,
    .ai_flags = AI_NUMERICSERV,
};

static unsigned collect(const struct addrinfo *found,
                        struct sockaddr_storage out[ADDRESS_FOUND_MAX])
{
    unsigned count = 0;

    for (; found != NULL && count < ADDRESS_FOUND_MAX; found = found->ai_next) {
        if (found->ai_family == AF_INET || found->ai_family == AF_INET6) {
            memset(&out[count], 0, sizeof out[count]);
            memcpy(&out[count], found->ai_addr, found->ai_addrlen);
            count++;
        }
    }
    return count;
}

int address_resolve(const struct address *a,
                    struct sockaddr_storage out[ADDRESS_FOUND_MAX],
                    unsigned *count)
{
    struct addrinfo *found;
    int rc;

    if (address_literal(a, &out[0]) == 0) {
        *count = 1;
        return 0;
    }
    rc = getaddrinfo(a->host, a->port, &hints, &found);
    if (rc != 0) {
        return rc == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL;
    }
    *count = collect(found, out);
    freeaddrinfo(found);
    return *count > 0 ? 0 : -EADDRNOTAVAIL;
}

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct lookup *l = req->data;
    lookup_done done = l->done;
    void *data = l->data;
    struct sockaddr_storage out[ADDRESS_FOUND_MAX];
    unsigned count = status == 0 ? collect(found, out) : 0;

    uv_freeaddrinfo(found);
    free(l);
    if (done != NULL) {
        done(data, status == 0 && count == 0 ? UV_EAI_NODATA : status, out,
             count);
    }
}

int lookup_start(uv_loop_t *loop, const struct address *a, lookup_done done,
                 void *data, struct lookup **out)
{
    struct lookup *l = calloc(1, sizeof *l);
    int rc;

    if (l == NULL) {
        return -ENOMEM;
    }
    l->done = done;
    l->data = data;
    l->req.data = l;
    rc = uv_getaddrinfo(loop, &l->req, on_found, a->host, a->port, &hints);
    if (rc != 0) {
        free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void lookup_forget(struct lookup *l)
{
    l->done = NULL;
    /* Fails when a thread already works on it: on_found frees it then. */
    uv_cancel((uv_req_t *)&l->req);
}

void address_text(const struct sockaddr_storage *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN];

    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        uv_ip4_name(v4, host, sizeof host);
        snprintf(out, size, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        uv_ip6_name(v6, host, sizeof host);
        snprintf(out, size, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
    } else {
        snprintf(out, size, "?");
    }
}
