/* marmot verify [DB]...: every node reads its copy and compares each page with
 * what the log says; here it is only shown. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cli/internal.h"
#include "cli/table.h"

#define PATIENCE_S 86400u /* large ones take their time; silence is noticed */

static void print_pages(const json_t *node)
{
    const json_t *pages = json_object_get(node, "damaged_pages");
    uint64_t damaged = show_number(node, "damaged");
    char room[32];
    json_t *page;
    size_t i;

    if (damaged == 0) {
        return;
    }
    printf("node %s, damaged pages:", show_text(node, "node", room));
    json_array_foreach(pages, i, page)
    {
        printf(" %lld", (long long)json_integer_value(page));
    }
    printf("%s\n", damaged > json_array_size(pages) ? " ..." : "");
}

static void add(struct table *t, const json_t *node, const char *key)
{
    char room[32];

    table_add(t, show_text(node, key, room));
}

static void print_nodes(const json_t *answer)
{
    const json_t *nodes = json_object_get(answer, "nodes");
    const char *name = json_string_value(json_object_get(answer, "database"));
    struct table t;
    json_t *node;
    size_t i;

    table_init(&t, "DATABASE NODE COPY PAGES DAMAGED CHECKSUM POSITION");
    json_array_foreach(nodes, i, node)
    {
        table_add(&t, name == NULL ? "-" : name);
        add(&t, node, "node");
        add(&t, node, "state");
        add(&t, node, "pages");
        add(&t, node, "damaged");
        add(&t, node, "found");
        add(&t, node, "position");
    }
    table_print(&t, stdout);
    json_array_foreach(nodes, i, node)
    {
        print_pages(node);
    }
}

/* ---- how far it is ------------------------------------------------------- */

struct watch {
    struct call call;
    struct progress progress;
};

/* Once a second: the node that was asked knows what the others have read. */
static void on_tick(void *arg)
{
    struct watch *w = arg;
    json_t *document = http_get(&w->call, "/status", true), *d;
    size_t i;

    json_array_foreach(json_object_get(document, "databases"), i, d)
    {
        const json_t *now = json_object_get(d, "verifying");
        const char *name = json_string_value(json_object_get(d, "name"));
        if (json_is_object(now) && name != NULL &&
            strcmp(name, w->progress.name) == 0) {
            progress_pages(
                &w->progress, show_number(now, "read"),
                show_number(now, "pages"),
                show_number(json_object_get(d, "copy"), "page_size"));
        }
    }
    json_decref(document);
}

static json_t *ask(const struct call *c, const char *path, const char *name)
{
    struct watch w = {.call = *c, .progress = {.what = "verify", .name = name}};
    json_t *answer;

    if (c->json || !progress_wanted()) {
        return http_post(c, path);
    }
    w.call.quiet = true;
    w.call.timeout_s = 5;
    answer = http_post_watched(c, path, on_tick, &w);
    progress_end(&w.progress);
    return answer;
}

/* ---- asking -------------------------------------------------------------- */

static int verify(const struct call *c, const char *name)
{
    struct call patient = *c;
    char path[64 + DB_NAME_MAX];
    json_t *answer;
    int rv;

    if (strlen(name) > DB_NAME_MAX || strpbrk(name, "/?#% ") != NULL) {
        cli_fail("%s: not the name of a database (marmot list shows them)",
                 name);
        return 2;
    }
    patient.timeout_s = PATIENCE_S;
    snprintf(path, sizeof path, "/verify/%s", name);
    answer = ask(&patient, path, name);
    if (answer == NULL) {
        return 1;
    }
    rv = json_is_true(json_object_get(answer, "ok")) ? 0 : 1;
    if (c->json) {
        show_json(answer);
    } else {
        print_nodes(answer);
    }
    json_decref(answer);
    return rv;
}

/* All that the node has. */
static int verify_all(const struct call *c)
{
    json_t *document = http_get(c, "/status", false);
    json_t *d;
    size_t i;
    int rv = document == NULL;

    json_array_foreach(json_object_get(document, "databases"), i, d)
    {
        const char *name = json_string_value(json_object_get(d, "name"));
        if (name != NULL && json_is_string(json_object_get(d, "uuid"))) {
            rv = verify(c, name) != 0 || rv != 0;
        }
    }
    json_decref(document);
    return rv;
}

int verify_command(const struct call *c)
{
    int rv = 0;

    if (c->argc == 0) {
        return verify_all(c);
    }
    for (int i = 0; i < c->argc && rv != 2; i++) {
        int one = verify(c, c->argv[i]);
        rv = one > rv ? one : rv;
    }
    return rv;
}
