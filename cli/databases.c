/* Which databases a node keeps: attach, detach, drop. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/internal.h"

static int print_done(const struct call *c, const char *name, const char *text)
{
    if (c->json) {
        printf("{\"database\": \"%s\"}\n", name);
    } else {
        printf("%s: %s\n", name, text);
    }
    return 0;
}

static int post(const struct call *c, const char *path)
{
    json_t *answer = http_post(c, path);

    json_decref(answer);
    return answer == NULL ? 1 : 0;
}

/* The path as a value of a query. */
static void escape(const char *from, char *to)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";

    for (; *from != '\0'; from++) {
        if (strchr(plain, *from) != NULL) {
            *to++ = *from;
        } else {
            to += snprintf(to, 4, "%%%02X", (unsigned char)*from);
        }
    }
    *to = '\0';
}

/* The node may have another working directory. */
static void make_absolute(const char *path, char *out)
{
    char here[PATH_MAX];

    if (path[0] != '/' && getcwd(here, sizeof here) != NULL) {
        snprintf(out, 2 * PATH_MAX, "%s/%s", here, path);
    } else {
        snprintf(out, 2 * PATH_MAX, "%s", path);
    }
}

int databases_attach(const struct call *c)
{
    char absolute[2 * PATH_MAX], escaped[6 * PATH_MAX + 1];
    char path[6 * PATH_MAX + DB_NAME_MAX + 32], name[DB_NAME_MAX + 1];
    const char *equals = c->argc == 1 ? strchr(c->argv[0], '=') : NULL;

    if (equals == NULL || equals == c->argv[0] || equals[1] == '\0' ||
        equals - c->argv[0] > DB_NAME_MAX) {
        cli_fail("usage: marmot attach NAME=PATH");
        return 2;
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - c->argv[0]), c->argv[0]);
    make_absolute(equals + 1, absolute);
    escape(absolute, escaped);
    snprintf(path, sizeof path, "/attach/%s?path=%s", name, escaped);
    return post(c, path) != 0 ? 1
                              : print_done(c, name,
                                           "attached on this node; the other "
                                           "nodes need it, too");
}

static int usage_name(const struct call *c, const char *command)
{
    if (c->argc == 1 && c->argv[0][0] != '\0' &&
        strlen(c->argv[0]) <= DB_NAME_MAX) {
        return 0;
    }
    cli_fail("usage: marmot %s NAME", command);
    return 2;
}

int databases_detach(const struct call *c)
{
    char path[DB_NAME_MAX + 32];

    if (usage_name(c, "detach") != 0) {
        return 2;
    }
    snprintf(path, sizeof path, "/detach/%s", c->argv[0]);
    return post(c, path) != 0
               ? 1
               : print_done(c, c->argv[0],
                            "let go on this node; the file is a plain SQLite "
                            "file, which no longer follows");
}

static bool is_confirmed(const char *name)
{
    char line[DB_NAME_MAX + 8];

    fprintf(stderr,
            "This takes database %s away from all nodes. Each keeps its file "
            "aside,\nas PATH.dropped-TIME. Type its name to go on: ",
            name);
    if (fgets(line, sizeof line, stdin) == NULL) {
        return false;
    }
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, name) == 0;
}

int databases_drop(const struct call *c)
{
    char path[DB_NAME_MAX + 32];

    if (usage_name(c, "drop") != 0) {
        return 2;
    }
    if (!c->yes && !is_confirmed(c->argv[0])) {
        return cli_fail("nothing was done");
    }
    snprintf(path, sizeof path, "/drop/%s", c->argv[0]);
    return post(c, path) != 0
               ? 1
               : print_done(c, c->argv[0], "dropped; the nodes let it go now");
}
