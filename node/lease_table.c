#include "node/lease_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lease {
    struct list link;
    struct uuid db;
    uint64_t holder; /* 0 = free */
    uint64_t epoch;  /* of the holder's grant */
    uint64_t queue[NODES_MAX];
    unsigned queued;
};

void lease_table_init(struct lease_table *t, void *data,
                      void (*send)(void *, uint64_t, enum lease_word,
                                   const struct uuid *, uint64_t))
{
    list_init(&t->leases);
    t->epoch = t->handovers = 0;
    t->data = data;
    t->send = send;
}

void lease_table_clear(struct lease_table *t)
{
    struct list *l;

    while ((l = list_pop(&t->leases)) != NULL) {
        free(LIST_ENTRY(l, struct lease, link));
    }
}

static struct lease *find(const struct lease_table *t, const struct uuid *db)
{
    for (struct list *l = t->leases.next; l != &t->leases; l = l->next) {
        struct lease *lease = LIST_ENTRY(l, struct lease, link);
        if (uuid_equal(&lease->db, db)) {
            return lease;
        }
    }
    return NULL;
}

static bool is_queued(const struct lease *lease, uint64_t node)
{
    for (unsigned i = 0; i < lease->queued; i++) {
        if (lease->queue[i] == node) {
            return true;
        }
    }
    return false;
}

static void unqueue(struct lease *lease, uint64_t node)
{
    for (unsigned i = 0; i < lease->queued; i++) {
        if (lease->queue[i] == node) {
            memmove(lease->queue + i, lease->queue + i + 1,
                    (lease->queued - i - 1) * sizeof lease->queue[0]);
            lease->queued--;
            return;
        }
    }
}

static void grant(struct lease_table *t, struct lease *lease, uint64_t node)
{
    lease->holder = node;
    lease->epoch = ++t->epoch;
    unqueue(lease, node);
    t->send(t->data, node, LEASE_GRANT, &lease->db, lease->epoch);
    if (lease->queued > 0) {
        t->send(t->data, node, LEASE_RECALL, &lease->db, lease->epoch);
    }
}

static void next(struct lease_table *t, struct lease *lease)
{
    lease->holder = 0;
    if (lease->queued > 0) {
        t->handovers++;
        grant(t, lease, lease->queue[0]);
    }
}

int lease_table_ask(struct lease_table *t, uint64_t node, const struct uuid *db)
{
    struct lease *lease = find(t, db);

    if (lease == NULL) {
        lease = calloc(1, sizeof *lease);
        if (lease == NULL) {
            return -ENOMEM;
        }
        lease->db = *db;
        list_push(&t->leases, &lease->link);
    }
    if (lease->holder == 0 || lease->holder == node) {
        grant(t, lease, node);
        return 0;
    }
    if (!is_queued(lease, node) && lease->queued < NODES_MAX) {
        lease->queue[lease->queued++] = node;
    }
    t->send(t->data, lease->holder, LEASE_RECALL, db, lease->epoch);
    return 0;
}

void lease_table_release(struct lease_table *t, uint64_t node,
                         const struct uuid *db, uint64_t epoch)
{
    struct lease *lease = find(t, db);

    if (lease != NULL && lease->holder == node && lease->epoch == epoch) {
        next(t, lease);
    }
}

void lease_table_drop(struct lease_table *t, uint64_t node)
{
    for (struct list *l = t->leases.next; l != &t->leases; l = l->next) {
        struct lease *lease = LIST_ENTRY(l, struct lease, link);
        unqueue(lease, node);
        if (lease->holder == node) {
            next(t, lease);
        }
    }
}

uint64_t lease_table_holder(const struct lease_table *t, const struct uuid *db)
{
    const struct lease *lease = find(t, db);

    return lease == NULL ? 0 : lease->holder;
}
