/* The write slot of a database as its sessions and its node share it: one page
 * of the file P-marmot-slot, mapped by all of them.
 *
 *   FREE --node grants--> OWNED s --s leaves--> KEPT s --s takes it again--.
 *     ^                     |  ^                  |                        |
 *     +---- s leaves, ------+  +------------------|------------------------'
 *     |     wanted                                |
 *     +---------------- node takes it back -------+
 *
 * A session that leaves the slot keeps it: its next transaction needs no
 * question to the node, as long as the node has not taken the slot back, and
 * lives: what it last knew about its lease counts for a short time only. A node
 * that wants a slot which is OWNED marks it WANTED, and the session, when it
 * leaves, frees it and says so (SESSION_UNLOCK). All changes are made by
 * compare-and-swap, so that there is one winner.
 *
 * What the last transaction left in the WAL is recorded beside the word before
 * the slot is left. Whether a session lives is told by a lock on a byte of the
 * file that it holds from WELCOME on. */
#ifndef VFS_SLOT_WORD_H
#define VFS_SLOT_WORD_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/session.h"

#define SLOT_SUFFIX "-slot" /* behind the socket's name */

struct slot_page {
    uint64_t word;
    uint64_t keep_until_us; /* of clock_us(): no longer without asking */
    uint8_t pad[48];
    struct {
        uint64_t txid; /* written last */
        struct wal_state state;
    } record;
};

enum slot_state { SLOT_FREE, SLOT_OWNED, SLOT_KEPT };

/* ---- the file ------------------------------------------------------------ */

/* Map it; `create`: make it when it is missing. Returns the descriptor, which
 * is needed for the locks below, or -errno. */
int slot_page_open(const char *path, bool create, struct slot_page **out);
void slot_page_close(int fd, struct slot_page *page);

/* ---- session ------------------------------------------------------------- */

/* Show that session `s` lives, until the descriptor is closed. 0 or -errno. */
int slot_session_begin(int fd, uint32_t s);
/* Take the slot that `s` has kept: true when it has it now. `now_us` as
 * clock_us(). */
bool slot_retake(struct slot_page *page, uint32_t s, uint64_t now_us);
bool slot_is_kept(const struct slot_page *page, uint32_t s);
/* What `s` has published, before it leaves. */
void slot_record(struct slot_page *page, uint64_t txid,
                 const struct wal_state *state);
/* Leave the slot: returns true when it is free now and the node must be told;
 * false when it is kept, or was not ours. */
bool slot_leave(struct slot_page *page, uint32_t s, bool keep);

/* ---- node ---------------------------------------------------------------- */

bool slot_session_lives(int fd, uint32_t s);
void slot_grant(struct slot_page *page, uint32_t s);
void slot_clear(struct slot_page *page);
/* The slot may be kept until then. */
void slot_allow(struct slot_page *page, uint64_t until_us);
/* Forget also what an earlier start recorded. */
void slot_reset(struct slot_page *page);
/* As seen by session `s`: FREE also when another has it. */
enum slot_state slot_state_of(const struct slot_page *page, uint32_t s);
enum slot_claim {
    SLOT_TAKEN, /* it was kept, and is free now */
    SLOT_LEFT,  /* it was free already: UNLOCK is on its way */
    SLOT_HELD   /* it is marked wanted: UNLOCK will come */
};
enum slot_claim slot_take_back(struct slot_page *page, uint32_t s);
/* Has a transaction `txid` been recorded as published? */
bool slot_recorded(const struct slot_page *page, uint64_t txid,
                   struct wal_state *state);

#endif
