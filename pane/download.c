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
    struct list link; /* in pane->downloads */
    struct pane *pane;
    struct MHD_Connection *connection;
    struct pane_backup *backup;
    bool suspended;
};

static void suspend(struct download *d)
{
    d->suspended = true;
    MHD_suspend_connection(d->connection);
}

/* From the loop: there is something new. */
static void on_wake(void *arg)
{
    struct download *d = arg;

    if (d->suspended) {
        d->suspended = false;
        MHD_resume_connection(d->connection);
        server_run_soon(d->pane);
    }
}

static ssize_t on_more(void *cls, uint64_t position, char *out, size_t max)
{
    struct download *d = cls;
    const struct pane_source *s = d->pane->options.source;
    long n;

    (void)position;
    if (d->pane->stopping) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    n = s->backup_read(d->backup, out, max);
    if (n == 0) {
        suspend(d);
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
    return answer_response(d->connection, MHD_HTTP_OK, r);
}

static struct download *download_new(struct pane *p, struct MHD_Connection *c)
{
    struct download *d = calloc(1, sizeof *d);

    if (d != NULL) {
        d->pane = p;
        d->connection = c;
        list_push(&p->downloads, &d->link);
    }
    return d;
}

/* The first call: 0, or the answer's status with a line in `why`. */
static unsigned open_backup(struct download *d, const char *name, char *why,
                            size_t size)
{
    const struct pane_source *s = d->pane->options.source;
    int rv = s->backup_open(s->data, name, on_wake, d, &d->backup, why, size);

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
        suspend(*d);
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
        d->pane->options.source->backup_close(d->backup);
    }
    list_remove(&d->link);
    free(d);
}

void download_stop(struct pane *p)
{
    for (struct list *l = p->downloads.next; l != &p->downloads; l = l->next) {
        on_wake(LIST_ENTRY(l, struct download, link));
    }
}
