#include "node/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define ROUNDS_MAX 4u /* of woken databases, before the loop polls again */
#define START_AGAIN_US 500000u

/* ---- waking databases ---------------------------------------------------- */

static void on_idle(uv_idle_t *h);

void node_wake(struct node *n, struct database *db)
{
    if (db != NULL && !db->wake_queued) {
        db->wake_queued = true;
        list_push(&n->awake, &db->wake_link);
    }
    uv_idle_start(&n->idle, on_idle);
}

bool node_will_sync(const struct node *n)
{
    return n->groups != NULL && groups_will_sync(n->groups);
}

void node_wake_after_sync(struct node *n, struct database *db)
{
    if (!db->wake_queued) {
        db->wake_queued = true;
        list_push(&n->after_sync, &db->wake_link);
    }
    uv_idle_start(&n->idle, on_idle);
}

static void say_ready(struct node *n)
{
    if (n->ready_said || n->groups == NULL) {
        return;
    }
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        const struct database *db = LIST_ENTRY(l, struct database, link);
        bool waits = db->state == DB_PLACING && db->caught_up && db->m == NULL;
        if (db->state != DB_READY && !waits &&
            !(db->optional && db->state == DB_REFUSED)) {
            return;
        }
    }
    n->ready_said = true;
    log_info("ready", "node=%" PRIu64, n->env.node_id);
}

/* One round. Those that are woken from here on have theirs in the next one. */
static void step_awake(struct node *n)
{
    struct list now, *l;

    host_deliver_letters(n);
    list_init(&now);
    while ((l = list_pop(&n->awake)) != NULL) {
        list_push(&now, l);
    }
    while ((l = list_pop(&now)) != NULL) {
        struct database *db = LIST_ENTRY(l, struct database, wake_link);
        db->wake_queued = false;
        if (!n->groups_stopped && !db->detaching) {
            database_step(n, db);
        }
        (void)catalog_step(n, db);
    }
}

static bool is_quiet(const struct node *n)
{
    return list_empty(&n->awake) && list_empty(&n->letters);
}

/* What is left after the last round keeps the loop from sleeping (idle). */
void node_turn(struct node *n)
{
    struct list *l;

    while (!node_will_sync(n) && (l = list_pop(&n->after_sync)) != NULL) {
        list_push(&n->awake, l);
    }
    shards_grow(n);
    for (unsigned round = 0; round < ROUNDS_MAX && !is_quiet(n); round++) {
        step_awake(n);
    }
    say_ready(n);
    if (n->stopping) {
        stop_step(n);
    }
    if (is_quiet(n) && list_empty(&n->after_sync)) {
        uv_idle_stop(&n->idle);
    }
}

/* While there are groups they have their turn at the end of the loop's. */
static void on_idle(uv_idle_t *h)
{
    struct node *n = h->data;

    if (n->groups == NULL) {
        node_turn(n);
    }
}

static void on_timer(uv_timer_t *h);

static void start_timer(struct node *n, uint64_t at_us, uint64_t now_us)
{
    uint64_t ms = at_us > now_us ? (at_us - now_us + 999) / 1000 : 0;

    if (n->timer_at_us == 0 || at_us < n->timer_at_us) {
        n->timer_at_us = at_us;
        uv_update_time(n->loop);
        uv_timer_start(&n->timer, on_timer, ms, 0);
    }
}

static void on_timer(uv_timer_t *h)
{
    struct node *n = h->data;
    uint64_t now = clock_us(), next = 0;

    n->timer_at_us = 0;
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->wake_at_us == 0) {
            continue;
        }
        if (db->wake_at_us <= now) {
            db->wake_at_us = 0;
            node_wake(n, db);
        } else if (next == 0 || db->wake_at_us < next) {
            next = db->wake_at_us;
        }
    }
    if (n->stopping) {
        node_wake(n, NULL);
        next = next == 0 || next > now + 50000 ? now + 50000 : next;
    }
    if (next != 0) {
        start_timer(n, next, now);
    }
}

/* ---- the world of the deciding parts ------------------------------------- */

static uint64_t env_now(void *data)
{
    (void)data;
    return clock_us();
}

static int env_propose(void *data, unsigned group, void *bytes, size_t len)
{
    struct node *n = data;

    return groups_propose(n->groups, group, bytes, len);
}

static uint64_t env_leader(void *data, unsigned group)
{
    struct node *n = data;

    return n->groups == NULL ? 0 : groups_leader(n->groups, group);
}

static uint64_t env_term(void *data, unsigned group)
{
    struct node *n = data;

    return n->groups == NULL ? 0 : groups_term(n->groups, group);
}

static uint64_t env_applied(void *data, unsigned group)
{
    struct node *n = data;

    return groups_applied(n->groups, group);
}

static bool env_fresh(void *data, unsigned group)
{
    struct node *n = data;

    return n->groups != NULL && groups_quorum_fresh(n->groups, group);
}

static void env_why(void *data, unsigned group, char *out, size_t size)
{
    struct node *n = data;

    if (n->groups == NULL) {
        snprintf(out, size, "the node is stopping");
        return;
    }
    groups_why_no_quorum(n->groups, group, out, size);
}

static bool env_disk_full(void *data, char *out, size_t size)
{
    struct node *n = data;

    return n->groups != NULL && groups_disk_full(n->groups, out, size);
}

static void env_lease_send(void *data, struct database *db, uint8_t kind,
                           const struct host_lease *l)
{
    struct node *n = data;

    if (n->groups != NULL) {
        host_lease_send(n, groups_leader(n->groups, db->group), kind, db->group,
                        l);
    }
}

static void env_wake(void *data, struct database *db)
{
    node_wake(data, db);
}

static void env_wake_after(void *data, struct database *db, uint64_t us)
{
    uint64_t now = clock_us();

    if (db->wake_at_us == 0 || now + us < db->wake_at_us) {
        db->wake_at_us = now + us;
        start_timer(data, db->wake_at_us, now);
    }
}

static int fill_env(struct node *n)
{
    const struct options *o = n->options;
    struct uuid random;

    if (uuid_random(&random) != 0) {
        return -1;
    }
    n->env = (struct db_env){.data = n,
                             .node_id = o->node_id,
                             .replica = o->replica,
                             .voter_ids = n->voter_ids,
                             .times = db_times_default,
                             .now_us = env_now,
                             .propose = env_propose,
                             .leader = env_leader,
                             .term = env_term,
                             .applied = env_applied,
                             .quorum_fresh = env_fresh,
                             .why_no_quorum = env_why,
                             .disk_full = env_disk_full,
                             .lease_send = env_lease_send,
                             .session_send = server_send,
                             .page_before = applier_page,
                             .page_damaged = scrub_suspect,
                             .wake = env_wake,
                             .wake_after = env_wake_after};
    memcpy(&n->env.start, random.b, sizeof n->env.start);
    for (unsigned i = 0; i < n->n_members; i++) {
        const struct groups_member *m = &n->members[i];
        if (!m->replica) {
            n->voter_ids[n->env.voters++] = m->id;
        }
        if (m->id == o->node_id) {
            n->env.replica = m->replica;
        }
    }
    return 0;
}

/* ---- start --------------------------------------------------------------- */

void node_fatal(struct node *n, const char *why)
{
    log_error("fatal", "%s", why);
    n->exit_status = 1;
    stop_begin(n);
}

static void on_signal(uv_signal_t *h, int signum)
{
    (void)signum;
    stop_begin(h->data);
}

static int start_groups(struct node *n, char *why, size_t size)
{
    const struct options *o = n->options;
    struct groups_options g = {.loop = n->loop,
                               .path = o->raft_path,
                               .node_id = o->node_id,
                               .bind = o->bind,
                               .advertise = o->advertise,
                               .shards = o->shards,
                               .members = n->members,
                               .n_members = n->n_members,
                               .registered = n->roster.n > 0,
                               .joined = n->roster.joining,
                               .cluster = n->roster.cluster,
                               .log_bytes_max = LOG_BYTES_MAX,
                               .log_bytes_keep = o->max_log_bytes,
                               .log_entries_keep = o->max_log_entries};

    if (n->roster.joining) {
        g.new_store = n->roster.store;
    }
    events_fill(n, &g);
    return groups_start(&g, &n->groups, why, size);
}

/* The disk of the log is so full that not even the start can be noted, though
 * the reserve was given up. A signal ends the process meanwhile, as nothing is
 * running yet. */
static void wait_for_room(struct node *n)
{
    uv_signal_stop(&n->sigterm);
    uv_signal_stop(&n->sigint);
    usleep(START_AGAIN_US);
    folder_init(n);
    uv_signal_start(&n->sigterm, on_signal, SIGTERM);
    uv_signal_start(&n->sigint, on_signal, SIGINT);
}

static int start_groups_with_room(struct node *n, char *why, size_t size)
{
    int rv = start_groups(n, why, size);

    if (rv == ERR_FULL) {
        log_error("disk_full", "path=%s why=\"%s\"", n->options->raft_path,
                  why);
    }
    while (rv == ERR_FULL) {
        wait_for_room(n);
        rv = start_groups(n, why, size);
    }
    return rv;
}

static int start_all(struct node *n, char *why, size_t size)
{
    const struct options *o = n->options;
    int rv = 0;

    n->group = calloc(SHARDS_MAX, sizeof *n->group);
    if (n->group == NULL || fill_env(n) != 0) {
        snprintf(why, size, "out of memory or random numbers");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < o->shards; i++) {
        events_init_group(n, i);
    }
    for (unsigned i = 0; rv == 0 && i < o->n_dbs; i++) {
        rv = catalog_add(n, o->dbs[i].name, o->dbs[i].path, NULL, why, size);
    }
    if (rv == 0) {
        rv = catalog_load(n, why, size);
    }
    if (rv == 0) {
        rv = folder_watch(n, why, size);
    }
    if (rv == 0) {
        rv = view_start(n, why, size);
    }
    return rv == 0 ? start_groups_with_room(n, why, size) : rv;
}

static void init_handles(struct node *n)
{
    uv_idle_init(n->loop, &n->idle);
    uv_timer_init(n->loop, &n->timer);
    uv_signal_init(n->loop, &n->sigterm);
    uv_signal_init(n->loop, &n->sigint);
    n->idle.data = n->timer.data = n->sigterm.data = n->sigint.data = n;
    folder_init(n);
    move_init(n);
    uv_signal_start(&n->sigterm, on_signal, SIGTERM);
    uv_signal_start(&n->sigint, on_signal, SIGINT);
}

static void close_handles(struct node *n)
{
    uv_close((uv_handle_t *)&n->idle, NULL);
    uv_close((uv_handle_t *)&n->timer, NULL);
    folder_close(n);
    uv_close((uv_handle_t *)&n->move_timer, NULL);
    uv_close((uv_handle_t *)&n->sigterm, NULL);
    uv_close((uv_handle_t *)&n->sigint, NULL);
    uv_run(n->loop, UV_RUN_DEFAULT);
}

static void free_all(struct node *n)
{
    struct list *l;

    n->groups_stopped = true;
    while ((l = list_pop(&n->databases)) != NULL) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        image_fetch_cancel(db);
        database_close(db);
        free(db);
    }
    while ((l = list_pop(&n->letters)) != NULL) {
        free(l); /* the link is its first member */
    }
    for (unsigned i = 0; n->group != NULL && i < n->options->shards; i++) {
        machine_close(&n->group[i].machine);
        lease_table_clear(&n->group[i].leases);
        found_forget(&n->group[i]);
    }
    while ((l = list_pop(&n->growths)) != NULL) {
        free(l); /* the link is its first member */
    }
    free(n->group);
}

static void start_notes(const struct node *n)
{
    const struct options *o = n->options;

    if (o->default_path) {
        log_warn("db_path",
                 "no -db-path given: using /tmp/marmot.db, which "
                 "does not survive a reboot");
    }
    if (o->replicate_given) {
        log_warn("replicate",
                 "-replicate is accepted and ignored: all tables "
                 "are replicated");
    }
    if (n->env.voters == 2) {
        log_warn("two_voters",
                 "two voters: losing either one stops writes; "
                 "three survive the loss of one");
    }
}

int node_run(const struct options *options)
{
    static struct node n;
    uv_loop_t loop;
    char why[TEXT_MAX + 512];

    n.own_options = *options;
    n.options = &n.own_options;
    n.image_pace.bytes_per_s = options->image_rate;
    if (membership_find(&n, why, sizeof why) != 0) {
        log_error("fatal", "%s", why);
        return 1;
    }
    uv_loop_init(&loop);
    n.loop = &loop;
    n.started_us = clock_us();
    list_init(&n.databases);
    list_init(&n.awake);
    list_init(&n.after_sync);
    list_init(&n.letters);
    list_init(&n.backups);
    list_init(&n.stills);
    list_init(&n.scans);
    list_init(&n.verifies);
    list_init(&n.growths);
    init_handles(&n);
    if (start_all(&n, why, sizeof why) != 0) {
        log_error("fatal", "%s", why);
        n.exit_status = 1;
        for (struct list *l = n.databases.next; l != &n.databases;
             l = l->next) {
            server_stop(LIST_ENTRY(l, struct database, link));
        }
    } else {
        start_notes(&n);
        log_info("started", "node=%" PRIu64 " bind=%s shards=%u databases=%u",
                 options->node_id, options->bind, options->shards,
                 options->n_dbs);
        for (struct list *l = n.databases.next; l != &n.databases;
             l = l->next) {
            node_wake(&n, LIST_ENTRY(l, struct database, link));
        }
        uv_run(&loop, UV_RUN_DEFAULT);
        log_info("stopped", "node=%" PRIu64 " status=%d", options->node_id,
                 n.exit_status);
    }
    n.groups_stopped = true;
    if (n.pane != NULL) {
        pane_stop(n.pane);
    }
    close_handles(&n);
    free_all(&n);
    uv_loop_close(&loop);
    return n.exit_status;
}
