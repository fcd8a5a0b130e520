/* Contract with the node, beyond wire/session.h: when LOCK has been answered
 * before PARK arrives, the node does not answer PARK. So a session that has
 * sent both takes the first answer that is no OFFER. */
#include "vfs/guest_client.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/limits.h"
#include "vfs/guest_fork.h"
#include "vfs/guest_talk.h"

/* In xShmLock SQLite still holds its read mark: the long wait is elsewhere. */
#define LOCK_WAIT_MS 10
/* The node answers PARK and HELLO at once, unless it stands still. Then a busy
 * timeout must not be spent here, as SQLite counts only what it sleeps: the
 * attempts that follow go on waiting for the same answer. */
#define NODE_WAIT_MS 500
#define STILL_WAIT_MS 10
/* A proposal: the node gives up itself, and says so, some seconds before. */
#define COMMIT_WAIT_MS 13000
#define WAIT_SLACK_MS 2000
#define IN_BYTES_MAX (64u << 10)
#define OUT_BYTES_MAX 1024u

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
    c->greeting = false;
    if (fd >= 0) {
        close(fd);
    }
    c->parked = false;
    c->granted = false;
    c->used = 0;
    buf_reset(&c->in);
    buf_reset(&c->out);
}

static int send_kind(struct guest_client *c, enum session_kind kind)
{
    struct session_message m = {.kind = (uint8_t)kind};

    return guest_talk_send(c, &m);
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

static int establish(struct guest_client *c, const struct session_hello *hello)
{
    struct session_welcome welcome;
    int rc;

    if (!c->greeting) {
        c->hello = *hello;
    }
    rc = guest_talk_connect(c, c->greeting ? STILL_WAIT_MS : NODE_WAIT_MS,
                            &welcome);
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
        rc = guest_talk_receive(c, 0, &m);
    } while (rc == 0 && m.kind == SESSION_REFUSED && c->parked);
    if (rc == -ETIMEDOUT) {
        return 0;
    }
    return rc == 0 ? ERR_CORRUPT : rc;
}

/* Have a connection that is in step: one whose node has gone is replaced. */
static int ready(struct guest_client *c, const struct session_hello *hello)
{
    if (c->fd >= 0 && !c->greeting && drain(c) != 0) {
        guest_client_drop(c);
    }
    return c->fd >= 0 && !c->greeting ? 0 : establish(c, hello);
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
        return guest_talk_fail(c, ERR_BUSY, "another writer has its turn");
    case SESSION_REFUSED:
        return guest_talk_refused(c, &m->refused);
    default:
        return guest_talk_broken(c, ERR_CORRUPT);
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
        rc = guest_talk_receive(c, guest_talk_in_ms(LOCK_WAIT_MS), &m);
    }
    if (rc == -ETIMEDOUT) {
        rc = send_kind(c, SESSION_PARK);
        if (rc == 0) {
            rc = guest_talk_receive(c, guest_talk_in_ms(NODE_WAIT_MS), &m);
        }
    }
    return rc == 0 ? lock_answer(c, &m, position) : guest_talk_broken(c, rc);
}

enum line { LINE_BROKEN, LINE_QUIET, LINE_SAYS };

/* Is the node still there, and has it said something unasked? */
static enum line look_at_line(struct guest_client *c)
{
    uint8_t byte;
    ssize_t n;

    if (c->fd < 0 || c->greeting) {
        return LINE_BROKEN;
    }
    n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) {
        return LINE_SAYS;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return LINE_QUIET;
    }
    guest_talk_broken(c, ERR_CLOSED);
    return LINE_BROKEN;
}

bool guest_client_alive(struct guest_client *c)
{
    return c->granted && look_at_line(c) != LINE_BROKEN;
}

bool guest_client_kept(const struct guest_client *c)
{
    return c->fd >= 0 && !c->greeting && c->slot != NULL &&
           slot_is_kept(c->slot, c->session);
}

bool guest_client_retake(struct guest_client *c)
{
    /* What came unasked is read by the way of asking. */
    if (look_at_line(c) != LINE_QUIET || c->in.len > c->used ||
        !slot_retake(c->slot, c->session, clock_us())) {
        return false;
    }
    c->parked = false;
    c->granted = true;
    return true;
}

bool guest_client_owns(struct guest_client *c)
{
    return c->slot == NULL ? guest_client_alive(c)
                           : slot_state_of(c->slot, c->session) == SLOT_OWNED;
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
        FAILPOINT_IF(state != NULL, "guest.recorded");
        tell = slot_leave(c->slot, c->session, keep && granted);
    }
    FAILPOINT_IF(state != NULL, "guest.left");
    if (tell && granted && guest_talk_send(c, &m) != 0) {
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
    rc = guest_talk_send(c, &m);
    if (rc == 0) {
        rc = guest_talk_receive(c, guest_talk_in_ms(limit_ms), &m);
    }
    if (rc != 0) {
        return guest_talk_broken(c, rc);
    }
    if (m.kind == SESSION_REFUSED) {
        return guest_talk_refused(c, &m.refused);
    }
    if (m.kind != SESSION_TEXT) {
        return guest_talk_broken(c, ERR_CORRUPT);
    }
    memcpy(text, m.text.text, m.text.len);
    text[m.text.len] = '\0';
    *ok = m.text.ok;
    return 0;
}
