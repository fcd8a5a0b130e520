/* Pages of a database that is being created, held back in memory.
 *
 * SQLite writes the first transaction of an empty file in rollback mode. No
 * page of it may be in the file before the cluster has accepted it, so reads
 * and the size are answered from here meanwhile. Holes read as zeros. Errors
 * are ERR_* or -errno. */
#ifndef VFS_GUEST_NEW_H
#define VFS_GUEST_NEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfs/guest_client.h" /* struct proposal */

struct guest_new {
    bool active;   /* the file is empty and the lock on it is ours */
    bool accepted; /* the cluster has the transaction */
    bool reread;   /* SQLite must read page 1 again: it is WAL mode now */
    uint32_t page_size;
    int64_t size;     /* bytes of the file as SQLite sees it */
    uint8_t **images; /* [capacity], NULL: a hole */
    uint32_t capacity;
};

void guest_new_init(struct guest_new *n);
void guest_new_close(struct guest_new *n);

void guest_new_begin(struct guest_new *n);
/* Drop everything held. */
void guest_new_end(struct guest_new *n);

/* ERR_SHORT when the file ends before `len` bytes; the rest is zeros. */
int guest_new_read(const struct guest_new *n, uint8_t *bytes, size_t len,
                   int64_t offset);
/* ERR_FULL above TXN_BYTES_MAX. */
int guest_new_write(struct guest_new *n, const uint8_t *bytes, size_t len,
                    int64_t offset);
void guest_new_truncate(struct guest_new *n, int64_t size);

/* The whole database as a proposal, page 1 saying WAL mode; `images` of `p`
 * are borrowed, p->pages is freed by the caller. */
int guest_new_proposal(struct guest_new *n, struct proposal *p);

#endif
