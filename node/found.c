/* States of databases that this node's own log names when it starts.
 *
 * A file that was written before the node died shows one of them. Usually the
 * log, as it is read again, comes to it (placing.c). But when the peers have
 * forgotten that part of it, the rest is replaced by a snapshot before it was
 * read: then these tell that the file is not a stranger's, but only old. */
#include <stdlib.h>

#include "node/node.h"
#include "wire/snapshot.h"

struct found {
    struct list link;
    struct uuid db;
    bool enrolled; /* the first one: it has no base */
    struct position base, position;
    uint64_t checksum;
    uint32_t pages;
};

static void read_adopted(const struct entry_move *e, struct found *f)
{
    struct unpack u = e->state;
    struct snapshot_db s;

    snapshot_next(&u, &s);
    *f = (struct found){.db = s.db,
                        .enrolled = true,
                        .position = s.position,
                        .checksum = s.checksum,
                        .pages = s.pages};
}

static bool read_entry(const struct entry *e, struct found *f)
{
    const struct entry_txn *t = &e->txn;

    if (e->kind == ENTRY_ENROLL) {
        *f = (struct found){.db = e->enroll.db,
                            .enrolled = true,
                            .checksum = e->enroll.checksum,
                            .pages = e->enroll.pages};
        return true;
    }
    if (e->kind == ENTRY_ADOPT) {
        read_adopted(&e->move, f);
        return true;
    }
    if (e->kind != ENTRY_TXN) {
        return false;
    }
    *f = (struct found){.db = t->db,
                        .base = t->base,
                        .position = position_next(&t->base, &t->token,
                                                  t->db_pages, t->checksum),
                        .checksum = t->checksum,
                        .pages = t->db_pages};
    return true;
}

void found_add(struct group_state *g, const void *bytes, size_t len)
{
    struct found found, *f;
    struct entry e;

    if (entry_decode(bytes, len, &e) != 0 || !read_entry(&e, &found)) {
        return;
    }
    f = malloc(sizeof *f);
    if (f == NULL) {
        return; /* the file will be taken for a stranger's, and kept aside */
    }
    *f = found;
    list_init(&f->link);
    list_push(&g->found, &f->link);
}

/* Nobody knows which of the last entries were committed, and some that were
 * had another base than the database's position: those happened nowhere. So the
 * bases are followed from one that is known, and the first state that fits is
 * the file's: an entry behind it that leaves the pages as they are, a fence for
 * one, may never have been accepted. */
void found_place(struct group_state *g, struct database *db,
                 const struct position *from)
{
    struct position at = {0};
    bool known = from != NULL;

    if (db->placed || !db->scanned || db->m == NULL || db->ordered.wanted) {
        return;
    }
    if (known) {
        at = *from;
    }
    for (struct list *l = g->found.next; l != &g->found; l = l->next) {
        const struct found *f = LIST_ENTRY(l, struct found, link);
        if (!uuid_equal(&f->db, &db->m->uuid) || f->enrolled == known ||
            !position_equal(&f->base, &at)) {
            continue;
        }
        known = true;
        at = f->position;
        if (f->checksum == db->checksum.sum && f->pages == db->checksum.pages) {
            placing_applied(db, &f->position, f->checksum, f->pages);
            return;
        }
    }
}

void found_forget(struct group_state *g)
{
    struct list *l;

    while ((l = list_pop(&g->found)) != NULL) {
        free(LIST_ENTRY(l, struct found, link));
    }
}
