#include "pane/download.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "pane/answer.h"
#include "pane/server_internal.h"

#define BLOCK_BYTES 65536u

struct download {
    struct waiter waiter;
    struct pane_backup *backup;
};

static ssize_t on_more(void *cls, uint64_t position, char *out, size_t max)
{
    struct download *d = cls;
    const struct pane_source *s = d->waiter.pane->options.source;
    long n;

    (void)position;
    if (d->waiter.pane->stopping) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    n = s->backup_read(d->backup, out, max);
    if (n == 0) {
        waiter_sleep(&d->waiter);
    }
    return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : (ssize_t)n;
}

static void add_header(struct MHD_Response *r, const char *name,
                       const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_header(struct MHD_Response *r, const char *name,
                       const char *format, ...)
{
    char text[300];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    MHD_add_response_header(r, name, text);
}

static enum MHD_Result begin(struct download *d, const char *name,
                             const struct pane_backup_head *head)
{
    uint64_t size = (uint64_t)head->pages * head->page_size;
    struct MHD_Response *r =
        MHD_create_response_from_callback(size, BLOCK_BYTES, on_more, d, NULL);

    if (r == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", "application/vnd.sqlite3");
    add_header(r, "Content-Disposition", "attachment; filename=\"%s.db\"",
               name);
    add_header(r, "X-Marmot-Position", "%" PRIu64 ":%016" PRIx64, head->txid,
               head->hash);
    add_header(r, "X-Marmot-Checksum", "%016" PRIx64, head->checksum);
    add_header(r, "X-Marmot-Page-Size", "%u", head->page_size);
    return answer_response(d->waiter.connection, MHD_HTTP_OK, r);
}

static struct download *download_new(struct pane *p, struct MHD_Connection *c)
{
    struct download *d = calloc(1, sizeof *d);

    if (d != NULL) {
        waiter_init(&d->waiter, p, c);
    }
    return d;
}

/* The first call: 0, or the answer's status with a line in `why`. */
static unsigned open_backup(struct download *d, const char *name, char *why,
                            size_t size)
{
    const struct pane_source *s = d->waiter.pane->options.source;
    int rv = s->backup_open(s->data, name, waiter_wake, &d->waiter, &d->backup,
                            why, size);

    if (rv == 0) {
        return 0;
    }
    d->backup = NULL;
    return rv == ERR_NOT_FOUND ? MHD_HTTP_NOT_FOUND
                               : MHD_HTTP_SERVICE_UNAVAILABLE;
}

enum MHD_Result download_serve(struct pane *p, struct MHD_Connection *c,
                               const char *name, struct download **d)
{
    struct pane_backup_head head;
    char why[256] = "";
    unsigned status = 0;
    int rv;

    if (*d == NULL) {
        *d = download_new(p, c);
        if (*d == NULL) {
            return MHD_NO;
        }
        status = open_backup(*d, name, why, sizeof why);
    }
    if (status != 0) {
        return answer_error(c, status, why);
    }
    rv = p->stopping ? ERR_CLOSED
                     : p->options.source->backup_head((*d)->backup, &head);
    if (rv == ERR_BUSY) {
        waiter_sleep(&(*d)->waiter);
        return MHD_YES;
    }
    if (rv != 0) {
        return answer_error(c, MHD_HTTP_SERVICE_UNAVAILABLE,
                            "the database is written to all the time, or the "
                            "node is stopping: try again later");
    }
    return begin(*d, name, &head);
}

void download_free(struct download *d)
{
    if (d->backup != NULL) {
        d->waiter.pane->options.source->backup_close(d->backup);
    }
    list_remove(&d->waiter.link);
    free(d);
}
