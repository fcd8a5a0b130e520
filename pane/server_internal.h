/* The parts of the pane, for its own files.
 *
 *   server.c     start and stop, the HTTP library on the loop, requests
 *   listen.c     sockets
 *   route.c      paths (pure)
 *   access.c     who is served (pure)
 *   document.c   JSON documents
 *   metrics.c    the text for Prometheus
 *   stream.c     server-sent events
 *   download.c   backups
 *   verify.c     verifications
 *   answer.c     responses */
#ifndef PANE_SERVER_INTERNAL_H
#define PANE_SERVER_INTERNAL_H

#include <microhttpd.h>

#include "base/list.h"
#include "pane/access.h"
#include "pane/listen.h"
#include "pane/pane.h"
#include "pane/route.h"

/* A request that is suspended until the node has more to say. */
struct waiter {
    struct list link; /* in pane->waiters */
    struct pane *pane;
    struct MHD_Connection *connection;
    bool suspended;
};

struct pane {
    struct pane_options options;
    struct access access;
    char bind_host[ADDRESS_MAX];
    struct MHD_Daemon *daemon;
    uv_poll_t poll;   /* the daemon's epoll descriptor */
    uv_timer_t timer; /* its time-outs */
    struct {
        uv_poll_t poll;
        int fd;
    } listeners[LISTEN_MAX];
    unsigned n_listeners;
    unsigned handles; /* open ones of libuv */
    bool stopping;
    struct list waiters;
    /* stream.c */
    struct list streams;
    unsigned n_streams;
    uv_timer_t tick;   /* runs while there are streams */
    struct news *news; /* as last looked at */
    unsigned quiet_ticks;
};

/* Let the daemon do what is due, now or on the next turn of the loop. */
void server_run(struct pane *p);
void server_run_soon(struct pane *p);

void waiter_init(struct waiter *w, struct pane *p, struct MHD_Connection *c);
void waiter_sleep(struct waiter *w);
/* From the loop; takes a struct waiter. */
void waiter_wake(void *arg);

/* ---- stream.c ---- */

void stream_init(struct pane *p);
/* A stream of the status document, again whenever it changes. */
enum MHD_Result stream_open(struct pane *p, struct MHD_Connection *c);
/* Ends all streams; their connections may then be closed. */
void stream_stop(struct pane *p);

/* ---- changes.c ---- */

/* The status of what a pane_source says. */
unsigned changes_status(int rv);
/* Attach, detach, drop, rename. */
enum MHD_Result changes_database(struct pane *p, struct MHD_Connection *c,
                                 const struct route *r);
enum MHD_Result changes_shards(struct pane *p, struct MHD_Connection *c);

#endif
