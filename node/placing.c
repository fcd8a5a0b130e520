/* Where does the local file stand in the log? And what if it does not?
 *
 * Every accepted transaction carries the checksum of the whole database after
 * it, and so does the snapshot before which the log was forgotten. The log is
 * read from there after every start of the node, so the last place where that
 * checksum equals the local file's is where the file stands; equal checksums
 * mean equal pages, so it does not matter if there are several such places: the
 * last one leaves the least to do. */
#include <stdlib.h>
#include <string.h>

#include "node/database.h"

void pending_free(struct database *db, struct pending *p)
{
    for (unsigned i = 0; i < p->n_entries; i++) {
        db->pending_bytes -= p->entries[i].len;
        free(p->entries[i].bytes);
    }
    free(p);
}

void pending_drop(struct database *db, uint64_t txid)
{
    struct list *l;

    while ((l = list_first(&db->pending)) != NULL) {
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        if (p->position.txid > txid) {
            return;
        }
        list_remove(l);
        pending_free(db, p);
    }
}

static void keep_entry(struct database *db, struct pending *p,
                       const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len);

    if (copy == NULL) {
        abort(); /* a lost entry would make this copy differ */
    }
    memcpy(copy, bytes, len);
    p->entries[p->n_entries].bytes = copy;
    p->entries[p->n_entries++].len = len;
    db->pending_bytes += len;
}

static void keep(struct database *db, const struct machine_accept *a)
{
    unsigned count = a->txn->parts + 1;
    struct pending *p = calloc(1, sizeof *p + count * sizeof p->entries[0]);

    if (p == NULL) {
        abort();
    }
    p->position = a->position;
    p->checksum = a->txn->checksum;
    p->db_pages = a->txn->db_pages;
    p->page_size = a->txn->pages.page_size;
    p->brings_pages = a->txn->pages.count > 0 || a->txn->parts > 0;
    p->ordered = a->txn->token.sequence >= ORDER_SEQUENCE;
    for (struct list *l = a->parts->next; l != a->parts; l = l->next) {
        struct machine_part *part = LIST_ENTRY(l, struct machine_part, link);
        keep_entry(db, p, part->bytes, part->len);
    }
    keep_entry(db, p, a->bytes, a->len);
    list_push(&db->pending, &p->link);
}

void placing_applied(struct database *db, const struct position *position,
                     uint64_t checksum, uint32_t pages)
{
    db->placed = true;
    db->applied = *position;
    db->applied_sum = checksum;
    db->applied_pages = pages;
}

static bool matches(const struct database *db, uint64_t checksum,
                    uint32_t pages)
{
    return db->scanned && !db->ordered.wanted && db->checksum.sum == checksum &&
           db->checksum.pages == pages;
}

static void begin_at(struct database *db)
{
    const struct machine_db *m = db->m;

    db->base.position = m->position;
    db->base.checksum = m->checksum;
    db->base.pages = m->pages;
    if (!db->placed && matches(db, m->checksum, m->pages)) {
        placing_applied(db, &m->position, m->checksum, m->pages);
    }
    db->env->wake(db->env->data, db);
}

void placing_enrolled(struct database *db, struct machine_db *m)
{
    if (db->m != NULL && db->m != m) {
        db->m->local = NULL; /* another one of the same name */
    }
    db->m = m;
    m->local = db;
    db->placed = false;
    begin_at(db);
}

/* The last position that is applied or waits to be. */
static struct position end_of(const struct database *db)
{
    return !list_empty(&db->pending)
               ? LIST_ENTRY(db->pending.prev, struct pending, link)->position
           : db->placed ? db->applied
                        : db->base.position;
}

/* What was read of the old group's log goes on without a gap in that of the new
 * one; or this node has not read all of it, and lacks something. */
void placing_switched(struct database *db, struct machine_db *m)
{
    struct position end = end_of(db);
    bool ahead = db->placed && db->applied.txid >= m->position.txid;

    if (db->m->local == db) {
        db->m->local = NULL;
    }
    db->m = m;
    m->local = db;
    if (!ahead && !position_equal(&end, &m->position)) {
        pending_drop(db, UINT64_MAX);
        begin_at(db);
    }
    db->env->wake(db->env->data, db);
}

void placing_jumped(struct database *db)
{
    pending_drop(db, db->m->position.txid);
    begin_at(db);
}

bool placing_behind(const struct database *db)
{
    const struct list *first = list_first(&db->pending);

    return db->placed && db->applied.txid < db->m->position.txid &&
           (first == NULL ||
            LIST_ENTRY(first, struct pending, link)->position.txid >
                db->applied.txid + 1);
}

static bool place_at(struct database *db, const struct db_noted *at)
{
    if (at->valid && matches(db, at->checksum, at->pages)) {
        placing_applied(db, &at->position, at->checksum, at->pages);
        return true;
    }
    return false;
}

void placing_noted(struct database *db)
{
    if (!db->placed && !place_at(db, &db->noted)) {
        place_at(db, &db->coming);
    }
}

void placing_accepted(struct database *db, const struct machine_accept *a)
{
    bool following = db->state == DB_READY || db->state == DB_FETCHING;

    if (db->placed && a->position.txid <= db->applied.txid) {
        return; /* an image has brought more than we have read */
    }
    if (token_of_order(&a->txn->token, db->env->node_id, db->ordered.number)) {
        db->ordered.wanted = false;
    }
    if (!following && matches(db, a->txn->checksum, a->txn->db_pages)) {
        pending_drop(db, UINT64_MAX);
        placing_applied(db, &a->position, a->txn->checksum, a->txn->db_pages);
    } else if (following || db->placed || !db->scanned) {
        keep(db, a);
    }
    db->env->wake(db->env->data, db);
}

static bool has_all_since_base(const struct database *db)
{
    const struct list *first = list_first(&db->pending);
    uint64_t base = db->base.position.txid;

    return first == NULL
               ? db->m->position.txid == base
               : LIST_ENTRY(first, struct pending, link)->position.txid ==
                     base + 1;
}

/* The file was scanned: is it where it was, or somewhere in what is pending? */
void placing_scanned(struct database *db)
{
    db->placed = db->placed && matches(db, db->applied_sum, db->applied_pages);
    if (db->placed || db->m == NULL) {
        return;
    }
    for (struct list *l = db->pending.prev; l != &db->pending; l = l->prev) {
        const struct pending *p = LIST_ENTRY(l, struct pending, link);
        if (matches(db, p->checksum, p->db_pages)) {
            placing_applied(db, &p->position, p->checksum, p->db_pages);
            pending_drop(db, p->position.txid);
            return;
        }
    }
    if (matches(db, db->base.checksum, db->base.pages) &&
        has_all_since_base(db)) {
        placing_applied(db, &db->base.position, db->base.checksum,
                        db->base.pages);
    } else {
        pending_drop(db, UINT64_MAX);
    }
}

static bool has_content(const struct database *db)
{
    return db->kind == FILE_WAL || db->kind == FILE_ROLLBACK;
}

static enum placing_action unknown_name(const struct database *db)
{
    if (db->env->replica) { /* follows only */
        return has_content(db) ? PLACING_STRANGER : PLACING_WAIT;
    }
    if (db->kind == FILE_ROLLBACK) {
        return PLACING_CONVERT;
    }
    if (has_content(db) || !list_empty(&db->waiters)) {
        return PLACING_ENROLL;
    }
    return PLACING_WAIT;
}

enum placing_action placing_next(const struct database *db)
{
    if (!db->caught_up || !db->scanned || db->job != NULL) {
        return PLACING_WAIT;
    }
    if (db->m == NULL) {
        return unknown_name(db);
    }
    if (db->placed) {
        return placing_behind(db) ? PLACING_CATCH_UP : PLACING_READY;
    }
    if (db->m->frozen) {
        return PLACING_WAIT; /* the log of its new group may tell */
    }
    if (!has_content(db)) {
        return PLACING_FETCH;
    }
    return db->member ? PLACING_FETCH_REPAIR : PLACING_COMPARE;
}

bool placing_majority_holds(const struct database *db)
{
    const struct db_env *env = db->env;
    unsigned have = 0;

    if (db->m->born_empty) {
        return true;
    }
    for (unsigned i = 0; i < env->voters; i++) {
        have += machine_holds(db->m, env->voter_ids[i]);
    }
    return have > env->voters / 2;
}
