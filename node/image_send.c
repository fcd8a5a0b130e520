/* Images, the side that has the database: one consistent read per transfer,
 * pages on request, so that the receiver sets the pace and nothing piles up.
 *
 * A transfer has files of its own and does not touch db->apply once it has
 * begun: the local copy may be replaced meanwhile. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "node/node.h"

#define READERS_MAX 8u    /* per database: each holds a read mark */
#define IDLE_US 10000000u /* the receiver is gone */
#define ASK_US 5000000u   /* it asks again, perhaps elsewhere */

struct transfer {
    struct list link; /* in db->image_asks */
    struct node *node;
    struct database *db;
    uint64_t peer, id;
    struct page_reader *reader; /* NULL: waits for its turn */
    struct position position;
    uint32_t page_size;
    uint64_t used_us;
    bool working, ended;
    /* the request being worked on */
    uv_work_t work;
    uint32_t first, count;
    struct buf part;
    int rv;
};

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static struct transfer *find(struct database *db, uint64_t peer, uint64_t id)
{
    for (struct list *l = db->image_asks.next; l != &db->image_asks;
         l = l->next) {
        struct transfer *t = LIST_ENTRY(l, struct transfer, link);
        if (t->peer == peer && t->id == id) {
            return t;
        }
    }
    return NULL;
}

static void transfer_end(struct transfer *t)
{
    t->ended = true;
    if (t->working) {
        return; /* the worker's end comes back here */
    }
    list_remove(&t->link);
    if (t->reader != NULL) {
        page_reader_close(t->reader);
        t->db->image_readers--;
    }
    buf_close(&t->part);
    node_wake(t->node, t->db);
    free(t);
}

static void send_no(struct node *n, struct database *db, uint64_t peer,
                    uint64_t id)
{
    struct host_image m = {.id = id};

    if (db->m != NULL) {
        m.db = db->m->uuid;
    }
    host_image_send(n, peer, HOST_IMAGE_NO, db->group, &m);
}

void image_send_ask(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    struct transfer *t;

    if (db->state != DB_READY || db->image_readers >= READERS_MAX) {
        send_no(n, db, peer, m->id);
        return;
    }
    t = calloc(1, sizeof *t);
    if (t == NULL) {
        send_no(n, db, peer, m->id);
        return;
    }
    t->node = n;
    t->db = db;
    t->peer = peer;
    t->id = m->id;
    t->used_us = now(db);
    t->work.data = t;
    buf_init(&t->part, PACKET_BYTES_MAX);
    list_push(&db->image_asks, &t->link);
    db->image_readers++; /* counts waiting ones too */
    node_wake(n, db);
}

/* The state must stand still for a moment while the reader is opened. */
static void begin(struct transfer *t)
{
    struct database *db = t->db;
    struct host_image m = {.db = db->m->uuid, .id = t->id};

    if (page_reader_open(db->apply, &t->reader) != 0) {
        t->reader = NULL;
        db->env->wake_after(db->env->data, db, 50000);
        return;
    }
    t->position = m.position = db->applied;
    m.checksum = db->applied_sum;
    m.page_size = t->page_size = apply_page_size(db->apply);
    m.pages = page_reader_count(t->reader);
    t->used_us = now(db);
    host_image_send(t->node, t->peer, HOST_IMAGE_BEGIN, db->group, &m);
    log_info("image_sending", "db=%s node=%llu pages=%u", db->name,
             (unsigned long long)t->peer, m.pages);
}

void image_send_step(struct node *n, struct database *db)
{
    bool still = db->state == DB_READY && db->apply != NULL &&
                 db->job == NULL && !db->look_again &&
                 (list_empty(&db->image_asks) || slot_claim(db));
    struct list *l, *next;

    (void)n;
    for (l = db->image_asks.next; l != &db->image_asks; l = next) {
        struct transfer *t = LIST_ENTRY(l, struct transfer, link);
        uint64_t age = now(db) - t->used_us;
        next = l->next;
        if (t->ended || t->working) {
            continue;
        }
        if (age > (t->reader == NULL ? ASK_US : IDLE_US)) {
            transfer_end(t);
        } else if (t->reader == NULL && still) {
            begin(t);
        }
    }
    if (!list_empty(&db->image_asks)) {
        db->env->wake_after(db->env->data, db, 1000000);
    }
}

/* ---- pages --------------------------------------------------------------- */

static int read_pages(struct transfer *t, uint32_t *numbers, uint8_t *images)
{
    uint32_t page_size = t->page_size;
    struct entry_txn e = {.db = t->db->m->uuid,
                          .base = t->position,
                          .pages = {.page_size = page_size}};
    uint32_t got = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        int rv = page_reader_get(t->reader, t->first + i,
                                 images + (size_t)got * page_size);
        if (rv != 0) {
            return rv;
        }
        numbers[got++] = t->first + i;
    }
    e.pages.count = got;
    return entry_encode_txn(ENTRY_PART, &e, numbers, images, &t->part);
}

static void on_work(uv_work_t *w)
{
    struct transfer *t = w->data;
    uint32_t *numbers = malloc(t->count * sizeof *numbers);
    uint8_t *images = malloc((size_t)t->count * t->page_size);

    buf_reset(&t->part);
    t->rv = numbers == NULL || images == NULL ? ERR_FULL
                                              : read_pages(t, numbers, images);
    free(numbers);
    free(images);
}

static void on_done(uv_work_t *w, int status)
{
    struct transfer *t = w->data;
    struct host_image m = {.id = t->id, .first = t->first, .count = t->count};

    (void)status;
    t->working = false;
    if (t->ended || t->rv != 0) {
        if (!t->ended) {
            log_warn("image_read_failed", "db=%s why=\"%s\"", t->db->name,
                     err_str(t->rv));
            send_no(t->node, t->db, t->peer, t->id);
        }
        transfer_end(t);
        return;
    }
    m.db = t->db->m->uuid;
    m.part = t->part.data;
    m.part_len = t->part.len;
    host_image_send(t->node, t->peer, HOST_IMAGE_PAGES, t->db->group, &m);
}

void image_send_more(struct node *n, struct database *db, uint64_t peer,
                     const struct host_image *m)
{
    struct transfer *t = find(db, peer, m->id);
    uint32_t pages, most;

    if (t == NULL || t->reader == NULL) {
        send_no(n, db, peer, m->id);
        return;
    }
    pages = page_reader_count(t->reader);
    most = PART_BYTES_MAX / t->page_size;
    if (t->working || m->first == 0 || m->first > pages || m->count == 0) {
        return; /* asked twice, or nonsense: it will time out */
    }
    t->first = m->first;
    t->count = m->count < most ? m->count : most;
    if (t->count > pages - t->first + 1) {
        t->count = pages - t->first + 1;
    }
    t->used_us = now(db);
    t->working = uv_queue_work(n->loop, &t->work, on_work, on_done) == 0;
}

void image_send_end(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    struct transfer *t = find(db, peer, m->id);

    (void)n;
    if (t != NULL && !t->ended) {
        db->images_sent++;
        transfer_end(t);
    }
}

void image_send_drop(struct node *n, struct database *db, uint64_t peer)
{
    struct list *l, *next;

    (void)n;
    for (l = db->image_asks.next; l != &db->image_asks; l = next) {
        struct transfer *t = LIST_ENTRY(l, struct transfer, link);
        next = l->next;
        if ((peer == 0 || t->peer == peer) && !t->ended) {
            transfer_end(t);
        }
    }
}
