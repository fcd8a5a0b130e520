/* One request, one answer, by libcurl. AUTH_KEY goes the way the node reads it
 * (base/auth_key.h). */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auth_key.h"
#include "base/buf.h"
#include "base/limits.h"
#include "cli/internal.h"

#define ANSWER_BYTES_MAX (64u << 20)

static size_t on_data(char *data, size_t size, size_t n, void *to)
{
    return buf_append(to, data, size * n) == 0 ? size * n : 0;
}

static void set_url(CURL *curl, const struct call *c, const char *path)
{
    char url[2 * ADDRESS_MAX + 256];
    size_t len = strlen(c->pane);

    while (len > 0 && c->pane[len - 1] == '/') {
        len--;
    }
    snprintf(url, sizeof url, "%s%.*s%s",
             strstr(c->pane, "://") == NULL ? "http://" : "", (int)len, c->pane,
             path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
}

static struct curl_slist *set_key(CURL *curl)
{
    const char *key = getenv("AUTH_KEY");
    struct curl_slist *headers = NULL;
    char line[2048];

    if (key == NULL || key[0] == '\0') {
        return NULL;
    }
    if (auth_key_is_header(key)) {
        snprintf(line, sizeof line, "Authorization: %s", key);
        headers = curl_slist_append(NULL, line);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    } else {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERPWD, key);
    }
    return headers;
}

/* Ready but for what is done with the answer; NULL: out of memory. */
static CURL *prepare(const struct call *c, const char *path,
                     struct curl_slist **headers)
{
    CURL *curl = curl_easy_init();

    if (curl == NULL) {
        return NULL;
    }
    set_url(curl, c, path);
    *headers = set_key(curl);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    /* A proxy that is meant for the web does not lead to a node. */
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT,
                     (long)(c->timeout_s < 30 ? c->timeout_s : 30));
    return curl;
}

/* What is done besides asking. */
struct manner {
    bool post;
    bool any; /* an answer 503 counts */
    void (*tick)(void *arg);
    void *arg;
};

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
                       curl_off_t d)
{
    const struct manner *how = arg;

    (void)a, (void)b, (void)c, (void)d;
    how->tick(how->arg);
    return 0;
}

/* Returns libcurl's code. */
static CURLcode perform(const struct call *c, const char *path,
                        const struct manner *how, struct buf *body,
                        long *status)
{
    struct curl_slist *headers;
    CURL *curl = prepare(c, path, &headers);
    CURLcode rv;

    if (curl == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)c->timeout_s);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    if (how->tick != NULL) {
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, how);
    }
    if (how->post) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    }
    rv = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return rv;
}

static void complain(const struct call *c, const json_t *document, long status)
{
    const char *why = json_string_value(json_object_get(document, "error"));
    const char *hint =
        status == 401 ? " (give it in the environment of this command)" : "";

    if (c->quiet) {
        return;
    }
    if (why == NULL) {
        cli_fail(
            "%s answers with status %ld and nothing that is understood: "
            "is it the pane of a node?",
            c->pane, status);
    } else {
        cli_fail("%s%s", why, hint);
    }
}

static void out_of_reach(const struct call *c, CURLcode rv)
{
    if (!c->quiet) {
        cli_fail(
            "cannot reach the pane of a node at %s: %s; name another one with "
            "-pane HOST:PORT",
            c->pane, curl_easy_strerror(rv));
    }
}

static json_t *ask(const struct call *c, const char *path,
                   const struct manner *how)
{
    json_t *document = NULL;
    struct buf body;
    long status = 0;
    CURLcode rv;

    buf_init(&body, ANSWER_BYTES_MAX);
    rv = perform(c, path, how, &body, &status);
    if (rv != CURLE_OK) {
        out_of_reach(c, rv);
    } else {
        document = json_loadb((const char *)body.data, body.len, 0, NULL);
        if (document == NULL ||
            !(status / 100 == 2 || (how->any && status == 503))) {
            complain(c, document, status);
            json_decref(document);
            document = NULL;
        }
    }
    buf_close(&body);
    return document;
}

json_t *http_get(const struct call *c, const char *path, bool any)
{
    return ask(c, path, &(struct manner){.any = any});
}

json_t *http_post(const struct call *c, const char *path)
{
    return ask(c, path, &(struct manner){.post = true});
}

json_t *http_post_watched(const struct call *c, const char *path,
                          void (*tick)(void *arg), void *arg)
{
    return ask(c, path,
               &(struct manner){.post = true, .tick = tick, .arg = arg});
}

/* ---- a stream of bytes --------------------------------------------------- */

struct stream {
    CURL *curl;
    struct http_sink *sink;
    struct buf complaint; /* the body of an answer that is none of ours */
};

static size_t on_header(char *line, size_t size, size_t n, void *to)
{
    struct stream *s = to;
    char text[512];
    char *colon;
    size_t len = size * n;

    if (len < sizeof text) {
        memcpy(text, line, len);
        text[len] = '\0';
        text[strcspn(text, "\r\n")] = '\0';
        colon = strchr(text, ':');
        if (colon != NULL) {
            *colon = '\0';
            s->sink->header(s->sink->arg, text,
                            colon + 1 + strspn(colon + 1, " \t"));
        }
    }
    return len;
}

static size_t on_bytes(char *data, size_t size, size_t n, void *to)
{
    struct stream *s = to;
    long status = 0;

    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return on_data(data, size, n, &s->complaint);
    }
    return s->sink->bytes(s->sink->arg, data, size * n) == 0 ? size * n : 0;
}

/* What went wrong, if anything did. */
static void explain(const struct call *c, const struct stream *s, CURLcode rv,
                    long status)
{
    json_t *document;

    if (rv == CURLE_OK && status != 200) {
        document = json_loadb((const char *)s->complaint.data, s->complaint.len,
                              0, NULL);
        complain(c, document, status);
        json_decref(document);
    } else if (rv == CURLE_PARTIAL_FILE || rv == CURLE_RECV_ERROR) {
        cli_fail("%s: the connection ended before all was here", c->pane);
    } else if (rv != CURLE_OK && rv != CURLE_WRITE_ERROR) {
        out_of_reach(c, rv); /* the sink says itself why it failed */
    }
}

int http_stream(const struct call *c, const char *path, struct http_sink *sink)
{
    struct stream s = {.sink = sink};
    struct curl_slist *headers;
    long status = 0;
    CURLcode rv;

    s.curl = prepare(c, path, &headers);
    if (s.curl == NULL) {
        return cli_fail("out of memory");
    }
    buf_init(&s.complaint, ANSWER_BYTES_MAX);
    curl_easy_setopt(s.curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(s.curl, CURLOPT_HEADERDATA, &s);
    curl_easy_setopt(s.curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(s.curl, CURLOPT_WRITEDATA, &s);
    /* As long as something comes. */
    curl_easy_setopt(s.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(s.curl, CURLOPT_LOW_SPEED_TIME, (long)c->timeout_s);
    rv = curl_easy_perform(s.curl);
    curl_easy_getinfo(s.curl, CURLINFO_RESPONSE_CODE, &status);
    explain(c, &s, rv, status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(s.curl);
    buf_close(&s.complaint);
    return rv == CURLE_OK && status == 200 ? 0 : 1;
}
