/* Images, the side that has the database: one consistent read per transfer,
 * pages on request, so that the receiver sets the pace and nothing piles up.
 *
 * Every page has its hash in a copy of the node's table, made when the read
 * begins: of a range that the asker has already, nothing is read at all. A page
 * whose bytes do not match is damage of ours, and is not sent.
 *
 * A transfer has files of its own and does not touch db->apply once it has
 * begun: the local copy may be replaced meanwhile. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/node.h"
#include "vfs/image_source.h"

#define READERS_MAX 8u    /* per database: each holds a read mark */
#define IDLE_US 10000000u /* the receiver is gone */
#define ASK_US 5000000u   /* it asks again, perhaps elsewhere */
#define ALIVE_US 1000000u /* an answer waits for its turn (-image-rate) */

struct transfer {
    struct list link; /* in db->image_asks */
    struct node *node;
    struct database *db;
    uint64_t peer, id;
    struct image_source *source; /* NULL: waits for its turn */
    struct position position;
    uint32_t page_size;
    uint64_t used_us, spoke_us;
    bool working, ended;
    /* the request being worked on */
    uv_work_t work;
    uint32_t first, count; /* still to be answered; count 0: none */
    uint8_t *hashes;       /* of the asker's pages; NULL: it has none */
    const uint8_t *have;   /* those from `first` on */
    unsigned parts;        /* so many answers may follow */
    uint32_t pages_max;    /* in one answer */
    struct image_found found;
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
    if (t->source != NULL) {
        image_source_close(t->source);
    }
    t->db->image_readers--;
    buf_close(&t->part);
    free(t->hashes);
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

/* The state must stand still for a moment while the source is opened. */
static void begin(struct transfer *t)
{
    struct database *db = t->db;
    struct host_image m = {.db = db->m->uuid, .id = t->id};

    if (db->checksum.sum != db->applied_sum ||
        image_source_open(db->apply, &db->checksum, 1, UINT32_MAX,
                          &t->source) != 0) {
        t->source = NULL;
        db->env->wake_after(db->env->data, db, 50000);
        return;
    }
    t->position = m.position = db->applied;
    m.checksum = db->applied_sum;
    m.page_size = t->page_size = apply_page_size(db->apply);
    m.pages = image_source_pages(t->source);
    t->used_us = now(db);
    host_image_send(t->node, t->peer, HOST_IMAGE_BEGIN, db->group, &m);
    log_info("image_sending", "db=%s node=%" PRIu64 " pages=%u", db->name,
             t->peer, m.pages);
}

/* ---- pages --------------------------------------------------------------- */

static int read_pages(struct transfer *t, uint32_t *numbers, uint8_t *images)
{
    struct entry_txn e = {.db = t->db->m->uuid,
                          .base = t->position,
                          .pages = {.page_size = t->page_size}};
    int rv = image_source_read(t->source, t->first, t->count, t->have,
                               t->pages_max, numbers, images, &t->found);

    if (rv != 0 || t->found.count == 0) {
        return rv;
    }
    e.pages.count = t->found.count;
    return entry_encode_txn(ENTRY_PART, &e, numbers, images, &t->part);
}

static void on_work(uv_work_t *w)
{
    struct transfer *t = w->data;
    uint32_t *numbers = malloc(t->pages_max * sizeof *numbers);
    uint8_t *images = malloc((size_t)t->pages_max * t->page_size);

    buf_reset(&t->part);
    t->rv = numbers == NULL || images == NULL ? ERR_FULL
                                              : read_pages(t, numbers, images);
    free(numbers);
    free(images);
}

/* On to what is left of the request, if that is still to be answered. */
static void advance(struct transfer *t)
{
    uint32_t covered = t->found.covered;

    t->first += covered;
    t->count = --t->parts == 0 ? 0 : t->count - covered;
    if (t->have != NULL) {
        t->have += 8u * (size_t)covered;
    }
}

static void answer(struct transfer *t)
{
    struct host_image m = {.db = t->db->m->uuid,
                           .id = t->id,
                           .first = t->first,
                           .count = t->found.covered,
                           .part = t->part.data,
                           .part_len = t->part.len};

    FAILPOINT("image.send");
    advance(t);
    t->used_us = t->spoke_us = now(t->db);
    image_pace_spend(&t->node->image_pace, t->used_us, m.part_len);
    host_image_send(t->node, t->peer, HOST_IMAGE_PAGES, t->db->group, &m);
}

static void serve(struct transfer *t);

static void on_done(uv_work_t *w, int status)
{
    struct transfer *t = w->data;
    struct node *n = t->node;
    struct database *db = t->db;
    uint32_t damaged = t->rv == ERR_MISMATCH ? t->found.damaged : 0;

    (void)status;
    t->working = false;
    if (!t->ended && t->rv == 0) {
        answer(t);
        if (t->count > 0) {
            serve(t);
        }
        return;
    }
    if (!t->ended) {
        log_warn("image_read_failed", "db=%s why=\"%s\"", db->name,
                 err_str(t->rv));
        send_no(n, db, t->peer, t->id);
    }
    transfer_end(t);
    if (damaged != 0 && !n->stopping) {
        scrub_repair(n, db, &damaged, 1);
    }
}

/* Answer (the next part of) the request now, or when it is its turn. */
static void serve(struct transfer *t)
{
    struct database *db = t->db;
    struct host_image alive = {.db = db->m->uuid, .id = t->id};
    uint64_t wait = image_pace_wait(&t->node->image_pace, now(db));

    if (wait == 0) {
        t->pages_max = image_pace_pages(&t->node->image_pace, t->page_size);
        t->working =
            uv_queue_work(t->node->loop, &t->work, on_work, on_done) == 0;
        return;
    }
    if (now(db) - t->spoke_us >= ALIVE_US) {
        t->spoke_us = now(db);
        host_image_send(t->node, t->peer, HOST_IMAGE_PAGES, db->group, &alive);
    }
    db->env->wake_after(db->env->data, db, wait < ALIVE_US ? wait : ALIVE_US);
}

/* A request's range and hashes; false when there is no memory for them. */
static bool note_request(struct transfer *t, const struct host_image *m)
{
    free(t->hashes);
    t->hashes = NULL;
    if (m->part_len > 0) {
        t->hashes = malloc(m->part_len);
        if (t->hashes == NULL) {
            return false;
        }
        memcpy(t->hashes, m->part, m->part_len);
    }
    t->have = t->hashes;
    t->parts = IMAGE_PARTS_MAX;
    t->first = m->first;
    t->count = m->count;
    return true;
}

void image_send_more(struct node *n, struct database *db, uint64_t peer,
                     const struct host_image *m)
{
    struct transfer *t = find(db, peer, m->id);
    uint32_t pages;

    if (t == NULL || t->source == NULL) {
        send_no(n, db, peer, m->id);
        return;
    }
    pages = image_source_pages(t->source);
    t->used_us = now(db);
    if (t->working || t->count != 0 || m->count == 0 ||
        !host_image_range_valid(m) || m->first > pages ||
        m->count > pages - m->first + 1) {
        return; /* a sign of life, asked twice, or nonsense */
    }
    if (!note_request(t, m)) {
        transfer_end(t);
        return;
    }
    serve(t);
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

/* ---- what is due --------------------------------------------------------- */

static void transfer_step(struct transfer *t, bool still)
{
    struct database *db = t->db;
    uint64_t age = now(db) - t->used_us;

    if (age > (t->source == NULL ? ASK_US : IDLE_US)) {
        transfer_end(t);
    } else if (t->source == NULL && still) {
        begin(t);
    } else if (t->source != NULL && t->count != 0) {
        serve(t);
    }
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
        next = l->next;
        if (!t->ended && !t->working) {
            transfer_step(t, still);
        }
    }
    if (!list_empty(&db->image_asks)) {
        db->env->wake_after(db->env->data, db, 1000000);
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
