#include "pane/answer.h"

#include <stdlib.h>
#include <string.h>

/* Nothing here may be kept by a cache, shown inside another page's frame, or
 * taken for something else than it says. */
static void add_headers(struct MHD_Response *r)
{
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "X-Frame-Options", "DENY");
    MHD_add_response_header(r, "Content-Security-Policy",
                            "default-src 'none'; style-src 'unsafe-inline'; "
                            "script-src 'unsafe-inline'; connect-src 'self'; "
                            "img-src data:; frame-ancestors 'none'");
}

enum MHD_Result answer_response(struct MHD_Connection *c, unsigned status,
                                struct MHD_Response *r)
{
    enum MHD_Result result;

    if (r == NULL) {
        return MHD_NO;
    }
    add_headers(r);
    result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static struct MHD_Response *of_json(json_t *json)
{
    struct MHD_Response *r = NULL;
    char *text =
        json == NULL
            ? NULL
            : json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    size_t len;

    json_decref(json);
    if (text != NULL) {
        len = strlen(text);
        text[len++] = '\n'; /* in the place of its end */
        r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    }
    if (r != NULL) {
        MHD_add_response_header(r, "Content-Type", "application/json");
    }
    return r;
}

static enum MHD_Result out_of_memory(struct MHD_Connection *c)
{
    static char text[] = "{\"status\": 500, \"error\": \"out of memory\"}\n";
    struct MHD_Response *r = MHD_create_response_from_buffer(
        sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);

    return answer_response(c, MHD_HTTP_INTERNAL_SERVER_ERROR, r);
}

enum MHD_Result answer_json(struct MHD_Connection *c, unsigned status,
                            json_t *json)
{
    struct MHD_Response *r = of_json(json);

    return r == NULL ? out_of_memory(c) : answer_response(c, status, r);
}

enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status,
                            const char *type, struct buf *text)
{
    struct MHD_Response *r = NULL;
    size_t len;
    void *bytes = buf_take(text, &len);

    buf_close(text);
    if (bytes != NULL) {
        r = MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE);
    }
    if (r == NULL) {
        return out_of_memory(c);
    }
    MHD_add_response_header(r, "Content-Type", type);
    return answer_response(c, status, r);
}

static json_t *error_document(unsigned status, const char *why)
{
    return json_pack("{s:i, s:o}", "status", (int)status, "error",
                     answer_string(why));
}

enum MHD_Result answer_error(struct MHD_Connection *c, unsigned status,
                             const char *why)
{
    return answer_json(c, status, error_document(status, why));
}

static enum MHD_Result error_with(struct MHD_Connection *c, unsigned status,
                                  const char *why, const char *header,
                                  const char *value)
{
    struct MHD_Response *r = of_json(error_document(status, why));

    if (r == NULL) {
        return out_of_memory(c);
    }
    MHD_add_response_header(r, header, value);
    return answer_response(c, status, r);
}

enum MHD_Result answer_not_allowed(struct MHD_Connection *c,
                                   const char *allowed)
{
    char why[64] = "this path takes ";

    strncat(why, allowed, sizeof why - strlen(why) - 1);
    return error_with(c, MHD_HTTP_METHOD_NOT_ALLOWED, why, "Allow", allowed);
}

enum MHD_Result answer_no_key(struct MHD_Connection *c, const char *why)
{
    return error_with(c, MHD_HTTP_UNAUTHORIZED, why, "WWW-Authenticate",
                      "Basic realm=\"marmot\", charset=\"UTF-8\"");
}

json_t *answer_string(const char *text)
{
    json_t *json;
    char *ascii;

    if (text == NULL) {
        return json_null();
    }
    json = json_string(text);
    if (json != NULL || (ascii = strdup(text)) == NULL) {
        return json;
    }
    for (char *c = ascii; *c != '\0'; c++) {
        *c = *c & 0x80 ? '?' : *c;
    }
    json = json_string(ascii);
    free(ascii);
    return json;
}
