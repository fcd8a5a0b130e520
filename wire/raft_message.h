/* Raft's messages as bytes. The only header of wire/ that includes raft.h.
 *
 * Addresses are never sent nor read: peers are known by id. */
#ifndef WIRE_RAFT_MESSAGE_H
#define WIRE_RAFT_MESSAGE_H

#include <raft.h>

#include "base/buf.h"

/* Appends the message. Returns 0 or out->err. */
int raft_message_encode(const struct raft_message *m, struct buf *out);

/* Decode into *m, for raft_io's recv: entries is one raft_malloc'ed array, all
 * payloads one batch (entries[0].batch), NULL when there are none; an install's
 * conf and data are raft_malloc'ed. server_id and server_address stay 0.
 *
 * Returns 0, ERR_CORRUPT, ERR_TOO_BIG or -ENOMEM; on failure nothing is
 * allocated and *m is untouched. */
int raft_message_decode(const void *bytes, size_t len, struct raft_message *m);

/* Free what decode allocated, when recv did not take it. */
void raft_message_close(struct raft_message *m);

/* A RAFT_CHANGE entry's buffer or a stored configuration (libraft exports only
 * the encoder). *conf is initialized here; closed by the caller on success.
 * Returns 0, ERR_CORRUPT, ERR_VERSION, ERR_TOO_BIG or -ENOMEM. */
int raft_conf_decode(const void *bytes, size_t len,
                     struct raft_configuration *conf);

#endif
