/* Addresses of nodes: "host:port", "1.2.3.4:port", "[v6]:port".
 *
 * Literals are converted at once; names are looked up on a thread of libuv's
 * pool, or blocking where nothing else can happen yet (at start). */
#ifndef CONSENSUS_ADDRESS_H
#define CONSENSUS_ADDRESS_H

#include <sys/socket.h>
#include <uv.h>

#include "base/limits.h"

/* Addresses of one name that are tried; more are ignored. */
#define ADDRESS_FOUND_MAX 8

struct address {
    char host[ADDRESS_MAX]; /* without brackets */
    char port[6];           /* "1".."65535" */
};

/* Returns 0, or -EINVAL and *out untouched. */
int address_parse(const char *text, struct address *out);

/* Returns 0, or -EINVAL when the host is a name; *out is untouched then. */
int address_literal(const struct address *a, struct sockaddr_storage *out);

/* All addresses of a literal or a name, blocking. Returns 0, -EADDRNOTAVAIL
 * when the name is not known, or -ENOMEM. */
int address_resolve(const struct address *a,
                    struct sockaddr_storage out[ADDRESS_FOUND_MAX],
                    unsigned *count);

struct lookup;

/* `count` is 0 and `status` one of libuv's codes (uv_strerror) on failure. The
 * lookup is gone when it is called. */
typedef void (*lookup_done)(void *data, int status,
                            const struct sockaddr_storage *found,
                            unsigned count);

/* Look a name up; calls back once, from the loop, unless forgotten. */
int lookup_start(uv_loop_t *loop, const struct address *a, lookup_done done,
                 void *data, struct lookup **out);

/* No call back any more. The lookup itself may linger on its thread. */
void lookup_forget(struct lookup *l);

/* "1.2.3.4:port" or "[v6]:port"; "?" when it is neither. */
void address_text(const struct sockaddr_storage *a, char *out, size_t size);

#endif
