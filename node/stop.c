/* The orderly stop.
 *
 *   commits under way finish (a second at most) -> sessions are closed ->
 *   leadership is handed over, groups are closed -> what was accepted is
 *   applied, jobs end -> files are written back and let go -> the loop ends */
#include "base/log.h"
#include "node/node.h"

#define FINISH_US 1000000u
#define DRAIN_MS 3000u

static bool any_owner(const struct node *n)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        slot_look(db);
        if (db->owner != NULL) {
            return true;
        }
    }
    return false;
}

static void on_groups_stopped(void *data)
{
    struct node *n = data;

    n->groups = NULL;
    n->groups_stopped = true;
    node_wake(n, NULL);
}

static void close_sessions(struct node *n)
{
    n->sessions_closed = true;
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        server_stop(db);
        image_send_drop(n, db, 0);
    }
    still_end_all(n);
    backup_drop(n, NULL);
    verify_drop_all(n);
    if (n->groups != NULL) {
        groups_stop(n->groups, DRAIN_MS, on_groups_stopped, n);
    } else {
        n->groups_stopped = true;
    }
}

static bool busy(const struct node *n)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->job != NULL || !list_empty(&db->image_asks)) {
            return true;
        }
    }
    return backup_any_working(n) || verify_any_working(n);
}

/* A transaction of an image must not outlive the file. */
static void cancel_fetches(struct node *n)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        image_fetch_cancel(LIST_ENTRY(l, struct database, link));
    }
}

void stop_begin(struct node *n)
{
    if (n->stopping) {
        return;
    }
    n->stopping = true;
    n->stop_at_us = n->env.now_us(n) + FINISH_US;
    log_info("stopping", "node=%llu", (unsigned long long)n->env.node_id);
    node_wake(n, NULL);
}

void stop_step(struct node *n)
{
    if (!n->sessions_closed) {
        if (any_owner(n) && n->env.now_us(n) < n->stop_at_us) {
            return;
        }
        close_sessions(n);
    }
    if (n->groups_stopped && !busy(n)) {
        cancel_fetches(n);
        applier_close_all(n);
        uv_stop(n->loop);
    }
}
