/* Messages between a guest's client and the node: for guest_client.c and
 * guest_commit.c only. Failures are ERR_* or -errno; those that end the
 * conversation leave the reason in c->text. */
#ifndef VFS_GUEST_TALK_H
#define VFS_GUEST_TALK_H

#include "vfs/guest_client.h"

/* What the node answers at once. */
#define ANSWER_WAIT_MS 3000

/* A deadline for the calls below. */
uint64_t guest_talk_in_ms(uint64_t ms);

/* Leave `text` as the reason; returns `err`. */
int guest_talk_fail(struct guest_client *c, int err, const char *text);
/* The node said no: its reason as ERR_*, its words as the reason. */
int guest_talk_refused(struct guest_client *c, const struct session_refused *r);
/* The conversation failed: end it. */
int guest_talk_broken(struct guest_client *c, int err);

int guest_talk_send(struct guest_client *c, const struct session_message *m);
/* The next message but OFFER: an offer only wakes whoever polls the socket.
 * *m borrows from c->in until the next call. `deadline_us` 0: do not wait. */
int guest_talk_receive(struct guest_client *c, uint64_t deadline_us,
                       struct session_message *m);

/* Connect and greet, or go on waiting for the answer to an earlier greeting.
 * When the node says nothing for `wait_ms`, c->greeting says that its answer
 * may still come. */
int guest_talk_connect(struct guest_client *c, uint64_t wait_ms,
                       struct session_welcome *welcome);

#endif
