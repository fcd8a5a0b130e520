/* What a node says, as tables. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/internal.h"
#include "cli/table.h"

uint64_t show_number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return v == NULL ? 0 : (uint64_t)json_number_value(v);
}

const char *show_text(const json_t *object, const char *key, char room[32])
{
    const json_t *v = json_object_get(object, key);

    if (json_is_integer(v)) {
        snprintf(room, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else if (json_is_real(v)) {
        snprintf(room, 32, "%.1f", json_real_value(v));
    } else if (json_is_boolean(v)) {
        snprintf(room, 32, "%s", json_is_true(v) ? "yes" : "no");
    } else {
        const char *text = json_string_value(v);
        return text == NULL ? "-" : text;
    }
    return room;
}

static void add(struct table *t, const json_t *object, const char *key)
{
    char room[32];

    table_add(t, show_text(object, key, room));
}

static void add_bytes(struct table *t, uint64_t bytes)
{
    char room[32];

    table_add(t, progress_bytes(bytes, room));
}

int show_json(const json_t *document)
{
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    return 0;
}

/* ---- status -------------------------------------------------------------- */

static void print_time(double seconds)
{
    uint64_t s = (uint64_t)seconds;

    if (s >= 86400) {
        printf("%" PRIu64 " d %" PRIu64 " h", s / 86400, s % 86400 / 3600);
    } else if (s >= 3600) {
        printf("%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
    } else if (s >= 60) {
        printf("%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    } else {
        printf("%.1f s", seconds);
    }
}

static void print_node(const json_t *document)
{
    const json_t *node = json_object_get(document, "node");
    const json_t *health = json_object_get(document, "health");
    const json_t *why = json_object_get(health, "why");
    char room[32];

    printf("node %s, %s, ", show_text(node, "id", room),
           json_string_value(json_object_get(node, "role")));
    printf("version %s, up ", show_text(node, "version", room));
    print_time(json_number_value(json_object_get(node, "uptime_seconds")));
    printf("\ncluster %s\n", show_text(node, "cluster", room));
    printf("health: %s%s%s\n", show_text(health, "status", room),
           json_is_string(why) ? ": " : "",
           json_is_string(why) ? json_string_value(why) : "");
}

static void print_peers(const json_t *peers)
{
    struct table t;
    json_t *p;
    size_t i;
    char room[32], heard[64];

    table_init(&t, "NODE ADDRESS ROLE LINK HEARD");
    json_array_foreach(peers, i, p)
    {
        const json_t *silent = json_object_get(p, "silent_seconds");
        const json_t *refused = json_object_get(p, "refused");
        add(&t, p, "id");
        add(&t, p, "address");
        add(&t, p, "role");
        table_add(&t, json_is_true(json_object_get(p, "self")) ? "this node"
                      : json_is_true(json_object_get(p, "connected"))
                          ? json_is_true(json_object_get(p, "leaving"))
                                ? "leaving"
                                : "connected"
                          : "down");
        if (json_is_string(refused)) {
            table_add(&t, json_string_value(refused));
        } else if (json_is_number(silent)) {
            snprintf(heard, sizeof heard, "%s s ago",
                     show_text(p, "silent_seconds", room));
            table_add(&t, heard);
        } else {
            table_add(&t,
                      json_is_true(json_object_get(p, "self")) ? "-" : "never");
        }
    }
    table_print(&t, stdout);
}

static void print_groups(const json_t *groups)
{
    struct table t;
    json_t *g;
    size_t i;

    table_init(&t, "SHARD LEADER QUORUM TERM COMMIT APPLIED ENTRIES LOG MOVED");
    json_array_foreach(groups, i, g)
    {
        add(&t, g, "shard");
        add(&t, g, "leader");
        add(&t, g, "quorum");
        add(&t, g, "term");
        add(&t, g, "commit");
        add(&t, g, "applied");
        add(&t, g, "log_entries");
        add_bytes(&t, show_number(g, "log_bytes"));
        table_add(&t,
                  json_is_true(json_object_get(g, "by_hand")) ? "by hand" : "");
    }
    table_print(&t, stdout);
}

static const char *writer(const json_t *writing)
{
    return json_is_true(json_object_get(writing, "lease_here")) ? "here" : "-";
}

static void print_databases(const json_t *databases)
{
    struct table t;
    json_t *d;
    size_t i;

    table_init(&t, "DATABASE SHARD STATE LAG SIZE WAL LEASE SLOT POSITION WHY");
    json_array_foreach(databases, i, d)
    {
        const json_t *copy = json_object_get(d, "copy");
        const json_t *writing = json_object_get(d, "writing");
        add(&t, d, "name");
        add(&t, d, "shard");
        add(&t, copy, "state");
        add(&t, d, "lag");
        add_bytes(&t,
                  show_number(copy, "page_size") * show_number(copy, "pages"));
        add(&t, copy, "wal_frames");
        table_add(&t, writer(writing));
        add(&t, writing, "slot");
        add(&t, copy, "position");
        add(&t, writing, "locked_why");
    }
    table_print(&t, stdout);
}

int show_status(const struct call *c)
{
    json_t *document = http_get(c, "/status", false);

    if (document == NULL) {
        return 1;
    }
    if (c->json) {
        show_json(document);
    } else {
        print_node(document);
        putchar('\n');
        print_peers(json_object_get(document, "peers"));
        putchar('\n');
        print_groups(json_object_get(document, "groups"));
        putchar('\n');
        print_databases(json_object_get(document, "databases"));
    }
    json_decref(document);
    return 0;
}

/* ---- info, list ---------------------------------------------------------- */

int show_info(const struct call *c)
{
    json_t *document = http_get(c, "/info", false);
    const char *key;
    json_t *value;
    char room[32];

    if (document == NULL) {
        return 1;
    }
    if (c->json) {
        show_json(document);
    } else {
        json_object_foreach(document, key, value)
        {
            printf("%-15s  %s\n", key, show_text(document, key, room));
        }
    }
    json_decref(document);
    return 0;
}

/* What is the matter with a copy that cannot be used. */
static void print_why(const json_t *database)
{
    const json_t *writing = json_object_get(database, "writing");
    const char *why = json_string_value(json_object_get(writing, "locked_why"));
    char name[32], state[32];
    const char *is =
        show_text(json_object_get(database, "copy"), "state", state);

    if (why != NULL && why[0] != '\0' && strcmp(is, "ready") != 0 &&
        strcmp(is, "empty") != 0) {
        printf("%s: %s\n", show_text(database, "name", name), why);
    }
}

static void print_list(const json_t *databases)
{
    struct table t;
    json_t *d;
    size_t i;

    table_init(&t, "DATABASE STATE PAGES SIZE PATH");
    json_array_foreach(databases, i, d)
    {
        const json_t *copy = json_object_get(d, "copy");
        add(&t, d, "name");
        add(&t, copy, "state");
        add(&t, copy, "pages");
        add_bytes(&t,
                  show_number(copy, "page_size") * show_number(copy, "pages"));
        add(&t, d, "path");
    }
    table_print(&t, stdout);
    json_array_foreach(databases, i, d)
    {
        print_why(d);
    }
}

int show_list(const struct call *c)
{
    json_t *document = http_get(c, "/status", false);
    const json_t *databases = json_object_get(document, "databases");

    if (document == NULL) {
        return 1;
    }
    if (c->json) {
        show_json(databases);
    } else {
        print_list(databases);
    }
    json_decref(document);
    return 0;
}
