/* The verification of one node's copy.
 *
 * The node keeps a hash per page, and every transaction of the log carries the
 * checksum after it, which is the XOR of them: so the hashes are the same on
 * all nodes at a position. The pages are read as a reader sees them, at the
 * state at which the hashes were taken, and each is compared with its own: what
 * differs is damaged here, whatever the other nodes have, and is repaired
 * (scrub.c). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "node/node.h"
#include "wire/verify.h"

#define SCANS_MAX 4u
#define CHUNK_BYTES 1048576u

struct scan {
    struct list link; /* in node->scans */
    struct node *node;
    struct database *db;
    uint64_t peer; /* who asked */
    struct still still;
    struct page_reader *reader;
    uint64_t *hashes; /* [pages] */
    struct verify_answer answer;
    uint32_t page_size;
    bool working, dropped;
    /* the chunk at hand */
    uv_work_t work;
    uint8_t *bytes;
    int rv;
};

static void tell(struct node *n, uint64_t peer, unsigned group,
                 const struct verify_answer *a)
{
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    if (n->groups != NULL && verify_answer_encode(a, &out) == 0) {
        host_send(n, peer, HOST_VERIFY_ANSWER, group, &out);
    }
    buf_close(&out);
}

static void scan_free(struct scan *s)
{
    list_remove(&s->link);
    list_remove(&s->still.link);
    if (s->reader != NULL) {
        page_reader_close(s->reader);
    }
    node_wake(s->node, s->db);
    free(s->hashes);
    free(s->bytes);
    free(s);
}

/* What is named is fetched again; then the file is looked through for more. */
static void repair(struct node *n, struct database *db,
                   const struct verify_answer *a)
{
    static_assert(VERIFY_LISTED_MAX <= DAMAGED_MAX, "all that are named");

    if (db->job == NULL) {
        scrub_repair(n, db, a->listed, a->n_listed);
    }
    db->scrub.next = 1;
    db->scrub.due_us = n->env.now_us(n);
}

static void scan_end(struct scan *s, enum verify_state state)
{
    struct node *n = s->node;
    struct database *db = s->db;
    struct verify_answer a = s->answer;

    a.state = state;
    tell(n, s->peer, db->group, &a);
    scan_free(s);
    if (state == VERIFY_DONE && a.damaged > 0) {
        repair(n, db, &a);
    }
}

/* ---- reading ------------------------------------------------------------- */

static void compare(struct scan *s, uint32_t first, uint32_t count)
{
    struct verify_answer *a = &s->answer;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash = page_hash(
            first + i, s->bytes + (size_t)i * s->page_size, s->page_size);
        a->found ^= hash;
        if (hash == s->hashes[first + i - 1]) {
            continue;
        }
        if (a->n_listed < VERIFY_LISTED_MAX) {
            a->listed[a->n_listed++] = first + i;
        }
        a->damaged++;
    }
}

/* On the pool: everything in the scan is its own meanwhile. */
static void on_work(uv_work_t *w)
{
    struct scan *s = w->data;
    uint32_t left = s->answer.pages - s->answer.done;
    uint32_t count = CHUNK_BYTES / s->page_size;

    count = count < left ? count : left;
    s->rv = page_reader_run(s->reader, s->answer.done + 1, count, s->bytes);
    if (s->rv == 0) {
        compare(s, s->answer.done + 1, count);
        s->answer.done += count;
    }
}

static void go_on(struct scan *s);

static void on_done(uv_work_t *w, int status)
{
    struct scan *s = w->data;

    (void)status;
    s->working = false;
    if (s->dropped) {
        scan_free(s);
    } else if (s->rv != 0) {
        scan_end(s, VERIFY_FAILED);
    } else if (s->answer.done == s->answer.pages) {
        scan_end(s, VERIFY_DONE);
    } else {
        tell(s->node, s->peer, s->db->group, &s->answer);
        go_on(s);
    }
}

static void go_on(struct scan *s)
{
    s->working = true;
    if (uv_queue_work(s->node->loop, &s->work, on_work, on_done) != 0) {
        s->working = false;
        scan_end(s, VERIFY_FAILED);
    }
}

static void on_opened(struct still *still, int rv, struct page_reader *reader)
{
    struct scan *s = LIST_ENTRY(still, struct scan, still);
    const struct database *db = s->db;

    s->reader = reader;
    if (rv == 0) {
        s->answer.pages = page_reader_count(reader);
        s->page_size = apply_page_size(db->apply);
        s->bytes = malloc(CHUNK_BYTES);
        s->hashes = malloc((size_t)s->answer.pages * sizeof *s->hashes);
    }
    if (rv != 0 || s->bytes == NULL || s->hashes == NULL ||
        db->checksum.pages != s->answer.pages) {
        scan_end(s, VERIFY_BUSY);
        return;
    }
    memcpy(s->hashes, db->checksum.hashes,
           (size_t)s->answer.pages * sizeof *s->hashes);
    s->answer.position = db->applied;
    s->answer.expected = db->applied_sum;
    go_on(s);
}

/* ---- what is asked ------------------------------------------------------- */

static unsigned count_scans(const struct node *n)
{
    unsigned found = 0;

    for (struct list *l = n->scans.next; l != &n->scans; l = l->next) {
        found++;
    }
    return found;
}

static void begin(struct node *n, uint64_t peer, unsigned group,
                  const struct verify_ask *ask)
{
    struct machine_db *m =
        machine_find_uuid(&n->group[group].machine, &ask->db);
    struct verify_answer no = {
        .db = ask->db, .id = ask->id, .state = VERIFY_WORKING};
    struct scan *s = NULL;

    if (m != NULL && m->local != NULL && count_scans(n) < SCANS_MAX) {
        s = calloc(1, sizeof *s);
    }
    if (s == NULL) {
        no.state = m == NULL || m->local == NULL ? VERIFY_ABSENT : VERIFY_BUSY;
        tell(n, peer, group, &no);
        return;
    }
    s->node = n;
    s->db = m->local;
    s->peer = peer;
    s->answer = no;
    s->still.opened = on_opened;
    s->work.data = s;
    list_push(&n->scans, &s->link);
    still_wait(n, s->db, &s->still);
}

void verify_packet(struct node *n, uint64_t peer, uint8_t kind, unsigned group,
                   const void *payload, size_t len)
{
    struct verify_ask ask;

    if (kind == HOST_VERIFY_ANSWER) {
        verify_heard(n, peer, payload, len);
    } else if (verify_ask_decode(payload, len, &ask) == 0) {
        begin(n, peer, group, &ask);
    }
}

void verify_drop_all(struct node *n)
{
    for (struct list *l = n->scans.next, *next; l != &n->scans; l = next) {
        struct scan *s = LIST_ENTRY(l, struct scan, link);
        next = l->next;
        s->dropped = true;
        if (!s->working) {
            scan_free(s);
        }
    }
}

bool verify_any_working(const struct node *n)
{
    return !list_empty(&n->scans);
}

bool verify_reads(const struct node *n, const struct database *db)
{
    for (struct list *l = n->scans.next; l != &n->scans; l = l->next) {
        if (LIST_ENTRY(l, struct scan, link)->db == db) {
            return true;
        }
    }
    return false;
}
