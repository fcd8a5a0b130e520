/* Leadership by hand: ask, then look until it has happened. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cli/internal.h"
#include "cli/table.h"

#define LOOK_MS 100
#define PATIENCE_MS 15000u

static void pause_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};

    nanosleep(&t, NULL);
}

static bool number(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *text != '-';
}

/* Is `done` of a group so in the node's status? -1: it cannot be asked. */
static int look(const struct call *c, bool (*done)(const json_t *group, void *),
                void *arg)
{
    json_t *document = http_get(c, "/status", false);
    json_t *group;
    size_t i;
    int all = document == NULL ? -1 : 1;

    json_array_foreach(json_object_get(document, "groups"), i, group)
    {
        if (!done(group, arg)) {
            all = 0;
        }
    }
    json_decref(document);
    return all;
}

static int wait_for(const struct call *c,
                    bool (*done)(const json_t *group, void *), void *arg)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    int rv;

    while ((rv = look(c, done, arg)) == 0 && clock_ms() < until) {
        pause_ms(LOOK_MS);
    }
    return rv;
}

/* ---- move ---------------------------------------------------------------- */

struct move {
    uint64_t shard, node;
};

static bool has_moved(const json_t *group, void *arg)
{
    const struct move *m = arg;

    return show_number(group, "shard") != m->shard ||
           show_number(group, "leader") == m->node;
}

static int print_moved(const struct call *c, const struct move *m,
                       uint64_t from)
{
    if (c->json) {
        printf("{\"shard\": %" PRIu64 ", \"from\": %" PRIu64
               ", \"leader\": %" PRIu64 "}\n",
               m->shard, from, m->node);
    } else {
        printf("shard %" PRIu64 ": node %" PRIu64
               " leads (before: node %" PRIu64 ")\n",
               m->shard, m->node, from);
    }
    return 0;
}

int lead_move(const struct call *c)
{
    struct move m;
    json_t *answer;
    uint64_t from;
    char path[128];
    int rv;

    if (c->argc != 2 || !number(c->argv[0], &m.shard) ||
        !number(c->argv[1], &m.node)) {
        cli_fail(
            "usage: marmot move SHARD NODE (two numbers; marmot status "
            "shows them)");
        return 2;
    }
    snprintf(path, sizeof path, "/move/cluster/%" PRIu64 "/node/%" PRIu64,
             m.shard, m.node);
    answer = http_post(c, path);
    if (answer == NULL) {
        return 1;
    }
    from = show_number(answer, "from");
    json_decref(answer);
    rv = wait_for(c, has_moved, &m);
    if (rv == 0) {
        return cli_fail("node %" PRIu64 " does not lead shard %" PRIu64
                        " after %u s: it may be far behind; it is given the "
                        "group when it has caught up",
                        m.node, m.shard, PATIENCE_MS / 1000);
    }
    return rv < 0 ? 1 : print_moved(c, &m, from);
}

/* ---- shuffle ------------------------------------------------------------- */

static bool is_home(const json_t *group, void *arg)
{
    (void)arg;
    return show_number(group, "leader") == show_number(group, "preferred");
}

/* How many groups each node leads. */
static int print_spread(const struct call *c)
{
    json_t *document = http_get(c, "/status", false);
    json_t *peer, *group;
    size_t i, k;
    struct table t;

    if (document == NULL) {
        return 1;
    }
    table_init(&t, "NODE LEADS");
    json_array_foreach(json_object_get(document, "peers"), i, peer)
    {
        uint64_t id = show_number(peer, "id");
        unsigned leads = 0;
        char text[32];
        json_array_foreach(json_object_get(document, "groups"), k, group)
        {
            leads += show_number(group, "leader") == id;
        }
        table_add(&t, show_text(peer, "id", text));
        snprintf(text, sizeof text, "%u", leads);
        table_add(&t, text);
    }
    table_print(&t, stdout);
    json_decref(document);
    return 0;
}

int lead_shuffle(const struct call *c)
{
    json_t *answer;
    int rv;

    if (c->argc != 0) {
        cli_fail("usage: marmot shuffle");
        return 2;
    }
    answer = http_post(c, "/shuffle");
    if (answer == NULL) {
        return 1;
    }
    rv = wait_for(c, is_home, NULL);
    if (rv > 0) {
        rv = c->json ? show_json(answer) : print_spread(c);
    } else if (rv == 0) {
        rv = cli_fail(
            "not all leaders are where they belong after %u s; nodes "
            "that are behind are given theirs later (marmot status)",
            PATIENCE_MS / 1000);
    } else {
        rv = 1;
    }
    json_decref(answer);
    return rv;
}
