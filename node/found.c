/* States of databases that this node's own log names when it starts.
 *
 * A file that was written before the node died shows one of them. Usually the
 * log, as it is read again, comes to it (placing.c). But when the peers have
 * forgotten that part of it, the rest is replaced by a snapshot before it was
 * read: then these tell that the file is not a stranger's, but only old. */
#include <stdlib.h>

#include "node/node.h"

struct found {
    struct list link;
    struct uuid db;
    struct position position;
    uint64_t checksum;
    uint32_t pages;
};

void found_add(struct group_state *g, const void *bytes, size_t len)
{
    struct found *f;
    struct entry e;

    if (entry_decode(bytes, len, &e) != 0 || e.kind != ENTRY_TXN) {
        return;
    }
    f = malloc(sizeof *f);
    if (f == NULL) {
        return; /* the file will be taken for a stranger's, and kept aside */
    }
    f->db = e.txn.db;
    f->position = position_next(&e.txn.base, &e.txn.token, e.txn.db_pages,
                                e.txn.checksum);
    f->checksum = e.txn.checksum;
    f->pages = e.txn.db_pages;
    list_push(&g->found, &f->link);
}

void found_place(struct group_state *g, struct database *db)
{
    if (db->placed || !db->scanned || db->m == NULL) {
        return;
    }
    for (struct list *l = g->found.prev; l != &g->found; l = l->prev) {
        const struct found *f = LIST_ENTRY(l, struct found, link);
        if (uuid_equal(&f->db, &db->m->uuid) &&
            f->checksum == db->checksum.sum && f->pages == db->checksum.pages) {
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
