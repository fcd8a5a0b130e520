/* A backup on its way out: GET /backup/NAME.
 *
 * The answer begins when the node has a consistent view; until then, and
 * whenever the next pages are still being read, the connection is suspended. */
#ifndef PANE_DOWNLOAD_H
#define PANE_DOWNLOAD_H

#include <microhttpd.h>

struct pane;
struct download;

/* Called for the request, and again when it is resumed; *d is NULL at first,
 * and kept by the request. */
enum MHD_Result download_serve(struct pane *p, struct MHD_Connection *c,
                               const char *name, struct download **d);

/* The request is over. */
void download_free(struct download *d);

#endif
