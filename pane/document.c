#include "pane/document.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/version.h"
#include "pane/answer.h"

static json_t *integer(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

/* 64 bits that are no number to count with. */
static json_t *hex(uint64_t n)
{
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, n);
    return json_string(text);
}

static json_t *seconds(uint64_t ms)
{
    return json_real((double)ms / 1000);
}

/* "txid:hash", as PRAGMA marmot_position has it. */
static json_t *position(uint64_t txid, uint64_t hash)
{
    char text[40];

    snprintf(text, sizeof text, "%" PRIu64 ":%016" PRIx64, txid, hash);
    return json_string(text);
}

static json_t *string_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : answer_string(text);
}

/* 0: nobody. */
static json_t *node_or_null(uint64_t id)
{
    return id == 0 ? json_null() : integer(id);
}

const char *document_health_word(enum pane_health health)
{
    static const char *const words[] = {
        [PANE_LEADER] = "leader",       [PANE_OK] = "ok",
        [PANE_REPLICA] = "replica",     [PANE_STARTING] = "starting",
        [PANE_LAGGING] = "lagging",     [PANE_NO_QUORUM] = "no-quorum",
        [PANE_DISK_FULL] = "disk-full", [PANE_STOPPING] = "stopping"};

    return words[health];
}

static json_t *health_of(const struct pane_node *n)
{
    return json_pack("{s:s, s:o}", "status", document_health_word(n->health),
                     "why", string_or_null(n->why));
}

static json_t *node_of(const struct pane_node *n)
{
    return json_pack(
        "{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, "
        "s:o}",
        "id", integer(n->id), "role", n->replica ? "replica" : "voter",
        "version", MARMOT_VERSION, "cluster", string_or_null(n->cluster),
        "store", string_or_null(n->store), "uptime_seconds",
        seconds(n->uptime_us / 1000), "bind", answer_string(n->bind),
        "advertise", answer_string(n->advertise), "shards", integer(n->shards),
        "sessions", integer(n->sessions), "log_bytes", integer(n->log_bytes),
        "log_bytes_max", integer(n->log_bytes_max), "adding_shards", n->growing,
        "databases_to_move", integer(n->to_move));
}

static void add_peer(void *arg, const struct pane_peer *p)
{
    json_array_append_new(
        arg,
        json_pack("{s:o, s:o, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "id",
                  integer(p->id), "address", answer_string(p->address), "role",
                  p->replica ? "replica" : "voter", "self", p->self, "leaving",
                  p->leaving, "connected", p->connected, "silent_seconds",
                  p->heard ? seconds(p->silent_ms) : json_null(), "refused",
                  string_or_null(p->refused), "sent_bytes",
                  integer(p->sent_bytes), "received_bytes",
                  integer(p->received_bytes)));
}

static void add_group(void *arg, const struct pane_group *g)
{
    json_array_append_new(
        arg, json_pack(
                 "{s:o, s:o, s:s, s:o, s:b, s:b, s:o, s:o, s:o, s:o, s:o, "
                 "s:o, s:o, s:o}",
                 "shard", integer(g->number), "leader", node_or_null(g->leader),
                 "role", g->role, "preferred", integer(g->preferred), "by_hand",
                 g->by_hand, "quorum", g->quorum, "term", integer(g->term),
                 "commit", integer(g->commit), "applied", integer(g->applied),
                 "last", integer(g->last), "log_entries",
                 integer(g->log_entries), "log_bytes", integer(g->log_bytes),
                 "leader_changes", integer(g->leader_changes),
                 "lease_handovers", integer(g->lease_handovers)));
}

static uint64_t lag(const struct pane_database *d)
{
    return d->known && d->txid > d->applied_txid ? d->txid - d->applied_txid
                                                 : 0;
}

static json_t *copy_of(const struct pane_database *d)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "state",
                     d->state, "position",
                     position(d->applied_txid, d->applied_hash), "checksum",
                     hex(d->checksum), "page_size", integer(d->page_size),
                     "pages", integer(d->pages), "image_percent",
                     d->image_percent < 0 ? json_null()
                                          : integer((unsigned)d->image_percent),
                     "wal_frames", integer(d->wal_frames), "wal_written_back",
                     integer(d->wal_written_back));
}

static json_t *writing_of(const struct pane_database *d)
{
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:b, s:o, s:o}", "slot", d->slot, "pid",
        node_or_null(d->slot_pid), "sessions", integer(d->sessions), "waiting",
        integer(d->waiters), "lease_here", d->lease_here, "lease_holder",
        node_or_null(d->lease_holder), "locked_why", string_or_null(d->why));
}

static json_t *counts_of(const struct pane_database *d)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "commits",
                     integer(d->commits), "conflicts", integer(d->conflicts),
                     "images_sent", integer(d->images_sent), "images_received",
                     integer(d->images_received), "checkpoints",
                     integer(d->checkpoints));
}

static json_t *verifying_of(const struct pane_database *d)
{
    return d->verify_pages == 0
               ? json_null()
               : json_pack("{s:o, s:o}", "pages", integer(d->verify_pages),
                           "read", integer(d->verify_read));
}

static void add_database(void *arg, const struct pane_database *d)
{
    json_array_append_new(
        arg,
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
                  "s:o}",
                  "name", answer_string(d->name), "path",
                  answer_string(d->path), "shard", integer(d->group), "uuid",
                  string_or_null(d->uuid), "position",
                  d->known ? position(d->txid, d->hash) : json_null(), "lag",
                  integer(lag(d)), "lag_queued", integer(d->waiting_txns),
                  "copy", copy_of(d), "writing", writing_of(d), "counts",
                  counts_of(d), "verifying", verifying_of(d)));
}

json_t *document_status(const struct pane_source *s)
{
    json_t *peers = json_array(), *groups = json_array();
    json_t *databases = json_array();
    struct pane_node n = {.id = 0};

    s->node(s->data, &n);
    s->peers(s->data, add_peer, peers);
    s->groups(s->data, add_group, groups);
    s->databases(s->data, add_database, databases);
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "node", node_of(&n), "health",
                     health_of(&n), "peers", peers, "groups", groups,
                     "databases", databases);
}

json_t *document_info(const struct pane_source *s)
{
    struct pane_node n = {.id = 0};

    s->node(s->data, &n);
    return node_of(&n);
}

json_t *document_health(const struct pane_source *s, unsigned *status)
{
    struct pane_node n = {.id = 0};

    s->node(s->data, &n);
    *status = n.health >= PANE_STARTING ? 503 : 200;
    return health_of(&n);
}
