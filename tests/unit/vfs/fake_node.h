/* A node for tests of the guest part: one thread, one database, a script.
 *
 * It grants the lock to one session at a time in the order of asking, collects
 * proposals, answers them as told and applies the accepted ones to a follower's
 * copy of the database, an array of bytes. */
#ifndef TESTS_UNIT_VFS_FAKE_NODE_H
#define TESTS_UNIT_VFS_FAKE_NODE_H

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/session.h"

#define FAKE_SESSIONS 16
#define FAKE_START 77u

enum fake_answer {
    FAKE_COMMIT,
    FAKE_CONFLICT,
    FAKE_FAIL,           /* FAILED with `reason` */
    FAKE_UNKNOWN,        /* UNKNOWN */
    FAKE_HANG_UP,        /* close the connection, not committed */
    FAKE_COMMIT_HANG_UP, /* committed, but nobody is told */
    FAKE_SILENCE,        /* no answer */
    FAKE_COMMIT_SILENCE  /* committed, no answer either */
};

struct fake_session {
    int fd;
    struct buf in;
    bool waiting, parked, offered;
};

struct fake_node {
    char path[4096]; /* of the socket */
    int listener;
    int stop[2]; /* a pipe that wakes the thread */
    pthread_t thread;
    pthread_mutex_t mutex; /* for everything below */
    struct fake_session sessions[FAKE_SESSIONS];
    int owner; /* index, -1: nobody */

    /* the script */
    enum fake_answer answer;
    uint8_t lock_reason; /* LOCK is refused with it; 0: granted */
    uint8_t reason;      /* for FAKE_FAIL */
    bool silent;         /* questions are not answered at all */
    bool grant_on_park;  /* LOCK is answered when PARK comes */
    bool stray;          /* REFUSED for LOCK, then PARKED, unasked */
    unsigned hang_up_at; /* this part of a proposal; 0: no */
    const char *raw;     /* LOCK is answered with these bytes */
    size_t raw_len;
    bool never_connect;     /* connections are closed at once */
    uint8_t resume;         /* the answer to RESUME; 0: UNKNOWN */
    bool resume_silent;     /* it gets no answer */
    unsigned resume_breaks; /* first, so many RESUMEs break the connection */

    /* what came */
    unsigned hellos, locks, grants, parks, offers, proposals, parts, resumes;
    uint64_t sequence;             /* of the last proposal */
    struct session_resume resumed; /* the last RESUME */
    unsigned unlocks[UNLOCK_PUBLISHED + 1];
    struct session_hello hello;
    struct wal_state state; /* of the last UNLOCK_PUBLISHED */
    uint64_t txid;

    /* the follower */
    uint32_t page_size, pages;
    uint8_t *bytes;
    size_t capacity;
    struct buf part_numbers, part_images; /* of the running proposal */
};

static inline void fake_send(struct fake_node *f, int i,
                             const struct session_message *m)
{
    struct buf out;
    ssize_t n;

    (void)f;
    buf_init(&out, SESSION_BYTES_MAX);
    session_encode(m, &out);
    n = send(f->sessions[i].fd, out.data, out.len, MSG_NOSIGNAL);
    (void)n;
    buf_close(&out);
}

static inline struct position fake_position(const struct fake_node *f)
{
    return (struct position){.txid = f->txid, .hash = ~f->txid};
}

static inline void fake_say(struct fake_node *f, int i, uint8_t kind)
{
    struct session_message m = {.kind = kind};

    m.position = fake_position(f);
    if (kind == SESSION_WELCOME) {
        m.welcome.node = 1;
        m.welcome.page_size = f->page_size;
        m.welcome.offer_ms = 1000;
        m.welcome.session = (uint32_t)f->hellos; /* there is no slot word */
        m.welcome.start = FAKE_START;
        m.welcome.replica = false;
    }
    fake_send(f, i, &m);
}

static inline void fake_refuse(struct fake_node *f, int i, uint8_t kind,
                               uint8_t reason)
{
    struct session_message m = {.kind = kind};

    m.refused.reason = reason;
    m.refused.text = "the fake node says no";
    m.refused.len = strlen(m.refused.text);
    fake_send(f, i, &m);
}

static inline void fake_text(struct fake_node *f, int i, bool ok,
                             const char *text)
{
    struct session_message m = {.kind = SESSION_TEXT};

    m.text.ok = ok;
    m.text.text = text;
    m.text.len = strlen(text);
    fake_send(f, i, &m);
}

static inline void fake_forget(struct fake_node *f, int i)
{
    close(f->sessions[i].fd);
    buf_close(&f->sessions[i].in);
    memset(&f->sessions[i], 0, sizeof f->sessions[i]);
    f->sessions[i].fd = -1;
    if (f->owner == i) {
        f->owner = -1;
    }
}

static inline void fake_grant(struct fake_node *f, int i)
{
    f->owner = i;
    f->grants++;
    f->sessions[i].waiting = false;
    f->sessions[i].parked = false;
    f->sessions[i].offered = false;
    fake_say(f, i, SESSION_GRANT);
}

/* The slot may have become free: whose turn is it? */
static inline void fake_step(struct fake_node *f)
{
    for (int i = 0; i < FAKE_SESSIONS && f->owner < 0 && !f->grant_on_park;
         i++) {
        struct fake_session *s = &f->sessions[i];
        if (s->fd < 0 || s->offered) {
            continue;
        }
        if (s->parked) {
            s->offered = true;
            s->parked = false;
            f->offers++;
            fake_say(f, i, SESSION_OFFER);
        } else if (s->waiting) {
            fake_grant(f, i);
        }
    }
}

/* Make the follower `pages` pages long; new ones are zeros. */
static inline void fake_resize(struct fake_node *f, uint32_t pages)
{
    size_t old = (size_t)f->pages * f->page_size;
    size_t len = (size_t)pages * f->page_size;

    if (len > f->capacity) {
        f->capacity = 2 * len;
        f->bytes = realloc(f->bytes, f->capacity);
        assert(f->bytes != NULL);
    }
    if (len > old) {
        memset(f->bytes + old, 0, len - old);
    }
    f->pages = pages;
}

static inline void fake_apply_page(struct fake_node *f, uint32_t number,
                                   const uint8_t *image)
{
    if (number > f->pages) {
        fake_resize(f, number);
    }
    memcpy(f->bytes + (size_t)(number - 1) * f->page_size, image, f->page_size);
}

static inline void fake_apply(struct fake_node *f, uint32_t page_size,
                              uint32_t db_pages)
{
    size_t count = f->part_numbers.len / 4;

    f->page_size = page_size;
    for (size_t i = 0; i < count; i++) {
        fake_apply_page(f, get_le32(f->part_numbers.data + 4 * i),
                        f->part_images.data + i * page_size);
    }
    fake_resize(f, db_pages);
    f->txid++;
}

static inline void fake_propose(struct fake_node *f, int i,
                                const struct session_propose *p)
{
    assert(f->owner == i);
    if (p->number == 0) {
        buf_reset(&f->part_numbers);
        buf_reset(&f->part_images);
    }
    f->parts++;
    if (f->parts == f->hang_up_at) {
        fake_forget(f, i);
        return;
    }
    buf_append(&f->part_numbers, p->numbers, 4u * (size_t)p->count);
    buf_append(&f->part_images, p->images, (size_t)p->count * p->page_size);
    if (!p->last) {
        return;
    }
    f->proposals++;
    f->sequence = p->sequence;
    if (f->answer == FAKE_COMMIT || f->answer == FAKE_COMMIT_HANG_UP ||
        f->answer == FAKE_COMMIT_SILENCE) {
        fake_apply(f, p->page_size, p->db_pages);
    }
    switch (f->answer) {
    case FAKE_COMMIT:
        fake_say(f, i, SESSION_COMMITTED);
        break;
    case FAKE_CONFLICT:
        fake_say(f, i, SESSION_CONFLICT);
        break;
    case FAKE_FAIL:
        fake_refuse(f, i, SESSION_FAILED, f->reason);
        break;
    case FAKE_UNKNOWN:
        fake_say(f, i, SESSION_UNKNOWN);
        break;
    case FAKE_SILENCE:
    case FAKE_COMMIT_SILENCE:
        break;
    default:
        fake_forget(f, i);
        break;
    }
}

static inline void fake_lock(struct fake_node *f, int i)
{
    f->locks++;
    f->sessions[i].parked = false;
    f->sessions[i].offered = false;
    if (f->raw != NULL) {
        ssize_t n = send(f->sessions[i].fd, f->raw, f->raw_len, MSG_NOSIGNAL);
        (void)n;
    } else if (f->stray) {
        fake_refuse(f, i, SESSION_REFUSED, REASON_BUSY);
        fake_say(f, i, SESSION_PARKED);
    } else if (f->grant_on_park) {
        f->sessions[i].waiting = true;
    } else if (f->lock_reason != 0) {
        fake_refuse(f, i, SESSION_REFUSED, f->lock_reason);
    } else {
        f->sessions[i].waiting = true;
        fake_step(f);
    }
}

static inline void fake_unlock(struct fake_node *f, int i,
                               const struct session_unlock *u)
{
    f->unlocks[u->kind]++;
    if (u->kind == UNLOCK_PUBLISHED) {
        f->state = u->state;
    }
    if (f->owner == i) {
        f->owner = -1;
    }
    fake_step(f);
}

static inline void fake_wait(struct fake_node *f, int i,
                             const struct session_wait *w)
{
    fake_text(f, i, w->txid <= f->txid, w->txid <= f->txid ? "ok" : "timeout");
}

static inline void fake_resume(struct fake_node *f, int i,
                               const struct session_resume *r)
{
    f->resumes++;
    f->resumed = *r;
    if (f->resume_breaks > 0) {
        f->resume_breaks--;
        fake_forget(f, i);
    } else if (!f->resume_silent) {
        fake_say(f, i, f->resume != 0 ? f->resume : SESSION_UNKNOWN);
    }
}

static inline void fake_message(struct fake_node *f, int i,
                                const struct session_message *m)
{
    char text[64];

    switch (m->kind) {
    case SESSION_HELLO:
        f->hellos++;
        f->hello = m->hello;
        fake_say(f, i, SESSION_WELCOME);
        break;
    case SESSION_LOCK:
        fake_lock(f, i);
        break;
    case SESSION_PARK:
        if (f->grant_on_park) {
            fake_grant(f, i);
        } else if (f->sessions[i].waiting) {
            f->parks++;
            f->sessions[i].waiting = false;
            f->sessions[i].parked = true;
            fake_say(f, i, SESSION_PARKED);
        }
        break;
    case SESSION_PROPOSE:
        fake_propose(f, i, &m->propose);
        break;
    case SESSION_UNLOCK:
        fake_unlock(f, i, &m->unlock);
        break;
    case SESSION_RESUME:
        fake_resume(f, i, &m->resume);
        break;
    case SESSION_STATUS:
        fake_text(f, i, true, "role=fake");
        break;
    case SESSION_POSITION:
        snprintf(text, sizeof text, "%llu:abc", (unsigned long long)f->txid);
        fake_text(f, i, true, text);
        break;
    case SESSION_WAIT:
        fake_wait(f, i, &m->wait);
        break;
    default:
        assert(!"a message that no session sends");
    }
}

static inline void fake_input(struct fake_node *f, int i)
{
    struct fake_session *s = &f->sessions[i];
    struct session_message m;
    uint8_t bytes[65536];
    ssize_t n;
    size_t used;

    if (f->silent) {
        usleep(1000); /* it is read when there is an answer */
        return;
    }
    n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0) {
        fake_forget(f, i);
        fake_step(f);
        return;
    }
    buf_append(&s->in, bytes, (size_t)n);
    while (s->fd >= 0 && s->in.len > 0 &&
           session_decode(s->in.data, s->in.len, &m, &used) == 0) {
        fake_message(f, i, &m);
        if (s->fd >= 0) {
            buf_consume(&s->in, used);
        }
    }
}

static inline void fake_accept(struct fake_node *f)
{
    int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 && f->never_connect) {
        close(fd);
        return;
    }
    for (int i = 0; i < FAKE_SESSIONS; i++) {
        if (f->sessions[i].fd < 0) {
            f->sessions[i].fd = fd;
            buf_init(&f->sessions[i].in, 4u * SESSION_BYTES_MAX);
            return;
        }
    }
    assert(!"too many sessions for a fake node");
}

static inline void *fake_run(void *arg)
{
    struct fake_node *f = arg;
    struct pollfd p[FAKE_SESSIONS + 2];

    for (;;) {
        p[0] = (struct pollfd){.fd = f->stop[0], .events = POLLIN};
        p[1] = (struct pollfd){.fd = f->listener, .events = POLLIN};
        pthread_mutex_lock(&f->mutex);
        for (int i = 0; i < FAKE_SESSIONS; i++) {
            p[2 + i] =
                (struct pollfd){.fd = f->sessions[i].fd, .events = POLLIN};
        }
        pthread_mutex_unlock(&f->mutex);
        poll(p, FAKE_SESSIONS + 2, -1);
        if (p[0].revents != 0) {
            return NULL;
        }
        pthread_mutex_lock(&f->mutex);
        for (int i = 0; i < FAKE_SESSIONS; i++) {
            if (p[2 + i].revents != 0) {
                fake_input(f, i);
            }
        }
        if (p[1].revents != 0) {
            fake_accept(f);
        }
        fake_step(f);
        pthread_mutex_unlock(&f->mutex);
    }
}

/* Only the marker: a node that is not running. */
static inline void fake_node_bind(struct fake_node *f, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int rc;

    snprintf(f->path, sizeof f->path, "%s-marmot", path);
    unlink(f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(strlen(f->path) < sizeof a.sun_path);
    memcpy(a.sun_path, f->path, strlen(f->path));
    rc = bind(f->listener, (const struct sockaddr *)&a, sizeof a);
    assert(rc == 0);
    (void)rc;
}

/* Serve the database at `path`. */
static inline void fake_node_start(struct fake_node *f, const char *path)
{
    int rc;

    fake_node_bind(f, path);
    rc = listen(f->listener, 16) | pipe(f->stop);
    assert(rc == 0);
    for (int i = 0; i < FAKE_SESSIONS; i++) {
        f->sessions[i].fd = -1;
    }
    f->owner = -1;
    buf_init(&f->part_numbers, 1u << 28);
    buf_init(&f->part_images, 1u << 30);
    pthread_mutex_init(&f->mutex, NULL);
    rc = pthread_create(&f->thread, NULL, fake_run, f);
    assert(rc == 0);
}

/* Stop serving; the socket file and the follower stay. */
static inline void fake_node_stop(struct fake_node *f)
{
    ssize_t n = write(f->stop[1], "x", 1);

    (void)n;
    pthread_join(f->thread, NULL);
    close(f->stop[0]);
    close(f->stop[1]);
    close(f->listener);
    for (int i = 0; i < FAKE_SESSIONS; i++) {
        if (f->sessions[i].fd >= 0) {
            fake_forget(f, i);
        }
    }
    buf_close(&f->part_numbers);
    buf_close(&f->part_images);
    pthread_mutex_destroy(&f->mutex);
}

/* Change the script while the thread may be looking at it. */
#define FAKE(f, statement)                 \
    do {                                   \
        pthread_mutex_lock(&(f)->mutex);   \
        statement;                         \
        pthread_mutex_unlock(&(f)->mutex); \
    } while (0)

#endif
