/* The transaction of an order: every page of its content, upon the position
 * that the database has. It is a proposal without a session, and goes the way
 * of one whose session has died: proposed until the log has decided. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "node/job.h"
#include "node/order.h"
#include "wire/entry.h"

struct build_job {
    struct job job;
    char content[ORDER_PATH_BYTES];
    struct uuid db;
    struct order order; /* as it was */
    struct proposal *p;
    int fd;
    uint8_t *images; /* of one part, */
    uint32_t *numbers;
    uint64_t sum; /* and of all pages so far */
};

static int read_part(struct build_job *b, uint32_t first, uint32_t count)
{
    uint32_t size = b->order.page_size;
    size_t want = (size_t)count * size, have = 0;

    while (have < want) {
        ssize_t got = pread(b->fd, b->images + have, want - have,
                            (off_t)(first - 1) * size + (off_t)have);
        if (got <= 0) {
            return got < 0 ? -errno : ERR_CORRUPT;
        }
        have += (size_t)got;
    }
    for (uint32_t i = 0; i < count; i++) {
        b->numbers[i] = first + i;
        b->sum ^= page_hash(first + i, b->images + (size_t)i * size, size);
    }
    return 0;
}

static int add_part(struct build_job *b, uint32_t count, bool last)
{
    struct proposal *p = b->p;
    struct entry_txn e = {.db = b->db,
                          .base = p->base,
                          .token = p->token,
                          .pages = {.page_size = p->page_size, .count = count}};
    struct buf out;
    int rv;

    if (last) {
        e.db_pages = p->db_pages;
        e.parts = p->n_entries;
        e.checksum = b->order.checksum;
    } else {
        e.number = p->n_entries;
    }
    buf_init(&out, PACKET_BYTES_MAX - 4096u);
    rv = entry_encode_txn(last ? ENTRY_TXN : ENTRY_PART, &e, b->numbers,
                          b->images, &out);
    if (rv == 0) {
        struct proposal_entry *entry = &p->entries[p->n_entries++];
        entry->bytes = buf_take(&out, &entry->len);
        p->raw_bytes += (uint64_t)count * p->page_size;
    }
    buf_close(&out);
    return rv;
}

static int build(struct build_job *b)
{
    const struct order *o = &b->order;
    uint32_t step = PART_BYTES_MAX / o->page_size, count;
    uint32_t parts = (o->pages + step - 1) / step;
    int rv = 0;

    b->images = malloc(PART_BYTES_MAX);
    b->numbers = malloc(step * sizeof *b->numbers);
    b->p->entries = calloc(parts, sizeof *b->p->entries);
    if (b->images == NULL || b->numbers == NULL || b->p->entries == NULL) {
        return -ENOMEM;
    }
    for (uint32_t first = 1; rv == 0 && first <= o->pages; first += count) {
        count = o->pages - first + 1 < step ? o->pages - first + 1 : step;
        rv = read_part(b, first, count);
        rv = rv == 0 ? add_part(b, count, first + count > o->pages) : rv;
    }
    return rv == 0 && b->sum != o->checksum ? ERR_CORRUPT : rv;
}

static void run_build(struct job *job)
{
    struct build_job *b = LIST_ENTRY(job, struct build_job, job);

    b->fd = open(b->content, O_RDONLY | O_CLOEXEC);
    job->rv = b->fd < 0 ? -errno : build(b);
    if (b->fd >= 0) {
        close(b->fd);
    }
    free(b->images);
    free(b->numbers);
}

/* Somebody may have written meanwhile, without a lease: then it is known at
 * once that this attempt fails, and the next one follows. */
static void build_done(struct job *job)
{
    struct build_job *b = LIST_ENTRY(job, struct build_job, job);
    struct database *db = job->db;

    db->ordered.builds = false;
    db->proposal = b->p;
    if (job->rv != 0) {
        log_error("order_waits", "db=%s path=%s why=\"%s\": tried again",
                  db->name, b->content, err_str(job->rv));
        proposal_free(db);
    } else if (db->m == NULL || !db->ordered.wanted) {
        proposal_free(db);
    } else {
        db->proposal->complete = true;
        db->proposal->since_us = db->env->now_us(db->env->data);
    }
    free(b);
}

void order_propose(struct node *n, struct database *db)
{
    const struct order *o = db->order;
    struct build_job *b = calloc(1, sizeof *b);
    struct proposal *p = calloc(1, sizeof *p);

    if (b == NULL || p == NULL) {
        free(b);
        free(p);
        node_fatal(n, "out of memory");
        return;
    }
    order_content(n->options->raft_path, db->name, b->content);
    b->db = db->m->uuid;
    b->order = *o;
    b->p = p;
    p->base = o->base;
    p->token = (struct token){.node = n->env.node_id,
                              .start = o->number,
                              .sequence = ORDER_SEQUENCE + o->tried};
    p->page_size = o->page_size;
    p->db_pages = o->pages;
    db->ordered.builds = true;
    job_start(n, db, &b->job, run_build, build_done);
}
