/* The local copy of a database: its pages, its recent states, and what the node
 * does with it (in place of vfs/apply, vfs/image and node/applier.c).
 *
 * Jobs take time, and a crash in the middle of one leaves the file as it was or
 * as it was to be. A power cut may bring back any state since the last sync. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/alloc.h"
#include "consensus/transport.h"
#include "tests/cluster/sim.h"

#define BUSY_US (100 * MS) /* until a held lock is tried again */

uint64_t file_sum(const struct file_state *f)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < f->pages; i++) {
        sum ^= page_hash(i + 1, f->images[i], SIM_PAGE);
    }
    return sum;
}

void file_become(struct file *f, const struct file_state *next)
{
    memmove(f->before + 1, f->before, (SIM_HISTORY - 1) * sizeof f->before[0]);
    f->before[0] = f->now;
    f->n_before += f->n_before < SIM_HISTORY;
    f->now = *next;
    f->now.sum = file_sum(&f->now);
    f->version++;
}

void file_power_cut(struct sim *s, struct file *f)
{
    uint64_t back = draw(s, f->n_before + 1);

    if (back > 0 && f->before[back - 1].pages > 0) {
        struct file_state old = f->before[back - 1];
        f->now = old;
        f->version++;
    }
    f->n_before = 0;
}

void file_put_entry(struct file_state *f, const void *bytes, size_t len)
{
    struct entry_page_cursor c;
    struct entry e;
    struct entry_page page;

    if (entry_decode(bytes, len, &e) != 0) {
        return;
    }
    entry_pages_begin(&e.txn.pages, &c);
    while (entry_pages_next(&c, &page) == 0) {
        assert(page.number <= SIM_PAGES_MAX);
        entry_page_unpack(&page, SIM_PAGE, f->images[page.number - 1]);
        f->pages = page.number > f->pages ? page.number : f->pages;
    }
    if (e.kind == ENTRY_TXN) {
        f->pages = e.txn.db_pages;
    }
}

static struct sim_node *owner_of(struct database *db, unsigned *number)
{
    struct sim_node *n = sim_node_of(db->env->data);

    *number = (unsigned)(db - n->dbs);
    return n;
}

bool files_page(void *data, struct database *db, uint32_t number,
                uint8_t *image)
{
    unsigned which;
    struct sim_node *n = owner_of(db, &which);
    const struct file_state *f = &n->files[which].now;

    (void)data;
    if (db->job != NULL || number > f->pages) {
        return false;
    }
    memcpy(image, f->images[number - 1], SIM_PAGE);
    return true;
}

/* ---- jobs ---------------------------------------------------------------- */

enum job_kind { JOB_OPEN, JOB_BATCH, JOB_FETCH };

struct file_job {
    struct sim_node *node;
    uint64_t life;
    enum job_kind kind;
    unsigned db;
};

static void on_job(struct sim *s, void *data);

static void start_job(struct sim_node *n, unsigned db, enum job_kind kind,
                      uint64_t us)
{
    struct file_job *j = sim_after(n->sim, us, on_job, sizeof *j);

    *j = (struct file_job){.node = n, .life = n->life, .kind = kind, .db = db};
    n->dbs[db].job = n; /* anything but NULL */
}

static void retry_after(struct database *db, uint64_t us)
{
    db->job_not_before_us = db->env->now_us(db->env->data) + us;
    db->env->wake_after(db->env->data, db, us);
}

/* As open_done in node/applier.c. */
static void opened(struct sim_node *n, unsigned number)
{
    struct database *db = &n->dbs[number];
    struct file *f = &n->files[number];

    if (f->writers > 0) {
        retry_after(db, BUSY_US); /* a session of an earlier life writes */
        return;
    }
    n->sim->report.rereads++;
    db->kind = f->now.pages == 0 ? FILE_MISSING : FILE_WAL;
    db->apply = f->now.pages == 0 ? NULL : (struct apply *)(void *)f;
    db->page_size = f->now.pages == 0 ? 0 : SIM_PAGE;
    checksum_resize(&db->checksum, 0);
    for (uint32_t i = 0; i < f->now.pages; i++) {
        checksum_set(&db->checksum, i + 1,
                     page_hash(i + 1, f->now.images[i], SIM_PAGE));
    }
    db->scanned = true;
    db->look_again = false;
    placing_scanned(db);
    if (db->state == DB_OPENING || db->state == DB_READY) {
        db->state = DB_PLACING;
    }
}

static uint32_t pending_apply(struct database *db, struct file_state *next)
{
    uint32_t count = 0;

    for (struct list *l = db->pending.next; l != &db->pending; l = l->next) {
        const struct pending *p = LIST_ENTRY(l, struct pending, link);
        for (unsigned i = 0; i < p->n_entries; i++) {
            file_put_entry(next, p->entries[i].bytes, p->entries[i].len);
        }
        count++;
    }
    return count;
}

/* All that is pending becomes one transaction of the local file. */
static void appended(struct sim_node *n, unsigned number)
{
    struct database *db = &n->dbs[number];
    struct file *f = &n->files[number];
    struct file_state next = f->now;
    const struct pending *last;
    struct list *l;

    if (pending_apply(db, &next) == 0) {
        return;
    }
    last = LIST_ENTRY(db->pending.prev, struct pending, link);
    if (file_sum(&next) != last->checksum || next.pages != last->db_pages) {
        violation(n->sim,
                  "node %u db %u: its file does not become what transaction "
                  "%llu says",
                  n->number + 1, number,
                  (unsigned long long)last->position.txid);
        return;
    }
    file_become(f, &next);
    for (uint32_t i = 0; i < next.pages; i++) {
        checksum_set(&db->checksum, i + 1,
                     page_hash(i + 1, next.images[i], SIM_PAGE));
    }
    checksum_resize(&db->checksum, next.pages);
    while ((l = list_pop(&db->pending)) != NULL) {
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        placing_applied(db, &p->position, p->checksum, p->db_pages);
        db->applied_count++;
        pending_free(db, p);
    }
    db->look_again = db->apply == NULL;
    trace(n->sim, n->number + 1, "appended", number, db->applied.txid,
          db->applied_sum);
}

/* ---- images -------------------------------------------------------------- */

static bool new_enough(const struct database *db, uint64_t txid)
{
    const struct list *first = list_first(&db->pending);

    return first == NULL
               ? txid >= db->m->position.txid
               : txid + 1 >=
                     LIST_ENTRY(first, struct pending, link)->position.txid;
}

static bool can_send(struct sim_node *to, struct sim_node *from,
                     unsigned number)
{
    struct database *db = &from->dbs[number];

    return from != to && from->alive && !from->dying && !from->node.stopping &&
           to->transport != NULL &&
           transport_is_up(to->transport, from->number + 1) &&
           db->state == DB_READY && db->apply != NULL && db->job == NULL &&
           !db->look_again && slot_claim(db) &&
           new_enough(&to->dbs[number], db->applied.txid);
}

/* As image_fetch.c: the content of one that has it, at its position. */
static void fetched(struct sim_node *n, unsigned number)
{
    struct database *db = &n->dbs[number];
    struct file *f = &n->files[number];
    struct sim_node *from = &n->sim->nodes[draw(n->sim, n->sim->n_nodes)];

    if (f->writers > 0 || n->sim->no_images || !can_send(n, from, number)) {
        db->env->wake_after(db->env->data, db, 200 * MS);
        return;
    }
    n->sim->report.images++;
    n->sim->report.catchups += db->placed;
    trace(n->sim, n->number + 1, "image", number, from->number + 1,
          from->dbs[number].applied.txid);
    file_become(f, &from->files[number].now);
    f->damaged = false;
    f->n_before = 0; /* an image is synced before it counts */
    db->repaired_us = n->sim->now_us;
    placing_applied(db, &from->dbs[number].applied,
                    from->dbs[number].applied_sum,
                    from->dbs[number].applied_pages);
    pending_drop(db, db->applied.txid);
    db->kind = FILE_WAL;
    db->scanned = false;
    db->apply = NULL;
    db->state = DB_OPENING;
    faults_moment(n);
}

static void on_job(struct sim *s, void *data)
{
    struct file_job *j = data;
    struct database *db = &j->node->dbs[j->db];

    (void)s;
    if (j->node->life != j->life || j->node->dying) {
        return;
    }
    db->job = NULL;
    if (j->kind == JOB_OPEN) {
        opened(j->node, j->db);
    } else if (j->kind == JOB_BATCH) {
        appended(j->node, j->db);
    } else {
        fetched(j->node, j->db);
    }
    node_wake(&j->node->node, db);
}

/* ---- in place of node/applier.c and node/image_*.c ----------------------- */

void applier_open(struct node *node, struct database *db, bool convert)
{
    unsigned number;
    struct sim_node *n = owner_of(db, &number);

    (void)node;
    (void)convert;
    start_job(n, number, JOB_OPEN, draw(n->sim, 20 * MS));
}

/* Is there anything but the one that its session is publishing itself? */
static bool must_append(const struct database *db)
{
    const struct proposal *p = db->proposal;
    const struct list *last = db->pending.prev;

    return !list_empty(&db->pending) && !placing_behind(db) &&
           (p == NULL || !p->accepted ||
            LIST_ENTRY(last, struct pending, link)->position.txid !=
                p->position.txid);
}

static void append_now_or_soon(struct sim_node *n, unsigned number)
{
    if (chance(n->sim, 1, 2)) {
        appended(n, number); /* small ones are written at once */
        node_wake(&n->node, &n->dbs[number]);
    } else {
        start_job(n, number, JOB_BATCH, draw(n->sim, 5 * MS));
    }
}

void applier_step(struct node *node, struct database *db)
{
    unsigned number;
    struct sim_node *n = owner_of(db, &number);
    uint64_t now = db->env->now_us(db->env->data);

    db->node_waits = placing_behind(db);
    if (db->job != NULL || (!db->look_again && !must_append(db))) {
        return;
    }
    if (now < db->job_not_before_us) {
        db->env->wake_after(db->env->data, db, db->job_not_before_us - now);
    } else if (!slot_claim(db)) {
        db->node_waits = true;
    } else if (db->look_again) {
        applier_open(node, db, false);
    } else {
        append_now_or_soon(n, number);
    }
}

void image_fetch_start(struct node *node, struct database *db)
{
    image_fetch_step(node, db);
}

void image_fetch_step(struct node *node, struct database *db)
{
    unsigned number;
    struct sim_node *n = owner_of(db, &number);

    (void)node;
    if (db->job == NULL) {
        start_job(n, number, JOB_FETCH, draw_between(n->sim, 10 * MS, SECOND));
    }
}

/* By settle.c, from the pool. */
int apply_sync(struct apply *a)
{
    struct file *f = (struct file *)(void *)a;

    sim_now->report.syncs++;
    if (chance(sim_now, 1, 50) && sim_now->faulty) {
        return ERR_IO;
    }
    if (sim_now->plan.mutant != MUTANT_NO_SYNC) {
        f->n_before = 0;
    }
    return 0;
}

void apply_expect(struct apply *a, const struct wal_state *state)
{
    (void)a;
    (void)state;
}
