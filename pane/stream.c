/* Server-sent events: the status document when somebody begins to listen, and
 * again whenever it has changed, looked at twice a second. It is made once for
 * all listeners. One that has all of it is suspended, so that it costs
 * nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pane/answer.h"
#include "pane/document.h"
#include "pane/server_internal.h"

#define STREAMS_MAX 32u
#define TICK_MS 500u
#define QUIET_TICKS 20u /* then a comment: is the listener still there? */
#define BLOCK_BYTES 4096u

/* One event, as it is sent. */
struct news {
    unsigned users;
    size_t len;
    char *compared; /* the document without what always changes */
    char text[];
};

struct stream {
    struct list link; /* in pane->streams */
    struct pane *pane;
    struct MHD_Connection *connection;
    struct news *sending;
    size_t sent;
    bool suspended;
};

static void let_go(struct news *n)
{
    if (n != NULL && --n->users == 0) {
        free(n->compared);
        free(n);
    }
}

/* ---- what is sent -------------------------------------------------------- */

/* Without the clocks, and without the bytes that heartbeats move. */
static char *comparable(json_t *document)
{
    json_t *peer;
    size_t i;

    json_object_del(json_object_get(document, "node"), "uptime_seconds");
    json_array_foreach(json_object_get(document, "peers"), i, peer)
    {
        json_object_del(peer, "silent_seconds");
        json_object_del(peer, "sent_bytes");
        json_object_del(peer, "received_bytes");
    }
    return json_dumps(document, JSON_COMPACT);
}

static struct news *news_of(const char *before, const char *text,
                            const char *after)
{
    size_t size = strlen(before) + strlen(text) + strlen(after) + 1;
    struct news *n = malloc(sizeof *n + size);

    if (n != NULL) {
        *n = (struct news){.users = 1, .len = size - 1};
        snprintf(n->text, size, "%s%s%s", before, text, after);
    }
    return n;
}

static struct news *look(const struct pane *p)
{
    json_t *document = document_status(p->options.source);
    char *text =
        document == NULL
            ? NULL
            : json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(12));
    struct news *n = NULL;

    if (text != NULL) {
        n = news_of("retry: 1000\nevent: status\ndata: ", text, "\n\n");
    }
    if (n != NULL) {
        n->compared = comparable(document);
    }
    free(text);
    json_decref(document);
    return n;
}

static bool differ(const struct news *a, const struct news *b)
{
    return a == NULL || b == NULL || a->compared == NULL ||
           b->compared == NULL || strcmp(a->compared, b->compared) != 0;
}

/* ---- the streams --------------------------------------------------------- */

static void send_to(struct stream *s, struct news *n)
{
    if (s->sending != NULL) {
        return; /* slow: it gets the next one when it has this one */
    }
    n->users++;
    s->sending = n;
    s->sent = 0;
    if (s->suspended) {
        s->suspended = false;
        MHD_resume_connection(s->connection);
    }
}

static void send_to_all(struct pane *p, struct news *n)
{
    for (struct list *l = p->streams.next; l != &p->streams; l = l->next) {
        send_to(LIST_ENTRY(l, struct stream, link), n);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct pane *p = timer->data;
    struct news *n = look(p);
    struct news *comment;

    if (n != NULL && differ(n, p->news)) {
        let_go(p->news);
        p->news = n;
        p->quiet_ticks = 0;
        send_to_all(p, n);
    } else {
        let_go(n);
        if (++p->quiet_ticks >= QUIET_TICKS &&
            (comment = news_of(":", " ", "\n\n")) != NULL) {
            p->quiet_ticks = 0;
            send_to_all(p, comment);
            let_go(comment);
        }
    }
    server_run(p);
}

/* The library asks for more. */
static ssize_t on_more(void *cls, uint64_t position, char *out, size_t max)
{
    struct stream *s = cls;
    size_t len;

    (void)position;
    if (s->pane->stopping) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (s->sending == NULL) {
        s->suspended = true;
        MHD_suspend_connection(s->connection);
        return 0;
    }
    len = s->sending->len - s->sent;
    len = len < max ? len : max;
    memcpy(out, s->sending->text + s->sent, len);
    s->sent += len;
    if (s->sent == s->sending->len) {
        let_go(s->sending);
        s->sending = NULL;
    }
    return (ssize_t)len;
}

static void on_end(void *cls)
{
    struct stream *s = cls;
    struct pane *p = s->pane;

    list_remove(&s->link);
    let_go(s->sending);
    free(s);
    if (--p->n_streams == 0) {
        uv_timer_stop(&p->tick);
        let_go(p->news);
        p->news = NULL;
    }
}

static struct stream *stream_new(struct pane *p, struct MHD_Connection *c)
{
    struct stream *s = calloc(1, sizeof *s);

    if (s == NULL) {
        return NULL;
    }
    s->pane = p;
    s->connection = c;
    list_push(&p->streams, &s->link);
    if (p->n_streams++ == 0) {
        p->quiet_ticks = 0;
        p->news = look(p);
        uv_timer_start(&p->tick, on_tick, TICK_MS, TICK_MS);
    }
    if (p->news != NULL) {
        send_to(s, p->news);
    }
    return s;
}

enum MHD_Result stream_open(struct pane *p, struct MHD_Connection *c)
{
    struct MHD_Response *r;
    struct stream *s;

    if (p->n_streams >= STREAMS_MAX) {
        return answer_error(c, MHD_HTTP_SERVICE_UNAVAILABLE,
                            "too many listen to events already");
    }
    s = stream_new(p, c);
    if (s == NULL) {
        return MHD_NO;
    }
    r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES,
                                          on_more, s, on_end);
    if (r == NULL) {
        on_end(s);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", "text/event-stream");
    return answer_response(c, MHD_HTTP_OK, r);
}

void stream_init(struct pane *p)
{
    list_init(&p->streams);
    uv_timer_init(p->options.loop, &p->tick);
    p->tick.data = p;
    p->handles++;
}

void stream_stop(struct pane *p)
{
    for (struct list *l = p->streams.next; l != &p->streams; l = l->next) {
        struct stream *s = LIST_ENTRY(l, struct stream, link);
        if (s->suspended) {
            s->suspended = false;
            MHD_resume_connection(s->connection);
        }
    }
    uv_timer_stop(&p->tick);
}
