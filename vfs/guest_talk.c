#include "vfs/guest_talk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "vfs/guest_socket.h"

uint64_t guest_talk_in_ms(uint64_t ms)
{
    return clock_us() + ms * 1000u;
}

int guest_talk_fail(struct guest_client *c, int err, const char *text)
{
    snprintf(c->text, sizeof c->text, "%s", text);
    return err;
}

int guest_talk_send(struct guest_client *c, const struct session_message *m)
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
    return guest_socket_send(c->fd, &iov, 1, guest_talk_in_ms(ANSWER_WAIT_MS),
                             &left);
}

/* The next message but OFFER: an offer only wakes whoever polls the socket.
 * *m borrows from c->in until the next call. `deadline_us` 0: do not wait. */
int guest_talk_receive(struct guest_client *c, uint64_t deadline_us,
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

int guest_talk_refused(struct guest_client *c, const struct session_refused *r)
{
    size_t len = r->len < sizeof c->text ? r->len : sizeof c->text - 1;

    memcpy(c->text, r->text, len);
    c->text[len] = '\0';
    return error_of_reason(r->reason);
}

/* The conversation failed: end it. A version that we cannot read is told. */
int guest_talk_broken(struct guest_client *c, int err)
{
    guest_client_drop(c);
    if (err == ERR_VERSION) {
        return guest_talk_fail(
            c, ERR_VERSION,
            "the node speaks another version of the session protocol");
    }
    return guest_talk_fail(c, ERR_NOT_FOUND,
                           err == -ETIMEDOUT
                               ? "the node does not answer"
                               : "the connection to the node broke");
}

/* Also of a greeting that was sent earlier. */
static int hear_welcome(struct guest_client *c, uint64_t wait_ms,
                        struct session_welcome *welcome)
{
    struct session_message m;
    int rc = guest_talk_receive(c, guest_talk_in_ms(wait_ms), &m);

    if (rc == -ETIMEDOUT) {
        c->greeting = true;
        return guest_talk_fail(c, ERR_NOT_FOUND, "the node does not answer");
    }
    c->greeting = false;
    if (rc != 0) {
        return guest_talk_broken(c, rc);
    }
    if (m.kind == SESSION_REFUSED) {
        rc = guest_talk_refused(c, &m.refused);
        guest_client_drop(c);
        return rc;
    }
    if (m.kind != SESSION_WELCOME) {
        return guest_talk_broken(c, ERR_CORRUPT);
    }
    *welcome = m.welcome;
    return 0;
}

static int greet(struct guest_client *c)
{
    struct session_message m = {.kind = SESSION_HELLO, .hello = c->hello};
    int rc = guest_talk_send(c, &m);

    return rc == 0 ? 0 : guest_talk_broken(c, rc);
}

int guest_talk_connect(struct guest_client *c, uint64_t wait_ms,
                       struct session_welcome *welcome)
{
    int rc = c->greeting ? 0 : guest_socket_connect(c->path, &c->fd);

    if (rc != 0) {
        snprintf(c->text, sizeof c->text,
                 "no node is running for %.*s (%s): start marmot with this "
                 "database as -db-path",
                 (int)(strlen(c->path) - strlen("-marmot")), c->path,
                 err_str(rc));
        return ERR_NOT_FOUND;
    }
    rc = c->greeting ? 0 : greet(c);
    return rc == 0 ? hear_welcome(c, wait_ms, welcome) : rc;
}
