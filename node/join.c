/* -join: a node asks any member to be taken into the cluster, before it starts.
 *
 * It comes with the id of the store that it is going to have, written down
 * first, so that a crash at any point is continued by the same question. It
 * asks again until the registry has it; then it knows whom to connect to. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "consensus/address.h"
#include "node/node.h"
#include "wire/packet.h"

#define PATIENCE_S 3
#define AGAIN_US 300000u
#define SAY_EVERY 20u /* rounds */

enum reply { REPLY_JOINED, REPLY_AGAIN, REPLY_REFUSED, REPLY_NONE };

/* ---- one question -------------------------------------------------------- */

static int connect_to(const char *address)
{
    struct sockaddr_storage at[ADDRESS_FOUND_MAX];
    struct timeval patience = {.tv_sec = PATIENCE_S};
    struct address parsed;
    unsigned n = 0;
    int fd = -1;

    if (address_parse(address, &parsed) != 0 ||
        address_resolve(&parsed, at, &n) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < n && fd < 0; i++) {
        socklen_t len = at[i].ss_family == AF_INET6
                            ? sizeof(struct sockaddr_in6)
                            : sizeof(struct sockaddr_in);
        fd = socket(at[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
            if (connect(fd, (struct sockaddr *)&at[i], len) != 0) {
                close(fd);
                fd = -1;
            }
        }
    }
    return fd;
}

static bool send_all(int fd, const struct buf *out)
{
    for (size_t done = 0; done < out->len;) {
        ssize_t n = send(fd, out->data + done, out->len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static enum reply judge(const struct packet *p, struct join_answer *a,
                        char *why, size_t size)
{
    size_t len = p->len < size - 1 ? p->len : size - 1;

    if (p->kind == PACKET_REFUSED) {
        for (size_t i = 0; i < len; i++) {
            uint8_t c = p->payload[i];
            why[i] = c >= ' ' && c <= '~' ? (char)c : '?';
        }
        why[len] = '\0';
        return REPLY_REFUSED;
    }
    if (p->kind != PACKET_JOINED) {
        return REPLY_NONE;
    }
    if (p->len == 0) {
        return REPLY_AGAIN;
    }
    return join_answer_decode(p->payload, p->len, a) == 0 ? REPLY_JOINED
                                                          : REPLY_NONE;
}

static enum reply receive(int fd, struct join_answer *a, char *why, size_t size)
{
    enum reply reply = REPLY_NONE;
    struct packet packet;
    struct buf in;
    size_t used;

    buf_init(&in, PACKET_BYTES_MAX);
    for (;;) {
        uint8_t *room = buf_room(&in, 4096);
        ssize_t n = room == NULL ? -1 : recv(fd, room, 4096, 0);
        int rv;
        if (n <= 0) {
            break;
        }
        buf_added(&in, (size_t)n);
        rv = packet_read(in.data, in.len, &packet, &used);
        if (rv == 0) {
            reply = judge(&packet, a, why, size);
        }
        if (rv != ERR_SHORT) {
            break;
        }
    }
    buf_close(&in);
    return reply;
}

static enum reply ask(const char *address, const struct member_info *self,
                      struct join_answer *a, char *why, size_t size)
{
    enum reply reply = REPLY_NONE;
    int fd = connect_to(address);
    struct buf out;
    size_t begin;

    if (fd < 0) {
        return REPLY_NONE;
    }
    buf_init(&out, PACKET_BYTES_MAX);
    begin = packet_begin(&out, PACKET_JOIN, 0);
    join_ask_encode(self, &out);
    packet_end(&out, begin);
    if (out.err == 0 && send_all(fd, &out)) {
        reply = receive(fd, a, why, size);
    }
    buf_close(&out);
    close(fd);
    return reply;
}

/* One round over all that were named. */
static enum reply ask_all(const char *addresses, const struct member_info *self,
                          struct join_answer *a, char *why, size_t size)
{
    char copy[sizeof((struct options *)NULL)->join];
    char *rest = copy, *one;
    enum reply best = REPLY_NONE;

    snprintf(copy, sizeof copy, "%s", addresses);
    while ((one = strsep(&rest, ",")) != NULL) {
        enum reply reply =
            *one == '\0' ? REPLY_NONE : ask(one, self, a, why, size);
        if (reply < best) {
            best = reply;
        }
        if (best == REPLY_JOINED) {
            break;
        }
    }
    return best;
}

/* ---- until it is done ---------------------------------------------------- */

static bool has_store(const struct options *o)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof path, "%s/store.db", o->raft_path);
    return access(path, F_OK) == 0;
}

static int prepare(const struct options *o, struct roster *r, char *why,
                   size_t size)
{
    if (mkdir(o->raft_path, 0777) != 0 && errno != EEXIST) {
        snprintf(why, size, "cannot create the folder %s: %s", o->raft_path,
                 strerror(errno));
        return -errno;
    }
    if (!r->joining && has_store(o)) {
        snprintf(why, size,
                 "there is a store.db in %s without the file members that "
                 "belongs to it: put that back, or start with an empty "
                 "-raft-path",
                 o->raft_path);
        return ERR_MISMATCH;
    }
    if (!r->joining && uuid_random(&r->store) != 0) {
        snprintf(why, size, "the kernel gives no random numbers");
        return ERR_IO;
    }
    r->joining = true;
    if (roster_write(o->raft_path, r) != 0) {
        snprintf(why, size, "cannot write into %s: %s", o->raft_path,
                 strerror(errno));
        return ERR_IO;
    }
    return 0;
}

static void take(struct roster *r, const struct join_answer *a)
{
    r->cluster = a->cluster;
    r->shards = a->shards;
    r->n = a->n;
    memcpy(r->members, a->members, sizeof r->members);
}

int join_cluster(const struct options *o, struct roster *r, char *why,
                 size_t size)
{
    struct member_info self = {.id = o->node_id, .replica = o->replica};
    static struct join_answer answer;
    enum reply reply;
    int rv = prepare(o, r, why, size);

    if (rv != 0) {
        return rv;
    }
    self.store = r->store;
    snprintf(self.address, sizeof self.address, "%s", o->advertise);
    log_info("joining", "node=%" PRIu64 " via=%s", o->node_id, o->join);
    for (unsigned round = 0;; round++) {
        reply = ask_all(o->join, &self, &answer, why, size);
        if (reply == REPLY_JOINED) {
            FAILPOINT("join.answered");
            take(r, &answer);
            return 0;
        }
        if (reply == REPLY_REFUSED) {
            return ERR_MISMATCH;
        }
        if (round % SAY_EVERY == SAY_EVERY - 1) {
            log_warn("joining", "node=%" PRIu64 " why=\"%s\"", o->node_id,
                     reply == REPLY_AGAIN
                         ? "the cluster has not agreed yet; is a majority up?"
                         : "none of the nodes in -join answers");
        }
        usleep(AGAIN_US);
    }
}
