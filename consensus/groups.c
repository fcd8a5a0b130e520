/* Start, the turn of the loop, and the contract's small calls.
 *
 * What happens during one turn of the loop (packets, completed writes, ticks)
 * only queues: at its end, before the loop waits again, node/ decides, the
 * proposals of each group become one append, the transport sends what is queued
 * for each peer, and the writes of all groups become one transaction. The
 * packets leave first: the peers write while we do. */
#include "consensus/groups.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "consensus/alloc.h"
#include "consensus/groups_internal.h"
#include "consensus/raft_peek.h"
#include "wire/raft_message.h"

/* An entry must fit into one packet, beside the message around it. */
#define ENTRY_BYTES_MAX (PACKET_BYTES_MAX - 4096u)

uint64_t groups_now(const struct groups *g)
{
    return uv_now(g->options.loop);
}

void groups_fatal(struct groups *g, const char *why)
{
    if (!g->fatal) {
        g->fatal = true;
        g->options.fatal(g->options.data, why);
    }
}

/* ---- the turn of the loop ----------------------------------------------- */

static void flush(struct groups *g)
{
    if (g->state <= GROUPS_CLOSING_CORES) {
        transport_flush(g->transport);
    }
}

static void turn(struct groups *g)
{
    bool again;

    do {
        if (g->options.turn != NULL) {
            g->options.turn(g->options.data);
        }
        for (unsigned i = 0; g->booted && i < g->options.shards; i++) {
            group_flush(g->groups[i]);
        }
        raft_io_host_complete(&g->host);
        flush(g);
        again = g->store != NULL && store_submit(g->store);
        if (again) {
            flush(g); /* what waited for the sync, before anything else */
        }
    } while (again);
    groups_step_closing(g);
}

static void on_prepare(uv_prepare_t *handle)
{
    turn(handle->data);
}

static void on_check(uv_check_t *handle)
{
    turn(handle->data);
}

static void boot(struct groups *g)
{
    g->booted = true;
    for (unsigned i = 0; i < g->options.shards && !g->fatal; i++) {
        group_start(g->groups[i]);
    }
    /* The nodes tick at different times, or they would stand together. */
    uv_timer_start(&g->timer, g->timer.timer_cb,
                   1 + g->options.node_id * 7 % TICK_MS, TICK_MS);
}

static void on_timer(uv_timer_t *handle)
{
    struct groups *g = handle->data;

    if (g->state > GROUPS_DRAINING) {
        return;
    }
    if (!g->booted) {
        boot(g);
        return;
    }
    for (unsigned i = 0; i < g->options.shards; i++) {
        group_tick(g->groups[i]);
    }
    members_ping(g);
    compaction_tick(g);
    membership_tick(g);
    if (g->state == GROUPS_RUNNING) {
        leadership_tick(g);
    }
}

static void on_store_failure(void *data, const char *why)
{
    groups_fatal(data, why);
}

static void on_host_fatal(void *data, const char *why)
{
    groups_fatal(data, why);
}

/* ---- start -------------------------------------------------------------- */

static int open_store(struct groups *g, char *why, size_t why_size)
{
    struct store_options o = {.loop = g->options.loop,
                              .folder = g->options.path,
                              .node_id = g->options.node_id,
                              .shards = g->options.shards,
                              .members = g->members_text,
                              .registered = g->registered,
                              .joined = g->options.joined,
                              .new_store = g->options.new_store,
                              .cluster = g->options.cluster,
                              .data = g,
                              .fatal = on_store_failure};
    struct raft_buffer conf;
    int rv = members_conf(g, &conf);

    if (rv != 0) {
        return rv;
    }
    o.conf = conf.base;
    o.conf_len = conf.len;
    rv = store_open(&o, &g->store, why, why_size);
    raft_free(conf.base);
    if (rv == 0) {
        g->identity = *store_identity(g->store);
        members_load(g);
    }
    return rv;
}

static int load_groups(struct groups *g, char *why, size_t why_size)
{
    int rv = 0;

    raft_io_host_init(&g->host, g->options.loop, g->store, g->options.node_id);
    g->host.data = g;
    g->host.send = packets_send_raft;
    g->host.fatal = on_host_fatal;
    g->groups = must_alloc(SHARDS_MAX * sizeof(struct group *));
    for (unsigned i = 0; i < g->options.shards; i++) {
        g->groups[i] = group_new(g, i);
        g->open_groups++;
    }
    for (unsigned i = 0; i < g->options.shards && rv == 0; i++) {
        rv = raft_io_group_load(&g->groups[i]->io, why, why_size);
    }
    return rv;
}

static bool on_join(void *data, const struct member_info *who, struct buf *out,
                    char *why, size_t size)
{
    struct groups *g = data;

    if (g->state != GROUPS_RUNNING || !g->booted) {
        snprintf(why, size, "this node is stopping; ask another one");
        return false;
    }
    return g->options.join(g->options.data, who, out, why, size);
}

static int start_transport(struct groups *g, char *why, size_t why_size)
{
    struct transport_options o = {
        .loop = g->options.loop,
        .bind = g->options.bind,
        .node_id = g->options.node_id,
        .data = g,
        .hello = members_hello,
        .accept = members_accept,
        .stranger = members_stranger,
        .join = g->options.join == NULL ? NULL : on_join,
        .refused = members_refused,
        .up = members_up,
        .down = members_down,
        .packet = packets_take};
    struct transport_peer peers[NODES_MAX];
    unsigned n = 0;
    int rv;

    memset(peers, 0, sizeof peers);
    for (unsigned i = 0; i < g->options.n_members; i++) {
        const struct groups_member *m = &g->options.members[i];
        if (m->id != g->options.node_id) {
            peers[n].id = m->id;
            memcpy(peers[n].address, m->address, sizeof peers[n].address);
            n++;
        }
    }
    rv = transport_start(&o, peers, n, &g->transport);
    if (rv != 0) {
        snprintf(why, why_size,
                 "cannot listen on %s: %s; choose another -bind, or check the "
                 "addresses in -bootstrap",
                 g->options.bind, err_str(rv));
    }
    return rv;
}

/* Only so that there is a turn of the loop. */
static void on_push(uv_timer_t *timer)
{
    (void)timer;
}

void groups_push_soon(struct groups *g)
{
    if (!uv_is_active((uv_handle_t *)&g->push)) {
        uv_timer_start(&g->push, on_push, PUSH_MS, 0);
    }
}

static void start_handles(struct groups *g)
{
    uv_loop_t *loop = g->options.loop;

    uv_timer_init(loop, &g->timer);
    uv_timer_init(loop, &g->push);
    uv_prepare_init(loop, &g->prepare);
    uv_check_init(loop, &g->check);
    g->timer.data = g->push.data = g->prepare.data = g->check.data = g;
    g->open_handles = 4;
    uv_timer_start(&g->timer, on_timer, 0, 0);
    /* Started after the transport's, so run before it. */
    uv_prepare_start(&g->prepare, on_prepare);
    uv_check_start(&g->check, on_check);
}

void groups_free_all(struct groups *g)
{
    for (unsigned i = 0; g->groups != NULL && i < g->options.shards; i++) {
        if (!g->groups[i]->closed) {
            group_close(g->groups[i]); /* never started: closes at once */
        }
        group_free(g->groups[i]);
    }
    free(g->groups);
    g->groups = NULL;
}

static int check_options(struct groups *g, char *why, size_t why_size)
{
    struct groups_options *o = &g->options;

    if (o->shards == 0 || o->shards > SHARDS_MAX) {
        snprintf(why, why_size, "-shards must be 1 to %d", SHARDS_MAX);
        return -EINVAL;
    }
    if (o->heartbeat_ms == 0) {
        o->heartbeat_ms = HEARTBEAT_MS;
    }
    if (o->election_ms == 0) {
        o->election_ms = ELECTION_MS;
    }
    if (o->election_ms < 10 || o->heartbeat_ms >= o->election_ms) {
        snprintf(why, why_size,
                 "the election timeout must be above the heartbeat");
        return -EINVAL;
    }
    return members_init(g, why, why_size);
}

int groups_start(const struct groups_options *options, struct groups **out,
                 char *why, size_t why_size)
{
    struct groups *g = must_alloc(sizeof *g);
    int rv;

    g->options = *options;
    rv = check_options(g, why, why_size);
    if (rv != 0) {
        goto err;
    }
    rv = open_store(g, why, why_size);
    if (rv != 0) {
        goto err;
    }
    rv = load_groups(g, why, why_size);
    if (rv != 0) {
        goto err_store;
    }
    rv = start_transport(g, why, why_size);
    if (rv != 0) {
        goto err_store;
    }
    rv = store_start(g->store);
    if (rv != 0) {
        snprintf(why, why_size, "cannot start a thread: %s", err_str(rv));
        transport_stop(g->transport, 0, NULL, NULL);
        goto err_store;
    }
    start_handles(g);
    /* Borrowed from the caller until here. */
    g->options.members = NULL;
    g->options.path = g->options.bind = NULL;
    *out = g;
    return 0;
err_store:
    groups_free_all(g);
    store_discard(g->store);
err:
    free(g);
    return rv;
}

/* ---- the contract's small calls ----------------------------------------- */

int groups_propose(struct groups *g, unsigned group, void *bytes, size_t len)
{
    const struct member *leader;
    struct group *to;
    int rv = 0;

    assert(group < g->options.shards);
    to = g->groups[group];
    if (len == 0 || len > ENTRY_BYTES_MAX) {
        rv = ERR_TOO_BIG;
    } else if (groups_is_full(g, len)) {
        rv = ERR_FULL;
    } else if (g->state > GROUPS_DRAINING || !g->booted) {
        rv = ERR_NO_LEADER;
    } else if (group_leads(to)) {
        group_propose(to, g->self, bytes, len);
        return 0;
    } else {
        leader = groups_member(g, to->leader);
        if (leader == NULL || !leader->ready ||
            transport_send(g->transport, leader->id, PACKET_PROPOSE, group,
                           bytes, len) != 0) {
            rv = ERR_NO_LEADER;
        }
    }
    free(bytes);
    return rv;
}

uint64_t groups_leader(const struct groups *g, unsigned group)
{
    assert(group < g->options.shards);
    return g->groups[group]->leader;
}

uint64_t groups_applied(const struct groups *g, unsigned group)
{
    assert(group < g->options.shards);
    return peek_applied(&g->groups[group]->raft);
}

uint64_t groups_last_index(const struct groups *g, unsigned group)
{
    assert(group < g->options.shards);
    return peek_last(&g->groups[group]->raft);
}

bool groups_is_new(const struct groups *g, unsigned group)
{
    assert(group < g->options.shards);
    return !peek_has_command(&g->groups[group]->raft);
}

uint64_t groups_term(const struct groups *g, unsigned group)
{
    assert(group < g->options.shards);
    return peek_term(&g->groups[group]->raft);
}

bool groups_will_sync(const struct groups *g)
{
    return g->store != NULL && store_submits_here(g->store);
}

bool groups_disk_full(const struct groups *g, char *why, size_t size)
{
    return g->store != NULL && store_full(g->store, why, size);
}

uint64_t groups_log_bytes(const struct groups *g)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < g->options.shards; i++) {
        bytes += group_bytes(g->groups[i]);
    }
    return bytes;
}

int groups_send(struct groups *g, uint64_t peer, uint8_t kind, unsigned group,
                const void *payload, size_t len)
{
    struct member *m = groups_member(g, peer);
    int rv;

    assert(kind >= PACKET_HOST && kind <= PACKET_KIND_MAX);
    if (m == NULL || !m->ready || g->state > GROUPS_DRAINING) {
        return ERR_CLOSED;
    }
    rv = transport_send(g->transport, peer, kind, group, payload, len);
    if (rv == 0) {
        m->sent_ms = groups_now(g);
    }
    return rv;
}

static void written_cluster(struct store_write *write)
{
    free(write);
}

int groups_set_cluster(struct groups *g, const struct uuid *cluster)
{
    struct store_write *write;

    if (uuid_equal(&g->identity.cluster, cluster)) {
        return 0;
    }
    if (!uuid_is_none(&g->identity.cluster)) {
        return ERR_MISMATCH;
    }
    g->identity.cluster = *cluster;
    write = must_alloc(sizeof *write);
    write->kind = STORE_CLUSTER;
    write->cluster = *cluster;
    write->done = written_cluster;
    store_push(g->store, write);
    return 0;
}

struct uuid groups_cluster(const struct groups *g)
{
    return g->identity.cluster;
}

struct uuid groups_store(const struct groups *g)
{
    return g->identity.store;
}
