/* Taking a node out of the cluster: ask, then look until it is gone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cli/internal.h"

#define LOOK_MS 200
#define SAY_MS 5000u
#define PATIENCE_MS 60000u

/* 1: among the members; 0: no more; -1: it cannot be asked. */
static int is_member(const struct call *c, uint64_t id)
{
    json_t *document = http_get(c, "/status", false);
    json_t *peer;
    size_t i;
    int found = document == NULL ? -1 : 0;

    json_array_foreach(json_object_get(document, "peers"), i, peer)
    {
        if (show_number(peer, "id") == id) {
            found = 1;
        }
    }
    json_decref(document);
    return found;
}

static int wait_until_gone(const struct call *c, uint64_t id)
{
    struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    uint64_t begun = clock_ms(), said = begun;
    int found;

    while ((found = is_member(c, id)) == 1 &&
           clock_ms() - begun < PATIENCE_MS) {
        if (!c->json && clock_ms() - said >= SAY_MS) {
            said = clock_ms();
            fprintf(stderr,
                    "node %" PRIu64 ": being taken out, %" PRIu64 " s so far\n",
                    id, (said - begun) / 1000);
        }
        nanosleep(&pause, NULL);
    }
    return found;
}

static int print_gone(const struct call *c, uint64_t id)
{
    if (c->json) {
        printf("{\"removed\": %" PRIu64 "}\n", id);
    } else {
        printf("node %" PRIu64 " is no longer a member; stop it if it runs\n",
               id);
    }
    return 0;
}

int members_remove(const struct call *c)
{
    char path[64], *end;
    json_t *answer;
    uint64_t id;

    id = c->argc == 1 ? strtoull(c->argv[0], &end, 10) : 0;
    if (id == 0 || *end != '\0') {
        cli_fail(
            "usage: marmot remove NODE (its number; marmot status shows "
            "it)");
        return 2;
    }
    snprintf(path, sizeof path, "/remove/node/%" PRIu64, id);
    answer = http_post(c, path);
    if (answer == NULL) {
        return 1;
    }
    json_decref(answer);
    switch (wait_until_gone(c, id)) {
    case 0:
        return print_gone(c, id);
    case 1:
        return cli_fail("node %" PRIu64
                        " is still being taken out after %u s: "
                        "some shard has no leader (marmot status); it goes on "
                        "by itself",
                        id, PATIENCE_MS / 1000);
    default:
        return 1;
    }
}
