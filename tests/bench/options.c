#include "tests/bench/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/stats.h"

const char options_help[] =
    "usage: marmot-bench [flags]\n"
    "  -full            all arms and workloads; 7 rounds of 2 s\n"
    "  -rounds N        (3)\n"
    "  -seconds S       of a workload in an arm and round (0.5)\n"
    "  -arms A,B        sqlite sqlite_again sqlite_off marmot1 marmot3\n"
    "                   dqlite dqlite_nodelay floor\n"
    "  -workloads W,... W1 W2-4 W2-16 W3 W4 W5-update W5-delete R1 R2\n"
    "                   L C-10k C-100k C-100k-nosync C-far C-image F M-1 M-16 "
    "M-64\n"
    "                   I G6 G9 T (T: where the time of a commit goes)\n"
    "  -rows N          in a database at the start (5000)\n"
    "  -o FILE          JSON lines go here too\n"
    "  -dir FOLDER      where databases are made (TMPDIR or /tmp)\n"
    "  -build FOLDER    where the products are (build)\n"
    "  -writers leader|first  on the node that leads the database's group, or\n"
    "                   all on node 1 (leader)\n"
    "  -no-realtime     do not ask for SCHED_FIFO 5\n"
    "  -quiet           no JSON lines on the standard output\n";

static int flag(struct options *o, const char *name)
{
    if (strcmp(name, "-full") == 0) {
        o->full = true;
        o->rounds = 7;
        o->seconds = 2;
    } else if (strcmp(name, "-no-realtime") == 0) {
        o->realtime = false;
    } else if (strcmp(name, "-quiet") == 0) {
        o->quiet = true;
    } else {
        return -EINVAL;
    }
    return 0;
}

static int setting(struct options *o, const char *name, const char *value)
{
    if (strcmp(name, "-rounds") == 0) {
        o->rounds = atoi(value);
    } else if (strcmp(name, "-seconds") == 0) {
        o->seconds = atof(value);
    } else if (strcmp(name, "-arms") == 0) {
        o->arms = value;
    } else if (strcmp(name, "-workloads") == 0) {
        o->workloads = value;
    } else if (strcmp(name, "-rows") == 0) {
        o->rows = atoi(value);
    } else if (strcmp(name, "-o") == 0) {
        o->output = value;
    } else if (strcmp(name, "-dir") == 0) {
        o->folder = value;
    } else if (strcmp(name, "-build") == 0) {
        o->build = value;
    } else if (strcmp(name, "-writers") == 0 &&
               (strcmp(value, "leader") == 0 || strcmp(value, "first") == 0)) {
        o->writers_at_leader = value[0] == 'l';
    } else {
        return -EINVAL;
    }
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    int err = 0;

    *o = (struct options){.rounds = 3,
                          .seconds = 0.5,
                          .rows = 5000,
                          .folder = tmp != NULL ? tmp : "/tmp",
                          .build = "build",
                          .realtime = true,
                          .writers_at_leader = true};
    for (int i = 1; i < argc && err == 0; i++) {
        if (flag(o, argv[i]) != 0) {
            err = i + 1 < argc ? setting(o, argv[i], argv[i + 1]) : -EINVAL;
            i++;
        }
    }
    if (err != 0 || o->rounds < 1 || o->rounds > STATS_VALUES_MAX ||
        o->seconds <= 0 || o->seconds > 60 || o->rows < 1) {
        fputs(options_help, stderr);
        return -EINVAL;
    }
    return 0;
}

bool options_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    while (list != NULL && *list != '\0') {
        if (strncmp(list, name, len) == 0 &&
            (list[len] == ',' || list[len] == '\0')) {
            return true;
        }
        list = strchr(list, ',');
        list = list != NULL ? list + 1 : NULL;
    }
    return false;
}
