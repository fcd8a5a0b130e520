/* One family of metrics after the other, as the format wants it: what has a
 * label is collected first. */
#include "pane/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "pane/answer.h"
#include "pane/document.h"

#define TEXT_BYTES_MAX (64u << 20)
#define METRIC_LINE_MAX 1024

static void put(struct buf *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct buf *out, const char *format, ...)
{
    char line[METRIC_LINE_MAX];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0 && n < METRIC_LINE_MAX) {
        (void)buf_append(out, line, (size_t)n);
    }
}

static void head(struct buf *out, const char *name, const char *type,
                 const char *help)
{
    put(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* ---- families with a label: a column of a struct each -------------------- */

struct column {
    const char *name, *type, *help;
    size_t offset;
    enum { U64, U32, UNSIGNED, BOOL } kind;
};

static uint64_t value(const void *row, const struct column *c)
{
    const char *at = (const char *)row + c->offset;

    switch (c->kind) {
    case U32:
        return *(const uint32_t *)(const void *)at;
    case UNSIGNED:
        return *(const unsigned *)(const void *)at;
    case BOOL:
        return *(const bool *)(const void *)at;
    default:
        return *(const uint64_t *)(const void *)at;
    }
}

#define PEER(field) offsetof(struct pane_peer, field)
static const struct column peer_columns[] = {
    {"marmot_peer_connected", "gauge", "Is the link to this node up?",
     PEER(connected), BOOL},
    {"marmot_peer_sent_bytes_total", "counter", "Bytes sent to this node.",
     PEER(sent_bytes), U64},
    {"marmot_peer_received_bytes_total", "counter",
     "Bytes received from this node.", PEER(received_bytes), U64},
};

#define GROUP(field) offsetof(struct pane_group, field)
static const struct column group_columns[] = {
    {"marmot_group_leader", "gauge",
     "Id of the node that leads the group, 0 when none is known.",
     GROUP(leader), U64},
    {"marmot_group_quorum", "gauge",
     "Can the group commit now, as seen from this node?", GROUP(quorum), BOOL},
    {"marmot_group_term", "gauge", "Raft term that this node is in.",
     GROUP(term), U64},
    {"marmot_group_commit_index", "gauge", "Last committed log index.",
     GROUP(commit), U64},
    {"marmot_group_applied_index", "gauge", "Last applied log index.",
     GROUP(applied), U64},
    {"marmot_group_log_entries", "gauge", "Entries of the log held here.",
     GROUP(log_entries), U64},
    {"marmot_group_log_bytes", "gauge", "Bytes of the log held here.",
     GROUP(log_bytes), U64},
    {"marmot_group_leader_changes_total", "counter",
     "Leaders that this node has seen the group get.", GROUP(leader_changes),
     U64},
    {"marmot_group_lease_handovers_total", "counter",
     "Write leases that went from one node to another, counted by the leader.",
     GROUP(lease_handovers), U64},
};

#define DB(field) offsetof(struct pane_database, field)
static const struct column database_columns[] = {
    {"marmot_database_position", "gauge",
     "Transactions accepted by the group (the txid of its position).", DB(txid),
     U64},
    {"marmot_database_applied_position", "gauge",
     "Transactions in this node's file.", DB(applied_txid), U64},
    {"marmot_database_pages", "gauge", "Pages of this node's file.", DB(pages),
     U32},
    {"marmot_database_page_size_bytes", "gauge", "Bytes of a page.",
     DB(page_size), U32},
    {"marmot_database_wal_frames", "gauge", "Frames in the WAL.",
     DB(wal_frames), U32},
    {"marmot_database_wal_written_back_frames", "gauge",
     "Frames of the WAL that are in the database file as well.",
     DB(wal_written_back), U32},
    {"marmot_database_sessions", "gauge", "Connections of applications.",
     DB(sessions), UNSIGNED},
    {"marmot_database_waiting_sessions", "gauge",
     "Applications that wait for the write lock on this node.", DB(waiters),
     UNSIGNED},
    {"marmot_database_lease_held", "gauge",
     "Does this node hold the write lease?", DB(lease_here), BOOL},
    {"marmot_database_commits_total", "counter",
     "Transactions that applications of this node committed.", DB(commits),
     U64},
    {"marmot_database_conflicts_total", "counter",
     "Transactions of this node that lost against another one.", DB(conflicts),
     U64},
    {"marmot_database_images_sent_total", "counter",
     "Whole copies sent to other nodes.", DB(images_sent), U64},
    {"marmot_database_images_received_total", "counter",
     "Whole copies taken from other nodes.", DB(images_received), U64},
    {"marmot_database_checkpoints_total", "counter",
     "Times that the WAL was written back.", DB(checkpoints), U64},
};

/* ---- what has a label, collected ----------------------------------------- */

struct database_row {
    struct pane_database d;
    char name[DB_NAME_MAX + 1]; /* d.name is gone by now */
};

struct rows {
    struct pane_peer peers[NODES_MAX];
    unsigned n_peers;
    struct pane_group groups[SHARDS_MAX];
    unsigned n_groups;
    struct database_row *databases;
    unsigned n_databases, cap_databases;
};

static void keep_peer(void *arg, const struct pane_peer *p)
{
    struct rows *r = arg;

    if (!p->self && r->n_peers < NODES_MAX) {
        r->peers[r->n_peers++] = *p;
    }
}

static void keep_group(void *arg, const struct pane_group *g)
{
    struct rows *r = arg;

    if (r->n_groups < SHARDS_MAX) {
        r->groups[r->n_groups++] = *g;
    }
}

static void keep_database(void *arg, const struct pane_database *d)
{
    struct rows *r = arg;
    struct database_row *row;

    if (r->n_databases == r->cap_databases) {
        unsigned cap = r->cap_databases == 0 ? 16 : 2 * r->cap_databases;
        row = realloc(r->databases, cap * sizeof *row);
        if (row == NULL) {
            return;
        }
        r->databases = row;
        r->cap_databases = cap;
    }
    row = &r->databases[r->n_databases++];
    row->d = *d;
    snprintf(row->name, sizeof row->name, "%s", d->name);
}

static void put_peers(const struct rows *r, struct buf *out)
{
    for (size_t i = 0; i < sizeof peer_columns / sizeof *peer_columns; i++) {
        const struct column *c = &peer_columns[i];
        head(out, c->name, c->type, c->help);
        for (unsigned k = 0; k < r->n_peers; k++) {
            put(out, "%s{peer=\"%" PRIu64 "\"} %" PRIu64 "\n", c->name,
                r->peers[k].id, value(&r->peers[k], c));
        }
    }
}

static void put_groups(const struct rows *r, struct buf *out)
{
    for (size_t i = 0; i < sizeof group_columns / sizeof *group_columns; i++) {
        const struct column *c = &group_columns[i];
        head(out, c->name, c->type, c->help);
        for (unsigned k = 0; k < r->n_groups; k++) {
            put(out, "%s{shard=\"%u\"} %" PRIu64 "\n", c->name,
                r->groups[k].number, value(&r->groups[k], c));
        }
    }
}

static uint64_t lag(const struct pane_database *d)
{
    return d->known && d->txid > d->applied_txid ? d->txid - d->applied_txid
                                                 : 0;
}

/* Each frame has a header of 24 bytes, the WAL one of 32. */
static uint64_t wal_bytes(const struct pane_database *d)
{
    return d->wal_frames == 0
               ? 0
               : 32 + (uint64_t)d->wal_frames * (d->page_size + 24);
}

static void put_of_each(const struct rows *r, const char *name,
                        uint64_t (*of)(const struct pane_database *d),
                        struct buf *out)
{
    for (unsigned i = 0; i < r->n_databases; i++) {
        put(out, "%s{db=\"%s\"} %" PRIu64 "\n", name, r->databases[i].name,
            of(&r->databases[i].d));
    }
}

static void put_databases(const struct rows *r, struct buf *out)
{
    for (size_t i = 0; i < sizeof database_columns / sizeof *database_columns;
         i++) {
        const struct column *c = &database_columns[i];
        head(out, c->name, c->type, c->help);
        for (unsigned k = 0; k < r->n_databases; k++) {
            put(out, "%s{db=\"%s\"} %" PRIu64 "\n", c->name,
                r->databases[k].name, value(&r->databases[k].d, c));
        }
    }
    head(out, "marmot_database_lag_transactions", "gauge",
         "Accepted transactions that are not in this node's file yet.");
    put_of_each(r, "marmot_database_lag_transactions", lag, out);
    head(out, "marmot_database_wal_bytes", "gauge",
         "Bytes of the WAL that are in use.");
    put_of_each(r, "marmot_database_wal_bytes", wal_bytes, out);
}

/* ---- the node ------------------------------------------------------------ */

static void put_health(struct buf *out, enum pane_health is)
{
    head(out, "marmot_health", "gauge",
         "1 for the state that /health tells, 0 for the others.");
    for (enum pane_health h = PANE_LEADER; h <= PANE_STOPPING; h++) {
        put(out, "marmot_health{state=\"%s\"} %d\n", document_health_word(h),
            h == is);
    }
}

static void put_node(const struct pane_node *n, struct buf *out)
{
    head(out, "marmot_info", "gauge", "Who this node is; always 1.");
    put(out,
        "marmot_info{node=\"%" PRIu64
        "\",role=\"%s\",version=\"%s\",cluster=\"%s\"} 1\n",
        n->id, n->replica ? "replica" : "voter", MARMOT_VERSION, n->cluster);
    head(out, "marmot_uptime_seconds", "gauge", "Since the node was started.");
    put(out, "marmot_uptime_seconds %.3f\n", (double)n->uptime_us / 1e6);
    head(out, "marmot_sessions", "gauge", "Connections of applications.");
    put(out, "marmot_sessions %u\n", n->sessions);
    head(out, "marmot_log_bytes", "gauge", "Bytes of all logs held here.");
    put(out, "marmot_log_bytes %" PRIu64 "\n", n->log_bytes);
    head(out, "marmot_log_max_bytes", "gauge", "Bound of marmot_log_bytes.");
    put(out, "marmot_log_max_bytes %" PRIu64 "\n", n->log_bytes_max);
    put_health(out, n->health);
}

static void put_histogram(struct buf *out, const char *name, const char *help,
                          const struct histogram *h)
{
    uint64_t count = 0;

    head(out, name, "histogram", help);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        count += h->counts[i];
        put(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
            (double)histogram_bounds_us[i] / 1e6, count);
    }
    count += h->counts[HISTOGRAM_BUCKETS - 1];
    put(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    put(out, "%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
        (double)h->sum_us / 1e6, name, count);
}

void metrics_write(const struct pane_source *s, struct buf *out)
{
    struct pane_counters counters = {.commits.sum_us = 0};
    struct rows *rows = calloc(1, sizeof *rows);
    struct pane_node n = {.id = 0};

    s->node(s->data, &n);
    s->counters(s->data, &counters);
    put_node(&n, out);
    put_histogram(out, "marmot_commit_seconds",
                  "From an application's proposal to its answer, on this node.",
                  &counters.commits);
    put_histogram(out, "marmot_store_sync_seconds",
                  "One write of the log store, synced.", &counters.store_syncs);
    if (rows == NULL) {
        out->err = -ENOMEM;
        return;
    }
    s->peers(s->data, keep_peer, rows);
    s->groups(s->data, keep_group, rows);
    s->databases(s->data, keep_database, rows);
    put_peers(rows, out);
    put_groups(rows, out);
    put_databases(rows, out);
    free(rows->databases);
    free(rows);
}

enum MHD_Result metrics_answer(const struct pane_source *s,
                               struct MHD_Connection *c)
{
    struct buf out;

    buf_init(&out, TEXT_BYTES_MAX);
    metrics_write(s, &out);
    return answer_text(c, MHD_HTTP_OK,
                       "text/plain; version=0.0.4; charset=utf-8", &out);
}
