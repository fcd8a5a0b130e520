/* marmot doctor CMD: will what this program writes be replicated? It looks at
 * files, asks the loader for a program's libraries and Python for its modules;
 * the program itself is not run. */
#include "cli/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define RUN_MS 10000u

static const char *const words[] = {
    [FINDING_WORKS] = "works",
    [FINDING_NOT] = "not replicated",
    [FINDING_UNKNOWN] = "cannot tell",
    [FINDING_NOTE] = "note",
};

void doctor_say(struct doctor *d, enum finding finding, const char *about,
                const char *todo, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->count[finding]++;
    json_array_append_new(
        d->findings,
        json_pack("{s:s, s:s, s:s, s:s?}", "finding", words[finding], "about",
                  about, "what", text, "do", todo));
}

/* ---- asking other programs ----------------------------------------------- */

static int start(char *const argv[], pid_t *pid)
{
    int ends[2], null;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    *pid = fork();
    if (*pid == 0) {
        null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(ends[1], 1);
        dup2(null, 2);
        unsetenv("LD_PRELOAD");
        execv(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    if (*pid < 0) {
        close(ends[0]);
        return -1;
    }
    return ends[0];
}

/* Until the end of the output, or of the time. */
static void read_all(int fd, char *out, size_t size, uint64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char rest[4096];
    size_t len = 0;
    ssize_t n = 1;

    while (n > 0 && clock_ms() < until_ms) {
        int left = (int)(until_ms - clock_ms());
        if (poll(&p, 1, left > 0 ? left : 0) <= 0) {
            break;
        }
        n = len + 1 < size ? read(fd, out + len, size - 1 - len)
                           : read(fd, rest, sizeof rest);
        len += n > 0 && len + 1 < size ? (size_t)n : 0;
    }
    out[len] = '\0';
}

int doctor_run(char *const argv[], char *out, size_t size)
{
    uint64_t until = clock_ms() + RUN_MS;
    int fd, status = 0;
    pid_t pid;

    out[0] = '\0';
    fd = start(argv, &pid);
    if (fd < 0) {
        return -1;
    }
    read_all(fd, out, size, until);
    close(fd);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (clock_ms() >= until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        usleep(1000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- the report ---------------------------------------------------------- */

static enum finding verdict(const struct doctor *d)
{
    if (d->count[FINDING_WORKS] > 0 && d->count[FINDING_NOT] == 0 &&
        d->count[FINDING_UNKNOWN] == 0) {
        return FINDING_WORKS;
    }
    return d->count[FINDING_NOT] > 0 && d->count[FINDING_WORKS] == 0 &&
                   d->count[FINDING_UNKNOWN] == 0
               ? FINDING_NOT
               : FINDING_UNKNOWN;
}

static void print(const struct doctor *d)
{
    const json_t *f;
    size_t i;

    json_array_foreach(d->findings, i, f)
    {
        const char *todo = json_string_value(json_object_get(f, "do"));
        printf("%-14s  %s: %s\n",
               json_string_value(json_object_get(f, "finding")),
               json_string_value(json_object_get(f, "about")),
               json_string_value(json_object_get(f, "what")));
        if (todo != NULL) {
            printf("%-14s  -> %s\n", "", todo);
        }
    }
}

static void conclude(const struct doctor *d, const char *library)
{
    const char *command = d->call->argv[0];

    switch (verdict(d)) {
    case FINDING_WORKS:
        printf("\n%s is replicated when it is started with LD_PRELOAD=%s\n",
               command, library);
        break;
    case FINDING_NOT:
        printf("\n%s will not be replicated.\n", command);
        break;
    default:
        printf(
            "\nWhether %s is replicated cannot be told from its files. Try:\n"
            "  LD_PRELOAD=%s MARMOT_REQUIRE=1 %s ...\n"
            "on a database that no node manages: where Marmot is reached, "
            "opening it is refused.\n",
            command, library, command);
    }
}

/* The program alone decides; the node may be put right meanwhile. */
static int report(struct doctor *d, const char *library)
{
    enum finding is = verdict(d);
    json_t *said;

    if (d->call->json) {
        said =
            json_pack("{s:s, s:s, s:s, s:O}", "program", d->program, "verdict",
                      words[is], "library", library, "findings", d->findings);
        show_json(said);
        json_decref(said);
    } else {
        print(d);
        conclude(d, library);
    }
    return is == FINDING_WORKS ? 0 : 1;
}

int doctor_command(const struct call *c)
{
    struct doctor d = {.call = c};
    char library[PATH_MAX + 64];
    int status;

    if (c->argc < 1) {
        cli_fail("usage: marmot doctor [flags] COMMAND [ARGUMENT]...");
        return 2;
    }
    d.findings = json_array();
    if (library_find("libmarmot-preload.so", library, sizeof library) != 0) {
        snprintf(library, sizeof library, "libmarmot-preload.so");
        doctor_say(&d, FINDING_NOTE, library, "make install",
                   "is neither beside this program nor in ../lib");
    }
    if (doctor_find(&d, c->argv[0])) {
        doctor_program(&d);
    }
    doctor_node(&d);
    status = report(&d, library);
    json_decref(d.findings);
    return status;
}
