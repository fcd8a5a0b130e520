/* Interpreters get at SQLite through modules that they load later. Python is
 * asked for its own; for Node the packages beside the script are looked at.
 * About others nothing can be told from here. */
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"

#define SAID_BYTES 16384

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

/* ---- Python -------------------------------------------------------------- */

/* A line a module: its name, a tab, the file; no file: it is built in. */
static char python_asks[] =
    "import importlib.util as u, glob, os\n"
    "for m in ('_sqlite3', 'apsw', 'pysqlite3', 'sqlcipher3'):\n"
    "    s = u.find_spec(m)\n"
    "    o = s.origin if s else None\n"
    "    if o and o.endswith('.py'):\n"
    "        o = (glob.glob(os.path.dirname(o) + '/*.so') or [o])[0]\n"
    "    if s: print(m, o if s.has_location else '', sep='\\t')\n";

static void python_module(struct doctor *d, const char *name, const char *file)
{
    char what[96];

    if (strcmp(name, "_sqlite3") != 0) {
        snprintf(what, sizeof what, "Python's module %s", name);
        doctor_say(d, FINDING_NOTE, file,
                   "import sqlite3 instead, where this is used",
                   "%s brings an SQLite of its own, as a rule: what a program "
                   "does with it is not replicated",
                   what);
    } else if (file[0] != '\0') {
        doctor_module(d, file, "Python's module sqlite3");
    }
}

/* -I: neither the folder nor the environment of whoever asks counts. */
static void python(struct doctor *d)
{
    char said[SAID_BYTES];
    char flag[] = "-I", code[] = "-c";
    char *argv[] = {d->program, flag, code, python_asks, NULL};
    char *rest = said, *line;
    bool found = false;

    if (doctor_run(argv, said, sizeof said) != 0) {
        doctor_say(d, FINDING_UNKNOWN, d->program, NULL,
                   "does not say which modules it has");
        return;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *tab = strchr(line, '\t');
        if (tab != NULL) {
            *tab = '\0';
            found = found || strcmp(line, "_sqlite3") == 0;
            python_module(d, line, tab + 1);
        }
    }
    if (!found) {
        doctor_say(d, FINDING_UNKNOWN, d->program,
                   "install the module, for instance python3 of Debian",
                   "has no module sqlite3");
    }
}

/* ---- Node ---------------------------------------------------------------- */

/* The package beside the script, or where the command is given. */
static void node_packages(struct doctor *d)
{
    static const char *const packages[] = {"better-sqlite3", "sqlite3"};
    int folder = (int)(base_name(d->script) - d->script);
    char pattern[PATH_MAX + 96];

    for (size_t i = 0; i < sizeof packages / sizeof packages[0]; i++) {
        glob_t found;
        snprintf(pattern, sizeof pattern, "%.*snode_modules/%s/build/*/*.node",
                 folder, d->script, packages[i]);
        if (glob(pattern, 0, NULL, &found) == 0) {
            doctor_module(d, found.gl_pathv[0], "a package of Node");
            globfree(&found);
        }
    }
}

static void node(struct doctor *d)
{
    unsigned before = d->count[FINDING_NOT] + d->count[FINDING_WORKS];

    node_packages(d);
    if (d->count[FINDING_NOT] + d->count[FINDING_WORKS] == before) {
        doctor_say(d, FINDING_UNKNOWN, d->program,
                   "build the package against the shared SQLite: npm install "
                   "sqlite3 --build-from-source --sqlite=/usr",
                   "packages for Node bring an SQLite of their own, as a rule; "
                   "there is none here to look at");
    }
}

bool doctor_modules(struct doctor *d)
{
    static const char *const shells[] = {"sh",  "bash", "dash",
                                         "zsh", "ksh",  "busybox"};
    const char *name = base_name(d->program);

    if (fnmatch("python[0-9.]*", name, 0) == 0 || strcmp(name, "python") == 0) {
        python(d);
        return true;
    }
    if (strcmp(name, "node") == 0 || strcmp(name, "nodejs") == 0) {
        node(d);
        return true;
    }
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(name, shells[i]) == 0) {
            doctor_say(d, FINDING_UNKNOWN,
                       d->script[0] != '\0' ? d->script : d->program,
                       "give marmot doctor the programs that it starts",
                       "a shell has no SQLite; what it starts gets LD_PRELOAD "
                       "from it");
            return true;
        }
    }
    return false;
}
