/* One dqlite node as a process: dqlite_node ID HOST:PORT FOLDER nodelay|stock
 *
 * Stock dqlite leaves Nagle's algorithm on between its nodes; with "nodelay"
 * the connections that it makes are opened here, with TCP_NODELAY. Runs until
 * it is killed. */
#include <dqlite.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bytes_io.h"

static int connect_without_delay(void *arg, const char *address, int *fd)
{
    (void)arg;
    *fd = connect_tcp(address);
    return *fd < 0;
}

int main(int argc, char **argv)
{
    dqlite_node *node;

    if (argc != 5) {
        fprintf(stderr,
                "usage: dqlite_node ID HOST:PORT FOLDER "
                "nodelay|stock\n");
        return 2;
    }
    if (dqlite_node_create((dqlite_node_id)atoll(argv[1]), argv[2], argv[3],
                           &node) != 0) {
        fprintf(stderr, "dqlite_node: cannot create a node in %s\n", argv[3]);
        return 1;
    }
    if (dqlite_node_set_bind_address(node, argv[2]) != 0 ||
        (strcmp(argv[4], "nodelay") == 0 &&
         dqlite_node_set_connect_func(node, connect_without_delay, NULL) !=
             0) ||
        dqlite_node_set_network_latency_ms(node, 10) != 0 ||
        dqlite_node_start(node) != 0) {
        fprintf(stderr, "dqlite_node: %s\n", dqlite_node_errmsg(node));
        return 1;
    }
    for (;;) {
        pause();
    }
}
