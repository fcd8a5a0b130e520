#include "pane/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "pane/answer.h"
#include "pane/server_internal.h"

struct verifying {
    struct waiter waiter;
    struct pane_verify *handle;
};

/* What is made of all answers. */
struct result {
    json_t *nodes;
    bool ok;
    /* of the first copy that was read: those at its position must be like it */
    bool any;
    uint64_t txid, hash, checksum;
};

static const char *word(const struct pane_verified *one)
{
    static const char *const words[] = {[PANE_VERIFY_WORKING] = "working",
                                        [PANE_VERIFY_ABSENT] = "absent",
                                        [PANE_VERIFY_BUSY] = "busy",
                                        [PANE_VERIFY_FAILED] = "failed",
                                        [PANE_VERIFY_SILENT] = "silent"};

    if (one->state == PANE_VERIFY_DONE) {
        return one->damaged > 0 || one->found != one->expected ? "damaged"
                                                               : "ok";
    }
    return words[one->state];
}

static bool is_whole(struct result *r, const struct pane_verified *one)
{
    if (one->state != PANE_VERIFY_DONE) {
        return one->state == PANE_VERIFY_ABSENT;
    }
    if (!r->any) {
        r->any = true;
        r->txid = one->txid;
        r->hash = one->hash;
        r->checksum = one->expected;
    }
    return one->damaged == 0 && one->found == one->expected &&
           (one->txid != r->txid ||
            (one->hash == r->hash && one->expected == r->checksum));
}

static json_t *listed(const struct pane_verified *one)
{
    json_t *pages = json_array();

    for (uint32_t i = 0; i < one->n_listed; i++) {
        json_array_append_new(pages, json_integer(one->listed[i]));
    }
    return pages;
}

static void add(void *arg, const struct pane_verified *one)
{
    struct result *r = arg;
    char position[40], expected[17], found[17];

    snprintf(position, sizeof position, "%" PRIu64 ":%016" PRIx64, one->txid,
             one->hash);
    snprintf(expected, sizeof expected, "%016" PRIx64, one->expected);
    snprintf(found, sizeof found, "%016" PRIx64, one->found);
    r->ok = is_whole(r, one) && r->ok;
    json_array_append_new(
        r->nodes,
        json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "node",
                  (json_int_t)one->id, "state", word(one), "position", position,
                  "checksum", expected, "found", found, "pages",
                  (json_int_t)one->pages, "read", (json_int_t)one->done,
                  "damaged", (json_int_t)one->damaged, "damaged_pages",
                  listed(one)));
}

static enum MHD_Result begin(struct pane *p, struct MHD_Connection *c,
                             const char *name, struct verifying **out)
{
    const struct pane_source *s = p->options.source;
    struct verifying *v = calloc(1, sizeof *v);
    char why[256] = "";
    int rv;

    if (v == NULL) {
        return MHD_NO;
    }
    waiter_init(&v->waiter, p, c);
    *out = v;
    rv = s->verify_open(s->data, name, waiter_wake, &v->waiter, &v->handle, why,
                        sizeof why);
    if (rv != 0) {
        v->handle = NULL;
        return answer_error(c,
                            rv == ERR_NOT_FOUND ? MHD_HTTP_NOT_FOUND
                                                : MHD_HTTP_SERVICE_UNAVAILABLE,
                            why);
    }
    waiter_sleep(&v->waiter);
    return MHD_YES;
}

enum MHD_Result verify_serve(struct pane *p, struct MHD_Connection *c,
                             const char *name, struct verifying **v)
{
    struct result r = {.ok = true};
    bool over;

    if (*v == NULL) {
        return begin(p, c, name, v);
    }
    r.nodes = json_array();
    over = p->options.source->verify_look((*v)->handle, add, &r);
    if (!over && !p->stopping) {
        json_decref(r.nodes);
        waiter_sleep(&(*v)->waiter);
        return MHD_YES;
    }
    return answer_json(c, MHD_HTTP_OK,
                       json_pack("{s:s, s:b, s:o}", "database", name, "ok",
                                 r.ok && r.any, "nodes", r.nodes));
}

void verify_free(struct verifying *v)
{
    if (v->handle != NULL) {
        v->waiter.pane->options.source->verify_close(v->handle);
    }
    list_remove(&v->waiter.link);
    free(v);
}
