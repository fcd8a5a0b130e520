#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/internal.h"

const char cli_help[] =
    "\ncommands, to the node whose pane is at -pane (default localhost:6010, "
    "or\n"
    "$MARMOT_PANE; a key is taken from $AUTH_KEY):\n\n"
    "  marmot status               the node, its peers, groups and databases\n"
    "  marmot info                 who the node is\n"
    "  marmot list                 its databases\n"
    "  marmot move SHARD NODE      hand the leadership of a group to a node\n"
    "  marmot shuffle              spread leaders evenly\n"
    "  marmot remove NODE          take a node out of the cluster\n"
    "  marmot attach NAME=PATH     keep one more database on this node\n"
    "  marmot detach NAME          let it go on this node; the file stays\n"
    "  marmot drop NAME            let it go on all nodes; files are put "
    "aside\n"
    "  marmot rename OLD NEW       give a database another name, on all "
    "nodes\n"
    "  marmot shards [N]           how many there are; add some until there "
    "are N\n"
    "  marmot backup DB FILE       a consistent copy of a live database\n"
    "  marmot verify [DB]...       let all nodes compare their copies\n"
    "  marmot restore DB FILE      replace its content, on all nodes\n"
    "  marmot doctor COMMAND...    will what this program writes be "
    "replicated?\n"
    "\n  marmot recover -raft-path DIR -node-id N\n"
    "                              of a cluster that has lost its majority for "
    "ever:\n"
    "                              make a stopped node a cluster of its own\n"
    "  marmot recover -from FILE [-db NAME] -raft-path DIR -node-id N\n"
    "                              make FILE the content of a database, on all "
    "nodes\n\n"
    "  -pane HOST:PORT, -json (for programs), -timeout SECONDS\n";

static const struct {
    const char *name;
    int (*run)(const struct call *c);
    int arguments; /* -1: looked at by the command; -2: what comes after the
                      first one is no flag of ours either */
} commands[] = {
    {"status", show_status, 0},       {"info", show_info, 0},
    {"list", show_list, 0},           {"move", lead_move, -1},
    {"shuffle", lead_shuffle, -1},    {"remove", members_remove, -1},
    {"attach", databases_attach, -1}, {"detach", databases_detach, -1},
    {"drop", databases_drop, -1},     {"rename", rename_command, -1},
    {"shards", shards_command, -1},   {"backup", backup_command, -1},
    {"restore", restore_command, -1}, {"verify", verify_command, -1},
    {"doctor", doctor_command, -2},
};

int cli_fail(const char *format, ...)
{
    va_list args;

    fputs("marmot: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

static int bad_flag(char **argv, int flag)
{
    if (flag == ':') {
        cli_fail("%s needs a value; see marmot -help", argv[optind - 1]);
    } else {
        cli_fail("unknown flag %s; see marmot -help", argv[optind - 1]);
    }
    return 2;
}

static int bad_timeout(const char *text, unsigned *out)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v == 0 || v > 86400) {
        cli_fail("-timeout %s: must be a number of seconds", text);
        return 2;
    }
    *out = (unsigned)v;
    return 0;
}

/* Returns 0, -1 when help was shown, or the exit status. */
static int parse(int argc, char **argv, bool in_order, struct call *c)
{
    static const struct option flags[] = {
        {"pane", required_argument, NULL, 'p'},
        {"json", no_argument, NULL, 'j'},
        {"timeout", required_argument, NULL, 't'},
        {"yes", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int flag;

    opterr = 0;
    optind = 1;
    while ((flag = getopt_long_only(argc, argv, in_order ? "+:" : ":", flags,
                                    NULL)) != -1) {
        switch (flag) {
        case 'p':
            c->pane = optarg;
            break;
        case 'j':
            c->json = true;
            break;
        case 'y':
            c->yes = true;
            break;
        case 't':
            if (bad_timeout(optarg, &c->timeout_s) != 0) {
                return 2;
            }
            break;
        case 'h':
            fputs(cli_help + 1, stdout);
            return -1;
        default:
            return bad_flag(argv, flag);
        }
    }
    c->argc = argc - optind;
    c->argv = argv + optind;
    return 0;
}

static int run(size_t command, int argc, char **argv)
{
    const char *pane = getenv("MARMOT_PANE");
    struct call c = {
        .pane = pane != NULL && pane[0] != '\0' ? pane : "localhost:6010",
        .timeout_s = 30};
    int rv = parse(argc, argv, commands[command].arguments == -2, &c);

    if (rv != 0) {
        return rv < 0 ? 0 : rv;
    }
    if (commands[command].arguments >= 0 &&
        c.argc != commands[command].arguments) {
        cli_fail("usage: marmot %s takes no arguments but flags",
                 commands[command].name);
        return 2;
    }
    if (strlen(c.pane) > 512) {
        cli_fail("-pane: too long");
        return 2;
    }
    return commands[command].run(&c);
}

int cli_main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return run(i, argc - 1, argv + 1);
        }
    }
    cli_fail("%s: no such command; see marmot -help", argv[1]);
    return 2;
}
