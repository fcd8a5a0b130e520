/* What goes back to a client: JSON, text, errors. */
#ifndef PANE_ANSWER_H
#define PANE_ANSWER_H

#include <jansson.h>
#include <microhttpd.h>

#include "base/buf.h"

/* `json` is taken; NULL (out of memory) becomes a 500. */
enum MHD_Result answer_json(struct MHD_Connection *c, unsigned status,
                            json_t *json);

/* What `text` holds is taken; an error in it becomes a 500. */
enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status,
                            const char *type, struct buf *text);

/* {"status": 404, "error": "..."}. */
enum MHD_Result answer_error(struct MHD_Connection *c, unsigned status,
                             const char *why);

/* 405, with what is allowed. */
enum MHD_Result answer_not_allowed(struct MHD_Connection *c,
                                   const char *allowed);

/* 401, with what a browser needs to ask its user. */
enum MHD_Result answer_no_key(struct MHD_Connection *c, const char *why);

/* Queue `r` and let it go; NULL becomes a dropped connection. */
enum MHD_Result answer_response(struct MHD_Connection *c, unsigned status,
                                struct MHD_Response *r);

/* A string in UTF-8: bytes that are not become `?`. NULL: null. */
json_t *answer_string(const char *text);

#endif
