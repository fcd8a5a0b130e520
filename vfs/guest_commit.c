/* A proposal and its fate.
 *
 * When the node goes away with it, the next one that starts is asked what
 * became of its token. The write lock stays ours meanwhile: the WRITE slot of
 * the -shm, which we hold, keeps a new node from the file. */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/limits.h"
#include "vfs/guest_propose.h"
#include "vfs/guest_talk.h"

/* Between two attempts to find a node that has gone. */
#define RESUME_PAUSE_NS 20000000

static int unknown(struct guest_client *c, const char *why)
{
    guest_client_drop(c);
    return guest_talk_fail(c, ERR_UNKNOWN_OUTCOME, why);
}

/* Ask a node that has (re)started; 0 with its answer in *m. */
static int ask_again(struct guest_client *c, uint64_t deadline_us,
                     struct session_message *m)
{
    struct session_welcome welcome;
    int rc = guest_talk_connect(c, ANSWER_WAIT_MS, &welcome);

    if (rc == 0) {
        m->kind = SESSION_RESUME;
        m->resume.token = c->token;
        m->resume.base = c->base;
        rc = guest_talk_send(c, m);
    }
    if (rc == 0) {
        rc = guest_talk_receive(c, deadline_us, m);
    }
    if (rc != 0) {
        guest_client_drop(c);
    }
    return rc;
}

static int resume(struct guest_client *c, uint64_t deadline_us,
                  struct session_message *m)
{
    const struct timespec pause = {.tv_nsec = RESUME_PAUSE_NS};
    int rc;

    c->resumed = true;
    guest_client_drop(c);
    FAILPOINT("guest.resume");
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
    uint64_t deadline_us =
        guest_talk_in_ms(c->answer_ms + bytes / COMMIT_BYTES_PER_MS);
    int rc;

    FAILPOINT("guest.wait");
    rc = guest_talk_receive(c, deadline_us, &m);
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
        FAILPOINT("guest.committed");
        return 0;
    case SESSION_CONFLICT:
        return guest_talk_fail(c, ERR_CONFLICT,
                               "another transaction came first");
    case SESSION_FAILED:
        return guest_talk_refused(c, &m.refused);
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
    FAILPOINT("guest.propose");
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
        return guest_talk_fail(c, rc,
                               "the transaction is too large to be replicated");
    }
    guest_talk_broken(c, rc);
    return rc == ERR_IO || rc == -ENOMEM ? rc : ERR_CLOSED;
}
