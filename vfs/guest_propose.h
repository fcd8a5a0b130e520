/* Sends a transaction to the node in PROPOSE messages of bounded size. */
#ifndef VFS_GUEST_PROPOSE_H
#define VFS_GUEST_PROPOSE_H

#include <stdbool.h>
#include <stdint.h>

#include "vfs/guest_client.h"

/* Images go from where they are into the socket; those that are only in the
 * WAL are read back a part at a time. On failure (ERR_*, -errno) *sent tells
 * whether all bytes of the last message were taken by the kernel: if not, the
 * node cannot act on the transaction. Each message has `timeout_ms` to leave.
 * `sequence` goes into its token. ERR_FULL above TXN_BYTES_MAX: nothing was
 * sent. */
int guest_propose_send(int fd, const struct proposal *p, uint64_t sequence,
                       uint32_t timeout_ms, bool *sent);

#endif
