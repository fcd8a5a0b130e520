/* Images, the side that needs one.
 *
 *   ASKING --BEGIN--> PREPARING --> LOADING --all pages--> INSTALLING --> READY
 *      ^                               |                        |
 *      +--silent, NO, a write failed---+---- not what it should be
 *
 * The next member in turn is asked then, and what has come so far stays: the
 * hashes of the pages that are here go with every request, and only others are
 * sent. The answers to one request are written by a job while those to the next
 * are on their way; no more are asked for, so memory stays bounded.
 *
 * In place nothing is asked before the slot is ours: nobody gets it while the
 * database is not READY. First contact with a database that differs compares
 * the two before anything is replaced. */
#include "node/image_fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "wire/page.h"

#define SILENT_US 3000000u
#define RETRY_US 200000u
#define SOON_US 10000u /* at first, then twice as long each time */
#define SOON_MAX 5u
#define CLAIM_US 20000u      /* the slot is looked at again */
#define ALIVE_US 2000000u    /* we are busy, and still there */
#define GIVE_UP_US 15000000u /* nobody helps with damage */
#define AFTER_FAILURE_US 1000000u

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

static void wake_after(struct database *db, uint64_t us)
{
    db->env->wake_after(db->env->data, db, us);
}

void image_fetch_cancel(struct database *db)
{
    if (db->fetch != NULL) {
        image_load_drop(db->fetch);
        image_answers_free(&db->fetch->held);
        free(db->fetch);
        db->fetch = NULL;
    }
    memset(&db->image, 0, sizeof db->image);
}

/* Another node, `us` from now. */
static void ask_later(struct database *db, uint64_t us)
{
    struct image_fetch *f = db->fetch;

    f->state = FETCH_ASKING;
    f->peer = 0;
    f->asked = 0;
    image_answers_free(&f->held);
    f->heard_us = now(db) + us - RETRY_US;
    wake_after(db, us);
}

static void say(struct node *n, struct database *db, uint8_t kind,
                struct host_image *m)
{
    m->db = db->m->uuid;
    m->id = db->fetch->id;
    db->fetch->spoke_us = now(db);
    host_image_send(n, db->fetch->peer, kind, db->group, m);
}

/* ---- asking -------------------------------------------------------------- */

/* In turn; 0: there is no other. */
static uint64_t next_member(struct node *n, struct image_fetch *f,
                            const struct machine_db *holders)
{
    for (unsigned i = 0; i < n->n_members; i++) {
        uint64_t id = n->members[f->turn++ % n->n_members].id;
        if (id != n->env.node_id &&
            (holders == NULL || machine_holds(holders, id))) {
            return id;
        }
    }
    return 0;
}

/* At first those that are known to have had the content: when a database is
 * new, most do not. */
static uint64_t whom_to_ask(struct node *n, const struct database *db)
{
    struct image_fetch *f = db->fetch;
    bool first = f->turn == 0 || f->soon;
    uint64_t id = first ? next_member(n, f, db->m) : 0;

    f->soon = false;

    return id != 0 ? id : next_member(n, f, NULL);
}

/* Nobody can help with damage now: what is not damaged is of use meanwhile. */
static bool gives_up(struct database *db)
{
    if (db->n_damaged == 0 || now(db) - db->fetch->helped_us < GIVE_UP_US) {
        return false;
    }
    log_error("not_repaired",
              "db=%s path=%s pages=%u why=\"no other node has the database at "
              "this position\": it is tried again",
              db->name, db->path, db->n_damaged);
    image_fetch_cancel(db);
    db->in_place = false;
    db->n_damaged = 0;
    db->state = DB_READY;
    scrub_put_off(db);
    return true;
}

/* It is not known what the file holds. */
static void read_again(struct database *db)
{
    image_fetch_cancel(db);
    db->in_place = false;
    db->n_damaged = 0;
    db->state = DB_OPENING;
    db->env->wake(db->env->data, db);
}

/* Ask the next member in turn. There is no job. */
static void ask(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    struct host_image m = {.first = 0};
    struct uuid random;

    if (gives_up(db)) {
        return;
    }
    if (db->in_place && f->patch == NULL) {
        if (!slot_claim(db)) {
            ask_later(db, CLAIM_US);
            return;
        }
        if (db->look_again) {
            read_again(db);
            return;
        }
    }
    ask_later(db, RETRY_US);
    f->heard_us = now(db);
    f->peer = whom_to_ask(n, db);
    if (f->peer == 0 || uuid_random(&random) != 0) {
        f->peer = 0;
        return;
    }
    memcpy(&f->id, random.b, sizeof f->id);
    say(n, db, HOST_IMAGE_ASK, &m);
}

void image_fetch_start(struct node *n, struct database *db)
{
    db->in_place = FAILPOINT_ERROR("image.in_place", true, db->in_place);
    if (db->fetch == NULL) {
        db->fetch = calloc(1, sizeof *db->fetch);
        if (db->fetch == NULL) {
            node_fatal(n, "out of memory");
            return;
        }
        list_init(&db->fetch->held);
        db->fetch->helped_us = now(db);
    }
    if (db->job == NULL) {
        ask(n, db);
    } else {
        ask_later(db, RETRY_US);
    }
}

/* ---- what is asked for --------------------------------------------------- */

/* Their hashes, or nothing when there are none. */
static int append_hashes(const struct image_fetch *f, uint32_t count,
                         struct buf *out)
{
    const uint64_t *hashes = image_load_sum(f)->hashes + f->next - 1;
    uint8_t *to = buf_room(out, 8u * (size_t)count);
    bool any = false;

    if (to == NULL) {
        return out->err;
    }
    for (uint32_t i = 0; i < count; i++) {
        put_le64(to + 8u * i, hashes[i]);
        any = any || hashes[i] != 0;
    }
    if (any) {
        buf_added(out, 8u * (size_t)count);
    }
    return 0;
}

static void ask_pages(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    struct host_image m = {.first = f->next};
    uint32_t left = f->pages - f->next + 1;
    uint64_t wait = image_pace_wait(&n->image_pace, now(db));
    struct buf hashes;

    if (f->asked != 0 || !list_empty(&f->held) || f->next > f->pages) {
        return;
    }
    if (wait > 0) {
        wake_after(db, wait);
        return;
    }
    m.count = f->range < left ? f->range : left;
    buf_init(&hashes, 8u * IMAGE_RANGE_PAGES_MAX);
    if (append_hashes(f, m.count, &hashes) == 0) {
        m.part = hashes.data;
        m.part_len = hashes.len;
        f->asked = m.count;
        f->covered = 0;
        f->parts = IMAGE_PARTS_MAX;
        f->heard_us = now(db);
        say(n, db, HOST_IMAGE_MORE, &m);
    }
    buf_close(&hashes);
}

static void keep_alive(struct node *n, struct database *db)
{
    struct host_image m = {.first = 0};

    if (now(db) - db->fetch->spoke_us >= ALIVE_US) {
        say(n, db, HOST_IMAGE_MORE, &m);
    }
}

void image_fetch_step(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    uint64_t patience;

    if (f == NULL || n->stopping || f->state == FETCH_INSTALLING) {
        return;
    }
    wake_after(db, RETRY_US);
    if (f->state == FETCH_LOADING) {
        ask_pages(n, db);
    }
    if (f->state != FETCH_ASKING) {
        keep_alive(n, db);
    }
    if (db->job != NULL || (f->state == FETCH_LOADING && f->asked == 0)) {
        return;
    }
    patience = f->peer == 0 ? RETRY_US : SILENT_US;
    if (now(db) >= f->heard_us + patience) {
        ask(n, db);
    }
}

/* ---- what comes ---------------------------------------------------------- */

static bool is_ours(const struct database *db, uint64_t peer, uint64_t id)
{
    return db->fetch != NULL && db->fetch->peer == peer && db->fetch->id == id;
}

/* Everything accepted after the image must be in db->pending. */
static bool new_enough(const struct database *db, uint64_t txid)
{
    const struct list *first = list_first(&db->pending);

    return first == NULL
               ? txid >= db->m->position.txid
               : txid + 1 >=
                     LIST_ENTRY(first, struct pending, link)->position.txid;
}

void image_fetch_begin(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m)
{
    struct image_fetch *f = db->fetch;

    if (!is_ours(db, peer, m->id) || f->state != FETCH_ASKING ||
        db->job != NULL) {
        return;
    }
    if (!new_enough(db, m->position.txid) || !page_number_valid(m->pages) ||
        !page_size_valid(m->page_size)) {
        ask_later(db, RETRY_US);
        return;
    }
    f->state = FETCH_PREPARING;
    f->position = m->position;
    f->checksum = m->checksum;
    f->page_size = m->page_size;
    f->pages = m->pages;
    f->next = 1;
    f->range = image_next_range(0, 0, f->page_size);
    f->heard_us = f->helped_us = now(db);
    f->in_place = db->in_place && db->apply != NULL &&
                  apply_page_size(db->apply) == f->page_size;
    if (db->image.pages == 0) {
        image_progress_begin(&f->progress, now(db));
    }
    db->image.pages = f->pages;
    db->image.percent = 0;
    log_info("image_fetching", "db=%s node=%" PRIu64 " pages=%u in_place=%s",
             db->name, peer, f->pages, f->in_place ? "yes" : "no");
    image_load_prepare(n, db);
}

void image_fetch_prepared(struct node *n, struct database *db, int rv)
{
    struct image_fetch *f = db->fetch;

    if (rv != 0) {
        image_fetch_failed(n, db, rv, "");
    } else if (f->state == FETCH_PREPARING && !n->stopping) {
        f->state = FETCH_LOADING;
        ask_pages(n, db);
    }
}

void image_fetch_no(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    struct image_fetch *f = db->fetch;

    (void)n;
    if (is_ours(db, peer, m->id) && f->state != FETCH_INSTALLING) {
        /* Who has it may not have read yet that it was enrolled. */
        f->soon = f->refusals < SOON_MAX;
        ask_later(db, f->soon ? SOON_US << f->refusals++ : RETRY_US);
    }
}

void image_fetch_lost(struct database *db, uint64_t peer)
{
    struct image_fetch *f = db->fetch;

    if (f != NULL && f->peer == peer && f->state != FETCH_INSTALLING) {
        ask_later(db, RETRY_US);
    }
}

void image_fetch_failed(struct node *n, struct database *db, int rv,
                        const char *text)
{
    struct image_fetch *f = db->fetch;

    (void)n;
    if (rv == ERR_FULL || rv == -ENOSPC) {
        log_error("image_no_room",
                  "db=%s pages=%u why=\"%s\": the database is as it was; it is "
                  "tried again",
                  db->name, f->pages, err_str(rv));
    } else {
        log_error("image_failed", "db=%s node=%" PRIu64 " why=\"%s\" %s",
                  db->name, f->peer, err_str(rv), text);
    }
    /* With other pages it may yet be right: another node is asked for those
     * that differ. */
    if (rv != ERR_MISMATCH && rv != ERR_CORRUPT) {
        image_load_drop(f);
    }
    if (rv == ERR_FOREIGN && f->in_place) {
        read_again(db);
        return;
    }
    ask_later(db, AFTER_FAILURE_US);
}

/* ---- pages --------------------------------------------------------------- */

static void note_progress(struct database *db)
{
    struct image_fetch *f = db->fetch;
    uint64_t us = now(db) - f->progress.begun_us + 1;

    db->image.done = f->next - 1;
    db->image.percent = (unsigned)(100ull * db->image.done / f->pages);
    db->image.bytes_per_s = (uint64_t)((double)db->image.received *
                                       f->page_size * 1e6 / (double)us);
    if (image_progress_due(&f->progress, now(db), db->image.percent)) {
        log_info("image_progress",
                 "db=%s node=%" PRIu64
                 " percent=%u pages=%u/%u received=%u "
                 "mb_s=%.1f",
                 db->name, f->peer, db->image.percent, db->image.done, f->pages,
                 db->image.received, (double)db->image.bytes_per_s / 1e6);
    }
}

int image_fetch_percent(const struct database *db)
{
    return db->fetch == NULL ? -1 : (int)db->image.percent;
}

static int keep_answer(struct image_fetch *f, const struct host_image *m)
{
    struct image_answer *a = malloc(sizeof *a + m->part_len);

    if (a == NULL) {
        return -ENOMEM;
    }
    a->first = m->first;
    a->count = m->count;
    a->len = m->part_len;
    memcpy(a->part, m->part, m->part_len);
    list_push(&f->held, &a->link);
    return 0;
}

/* One more answer has come. With the last one the request is over. */
static void note_answer(struct image_fetch *f, uint32_t count)
{
    f->next += count;
    f->asked -= count;
    f->covered += count;
    if (f->asked == 0 || --f->parts == 0) {
        f->range =
            image_next_range(f->asked + f->covered, f->covered, f->page_size);
        f->asked = 0;
    }
}

/* All is here and written: check it and put it in place. */
static void maybe_install(struct node *n, struct database *db)
{
    struct image_fetch *f = db->fetch;
    struct host_image m = {.first = 0};

    if (f->state == FETCH_LOADING && f->next > f->pages &&
        list_empty(&f->held) && db->job == NULL) {
        if (!contact_expect(n, db, &f->position, f->checksum, f->pages)) {
            ask_later(db, AFTER_FAILURE_US);
            return;
        }
        say(n, db, HOST_IMAGE_END, &m);
        f->state = FETCH_INSTALLING;
        image_load_install(n, db);
    }
}

static void go_on(struct node *n, struct database *db)
{
    if (db->job == NULL && !list_empty(&db->fetch->held)) {
        image_load_write(n, db);
    }
    ask_pages(n, db);
    maybe_install(n, db);
}

void image_fetch_pages(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m)
{
    struct image_fetch *f = db->fetch;

    if (!is_ours(db, peer, m->id) || f->state != FETCH_LOADING) {
        return;
    }
    f->heard_us = f->helped_us = now(db);
    if (m->count == 0 || m->first != f->next || m->count > f->asked) {
        return; /* a sign of life, or nonsense: it will time out */
    }
    if (m->part_len > 0 && keep_answer(f, m) != 0) {
        ask_later(db, AFTER_FAILURE_US);
        return;
    }
    image_pace_spend(&n->image_pace, now(db), m->part_len);
    note_answer(f, m->count);
    note_progress(db);
    go_on(n, db);
}

void image_fetch_written(struct node *n, struct database *db, int rv,
                         uint32_t pages)
{
    struct image_fetch *f = db->fetch;

    db->image.received += pages;
    if (rv != 0) {
        image_fetch_failed(n, db, rv, "");
        return;
    }
    if (f->state != FETCH_LOADING || n->stopping) {
        return;
    }
    go_on(n, db);
}
