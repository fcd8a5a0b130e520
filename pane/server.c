/* The HTTP library on the node's loop: it keeps its sockets in an epoll
 * descriptor, which the loop watches as one, and a timer. Nothing here blocks,
 * and there is no thread. We accept connections ourselves, since a name may
 * stand for several addresses, and the library listens at one only. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "pane/answer.h"
#include "pane/document.h"
#include "pane/download.h"
#include "pane/metrics.h"
#include "pane/page.h"
#include "pane/route.h"
#include "pane/server_internal.h"
#include "pane/verify.h"

#define CONNECTIONS_MAX 128u
#define IDLE_SECONDS 15u
#define HEADER_BYTES_MAX 16384u /* and all else that a connection holds */
#define BODY_BYTES_MAX 65536u   /* nothing we take needs one */
#define BODY_DRAINED_MAX 1048576u

/* ---- requests ------------------------------------------------------------ */

struct request {
    size_t body;
    struct download *download;
    struct verifying *verifying;
};

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static enum MHD_Result page(struct MHD_Connection *c)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        page_html_len, (void *)page_html, MHD_RESPMEM_PERSISTENT);

    if (r != NULL) {
        MHD_add_response_header(r, "Content-Type", "text/html; charset=utf-8");
    }
    return answer_response(c, MHD_HTTP_OK, r);
}

static enum MHD_Result health(struct pane *p, struct MHD_Connection *c)
{
    unsigned status;
    json_t *json = document_health(p->options.source, &status);

    return answer_json(c, status, json);
}

static enum MHD_Result move(struct pane *p, struct MHD_Connection *c,
                            const struct route *r)
{
    const struct pane_source *s = p->options.source;
    char why[256] = "";
    uint64_t from = 0;
    int rv = s->move(s->data, r->shard, r->node, &from, why, sizeof why);

    if (rv != 0) {
        return answer_error(c, changes_status(rv), why);
    }
    return answer_json(
        c, MHD_HTTP_ACCEPTED,
        json_pack("{s:I, s:I, s:I}", "shard", (json_int_t)r->shard, "from",
                  (json_int_t)from, "to", (json_int_t)r->node));
}

static enum MHD_Result shuffle(struct pane *p, struct MHD_Connection *c)
{
    const struct pane_source *s = p->options.source;
    unsigned moved = s->shuffle(s->data);

    return answer_json(c, MHD_HTTP_ACCEPTED,
                       json_pack("{s:i}", "moving", (int)moved));
}

static enum MHD_Result remove_node(struct pane *p, struct MHD_Connection *c,
                                   uint64_t node)
{
    const struct pane_source *s = p->options.source;
    char why[256] = "";
    int rv = s->remove(s->data, node, why, sizeof why);

    if (rv != 0) {
        return answer_error(c, changes_status(rv), why);
    }
    return answer_json(c, MHD_HTTP_ACCEPTED,
                       json_pack("{s:I}", "removing", (json_int_t)node));
}

static enum MHD_Result serve(struct pane *p, struct MHD_Connection *c,
                             const struct route *r, struct request *request)
{
    const struct pane_source *s = p->options.source;

    switch (r->kind) {
    case ROUTE_PAGE:
        return page(c);
    case ROUTE_HEALTH:
        return health(p, c);
    case ROUTE_INFO:
        return answer_json(c, MHD_HTTP_OK, document_info(s));
    case ROUTE_STATUS:
        return answer_json(c, MHD_HTTP_OK, document_status(s));
    case ROUTE_METRICS:
        return metrics_answer(s, c);
    case ROUTE_EVENTS:
        return stream_open(p, c);
    case ROUTE_BACKUP:
        return download_serve(p, c, r->name, &request->download);
    case ROUTE_VERIFY:
        return verify_serve(p, c, r->name, &request->verifying);
    case ROUTE_MOVE:
        return move(p, c, r);
    case ROUTE_SHUFFLE:
        return shuffle(p, c);
    case ROUTE_SHARDS:
        return changes_shards(p, c);
    case ROUTE_REMOVE:
        return remove_node(p, c, r->node);
    case ROUTE_ATTACH:
    case ROUTE_DETACH:
    case ROUTE_DROP:
    case ROUTE_RENAME:
        return changes_database(p, c, r);
    default:
        return answer_error(c, MHD_HTTP_NOT_FOUND, "no such path");
    }
}

static enum access_verdict verdict(struct pane *p, struct MHD_Connection *c,
                                   bool changes)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct access_request r = {
        .client = info == NULL ? NULL : info->client_addr,
        .authorization = header(c, MHD_HTTP_HEADER_AUTHORIZATION),
        .host = header(c, MHD_HTTP_HEADER_HOST),
        .origin = header(c, MHD_HTTP_HEADER_ORIGIN),
        .fetch_site = header(c, "Sec-Fetch-Site"),
        .changes = changes};

    return access_check(&p->access, &r);
}

static bool is_read(const char *method)
{
    return strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
           strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

static const char *allowed(const struct pane *p, const struct route *r)
{
    return !r->changes ? "GET, HEAD" : p->options.compat ? "POST, GET" : "POST";
}

static bool is_allowed(const struct pane *p, const struct route *r,
                       const char *method)
{
    if (r->changes) {
        return strcmp(method, MHD_HTTP_METHOD_POST) == 0 ||
               (p->options.compat && strcmp(method, MHD_HTTP_METHOD_GET) == 0);
    }
    return is_read(method);
}

/* Who asks is looked at before what: a stranger learns nothing of the paths.
 * Anything that is not a plain read counts as a change. `request` is NULL while
 * a body may follow. */
static enum MHD_Result decide(struct pane *p, struct MHD_Connection *c,
                              const char *path, const char *method,
                              struct request *request)
{
    struct route r = {.changes = false};
    char why[512] = "";
    int rv = route_parse(path, &r, why, sizeof why);
    enum access_verdict v = verdict(p, c, r.changes || !is_read(method));

    if (v == ACCESS_NO_KEY) {
        return answer_no_key(c, access_text(v));
    }
    if (v != ACCESS_SERVED) {
        return answer_error(c, MHD_HTTP_FORBIDDEN, access_text(v));
    }
    if (rv != 0) {
        return answer_error(
            c, rv == ERR_NOT_FOUND ? MHD_HTTP_NOT_FOUND : MHD_HTTP_BAD_REQUEST,
            why);
    }
    if (!is_allowed(p, &r, method)) {
        return answer_not_allowed(c, allowed(p, &r));
    }
    return request != NULL ? serve(p, c, &r, request) : MHD_YES;
}

static bool announces_too_much(struct MHD_Connection *c)
{
    const char *length = header(c, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length != NULL && strtoull(length, NULL, 10) > BODY_BYTES_MAX;
}

static const char too_much[] = "nothing here takes a body of that size";

/* Called with the header, with each piece of a body, and once more. The
 * parameters are the library's. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c,
                                  const char *path, const char *method,
                                  const char *version, const char *body,
                                  size_t *body_len, void **state)
{
    struct pane *p = cls;
    struct request *request = *state;

    (void)version;
    (void)body;
    if (request == NULL) {
        *state = request = calloc(1, sizeof *request);
        if (request == NULL) {
            return MHD_NO;
        }
        if (announces_too_much(c)) {
            return answer_error(c, MHD_HTTP_CONTENT_TOO_LARGE, too_much);
        }
        /* An answer ahead of the body closes the connection. */
        return is_read(method) ? MHD_YES : decide(p, c, path, method, NULL);
    }
    if (*body_len > 0) {
        request->body += *body_len;
        *body_len = 0;
        return request->body > BODY_DRAINED_MAX ? MHD_NO : MHD_YES;
    }
    if (request->body > BODY_BYTES_MAX) {
        return answer_error(c, MHD_HTTP_CONTENT_TOO_LARGE, too_much);
    }
    return decide(p, c, path, method, request);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct request *request = *state;

    (void)cls;
    (void)c;
    (void)code;
    if (request != NULL && request->download != NULL) {
        download_free(request->download);
    }
    if (request != NULL && request->verifying != NULL) {
        verify_free(request->verifying);
    }
    free(request);
    *state = NULL;
}

/* ---- the loop ------------------------------------------------------------ */

static void on_timer(uv_timer_t *timer)
{
    server_run(timer->data);
}

void server_run(struct pane *p)
{
    MHD_UNSIGNED_LONG_LONG ms;

    MHD_run(p->daemon);
    if (MHD_get_timeout(p->daemon, &ms) == MHD_YES) {
        uv_timer_start(&p->timer, on_timer, ms, 0);
    } else {
        uv_timer_stop(&p->timer);
    }
}

void server_run_soon(struct pane *p)
{
    uv_timer_start(&p->timer, on_timer, 0, 0);
}

void waiter_init(struct waiter *w, struct pane *p, struct MHD_Connection *c)
{
    *w = (struct waiter){.pane = p, .connection = c};
    list_push(&p->waiters, &w->link);
}

void waiter_sleep(struct waiter *w)
{
    w->suspended = true;
    MHD_suspend_connection(w->connection);
}

void waiter_wake(void *arg)
{
    struct waiter *w = arg;

    if (w->suspended) {
        w->suspended = false;
        MHD_resume_connection(w->connection);
        server_run_soon(w->pane);
    }
}

static void wake_all(struct pane *p)
{
    for (struct list *l = p->waiters.next; l != &p->waiters; l = l->next) {
        waiter_wake(LIST_ENTRY(l, struct waiter, link));
    }
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    server_run(poll->data);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct pane *p = poll->data;
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    uv_os_fd_t fd;
    int client;

    (void)status;
    (void)events;
    if (uv_fileno((uv_handle_t *)poll, &fd) != 0) {
        return;
    }
    client = accept4(fd, (struct sockaddr *)&from, &len,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client >= 0) {
        /* Closes it when there are too many. */
        (void)MHD_add_connection(p->daemon, client, (struct sockaddr *)&from,
                                 len);
        server_run(p);
    }
}

/* ---- start and stop ------------------------------------------------------ */

static void on_closed(uv_handle_t *handle)
{
    struct pane *p = handle->data;

    if (--p->handles == 0) {
        free(p);
    }
}

static void close_handle(struct pane *p, void *handle)
{
    uv_handle_t *h = handle;

    h->data = p;
    uv_close(h, on_closed);
}

static struct MHD_Daemon *start_daemon(struct pane *p)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0,
        NULL, NULL, on_request, p, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES_MAX,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
}

static void start_listeners(struct pane *p, const int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        uv_poll_t *poll = &p->listeners[i].poll;
        p->listeners[i].fd = fds[i];
        uv_poll_init(p->options.loop, poll, fds[i]);
        poll->data = p;
        uv_poll_start(poll, UV_READABLE, on_connection);
        p->handles++;
    }
    p->n_listeners = (unsigned)n;
}

static void start_daemon_handles(struct pane *p)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    uv_poll_init(p->options.loop, &p->poll, info->epoll_fd);
    uv_timer_init(p->options.loop, &p->timer);
    p->poll.data = p->timer.data = p;
    p->handles += 2;
    uv_poll_start(&p->poll, UV_READABLE, on_event);
}

int pane_start(const struct pane_options *options, struct pane **out, char *why,
               size_t size)
{
    struct pane *p = calloc(1, sizeof *p);
    int fds[LISTEN_MAX];
    int n;

    if (p == NULL) {
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    p->options = *options;
    listen_host(options->bind, p->bind_host);
    p->access.auth_key = options->auth_key;
    p->access.bind_host = p->bind_host;
    n = listen_open(options->bind, fds, why, size);
    if (n < 0) {
        free(p);
        return n;
    }
    p->daemon = start_daemon(p);
    if (p->daemon == NULL) {
        snprintf(why, size, "-bind-pane %s: the HTTP library does not start",
                 options->bind);
        while (n > 0) {
            close(fds[--n]);
        }
        free(p);
        return ERR_IO;
    }
    p->options.bind = NULL; /* borrowed until here */
    start_listeners(p, fds, n);
    start_daemon_handles(p);
    stream_init(p);
    list_init(&p->waiters);
    *out = p;
    return 0;
}

void pane_stop(struct pane *p)
{
    p->stopping = true;
    for (unsigned i = 0; i < p->n_listeners; i++) {
        uv_poll_stop(&p->listeners[i].poll);
        close(p->listeners[i].fd);
        close_handle(p, &p->listeners[i].poll);
    }
    stream_stop(p);
    wake_all(p);
    MHD_run(p->daemon);
    uv_poll_stop(&p->poll); /* before the daemon closes its descriptor */
    uv_timer_stop(&p->timer);
    MHD_stop_daemon(p->daemon);
    close_handle(p, &p->poll);
    close_handle(p, &p->timer);
    close_handle(p, &p->tick);
}
