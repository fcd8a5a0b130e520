/* marmot: the node, and the commands to it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "cli/cli.h"
#include "node/node.h"
#include "node/options.h"

/* A database takes about six descriptors, a session one: the usual soft limit
 * of 1024 is too few for what the limits allow. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options options = {0};
    char why[1024];
    int status;

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "recover") == 0) {
        return recover_run(argc - 1, argv + 1);
    }
    if (argc > 1 && argv[1][0] != '-') {
        return cli_main(argc, argv);
    }
    raise_descriptors();
    if (options_parse(&options, argc, argv, why, sizeof why) != 0) {
        fprintf(stderr, "marmot: %s\n", why);
        options_close(&options);
        return 2;
    }
    if (options.help) {
        fputs(options_help, stdout);
        fputs(cli_help, stdout);
        options_close(&options);
        return 0;
    }
    log_set_level(options.verbose ? LOG_DEBUG : LOG_INFO);
    status = options.cleanup ? cleanup_run(&options) : node_run(&options);
    options_close(&options);
    return status;
}
