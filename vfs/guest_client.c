/* Contract with the node, beyond wire/session.h: when LOCK has been answered
 * before PARK arrives, the node does not answer PARK. So a session that has
 * sent both takes the first answer that is no OFFER. */
#include "vfs/guest_client.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "vfs/guest_fork.h"
#include "vfs/guest_propose.h"
#include "vfs/guest_socket.h"

/* In xShmLock SQLite still holds its read mark: the long wait is elsewhere. */
#define LOCK_WAIT_MS 10
/* What the node answers at once. */
#define ANSWER_WAIT_MS 3000
/* A proposal: the node gives up itself at about this time. */
#define COMMIT_WAIT_MS 10000
#define WAIT_SLACK_MS 2000
/* Between two attempts to find a node that has gone. */
#define RESUME_PAUSE_NS 20000000
#define IN_BYTES_MAX (64u << 10)
#define OUT_BYTES_MAX 1024u

static uint64_t in_ms(uint64_t ms)
{
    return clock_us() + ms * 1000u;
}

void guest_client_init(struct guest_client *c, const char *path)
{
    memset(c, 0, sizeof *c);
    c->path = path;
    c->fd = c->slot_fd = -1;
    c->answer_ms = COMMIT_WAIT_MS;
    buf_init(&c->in, IN_BYTES_MAX);
    buf_init(&c->out, OUT_BYTES_MAX);
    guest_fork_watch(c);
}

void guest_client_drop(struct guest_client *c)
{
    int fd = c->fd;

    c->fd = -1;
    if (fd >= 0) {
        close(fd);
    }
    c->parked = false;
    c->granted = false;
    c->used = 0;
    buf_reset(&c->in);
    buf_reset(&c->out);
}

static void detach_slot(struct guest_client *c)
{
    slot_page_close(c->slot_fd, c->slot);
    c->slot = NULL;
    c->slot_fd = -1;
}

void guest_client_close(struct guest_client *c)
{
    guest_fork_forget(c);
    guest_client_drop(c);
    detach_slot(c);
    buf_close(&c->in);
    buf_close(&c->out);
}

static int say(struct guest_client *c, int err, const char *text)
{
    snprintf(c->text, sizeof c->text, "%s", text);
    return err;
}

static int send_message(struct guest_client *c, const struct session_message *m)
{
    struct iovec iov;
    size_t left;
    int rc;

    buf_reset(&c->out);
    rc = session_encode(m, &c->out);
    if (rc != 0) {
        return rc;
    }
    iov.iov_base = c->out.data;
    iov.iov_len = c->out.len;
    return guest_socket_send(c->fd, &iov, 1, in_ms(ANSWER_WAIT_MS), &left);
}

static int send_kind(struct guest_client *c, enum session_kind kind)
{
    struct session_message m = {.kind = (uint8_t)kind};

    return send_message(c, &m);
}

/* The next message but OFFER: an offer only wakes whoever polls the socket.
 * *m borrows from c->in until the next call. `deadline_us` 0: do not wait. */
static int receive(struct guest_client *c, uint64_t deadline_us,
                   struct session_message *m)
{
    int rc;

    for (;;) {
        if (c->used > 0) {
            buf_consume(&c->in, c->used);
            c->used = 0;
        }
        rc = c->in.len == 0
                 ? ERR_SHORT
                 : session_decode(c->in.data, c->in.len, m, &c->used);
        if (rc == ERR_SHORT) {
            rc = guest_socket_receive(c->fd, &c->in, deadline_us);
        } else if (rc == 0 && m->kind != SESSION_OFFER) {
            return 0;
        }
        if (rc != 0) {
            return rc;
        }
    }
}

static int error_of_reason(uint8_t reason)
{
    switch (reason) {
    case REASON_BUSY:
        return ERR_BUSY;
    case REASON_READONLY:
        return ERR_READONLY;
    case REASON_FULL:
        return ERR_FULL;
    case REASON_MOVED:
        return ERR_FOREIGN;
    case REASON_VERSION:
        return ERR_VERSION;
    default:
        return ERR_IO;
    }
}

static int refused(struct guest_client *c, const struct session_refused *r)
{
    size_t len = r->len < sizeof c->text ? r->len : sizeof c->text - 1;

    memcpy(c->text, r->text, len);
    c->text[len] = '\0';
    return error_of_reason(r->reason);
}

/* The conversation failed: end it. A version that we cannot read is told. */
static int broken(struct guest_client *c, int err)
{
    guest_client_drop(c);
    if (err == ERR_VERSION) {
        return say(c, ERR_VERSION,
                   "the node speaks another version of the session protocol");
    }
    return say(c, ERR_NOT_FOUND,
               err == -ETIMEDOUT ? "the node does not answer"
                                 : "the connection to the node broke");
}

/* Without the slot word everything is asked for, which is only slower. It stays
 * when the connection breaks: the lock may still have to be left. */
static void attach_slot(struct guest_client *c, uint32_t session)
{
    char path[PATH_MAX + 32];

    detach_slot(c);
    snprintf(path, sizeof path, "%s" SLOT_SUFFIX, c->path);
    c->slot_fd = slot_page_open(path, false, &c->slot);
    c->session = session;
    if (c->slot_fd >= 0 && slot_session_begin(c->slot_fd, session) != 0) {
        detach_slot(c);
    }
    c->slot_fd = c->slot == NULL ? -1 : c->slot_fd;
}

static int greet(struct guest_client *c, struct session_welcome *welcome)
{
    struct session_message m = {.kind = SESSION_HELLO, .hello = c->hello};
    int rc = send_message(c, &m);

    if (rc == 0) {
        rc = receive(c, in_ms(ANSWER_WAIT_MS), &m);
    }
    if (rc != 0) {
        return broken(c, rc);
    }
    if (m.kind == SESSION_REFUSED) {
        rc = refused(c, &m.refused);
        guest_client_drop(c);
        return rc;
    }
    if (m.kind != SESSION_WELCOME) {
        return broken(c, ERR_CORRUPT);
    }
    *welcome = m.welcome;
    return 0;
}

static int connect_to_node(struct guest_client *c,
                           struct session_welcome *welcome)
{
    int rc = guest_socket_connect(c->path, &c->fd);

    if (rc != 0) {
        snprintf(c->text, sizeof c->text,
                 "no node is running for %.*s (%s): start marmot with this "
                 "database as -db-path",
                 (int)(strlen(c->path) - strlen("-marmot")), c->path,
                 err_str(rc));
        return ERR_NOT_FOUND;
    }
    return greet(c, welcome);
}

static int establish(struct guest_client *c, const struct session_hello *hello)
{
    struct session_welcome welcome;
    int rc;

    c->hello = *hello;
    rc = connect_to_node(c, &welcome);
    if (rc == 0) {
        attach_slot(c, welcome.session);
        c->token = (struct token){.node = welcome.node,
                                  .start = welcome.start,
                                  .session = welcome.session};
    }
    return rc;
}

/* Read what came unasked, such as an offer that nobody waited for. */
static int drain(struct guest_client *c)
{
    struct session_message m;
    int rc;

    do {
        rc = receive(c, 0, &m);
    } while (rc == 0 && m.kind == SESSION_REFUSED && c->parked);
    if (rc == -ETIMEDOUT) {
        return 0;
    }
    return rc == 0 ? ERR_CORRUPT : rc;
}

/* Have a connection that is in step: one whose node has gone is replaced. */
static int ready(struct guest_client *c, const struct session_hello *hello)
{
    if (c->fd >= 0 && drain(c) != 0) {
        guest_client_drop(c);
    }
    return c->fd >= 0 ? 0 : establish(c, hello);
}

static int lock_answer(struct guest_client *c, const struct session_message *m,
                       struct position *position)
{
    switch (m->kind) {
    case SESSION_GRANT:
        c->granted = true;
        *position = c->base = m->position;
        return 0;
    case SESSION_PARKED:
        c->parked = true;
        return say(c, ERR_BUSY, "another writer has its turn");
    case SESSION_REFUSED:
        return refused(c, &m->refused);
    default:
        return broken(c, ERR_CORRUPT);
    }
}

int guest_client_lock(struct guest_client *c, const struct session_hello *hello,
                      struct position *position)
{
    struct session_message m;
    int rc = ready(c, hello);

    if (rc != 0) {
        return rc;
    }
    c->parked = false;
    c->granted = false;
    rc = send_kind(c, SESSION_LOCK);
    if (rc == 0) {
        rc = receive(c, in_ms(LOCK_WAIT_MS), &m);
    }
    if (rc == -ETIMEDOUT) {
        rc = send_kind(c, SESSION_PARK);
        if (rc == 0) {
            rc = receive(c, in_ms(ANSWER_WAIT_MS), &m);
        }
    }
    return rc == 0 ? lock_answer(c, &m, position) : broken(c, rc);
}

static bool connected(struct guest_client *c)
{
    uint8_t byte;
    ssize_t n;

    if (c->fd < 0) {
        return false;
    }
    n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
        return true;
    }
    broken(c, ERR_CLOSED);
    return false;
}

bool guest_client_alive(struct guest_client *c)
{
    return c->granted && connected(c);
}

bool guest_client_kept(const struct guest_client *c)
{
    return c->fd >= 0 && c->slot != NULL && slot_is_kept(c->slot, c->session);
}

bool guest_client_retake(struct guest_client *c)
{
    if (!connected(c) || !slot_retake(c->slot, c->session)) {
        return false;
    }
    c->parked = false;
    c->granted = true;
    return true;
}

static int unknown(struct guest_client *c, const char *why)
{
    guest_client_drop(c);
    return say(c, ERR_UNKNOWN_OUTCOME, why);
}

/* Ask a node that has (re)started; 0 with its answer in *m. */
static int ask_again(struct guest_client *c, uint64_t deadline_us,
                     struct session_message *m)
{
    struct session_welcome welcome;
    int rc = connect_to_node(c, &welcome);

    if (rc == 0) {
        m->kind = SESSION_RESUME;
        m->resume.token = c->token;
        m->resume.base = c->base;
        rc = send_message(c, m);
    }
    if (rc == 0) {
        rc = receive(c, deadline_us, m);
    }
    if (rc != 0) {
        guest_client_drop(c);
    }
    return rc;
}

/* The node went away with our proposal. The lock stays ours meanwhile: the
 * WRITE slot of the -shm keeps a new node from the file. */
static int resume(struct guest_client *c, uint64_t deadline_us,
                  struct session_message *m)
{
    const struct timespec pause = {.tv_nsec = RESUME_PAUSE_NS};
    int rc;

    c->resumed = true;
    guest_client_drop(c);
    do {
        rc = ask_again(c, deadline_us, m);
        if (rc != 0) {
            nanosleep(&pause, NULL);
        }
    } while (rc != 0 && clock_us() < deadline_us);
    return rc;
}

static int commit_answer(struct guest_client *c, const struct proposal *p)
{
    struct session_message m;
    uint64_t bytes = (uint64_t)p->count * p->page_size;
    uint64_t deadline_us = in_ms(c->answer_ms + bytes / COMMIT_BYTES_PER_MS);
    int rc = receive(c, deadline_us, &m);

    if (rc != 0 && rc != -ETIMEDOUT) {
        rc = resume(c, deadline_us, &m);
    }
    if (rc != 0) {
        return unknown(c, rc == -ETIMEDOUT
                              ? "no answer to a commit in time"
                              : "the node went away during a commit");
    }
    switch (m.kind) {
    case SESSION_COMMITTED:
        c->base = m.position;
        return 0;
    case SESSION_CONFLICT:
        return say(c, ERR_CONFLICT, "another transaction came first");
    case SESSION_FAILED:
        return refused(c, &m.refused);
    case SESSION_UNKNOWN:
        return unknown(c, "the node does not know what became of a commit");
    default:
        return unknown(c, "the node gave no sensible answer to a commit");
    }
}

int guest_client_propose(struct guest_client *c, const struct proposal *p)
{
    bool sent = false;
    int rc;

    if (!guest_client_alive(c)) {
        return ERR_CLOSED;
    }
    c->token.sequence++;
    rc = guest_propose_send(c->fd, p, c->token.sequence, c->answer_ms, &sent);
    if (rc == 0) {
        return commit_answer(c, p);
    }
    /* The node acts on whole messages only: without the end of the last one
     * nothing was proposed. */
    if (sent) {
        return commit_answer(c, p);
    }
    if (rc == ERR_FULL) {
        return say(c, rc, "the transaction is too large to be replicated");
    }
    broken(c, rc);
    return rc == ERR_IO || rc == -ENOMEM ? rc : ERR_CLOSED;
}

void guest_client_unlock(struct guest_client *c, enum unlock_kind kind,
                         const struct wal_state *state, bool keep)
{
    struct session_message m = {.kind = SESSION_UNLOCK};
    bool granted = c->fd >= 0 && c->granted && !c->resumed;
    bool tell = c->slot == NULL;

    m.unlock.kind = (uint8_t)kind;
    if (state != NULL) {
        m.unlock.state = *state;
    }
    if (c->slot != NULL) {
        if (state != NULL) {
            slot_record(c->slot, c->base.txid, state);
        }
        tell = slot_leave(c->slot, c->session, keep && granted);
    }
    if (tell && granted && send_message(c, &m) != 0) {
        guest_client_drop(c);
    }
    if (c->resumed) {
        guest_client_drop(c); /* the next transaction begins a new session */
        c->resumed = false;
    }
    c->granted = false;
}

int guest_client_ask(struct guest_client *c, const struct session_hello *hello,
                     enum session_kind kind, const struct session_wait *wait,
                     char *text, bool *ok)
{
    struct session_message m = {.kind = (uint8_t)kind};
    uint64_t limit_ms = ANSWER_WAIT_MS;
    int rc = ready(c, hello);

    if (rc != 0) {
        return rc;
    }
    if (wait != NULL) {
        m.wait = *wait;
        limit_ms = (uint64_t)wait->timeout_ms + WAIT_SLACK_MS;
    }
    rc = send_message(c, &m);
    if (rc == 0) {
        rc = receive(c, in_ms(limit_ms), &m);
    }
    if (rc != 0) {
        return broken(c, rc);
    }
    if (m.kind == SESSION_REFUSED) {
        return refused(c, &m.refused);
    }
    if (m.kind != SESSION_TEXT) {
        return broken(c, ERR_CORRUPT);
    }
    memcpy(text, m.text.text, m.text.len);
    text[m.text.len] = '\0';
    *ok = m.text.ok;
    return 0;
}
