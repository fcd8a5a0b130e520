/* Sessions: one Unix socket per database, one connection per open handle. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "node/node.h"
#include "node/socket_path.h"

#define READ_BYTES 65536

struct server {
    uv_pipe_t pipe;
    struct database *db;
};

struct conn {
    struct session session;
    uv_pipe_t pipe;
    struct buf in;
    bool closing;
};

struct write_rest {
    uv_write_t req;
    uint8_t bytes[];
};

static struct conn *conn_of(struct session *s)
{
    return LIST_ENTRY(s, struct conn, session);
}

static void on_conn_closed(uv_handle_t *h)
{
    struct conn *c = h->data;

    buf_close(&c->in);
    free(c);
}

static struct node *node_of(const struct conn *c)
{
    return c->session.db->env->data;
}

static void conn_close(struct conn *c)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    node_of(c)->n_sessions--;
    slot_gone(&c->session);
    list_remove(&c->session.link);
    uv_close((uv_handle_t *)&c->pipe, on_conn_closed);
}

/* ---- output -------------------------------------------------------------- */

static void on_written(uv_write_t *req, int status)
{
    (void)status; /* a broken socket is also seen by the reader */
    free(req->data);
}

static void write_later(struct conn *c, const uint8_t *bytes, size_t len)
{
    size_t waiting = uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe);
    struct write_rest *w = NULL;
    uv_buf_t b;

    /* Nobody asks for so much without reading the answers. */
    if (waiting <= SESSION_BYTES_MAX) {
        w = malloc(sizeof *w + len);
    }
    if (w == NULL) {
        conn_close(c);
        return;
    }
    memcpy(w->bytes, bytes, len);
    w->req.data = w;
    b = uv_buf_init((char *)w->bytes, (unsigned)len);
    if (uv_write(&w->req, (uv_stream_t *)&c->pipe, &b, 1, on_written) != 0) {
        free(w);
    }
}

void server_send(void *data, struct session *s, const struct session_message *m)
{
    struct conn *c = conn_of(s);
    struct buf out;
    uv_buf_t b;
    int n;

    (void)data;
    if (c->closing) {
        return;
    }
    buf_init(&out, SESSION_BYTES_MAX);
    if (session_encode(m, &out) == 0) {
        b = uv_buf_init((char *)out.data, (unsigned)out.len);
        n = uv_try_write((uv_stream_t *)&c->pipe, &b, 1);
        n = n < 0 ? 0 : n;
        if ((size_t)n < out.len) {
            write_later(c, out.data + n, out.len - (size_t)n);
        }
    }
    buf_close(&out);
}

static void send_text(struct session *s, bool ok, const char *text)
{
    struct session_message m = {.kind = SESSION_TEXT};

    m.text.ok = ok;
    m.text.text = text;
    m.text.len = strlen(text);
    server_send(NULL, s, &m);
}

/* ---- input --------------------------------------------------------------- */

/* The session must have opened the very file that stands at the path. A file
 * that is being replaced (FETCHING) is closed by a job: db->apply is a job's
 * then. No lock is granted before. */
static bool same_file(const struct database *db, const struct session_hello *h)
{
    struct stat st;

    if (stat(db->path, &st) != 0) {
        return false;
    }
    return st.st_dev == h->dev && st.st_ino == h->inode &&
           (db->state == DB_FETCHING || db->apply == NULL ||
            (apply_is_file(db->apply, h->dev, h->inode) &&
             (db->job != NULL || apply_check_identity_lately(db->apply) == 0)));
}

static const char moved_text[] = "the database file at this path was replaced";

static void on_hello(struct session *s, const struct session_hello *h)
{
    struct database *db = s->db;
    struct session_message m = {.kind = SESSION_WELCOME};

    if (!same_file(db, h)) {
        log_error("file_moved",
                  "db=%s path=%s pid=%u: the file was replaced or removed "
                  "while managed; stop the program, put the old file back or "
                  "stop this node, remove the file and start again to fetch "
                  "the cluster's copy",
                  db->name, db->path, h->pid);
        session_refuse(s, REASON_MOVED, moved_text);
        return;
    }
    s->dev = h->dev;
    s->inode = h->inode;
    s->pid = h->pid;
    s->welcomed = true;
    m.welcome.node = db->env->node_id;
    m.welcome.page_size = db->page_size;
    m.welcome.session = (uint32_t)s->id;
    m.welcome.start = db->env->start;
    m.welcome.offer_ms = (uint32_t)(db->env->times.offer_us / 1000);
    m.welcome.replica = db->env->replica;
    server_send(NULL, s, &m);
}

static bool is_same_file(const struct session *s)
{
    struct session_hello h = {.dev = s->dev, .inode = s->inode, .pid = s->pid};

    return same_file(s->db, &h);
}

/* A file that was replaced after the hello must not be written either. */
static void on_lock(struct session *s)
{
    if (!is_same_file(s)) {
        session_refuse(s, REASON_MOVED, moved_text);
        return;
    }
    slot_lock(s);
}

/* A session that had kept the slot did not ask: the file is checked now. */
static void on_propose(struct session *s, const struct session_propose *p)
{
    struct session_message m = {.kind = SESSION_FAILED};

    slot_look(s->db);
    if (s->turn == TURN_OWNED && !is_same_file(s)) {
        m.refused.reason = REASON_MOVED;
        m.refused.text = moved_text;
        m.refused.len = sizeof moved_text - 1;
        server_send(NULL, s, &m);
        return;
    }
    proposal_part(s, p);
}

static void on_status(struct session *s)
{
    char text[TEXT_MAX];

    slot_look(s->db);
    database_status(s->db, text, sizeof text);
    send_text(s, true, text);
}

static void on_position(struct session *s)
{
    char text[64];

    slot_look(s->db);
    snprintf(text, sizeof text, "%" PRIu64 ":%016" PRIx64, s->db->applied.txid,
             s->db->applied.hash);
    send_text(s, true, text);
}

static void on_wait(struct session *s, const struct session_wait *w)
{
    struct database *db = s->db;

    s->wait_txid = w->txid;
    s->wait_until_us =
        db->env->now_us(db->env->data) + (uint64_t)w->timeout_ms * 1000 + 1;
    db->env->wake_after(db->env->data, db, (uint64_t)w->timeout_ms * 1000 + 1);
    server_step(db);
}

void server_step(struct database *db)
{
    uint64_t t = db->env->now_us(db->env->data);
    bool waits = false;

    for (struct list *l = db->sessions.next, *next; l != &db->sessions;
         l = next) {
        struct session *s = LIST_ENTRY(l, struct session, link);
        bool reached = db->applied.txid >= s->wait_txid;
        next = l->next; /* a broken socket takes the session out */
        if (s->wait_until_us != 0 && (reached || t >= s->wait_until_us)) {
            s->wait_until_us = 0;
            send_text(s, reached, reached ? "ok" : "timeout");
        } else if (s->wait_until_us != 0) {
            db->env->wake_after(db->env->data, db, s->wait_until_us - t);
            waits = true;
        }
    }
    if (waits) {
        slot_claim(db); /* so that a commit made here is told at once */
    }
}

/* Returns 0, or ERR_CORRUPT when the message has no place here. */
static int on_message(struct session *s, const struct session_message *m)
{
    if (!s->welcomed && m->kind != SESSION_HELLO) {
        return ERR_CORRUPT;
    }
    switch (m->kind) {
    case SESSION_HELLO:
        on_hello(s, &m->hello);
        return 0;
    case SESSION_LOCK:
        on_lock(s);
        return 0;
    case SESSION_PARK:
        slot_park(s);
        return 0;
    case SESSION_PROPOSE:
        on_propose(s, &m->propose);
        return 0;
    case SESSION_UNLOCK:
        slot_unlock(s, &m->unlock);
        return 0;
    case SESSION_RESUME:
        resume_begin(s, &m->resume);
        return 0;
    case SESSION_STATUS:
        on_status(s);
        return 0;
    case SESSION_POSITION:
        on_position(s);
        return 0;
    case SESSION_WAIT:
        on_wait(s, &m->wait);
        return 0;
    default:
        return ERR_CORRUPT;
    }
}

static int parse(struct conn *c)
{
    struct session_message m;
    size_t at = 0, used;
    int rv = 0;

    while (!c->closing) {
        rv = session_decode(c->in.data + at, c->in.len - at, &m, &used);
        if (rv != 0) {
            break;
        }
        rv = on_message(&c->session, &m);
        at += used;
        if (rv != 0) {
            break;
        }
    }
    buf_consume(&c->in, at);
    return rv == ERR_SHORT ? 0 : rv;
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
    struct conn *c = h->data;
    uint8_t *room = buf_room(&c->in, READ_BYTES);

    (void)suggested;
    *out = uv_buf_init((char *)room, room == NULL ? 0 : READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = stream->data;
    int rv;

    (void)b;
    if (n < 0) {
        conn_close(c);
        return;
    }
    buf_added(&c->in, (size_t)n);
    rv = parse(c);
    if (rv != 0) {
        log_warn("session_dropped", "db=%s pid=%u why=\"%s\"",
                 c->session.db->name, c->session.pid, err_str(rv));
        if (rv == ERR_VERSION) {
            session_refuse(&c->session, REASON_VERSION,
                           "library and node are of different versions");
        }
        conn_close(c);
    }
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct server *server = stream->data;
    struct database *db = server->db;
    struct conn *c;

    if (status != 0) {
        return;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        return;
    }
    list_init(&c->session.wait);
    c->session.db = db;
    c->session.id = (uint32_t)++db->next_session;
    c->pipe.data = c;
    buf_init(&c->in, SESSION_BYTES_MAX + 2 * READ_BYTES);
    uv_pipe_init(stream->loop, &c->pipe, 0);
    list_push(&db->sessions, &c->session.link);
    node_of(c)->n_sessions++;
    if (uv_accept(stream, (uv_stream_t *)&c->pipe) != 0 ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
        conn_close(c);
    } else if (node_of(c)->n_sessions > SESSIONS_MAX) {
        session_refuse(&c->session, REASON_BUSY,
                       "this node has too many connections");
        conn_close(c);
    }
}

/* ---- start and stop ------------------------------------------------------ */

static int explain(struct database *db, int rv, char *why, size_t size)
{
    if (rv == -EADDRINUSE) {
        snprintf(why, size,
                 "another marmot node manages %s (its socket %s-marmot is "
                 "answered): stop that node or use another -db-path",
                 db->path, db->path);
    } else {
        snprintf(why, size, "cannot listen at %s-marmot: %s", db->path,
                 err_str(rv));
    }
    return rv;
}

/* Session numbers start anywhere, so that no session of an earlier start has
 * the same one. */
static int open_slot(struct database *db, char *why, size_t size)
{
    char path[PATH_MAX + 32];
    struct slot_page *page;
    struct uuid random;
    int fd;

    snprintf(path, sizeof path, "%s-marmot" SLOT_SUFFIX, db->path);
    fd = slot_page_open(path, true, &page);
    if (fd < 0 || uuid_random(&random) != 0) {
        snprintf(why, size, "cannot use %s: %s", path, err_str(fd));
        return fd < 0 ? fd : ERR_IO;
    }
    socket_like(path, db->path);
    db->slot_fd = fd;
    db->slot = page;
    slot_reset(page);
    db->next_session = get_le32(random.b) & 0x3fffffffu;
    return 0;
}

int server_start(struct node *n, struct database *db, char *why, size_t size)
{
    char path[PATH_MAX + 16];
    struct server *server;
    int fd, rv;

    snprintf(path, sizeof path, "%s-marmot", db->path);
    fd = socket_listen(path, db->path);
    if (fd < 0) {
        return explain(db, fd, why, size);
    }
    server = calloc(1, sizeof *server);
    if (server == NULL) {
        return explain(db, -ENOMEM, why, size);
    }
    server->db = db;
    server->pipe.data = server;
    uv_pipe_init(n->loop, &server->pipe, 0);
    rv = uv_pipe_open(&server->pipe, fd);
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&server->pipe, 128, on_connection);
    }
    db->server = server;
    return rv == 0 ? open_slot(db, why, size) : explain(db, rv, why, size);
}

static void on_server_closed(uv_handle_t *h)
{
    free(h->data);
}

void server_stop(struct database *db)
{
    struct server *server = db->server;

    if (server == NULL) {
        return;
    }
    db->server = NULL;
    while (!list_empty(&db->sessions)) {
        conn_close(conn_of(
            LIST_ENTRY(list_first(&db->sessions), struct session, link)));
    }
    uv_close((uv_handle_t *)&server->pipe, on_server_closed);
}
