/* Why parts of other tokens may be dropped when a transaction is accepted: a
 * part is only of use to a transaction whose base is the current position, and
 * acceptance moves the position. Their own ENTRY_TXN, if it still comes, is a
 * conflict with or without them. */
#include "node/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "node/machine_internal.h"
#include "node/registry.h"
#include "wire/page.h"

void machine_init(struct machine *m, const struct machine_events *events)
{
    memset(m, 0, sizeof *m);
    list_init(&m->dbs);
    m->events = events;
}

void machine_drop_parts(struct list *parts)
{
    struct list *l;

    while ((l = list_pop(parts)) != NULL) {
        free(LIST_ENTRY(l, struct machine_part, link));
    }
}

void machine_close(struct machine *m)
{
    struct list *l;

    while ((l = list_pop(&m->dbs)) != NULL) {
        struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        machine_drop_parts(&db->parts);
        free(db);
    }
}

struct machine_db *machine_find(struct machine *m, const char *name)
{
    for (struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
        struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        if (strcmp(db->name, name) == 0) {
            return db;
        }
    }
    return NULL;
}

struct machine_db *machine_find_uuid(struct machine *m, const struct uuid *u)
{
    for (struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
        struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        if (uuid_equal(&db->uuid, u)) {
            return db;
        }
    }
    return NULL;
}

bool machine_holds(const struct machine_db *db, uint64_t node)
{
    for (unsigned i = 0; i < db->n_holders; i++) {
        if (db->holders[i] == node) {
            return true;
        }
    }
    return false;
}

bool machine_token(const struct machine_db *db, uint64_t txid,
                   struct token *token, uint64_t *hash)
{
    unsigned at = (unsigned)(txid % TOKEN_RING);

    if (txid == 0 || db->ring[at].txid != txid) {
        return false;
    }
    *token = db->ring[at].token;
    *hash = db->ring[at].hash;
    return true;
}

void machine_apply_cluster(struct machine *m, const struct entry_cluster *e)
{
    if (uuid_is_none(&m->cluster)) {
        m->cluster = e->cluster; /* the first one counts */
        m->shards = e->shards;
    }
    m->events->cluster(m->events->data, e);
}

static void apply_members(struct machine *m, const struct entry_members *e)
{
    if (registry_apply(&m->registry, e, m->shards)) {
        m->events->members(m->events->data);
    } else {
        m->ignored++;
    }
}

struct machine_db *machine_new_db(struct machine *m)
{
    struct machine_db *db = calloc(1, sizeof *db);

    if (db == NULL) {
        abort(); /* a skipped entry would make this node differ */
    }
    list_init(&db->parts);
    list_push(&m->dbs, &db->link);
    m->n_dbs++;
    return db;
}

void machine_add_holder(struct machine_db *db, uint64_t node)
{
    if (!machine_holds(db, node) && db->n_holders < NODES_MAX) {
        db->holders[db->n_holders++] = node;
    }
}

/* Accepted iff the name is unknown: the first node to enrol it wins. */
static void apply_enroll(struct machine *m, const struct entry_enroll *e)
{
    struct machine_db *db;

    if (!machine_is_home(m, e->name) || machine_find(m, e->name) != NULL ||
        machine_find_uuid(m, &e->db) != NULL ||
        m->n_dbs == GROUP_DATABASES_MAX) {
        m->ignored++;
        return;
    }
    db = machine_new_db(m);
    memcpy(db->name, e->name, sizeof db->name);
    db->uuid = e->db;
    db->page_size = e->page_size;
    db->pages = e->pages;
    db->checksum = e->checksum;
    db->enrolled_by = e->node;
    db->born_empty = e->pages == 0;
    machine_add_holder(db, e->node);
    m->events->enrolled(m->events->data, db);
}

static void apply_holds(struct machine *m, const struct entry_holds *e)
{
    struct machine_db *db = machine_find_uuid(m, &e->db);

    if (db == NULL) {
        m->ignored++;
        return;
    }
    machine_add_holder(db, e->node);
    m->events->holds(m->events->data, db, e->node);
}

void machine_forget(struct machine *m, struct machine_db *db)
{
    machine_drop_parts(&db->parts);
    list_remove(&db->link);
    m->n_dbs--;
    free(db);
}

void machine_drop_db(struct machine *m, struct machine_db *db)
{
    m->events->dropped(m->events->data, db);
    machine_forget(m, db);
}

static void apply_drop(struct machine *m, const struct entry_holds *e)
{
    struct machine_db *db = machine_find_uuid(m, &e->db);

    /* What is frozen may be adopted elsewhere at any time. */
    if (db == NULL || db->frozen) {
        m->ignored++;
    } else {
        machine_drop_db(m, db);
    }
}

/* Idempotent by (token, number): a part that is there is not staged again. */
static void apply_part(struct machine *m, const struct entry_txn *e,
                       const void *bytes, size_t len)
{
    struct machine_db *db = machine_find_uuid(m, &e->db);
    struct machine_part *part;

    if (db == NULL || db->frozen || e->number >= TXN_PARTS_MAX ||
        !position_equal(&e->base, &db->position)) {
        m->ignored++;
        return;
    }
    db->parts_seen++;
    for (struct list *l = db->parts.next; l != &db->parts; l = l->next) {
        part = LIST_ENTRY(l, struct machine_part, link);
        if (token_equal(&part->token, &e->token) && part->number == e->number) {
            return;
        }
    }
    part = malloc(sizeof *part + len);
    if (part == NULL) {
        abort();
    }
    part->token = e->token;
    part->number = e->number;
    part->pages = e->pages.count;
    part->page_size = e->pages.page_size;
    part->len = len;
    memcpy(part->bytes, bytes, len);
    list_push(&db->parts, &part->link);
}

/* Move the parts of `token` in the order of their numbers to `out`; false if
 * not all of 0..count-1 are there (then nothing moves). */
static bool take_parts(struct machine_db *db, const struct token *token,
                       uint32_t count, struct list *out)
{
    struct machine_part **by_number;
    struct list *l, *next;
    uint32_t found = 0;

    list_init(out);
    if (count == 0) {
        return true;
    }
    by_number = calloc(count, sizeof *by_number);
    if (by_number == NULL) {
        abort();
    }
    for (l = db->parts.next; l != &db->parts; l = next) {
        struct machine_part *part = LIST_ENTRY(l, struct machine_part, link);
        next = l->next;
        if (token_equal(&part->token, token) && part->number < count) {
            by_number[part->number] = part;
            found++;
        }
    }
    for (uint32_t i = 0; found == count && i < count; i++) {
        list_remove(&by_number[i]->link);
        list_push(out, &by_number[i]->link);
    }
    free(by_number);
    return found == count;
}

/* Do all pages have one size, and does that of the database follow from them?
 * Every node keeps memory for it. */
static bool size_valid(const struct machine_db *db, const struct entry_txn *e,
                       const struct list *parts)
{
    uint64_t pages = e->pages.count;

    for (const struct list *l = parts->next; l != parts; l = l->next) {
        const struct machine_part *part =
            LIST_ENTRY(l, struct machine_part, link);
        if (part->page_size != e->pages.page_size) {
            return false;
        }
        pages += part->pages;
    }
    return page_growth_valid(db->pages, pages, e->db_pages);
}

static enum machine_verdict verdict_on(const struct machine_db *db,
                                       const struct entry_txn *e)
{
    uint64_t txid = e->base.txid + 1;

    if (txid > db->position.txid) {
        return VERDICT_CONFLICT; /* same txid, another hash */
    }
    if (txid + TOKEN_RING <= db->position.txid) {
        return VERDICT_FORGOTTEN;
    }
    return token_equal(&db->ring[txid % TOKEN_RING].token, &e->token)
               ? VERDICT_REPEATED
               : VERDICT_CONFLICT;
}

static void accept_txn(struct machine *m, struct machine_db *db,
                       const struct entry_txn *e, const void *bytes, size_t len,
                       struct list *parts)
{
    struct machine_accept accept = {
        .txn = e, .bytes = bytes, .len = len, .parts = parts};

    accept.position = db->position =
        position_next(&e->base, &e->token, e->db_pages, e->checksum);
    db->page_size = e->pages.page_size;
    db->pages = e->db_pages;
    db->checksum = e->checksum;
    db->ring[db->position.txid % TOKEN_RING].txid = db->position.txid;
    db->ring[db->position.txid % TOKEN_RING].hash = db->position.hash;
    db->ring[db->position.txid % TOKEN_RING].token = e->token;
    machine_drop_parts(&db->parts);
    m->events->accepted(m->events->data, db, &accept);
    machine_drop_parts(parts);
}

/* The first transaction makes a database, so that an empty one does not move it
 * from its beginning. It is meant for the parts that wait there (fence.c). */
static bool is_nothing(const struct machine_db *db, const struct entry_txn *e)
{
    return db->page_size == 0 && e->pages.count == 0 && e->parts == 0;
}

static void apply_txn(struct machine *m, const struct entry_txn *e,
                      const void *bytes, size_t len)
{
    struct machine_db *db = machine_find_uuid(m, &e->db);
    enum machine_verdict verdict;
    struct list parts;

    if (db == NULL || e->parts > TXN_PARTS_MAX) {
        m->ignored++;
        return;
    }
    if (position_equal(&e->base, &db->position) && db->frozen) {
        verdict = VERDICT_FROZEN;
    } else if (position_equal(&e->base, &db->position) && is_nothing(db, e)) {
        machine_drop_parts(&db->parts);
        verdict = VERDICT_CONFLICT;
    } else if (!position_equal(&e->base, &db->position) ||
               (db->page_size != 0 && db->page_size != e->pages.page_size)) {
        verdict = verdict_on(db, e);
    } else if (!take_parts(db, &e->token, e->parts, &parts)) {
        verdict = VERDICT_INCOMPLETE;
    } else if (!size_valid(db, e, &parts)) {
        machine_drop_parts(&parts);
        verdict = VERDICT_CONFLICT;
    } else {
        accept_txn(m, db, e, bytes, len, &parts);
        return;
    }
    m->events->decided(m->events->data, db, &e->token, verdict);
}

int machine_apply(struct machine *m, const void *bytes, size_t len)
{
    struct entry e;
    int rv = entry_decode(bytes, len, &e);

    if (rv == ERR_VERSION) {
        return rv;
    }
    if (rv != 0) {
        m->ignored++;
        return 0;
    }
    switch (e.kind) {
    case ENTRY_CLUSTER:
        machine_apply_cluster(m, &e.cluster);
        break;
    case ENTRY_ENROLL:
        apply_enroll(m, &e.enroll);
        break;
    case ENTRY_HOLDS:
        apply_holds(m, &e.holds);
        break;
    case ENTRY_PART:
        apply_part(m, &e.txn, bytes, len);
        break;
    case ENTRY_TXN:
        apply_txn(m, &e.txn, bytes, len);
        break;
    case ENTRY_DROP:
        apply_drop(m, &e.holds);
        break;
    case ENTRY_MEMBERS:
        apply_members(m, &e.members);
        break;
    case ENTRY_MOVE:
        machine_move(m, &e.move);
        break;
    case ENTRY_HELD:
        machine_held(m, &e.move);
        break;
    case ENTRY_ADOPT:
        machine_adopt(m, &e.move);
        break;
    case ENTRY_MOVED:
        machine_moved(m, &e.move);
        break;
    case ENTRY_SHARDS:
        machine_shards(m, &e.shards);
        break;
    }
    return 0;
}
