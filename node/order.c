/* What becomes of an order (order.h), at the node that has it.
 *
 *   pending --the file here gets the content, the one before is kept aside-->
 *   installed --the lease; the attempt is written down--> proposed
 *                                ^                           |
 *                                +------- a conflict --------+--accepted-->
 * done
 *
 * Until then the file here is in no state of the cluster, whatever the log says
 * (db->ordered): it is neither written to nor given to others. With the entry
 * that is accepted, its checksum is the one that the log names, and the file is
 * placed as any other. The others append the entry, which brings every page,
 * and keep what they had aside; those whose file is in an unknown state fetch
 * an image from here. */
#include "node/order.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/job.h"
#include "vfs/image.h"
#include "wire/page.h"

#define INSTALLS_MAX 3u /* something else writes to the file */
#define AGAIN_US 1000000u
#define LEASE_AGAIN_US 50000u

static uint64_t now(const struct database *db)
{
    return db->env->now_us(db->env->data);
}

void order_load(struct node *n, struct database *db)
{
    struct order o;
    int rv = order_read(n->options->raft_path, db->name, &o);

    if (rv == ERR_NOT_FOUND) {
        return;
    }
    db->order = rv == 0 ? malloc(sizeof *db->order) : NULL;
    if (db->order == NULL) {
        log_error("order_ignored",
                  "db=%s why=\"%s: the order of marmot recover -from cannot be "
                  "read; give it again\"",
                  db->name, rv == 0 ? "out of memory" : err_str(rv));
        return;
    }
    *db->order = o;
    db->ordered.wanted = true;
    db->ordered.number = o.number;
    log_warn("order",
             "db=%s pages=%u why=\"marmot recover -from: once there is a "
             "majority, this becomes the content of the database on all "
             "nodes\"",
             db->name, o.pages);
}

/* ---- the end ------------------------------------------------------------- */

static void end(struct node *n, struct database *db)
{
    order_remove(n->options->raft_path, db->name);
    free(db->order);
    db->order = NULL;
    db->ordered.wanted = db->ordered.asks = false;
}

/* The cluster keeps what it has. */
static void give_up(struct node *n, struct database *db, const char *why)
{
    log_error("order_given_up", "db=%s why=\"marmot recover -from: %s\"",
              db->name, why);
    end(n, db);
    placing_scanned(db); /* where it stands counts again */
}

static void done(struct node *n, struct database *db)
{
    FAILPOINT("order.accepted");
    log_info("order_done",
             "db=%s why=\"marmot recover -from: the content is the cluster's "
             "now\"",
             db->name);
    end(n, db);
}

/* ---- the local file ------------------------------------------------------ */

struct install_job {
    struct job job;
    char content[ORDER_PATH_BYTES];
    char aside[PATH_MAX];
};

static int copy_pages(const char *content, const struct order *o,
                      struct image_writer *w)
{
    uint8_t page[PAGE_SIZE_MAX];
    int fd = open(content, O_RDONLY | O_CLOEXEC), rv = fd < 0 ? -errno : 0;

    for (uint32_t n = 1; rv == 0 && n <= o->pages; n++) {
        ssize_t got =
            pread(fd, page, o->page_size, (off_t)(n - 1) * o->page_size);
        rv = got < 0 ? -errno : got != (ssize_t)o->page_size ? ERR_CORRUPT : 0;
        rv = rv == 0 ? image_writer_page(w, n, page) : rv;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

static void run_install(struct job *job)
{
    struct install_job *i = LIST_ENTRY(job, struct install_job, job);
    struct database *db = job->db;
    const struct order *o = db->order;
    struct image_writer *w;

    job->rv = image_writer_open(db->path, o->page_size, o->pages, &w);
    if (job->rv != 0) {
        return;
    }
    job->rv = copy_pages(i->content, o, w);
    FAILPOINT("order.install");
    if (job->rv == 0) {
        job->rv = image_writer_install(w, o->checksum, 1, i->aside);
    }
    if (job->rv != 0) {
        image_writer_cancel(w);
    }
}

static void install_done(struct job *job)
{
    struct install_job *i = LIST_ENTRY(job, struct install_job, job);
    struct database *db = job->db;

    db->state = DB_OPENING;
    if (job->rv == 0) {
        FAILPOINT("order.installed");
        log_info("order_installed", "db=%s path=%s aside=%s", db->name,
                 db->path, i->aside[0] ? i->aside : "none");
    } else if (job->rv == ERR_CORRUPT || job->rv == ERR_MISMATCH ||
               job->rv == -ENOENT) {
        give_up(job->node, db, "the copy of the file beside the store is bad");
    } else {
        log_warn("order_waits", "db=%s path=%s why=\"%s\": tried again",
                 db->name, db->path, err_str(job->rv));
        db->order->installed--;
        db->job_not_before_us = now(db) + AGAIN_US;
    }
    free(i);
}

static void install(struct node *n, struct database *db)
{
    struct install_job *i;

    if (db->order->installed == INSTALLS_MAX) {
        give_up(n, db, "something else writes to the file all the time");
        return;
    }
    i = calloc(1, sizeof *i);
    if (i == NULL) {
        node_fatal(n, "out of memory");
        return;
    }
    order_content(n->options->raft_path, db->name, i->content);
    if (db->apply != NULL) {
        apply_close(db->apply, false);
        db->apply = NULL;
    }
    db->scanned = false;
    db->order->installed++;
    job_start(n, db, &i->job, run_install, install_done);
}

static bool is_installed(const struct database *db)
{
    return db->kind == FILE_WAL && db->page_size == db->order->page_size &&
           db->checksum.sum == db->order->checksum &&
           db->checksum.pages == db->order->pages;
}

/* ---- the cluster --------------------------------------------------------- */

/* One was on its way when the node died, or when a snapshot took the place of
 * the entries. Returns false when it came to an end here. */
static bool judge_last(struct node *n, struct database *db)
{
    const struct order *o = db->order;
    struct token token;
    uint64_t hash;

    if (o->tried == 0 || db->m->position.txid <= o->base.txid) {
        return true;
    }
    if (!machine_token(db->m, o->base.txid + 1, &token, &hash)) {
        give_up(n, db,
                "it cannot be told any more whether this has become the "
                "content before other changes; look at the data, and give the "
                "command again if it has not");
        return false;
    }
    if (token_of_order(&token, n->env.node_id, o->number)) {
        end(n, db);
        placing_scanned(db);
        return false;
    }
    return true;
}

static void try_it(struct node *n, struct database *db)
{
    struct order *o = db->order;

    db->ordered.asks = true; /* for the lease: others do not write meanwhile */
    if (!lease_is_good(db) || now(db) < o->not_before_us) {
        db->env->wake_after(db->env->data, db, LEASE_AGAIN_US);
        return;
    }
    o->not_before_us = now(db) + AGAIN_US;
    o->tried++;
    o->base = db->m->position;
    if (order_write(n->options->raft_path, db->name, o) != 0) {
        log_warn("order_waits",
                 "db=%s why=\"%s cannot be written to\": tried "
                 "again",
                 db->name, n->options->raft_path);
        o->tried--;
        return;
    }
    FAILPOINT("order.tried");
    order_propose(n, db);
}

static void go_on(struct node *n, struct database *db)
{
    const struct order *o = db->order;
    char why[256];

    if (db->env->replica) {
        give_up(n, db, "this node is a replica: give it to a voter");
    } else if (db->m != NULL && !judge_last(n, db)) {
        return;
    } else if (db->m != NULL && db->m->page_size != 0 &&
               db->m->page_size != o->page_size) {
        snprintf(why, sizeof why,
                 "the file has pages of %u bytes, the database of %u: rewrite "
                 "it first, by `PRAGMA journal_mode=DELETE; PRAGMA "
                 "page_size=%u; VACUUM` in a copy",
                 o->page_size, db->m->page_size, db->m->page_size);
        give_up(n, db, why);
    } else if (!is_installed(db)) {
        install(n, db);
    } else if (db->m == NULL) {
        done(n, db); /* nobody knows the name any more: it is enrolled */
    } else {
        try_it(n, db);
    }
}

bool order_step(struct node *n, struct database *db)
{
    if (db->order == NULL || db->state == DB_OPENING ||
        db->state == DB_REFUSED || db->state == DB_FETCHING) {
        return false;
    }
    if (!db->ordered.wanted) {
        done(n, db);
        return false;
    }
    if (db->caught_up && db->scanned && db->job == NULL &&
        db->proposal == NULL) {
        go_on(n, db);
    }
    return db->order != NULL || db->job != NULL;
}
