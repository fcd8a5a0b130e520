/* POST /verify/NAME: answered when every node has read its copy, or is silent.
 */
#ifndef PANE_VERIFY_H
#define PANE_VERIFY_H

#include <microhttpd.h>

struct pane;
struct verifying;

/* Called for the request, and again when it is resumed; *v is NULL at first,
 * and kept by the request. */
enum MHD_Result verify_serve(struct pane *p, struct MHD_Connection *c,
                             const char *name, struct verifying **v);

/* The request is over. */
void verify_free(struct verifying *v);

#endif
