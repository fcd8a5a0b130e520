/* Prometheus' text format (docs/PANE.md lists the metrics). */
#ifndef PANE_METRICS_H
#define PANE_METRICS_H

#include <microhttpd.h>

#include "base/buf.h"
#include "pane/pane.h"

enum MHD_Result metrics_answer(const struct pane_source *s,
                               struct MHD_Connection *c);

/* The text alone; an error stays in `out`. */
void metrics_write(const struct pane_source *s, struct buf *out);

#endif
