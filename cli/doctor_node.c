/* The node whose pane is asked: does it keep databases here, and may this user
 * write to them? Its databases are looked at by their paths, on this host. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/doctor.h"

static void look_at_marker(struct doctor *d, const char *name,
                           const char *marker)
{
    struct stat st;

    if (stat(marker, &st) != 0) {
        doctor_say(d, FINDING_NOTE, marker,
                   "run this on the host of the node, or name its pane",
                   "%s: database %s is not managed on this host",
                   strerror(errno), name);
    } else if (!S_ISSOCK(st.st_mode)) {
        doctor_say(d, FINDING_NOTE, marker, NULL,
                   "is no socket, so %s is not managed", name);
    } else if (access(marker, R_OK | W_OK) != 0) {
        doctor_say(d, FINDING_NOTE, marker,
                   "give the user or its group access to the database: the "
                   "socket has the same",
                   "this user must not write to database %s", name);
    } else {
        doctor_say(d, FINDING_NOTE, marker, NULL, "database %s is managed",
                   name);
    }
}

static void look_at_database(struct doctor *d, const json_t *database)
{
    const char *name = json_string_value(json_object_get(database, "name"));
    const char *path = json_string_value(json_object_get(database, "path"));
    const char *why = json_string_value(
        json_object_get(json_object_get(database, "writing"), "locked_why"));
    char marker[PATH_MAX + 16];

    if (name == NULL || path == NULL || strlen(path) >= PATH_MAX) {
        return;
    }
    snprintf(marker, sizeof marker, "%s-marmot", path);
    look_at_marker(d, name, marker);
    if (why != NULL && why[0] != '\0') {
        doctor_say(d, FINDING_NOTE, path, NULL,
                   "cannot be written to just now: %s", why);
    }
}

void doctor_node(struct doctor *d)
{
    struct call quiet = *d->call;
    json_t *document;
    const json_t *databases, *one;
    size_t i;

    quiet.quiet = true;
    document = http_get(&quiet, "/status", false);
    databases = json_object_get(document, "databases");
    if (document == NULL) {
        doctor_say(d, FINDING_NOTE, d->call->pane,
                   "start the node, or name its pane with -pane",
                   "no node answers there (or not without AUTH_KEY)");
        return;
    }
    if (json_array_size(databases) == 0) {
        doctor_say(d, FINDING_NOTE, d->call->pane, "marmot attach NAME=PATH",
                   "the node keeps no database");
    }
    json_array_foreach(databases, i, one)
    {
        look_at_database(d, one);
    }
    json_decref(document);
}
