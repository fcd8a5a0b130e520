/* The verification of a database on all nodes, as the one that asks sees it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "consensus/view.h"
#include "node/node.h"
#include "wire/verify.h"

#define TICK_MS 500u
#define SILENT_US 10000000u /* a node that reads tells how far it is */

struct pane_verify {
    struct list link; /* in node->verifies */
    struct node *node;
    struct uuid db;
    uint64_t id;
    void (*wake)(void *arg);
    void *arg;
    unsigned n;
    struct {
        uint64_t id, heard_us;
        bool silent;
        struct verify_answer answer;
    } nodes[NODES_MAX];
    uv_timer_t timer;
};

static bool is_over(const struct pane_verify *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        if (!v->nodes[i].silent && v->nodes[i].answer.state == VERIFY_WORKING) {
            return false;
        }
    }
    return true;
}

/* Ends with who says nothing any more. */
static void on_tick(uv_timer_t *timer)
{
    struct pane_verify *v = timer->data;
    uint64_t now = v->node->env.now_us(v->node);

    for (unsigned i = 0; i < v->n; i++) {
        if (v->nodes[i].answer.state == VERIFY_WORKING &&
            (v->node->stopping || now - v->nodes[i].heard_us > SILENT_US)) {
            v->nodes[i].silent = true;
        }
    }
    if (is_over(v)) {
        uv_timer_stop(timer);
        v->wake(v->arg);
    }
}

static bool is_here(const struct node *n, uint64_t id)
{
    struct groups_peer_view view;

    groups_view_peer(n->groups, id, &view);
    return id == n->env.node_id || view.ready;
}

static void ask(struct pane_verify *v, const struct database *db)
{
    struct node *n = v->node;
    struct verify_ask a = {.db = db->m->uuid, .id = v->id};

    for (unsigned i = 0; i < n->n_members; i++) {
        struct buf out;
        v->nodes[i].id = n->members[i].id;
        v->nodes[i].heard_us = n->env.now_us(n);
        v->nodes[i].silent = !is_here(n, v->nodes[i].id);
        v->n++;
        buf_init(&out, PACKET_BYTES_MAX);
        if (verify_ask_encode(&a, &out) == 0) {
            host_send(n, v->nodes[i].id, HOST_VERIFY_ASK, db->group, &out);
        }
        buf_close(&out);
    }
}

int verify_open(void *data, const char *name, void (*wake)(void *arg),
                void *arg, struct pane_verify **out, char *why, size_t size)
{
    struct node *n = data;
    struct database *db = catalog_find(n, name);
    struct pane_verify *v;
    struct uuid random;

    if (db == NULL) {
        snprintf(why, size, "this node has no database %s", name);
        return ERR_NOT_FOUND;
    }
    if (db->m == NULL || n->groups == NULL || n->stopping) {
        snprintf(why, size, "database %s is not ready: try again later", name);
        return ERR_BUSY;
    }
    v = calloc(1, sizeof *v);
    if (v == NULL || uuid_random(&random) != 0) {
        free(v);
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    v->node = n;
    v->db = db->m->uuid;
    memcpy(&v->id, random.b, sizeof v->id);
    v->wake = wake;
    v->arg = arg;
    list_push(&n->verifies, &v->link);
    uv_timer_init(n->loop, &v->timer);
    v->timer.data = v;
    uv_timer_start(&v->timer, on_tick, TICK_MS, TICK_MS);
    ask(v, db);
    *out = v;
    return 0;
}

void verify_heard(struct node *n, uint64_t peer, const void *payload,
                  size_t len)
{
    struct verify_answer a;

    if (verify_answer_decode(payload, len, &a) != 0) {
        return;
    }
    for (struct list *l = n->verifies.next; l != &n->verifies; l = l->next) {
        struct pane_verify *v = LIST_ENTRY(l, struct pane_verify, link);
        for (unsigned i = 0; v->id == a.id && i < v->n; i++) {
            if (v->nodes[i].id == peer) {
                v->nodes[i].answer = a;
                v->nodes[i].heard_us = n->env.now_us(n);
                v->nodes[i].silent = false;
            }
        }
    }
}

/* Who has not answered yet has about as many pages as there are here. */
static void add_progress(const struct pane_verify *v, uint32_t about,
                         uint64_t *read, uint64_t *pages)
{
    for (unsigned i = 0; i < v->n; i++) {
        const struct verify_answer *a = &v->nodes[i].answer;
        bool waits = a->state == VERIFY_WORKING && !v->nodes[i].silent;
        *read += a->done;
        *pages += waits && a->pages == 0 ? about : a->pages;
    }
}

void verify_progress(const struct node *n, const struct database *db,
                     uint64_t *read, uint64_t *pages)
{
    *read = *pages = 0;
    for (const struct list *l = n->verifies.next; l != &n->verifies;
         l = l->next) {
        const struct pane_verify *v = LIST_ENTRY(l, struct pane_verify, link);
        if (db->m != NULL && uuid_equal(&v->db, &db->m->uuid)) {
            add_progress(v, db->applied_pages, read, pages);
        }
    }
}

bool verify_look(struct pane_verify *v,
                 void (*each)(void *arg, const struct pane_verified *one),
                 void *arg)
{
    for (unsigned i = 0; i < v->n; i++) {
        const struct verify_answer *a = &v->nodes[i].answer;
        struct pane_verified one = {.id = v->nodes[i].id,
                                    .txid = a->position.txid,
                                    .hash = a->position.hash,
                                    .expected = a->expected,
                                    .found = a->found,
                                    .pages = a->pages,
                                    .done = a->done,
                                    .damaged = a->damaged,
                                    .listed = a->listed,
                                    .n_listed = a->n_listed};
        one.state = v->nodes[i].silent           ? PANE_VERIFY_SILENT
                    : a->state == VERIFY_WORKING ? PANE_VERIFY_WORKING
                    : a->state == VERIFY_DONE    ? PANE_VERIFY_DONE
                    : a->state == VERIFY_ABSENT  ? PANE_VERIFY_ABSENT
                    : a->state == VERIFY_BUSY    ? PANE_VERIFY_BUSY
                                                 : PANE_VERIFY_FAILED;
        each(arg, &one);
    }
    return is_over(v);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void verify_close(struct pane_verify *v)
{
    list_remove(&v->link);
    uv_close((uv_handle_t *)&v->timer, on_closed);
}
