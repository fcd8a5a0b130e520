/* Another name for a database: ask, then look until it is called so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cli/internal.h"
#include "wire/ids.h"

#define LOOK_MS 100
#define PATIENCE_MS 30000u
/* So long it has its old name and is not on its way: it was refused. */
#define REFUSED_MS 3000u

enum stage {
    STAGE_OTHER, /* it has the old name */
    STAGE_MOVING,
    STAGE_DONE,
    STAGE_NOT_HERE,
    STAGE_FAILED /* the node cannot be asked */
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

static enum stage stage_of(const json_t *database, const char *to)
{
    const json_t *copy = json_object_get(database, "copy");

    if (strcmp(text_of(database, "name"), to) == 0) {
        return STAGE_DONE;
    }
    return strcmp(text_of(copy, "state"), "moving") == 0 ? STAGE_MOVING
                                                         : STAGE_OTHER;
}

static enum stage look(const struct call *c, const char *uuid, const char *to)
{
    json_t *document = http_get(c, "/status", false);
    enum stage found = document == NULL ? STAGE_FAILED : STAGE_NOT_HERE;
    json_t *database;
    size_t i;

    json_array_foreach(json_object_get(document, "databases"), i, database)
    {
        if (strcmp(text_of(database, "uuid"), uuid) == 0) {
            found = stage_of(database, to);
        }
    }
    json_decref(document);
    return found;
}

/* "": this node does not keep it. */
static int find_uuid(const struct call *c, const char *name, char out[64])
{
    json_t *document = http_get(c, "/status", false);
    json_t *database;
    size_t i;

    out[0] = '\0';
    if (document == NULL) {
        return 1;
    }
    json_array_foreach(json_object_get(document, "databases"), i, database)
    {
        if (strcmp(text_of(database, "name"), name) == 0) {
            snprintf(out, 64, "%s", text_of(database, "uuid"));
        }
    }
    json_decref(document);
    return 0;
}

static enum stage wait_for(const struct call *c, const char *uuid,
                           const char *to)
{
    struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    uint64_t begun = clock_ms(), moving = begun;
    enum stage stage;

    do {
        nanosleep(&pause, NULL);
        stage = look(c, uuid, to);
        if (stage == STAGE_MOVING) {
            moving = clock_ms();
        }
    } while (clock_ms() - begun < PATIENCE_MS &&
             (stage == STAGE_MOVING ||
              (stage == STAGE_OTHER && clock_ms() - moving < REFUSED_MS)));
    return stage;
}

static int print_renamed(const struct call *c, const char *name, const char *to)
{
    if (c->json) {
        printf("{\"database\": \"%s\", \"renamed\": \"%s\"}\n", name, to);
    } else {
        printf(
            "%s: called %s from now on; the files stay where they are, flags "
            "that name it should be changed\n",
            name, to);
    }
    return 0;
}

static bool is_name(const char *text)
{
    return db_name_valid(text) && strlen(text) <= DB_NAME_MAX;
}

int rename_command(const struct call *c)
{
    char path[2 * DB_NAME_MAX + 32], uuid[64];
    json_t *answer;

    if (c->argc != 2 || !is_name(c->argv[0]) || !is_name(c->argv[1])) {
        cli_fail(
            "usage: marmot rename OLD NEW (names of 1 to %d characters "
            "A-Z a-z 0-9 . _ -)",
            DB_NAME_MAX);
        return 2;
    }
    if (find_uuid(c, c->argv[0], uuid) != 0) {
        return 1;
    }
    snprintf(path, sizeof path, "/rename/%s?to=%s", c->argv[0], c->argv[1]);
    answer = http_post(c, path);
    if (answer == NULL) {
        return 1;
    }
    json_decref(answer);
    switch (uuid[0] == '\0' ? STAGE_NOT_HERE : wait_for(c, uuid, c->argv[1])) {
    case STAGE_DONE:
        return print_renamed(c, c->argv[0], c->argv[1]);
    case STAGE_NOT_HERE:
        return cli_fail(
            "%s is not kept on this node: that it was renamed is "
            "shown by those that keep it",
            c->argv[0]);
    case STAGE_MOVING:
        return cli_fail(
            "%s is still on its way; it goes on by itself "
            "(marmot status)",
            c->argv[0]);
    case STAGE_OTHER:
        return cli_fail(
            "%s keeps its name: %s was taken meanwhile, or too few "
            "nodes were in reach",
            c->argv[0], c->argv[1]);
    default:
        return 1;
    }
}
