/* The client commands: `marmot status` and its like, over a node's pane.
 *
 * They run in a process of their own and simply wait. Exit status 0 done,
 * 1 failed, 2 usage. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* argv[1] is the command. Returns the exit status. */
int cli_main(int argc, char **argv);

/* The lines about commands in `marmot -help`. */
extern const char cli_help[];

#endif
