/* How many shards there are; more of them: ask, then look until all databases
 * are where they belong. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/internal.h"

#define LOOK_MS 200

struct growth {
    uint64_t shards, to_move;
    bool adding;
};

static int look(const struct call *c, struct growth *out)
{
    json_t *document = http_get(c, "/status", false);
    json_t *node = json_object_get(document, "node");

    if (document == NULL) {
        return 1;
    }
    out->shards = show_number(node, "shards");
    out->to_move = show_number(node, "databases_to_move");
    out->adding = json_is_true(json_object_get(node, "adding_shards"));
    json_decref(document);
    return 0;
}

static int print(const struct call *c, const struct growth *g)
{
    if (c->json) {
        printf("{\"shards\": %" PRIu64
               ", \"adding\": %s, "
               "\"databases_to_move\": %" PRIu64 "}\n",
               g->shards, g->adding ? "true" : "false", g->to_move);
    } else if (g->adding) {
        printf("%" PRIu64 " shards; %" PRIu64
               " databases are still to be moved\n",
               g->shards, g->to_move);
    } else {
        printf("%" PRIu64 " shards\n", g->shards);
    }
    return 0;
}

static void on_interrupt(int signum)
{
    static const char text[] =
        "\nmarmot: the cluster goes on by itself; marmot shards shows how far "
        "it is\n";

    (void)signum;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(130);
}

static int wait_until_done(const struct call *c, uint64_t shards)
{
    struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    struct growth g = {.adding = true};
    uint64_t said = UINT64_MAX;

    signal(SIGINT, on_interrupt);
    while (g.shards < shards || g.adding) {
        nanosleep(&pause, NULL);
        if (look(c, &g) != 0) {
            return 1;
        }
        if (!c->json && g.shards == shards && g.adding && g.to_move != said) {
            said = g.to_move;
            fprintf(stderr, "%" PRIu64 " databases to move\n", g.to_move);
        }
    }
    return print(c, &g);
}

int shards_command(const struct call *c)
{
    struct growth g;
    char path[64], *end;
    json_t *answer;
    unsigned long shards;

    if (c->argc == 0) {
        return look(c, &g) != 0 ? 1 : print(c, &g);
    }
    shards = strtoul(c->argv[0], &end, 10);
    if (c->argc != 1 || *end != '\0' || shards == 0 || shards > SHARDS_MAX) {
        cli_fail("usage: marmot shards [N] (more than there are, at most %d)",
                 SHARDS_MAX);
        return 2;
    }
    snprintf(path, sizeof path, "/shards?to=%lu", shards);
    answer = http_post(c, path);
    if (answer == NULL) {
        return 1;
    }
    json_decref(answer);
    return wait_until_done(c, shards);
}
