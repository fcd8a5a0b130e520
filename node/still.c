/* A consistent read of a database may begin when its state stands still for a
 * moment: no job has the file, no session the slot, and the checksum is the one
 * of its position. Who wants one waits here, 5 s at most. */
#include "base/err.h"
#include "node/node.h"

#define PATIENCE_US 5000000u
#define AGAIN_US 20000u

void still_wait(struct node *n, struct database *db, struct still *s)
{
    s->db = db;
    s->since_us = n->env.now_us(n);
    list_push(&n->stills, &s->link);
    node_wake(n, db);
}

static void end(struct still *s, int rv, struct page_reader *reader)
{
    list_remove(&s->link);
    s->opened(s, rv, reader);
}

bool still_any(const struct node *n, const struct database *db)
{
    for (struct list *l = n->stills.next; l != &n->stills; l = l->next) {
        if (LIST_ENTRY(l, struct still, link)->db == db) {
            return true;
        }
    }
    return false;
}

static void try_to_open(struct node *n, struct still *s, bool still)
{
    struct page_reader *reader;

    if (still && page_reader_open(s->db->apply, &reader) == 0) {
        end(s, 0, reader);
    } else if (n->env.now_us(n) - s->since_us > PATIENCE_US) {
        end(s, ERR_FULL, NULL);
    }
}

void still_step(struct node *n, struct database *db)
{
    bool still;

    if (!still_any(n, db)) {
        return;
    }
    still = db->state == DB_READY && db->job == NULL && db->apply != NULL &&
            !db->look_again && db->placed && slot_claim(db) &&
            db->checksum.sum == db->applied_sum;
    for (struct list *l = n->stills.next, *next; l != &n->stills; l = next) {
        struct still *s = LIST_ENTRY(l, struct still, link);
        next = l->next;
        if (s->db == db) {
            try_to_open(n, s, still);
        }
    }
    db->env->wake_after(db->env->data, db, AGAIN_US);
}

void still_end_all(struct node *n)
{
    while (!list_empty(&n->stills)) {
        end(LIST_ENTRY(list_first(&n->stills), struct still, link), ERR_CLOSED,
            NULL);
    }
}
