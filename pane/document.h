/* The JSON documents of the pane (docs/PANE.md has their schema). Each is a new
 * value, or NULL when out of memory. */
#ifndef PANE_DOCUMENT_H
#define PANE_DOCUMENT_H

#include <jansson.h>

#include "pane/pane.h"

json_t *document_status(const struct pane_source *s);
json_t *document_info(const struct pane_source *s);

/* *status: 200, or 503 when the node should not be used now. */
json_t *document_health(const struct pane_source *s, unsigned *status);

/* "leader", "lagging", ... */
const char *document_health_word(enum pane_health health);

#endif
