/* Which file a command runs, and what that file and its libraries say. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/doctor.h"

#define SCRIPTS_MAX 4u /* one run by another, as in the kernel */
#define LINE_BYTES 512
#define LIST_BYTES 65536

/* ---- finding it ---------------------------------------------------------- */

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           access(path, X_OK) == 0;
}

/* As execvp would. */
static bool in_path(const char *command, char out[PATH_MAX])
{
    const char *path = getenv("PATH");

    if (strchr(command, '/') != NULL) {
        snprintf(out, PATH_MAX, "%s", command);
        return is_program(out);
    }
    for (const char *at = path != NULL ? path : "/usr/bin:/bin";; at++) {
        size_t len = strcspn(at, ":");
        if (snprintf(out, PATH_MAX, "%.*s%s%s", (int)len, at,
                     len > 0 ? "/" : "", command) < PATH_MAX &&
            is_program(out)) {
            return true;
        }
        at += len;
        if (*at == '\0') {
            return false;
        }
    }
}

/* "#!" and its words; `env NAME` counts as NAME. False: it is no script. */
static bool read_interpreter(const char *path, char name[LINE_BYTES])
{
    char line[LINE_BYTES], *rest = line + 2, *word;
    FILE *f = fopen(path, "re");
    bool good;

    name[0] = '\0';
    if (f == NULL) {
        return false;
    }
    good =
        fgets(line, sizeof line, f) != NULL && line[0] == '#' && line[1] == '!';
    fclose(f);
    while (good && (word = strsep(&rest, " \t\n")) != NULL) {
        size_t len = strlen(name);
        bool env = len >= 3 && strcmp(name + len - 3, "env") == 0;
        if (*word == '\0' || (env && (*word == '-' || strchr(word, '=')))) {
            continue;
        }
        if (name[0] != '\0' && !env) {
            break;
        }
        snprintf(name, LINE_BYTES, "%s", word);
    }
    return good && name[0] != '\0';
}

static bool not_found(struct doctor *d, const char *command)
{
    doctor_say(d, FINDING_NOT, command, "give its path",
               strchr(command, '/') != NULL ? "there is no such program"
                                            : "is not in PATH");
    return false;
}

bool doctor_find(struct doctor *d, const char *command)
{
    char name[LINE_BYTES];

    if (!in_path(command, d->program)) {
        return not_found(d, command);
    }
    for (unsigned i = 0; read_interpreter(d->program, name); i++) {
        if (i == 0) {
            snprintf(d->script, sizeof d->script, "%s", d->program);
        }
        if (i == SCRIPTS_MAX || !in_path(name, d->program)) {
            return not_found(d, name);
        }
        doctor_say(d, FINDING_NOTE, d->script, NULL, "a script, run by %s",
                   d->program);
    }
    if (d->script[0] == '\0' && d->call->argc > 1 &&
        access(d->call->argv[1], R_OK) == 0) {
        snprintf(d->script, sizeof d->script, "%s", d->call->argv[1]);
    }
    return true;
}

/* ---- what the loader does with it ---------------------------------------- */

/* Does the kernel start it with rights that its user does not have? Then the
 * loader ignores LD_PRELOAD. */
static bool has_rights(struct doctor *d)
{
    struct stat st;
    const char *what = NULL;

    if (stat(d->program, &st) != 0) {
        return false;
    }
    if ((st.st_mode & S_ISUID) != 0 && st.st_uid != getuid()) {
        what = "set-user-id";
    } else if ((st.st_mode & S_ISGID) != 0 && st.st_gid != getgid()) {
        what = "set-group-id";
    } else if (getuid() != 0 &&
               getxattr(d->program, "security.capability", NULL, 0) > 0) {
        what = "started with capabilities";
    }
    if (what != NULL) {
        doctor_say(d, FINDING_NOT, d->program,
                   "run a copy without these rights, or let it load "
                   "libmarmot.so as an extension",
                   "is %s: the loader ignores LD_PRELOAD", what);
    }
    return what != NULL;
}

static bool is_trusted_loader(const char *path)
{
    return strncmp(path, "/lib", 4) == 0 || strncmp(path, "/usr/lib", 8) == 0;
}

static bool can_be_preloaded(struct doctor *d, const struct elf_look *e)
{
    if (!e->elf) {
        doctor_say(d, FINDING_UNKNOWN, d->program, NULL,
                   "is neither a program for this system nor a script with "
                   "#!");
    } else if (!e->native) {
        doctor_say(d, FINDING_NOT, d->program,
                   "use a build for the processor of this host, 64 bits",
                   "has %u bits, or is for another processor: the library is "
                   "not loaded into it",
                   e->bits);
    } else if (e->interp[0] == '\0') {
        doctor_say(d, FINDING_NOT, d->program,
                   "build it against the shared libsqlite3, dynamically",
                   "is static: nothing can be loaded into it%s",
                   e->holds ? ", and SQLite is compiled in" : "");
    } else if (strstr(e->interp, "ld-musl") != NULL) {
        doctor_say(d, FINDING_NOT, d->program, "use a build for glibc",
                   "is made for another C library (%s) than libmarmot",
                   e->interp);
    } else {
        return true;
    }
    return false;
}

/* ---- SQLite in files ----------------------------------------------------- */

static bool is_sqlite_library(const struct elf_look *e)
{
    return e->holds && e->exports && e->interp[0] == '\0';
}

static const char todo_compiled_in[] =
    "use a build that links the shared libsqlite3 (often --with-system-sqlite "
    "or the distribution's package)";

/* True when it says something. */
static bool look_at(struct doctor *d, const char *path)
{
    struct elf_look e;
    int rv = elf_look(path, &e);

    if (rv != 0) {
        doctor_say(d, FINDING_UNKNOWN, path, NULL, "cannot be read: %s",
                   strerror(-rv));
        return true;
    }
    if (is_sqlite_library(&e)) {
        doctor_say(d, FINDING_WORKS, path, NULL, "a shared SQLite");
    } else if (e.holds) {
        doctor_say(d, FINDING_NOT, path, todo_compiled_in,
                   "SQLite is compiled in: out of reach");
    }
    return e.holds;
}

/* "\tlibc.so.6 => /lib/.../libc.so.6 (0x7f...)"; NULL: no file. */
static char *library_of(char *line)
{
    char *path = strstr(line, "=> ");
    char *end = strstr(line, " (0x");

    if (path == NULL || end == NULL || end < path) {
        return NULL;
    }
    *end = '\0';
    return path[3] == '/' ? path + 3 : NULL;
}

/* All libraries that come with a file when it is loaded, by its loader. Returns
 * how many of them say something about SQLite. */
static unsigned look_at_libraries(struct doctor *d, const char *path,
                                  const char *loader)
{
    static char list[LIST_BYTES];
    char flag[] = "--list", file[PATH_MAX], interp[ELF_INTERP_MAX];
    char *argv[] = {interp, flag, file, NULL};
    char *rest = list, *line;
    unsigned said = 0;

    snprintf(file, sizeof file, "%s", path);
    snprintf(interp, sizeof interp, "%s", loader);
    if (!is_trusted_loader(loader) ||
        doctor_run(argv, list, sizeof list) != 0) {
        doctor_say(d, FINDING_UNKNOWN, path, NULL,
                   "its libraries cannot be listed with %s", loader);
        return 1;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *library = library_of(line);
        if (strstr(line, "not found") != NULL) {
            doctor_say(d, FINDING_UNKNOWN, path, "install it",
                       "a library is missing:%s", line);
            said++;
        } else if (library != NULL) {
            said += look_at(d, library);
        }
    }
    return said;
}

/* This program's own loader is that of every native library. */
static const char *own_loader(void)
{
    static struct elf_look self;

    return elf_look("/proc/self/exe", &self) == 0 ? self.interp : "";
}

void doctor_module(struct doctor *d, const char *path, const char *what)
{
    doctor_say(d, FINDING_NOTE, path, NULL, "%s", what);
    if (!look_at(d, path) && look_at_libraries(d, path, own_loader()) == 0) {
        doctor_say(d, FINDING_UNKNOWN, path, NULL, "no SQLite is seen in it");
    }
}

void doctor_program(struct doctor *d)
{
    struct elf_look e;
    unsigned said;
    int rv = elf_look(d->program, &e);

    if (rv != 0) {
        doctor_say(d, FINDING_UNKNOWN, d->program, NULL, "cannot be read: %s",
                   strerror(-rv));
        return;
    }
    if (!can_be_preloaded(d, &e) || has_rights(d)) {
        return;
    }
    said = look_at(d, d->program);
    said += look_at_libraries(d, d->program, e.interp);
    if (said > 0 || doctor_modules(d)) {
        return;
    }
    if (e.names) {
        doctor_say(d, FINDING_UNKNOWN, d->program, NULL,
                   "loads libsqlite3 by itself while it runs");
    } else {
        doctor_say(d, FINDING_UNKNOWN, d->program, NULL,
                   "no SQLite is seen in it or its libraries; it may load a "
                   "module or start another program that has one");
    }
}
