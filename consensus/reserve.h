/* Room that is kept free beside the store for a full disk.
 *
 * When a write finds no room the reserve is given up: what is under way can be
 * finished, and a node that stops can start again. New transactions are refused
 * until the reserve can be made once more. */
#ifndef CONSENSUS_RESERVE_H
#define CONSENSUS_RESERVE_H

#define RESERVE_BYTES (64u << 20)

/* Make it, unless it is there. Returns 0, -ENOSPC or another -errno. */
int reserve_make(const char *folder);
/* Give it up. */
void reserve_release(const char *folder);

#endif
