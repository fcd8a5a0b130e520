#include "node/lease_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define LEASE_US_MAX 60000000u /* whatever a peer says */

struct lease {
    struct list link;
    struct uuid db;
    uint64_t holder; /* 0 = free */
    uint64_t last;   /* that was granted it */
    uint64_t epoch;  /* of the holder's grant */
    uint64_t until_us;
    bool asks; /* the holder wants to be granted again, */
    bool anew; /* having forgotten that it holds it */
    uint64_t stamp;
    struct {
        uint64_t node, stamp;
    } queue[NODES_MAX];
    unsigned queued;
};

void lease_table_init(struct lease_table *t, void *data, lease_send send)
{
    memset(t, 0, sizeof *t);
    list_init(&t->leases);
    t->closed = true;
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

void lease_table_begin(struct lease_table *t, uint64_t term, uint64_t opens_us)
{
    lease_table_clear(t);
    t->term = term;
    t->opens_us = opens_us;
    t->closed = false;
    /* Above those of all leaders before; the term may be one that we led until
     * a transfer failed. */
    if (t->epoch < term << 32) {
        t->epoch = term << 32;
    }
}

void lease_table_close(struct lease_table *t)
{
    t->closed = true;
}

bool lease_table_is_open(const struct lease_table *t, uint64_t now_us)
{
    return !t->closed && now_us >= t->opens_us;
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

static struct lease *find_or_make(struct lease_table *t, const struct uuid *db)
{
    struct lease *lease = find(t, db);

    if (lease == NULL) {
        lease = calloc(1, sizeof *lease);
        if (lease == NULL) {
            return NULL;
        }
        lease->db = *db;
        list_push(&t->leases, &lease->link);
    }
    return lease;
}

static bool is_held(const struct lease *lease, uint64_t now_us)
{
    return lease->holder != 0 && now_us < lease->until_us;
}

/* ---- the queue ----------------------------------------------------------- */

static unsigned place_of(const struct lease *lease, uint64_t node)
{
    unsigned i = 0;

    while (i < lease->queued && lease->queue[i].node != node) {
        i++;
    }
    return i;
}

/* Its latest question counts; its place stays. */
static void enqueue(struct lease *lease, uint64_t node, uint64_t stamp)
{
    unsigned i = place_of(lease, node);

    if (i == NODES_MAX) {
        return;
    }
    lease->queue[i].node = node;
    lease->queue[i].stamp = stamp;
    lease->queued += i == lease->queued;
}

static void unqueue(struct lease *lease, uint64_t node)
{
    unsigned i = place_of(lease, node);

    if (i < lease->queued) {
        memmove(lease->queue + i, lease->queue + i + 1,
                (lease->queued - i - 1) * sizeof lease->queue[0]);
        lease->queued--;
    }
}

/* ---- granting ------------------------------------------------------------ */

static void recall(struct lease_table *t, const struct lease *lease)
{
    struct host_lease l = {.db = lease->db, .epoch = lease->epoch};

    t->send(t->data, lease->holder, HOST_LEASE_RECALL, &l);
}

static void grant(struct lease_table *t, struct lease *lease, uint64_t now_us,
                  uint64_t valid_us)
{
    struct host_lease l = {.db = lease->db, .stamp = lease->stamp};

    if (lease->anew) {
        lease->epoch = ++t->epoch;
    }
    t->handovers += lease->last != 0 && lease->last != lease->holder;
    lease->last = lease->holder;
    lease->asks = lease->anew = false;
    lease->until_us = now_us + lease_outlived_us(valid_us);
    l.epoch = lease->epoch;
    l.us = valid_us;
    t->send(t->data, lease->holder, HOST_LEASE_GRANT, &l);
    if (lease->queued > 0) {
        recall(t, lease);
    }
}

/* The holder asks on behalf of what it is in the middle of: it comes first. */
static bool is_due(const struct lease *lease, uint64_t now_us)
{
    return lease->asks || (lease->queued > 0 && !is_held(lease, now_us));
}

bool lease_table_waits(const struct lease_table *t, uint64_t now_us)
{
    for (struct list *l = t->leases.next; l != &t->leases; l = l->next) {
        if (is_due(LIST_ENTRY(l, struct lease, link), now_us)) {
            return true;
        }
    }
    return false;
}

void lease_table_step(struct lease_table *t, uint64_t now_us, uint64_t valid_us)
{
    if (!lease_table_is_open(t, now_us) || valid_us == 0) {
        return;
    }
    for (struct list *l = t->leases.next; l != &t->leases; l = l->next) {
        struct lease *lease = LIST_ENTRY(l, struct lease, link);
        if (!is_due(lease, now_us)) {
            continue;
        }
        if (!lease->asks) {
            lease->holder = lease->queue[0].node;
            lease->stamp = lease->queue[0].stamp;
            lease->anew = true;
            unqueue(lease, lease->holder);
        }
        grant(t, lease, now_us, valid_us);
    }
}

/* ---- what nodes say ------------------------------------------------------ */

int lease_table_ask(struct lease_table *t, uint64_t node,
                    const struct host_lease *l, uint64_t now_us)
{
    struct lease *lease = find_or_make(t, &l->db);

    if (lease == NULL) {
        return -ENOMEM;
    }
    if (lease->holder == node) {
        lease->asks = true;
        lease->anew = lease->anew || l->epoch != lease->epoch;
        lease->stamp = l->stamp;
        return 0;
    }
    enqueue(lease, node, l->stamp);
    if (is_held(lease, now_us) && !t->closed) {
        recall(t, lease);
    }
    return 0;
}

void lease_table_release(struct lease_table *t, uint64_t node,
                         const struct uuid *db, uint64_t epoch)
{
    struct lease *lease = find(t, db);

    if (lease != NULL && lease->holder == node && lease->epoch == epoch) {
        lease->holder = 0;
        lease->asks = lease->anew = false;
    }
}

void lease_table_drop(struct lease_table *t, uint64_t node)
{
    for (struct list *l = t->leases.next; l != &t->leases; l = l->next) {
        struct lease *lease = LIST_ENTRY(l, struct lease, link);
        unqueue(lease, node);
        if (lease->holder == node) {
            lease->asks = lease->anew = false;
        }
    }
}

/* ---- from leader to leader ----------------------------------------------- */

int lease_table_hand_over(struct lease_table *t, uint64_t term, uint64_t now_us,
                          struct buf *out)
{
    struct host_lease head = {.term = term};
    int rv;

    if (term > t->term) {
        t->closed = true;
    }
    if (t->term == 0 || term != t->term + 1 || now_us < t->opens_us) {
        return ERR_NOT_LEADER;
    }
    rv = host_lease_encode(&head, out);
    for (struct list *l = t->leases.next; rv == 0 && l != &t->leases;
         l = l->next) {
        const struct lease *lease = LIST_ENTRY(l, struct lease, link);
        struct host_lease held = {.db = lease->db,
                                  .epoch = lease->epoch,
                                  .node = lease->holder,
                                  .us = lease->until_us - now_us};
        if (is_held(lease, now_us)) {
            rv = host_lease_encode(&held, out);
        }
    }
    return rv;
}

static int take_one(struct lease_table *t, const struct host_lease *l,
                    uint64_t now_us)
{
    struct lease *lease;
    unsigned place;

    if (l->us > LEASE_US_MAX) {
        return ERR_CORRUPT;
    }
    lease = find_or_make(t, &l->db);
    if (lease == NULL) {
        return -ENOMEM;
    }
    lease->holder = l->node;
    lease->epoch = l->epoch;
    lease->until_us = now_us + lease_outlived_us(l->us);
    place = place_of(lease, l->node);
    if (place < lease->queued) { /* it has found us already */
        lease->asks = true;
        lease->stamp = lease->queue[place].stamp;
        unqueue(lease, l->node);
    }
    return 0;
}

int lease_table_take_over(struct lease_table *t, const void *bytes, size_t len,
                          uint64_t now_us)
{
    const uint8_t *p = bytes;
    struct host_lease l;
    int rv;

    if (len < HOST_LEASE_BYTES || len % HOST_LEASE_BYTES != 0 ||
        host_lease_decode(p, HOST_LEASE_BYTES, &l) != 0) {
        return ERR_CORRUPT;
    }
    if (t->closed || now_us >= t->opens_us || l.term != t->term) {
        return ERR_NOT_LEADER;
    }
    for (size_t at = HOST_LEASE_BYTES; at < len; at += HOST_LEASE_BYTES) {
        rv = host_lease_decode(p + at, HOST_LEASE_BYTES, &l);
        if (rv == 0) {
            rv = take_one(t, &l, now_us);
        }
        if (rv != 0) {
            return rv; /* it opens when all has run out */
        }
    }
    t->opens_us = now_us;
    return 0;
}

uint64_t lease_table_holder(const struct lease_table *t, const struct uuid *db,
                            uint64_t now_us)
{
    const struct lease *lease = find(t, db);

    return lease == NULL || !is_held(lease, now_us) ? 0 : lease->holder;
}
