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
 *   answer.c     responses */
#ifndef PANE_SERVER_INTERNAL_H
#define PANE_SERVER_INTERNAL_H

#include <microhttpd.h>

#include "base/list.h"
#include "pane/access.h"
#include "pane/listen.h"
#include "pane/pane.h"

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
    struct list downloads; /* download.c */
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

/* ---- stream.c ---- */

void stream_init(struct pane *p);
/* A stream of the status document, again whenever it changes. */
enum MHD_Result stream_open(struct pane *p, struct MHD_Connection *c);
/* Ends all streams; their connections may then be closed. */
void stream_stop(struct pane *p);

#endif
