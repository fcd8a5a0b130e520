/* Error codes shared by all layers.
 *
 * Every function returns 0, a negative errno, or one of these. SQLite's and
 * Raft's own codes are translated at one place each (vfs/sqlite_code.h,
 * consensus/raft_code.h). */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum {
    ERR_CORRUPT = -10001, /* bytes that do not parse or do not add up */
    ERR_SHORT,            /* not all bytes are there yet */
    ERR_TOO_BIG,          /* a length or count above its limit (limits.h) */
    ERR_VERSION,          /* a format version this program does not know */
    ERR_NOT_LEADER,       /* the group is led by another node */
    ERR_NO_LEADER,        /* the group has no leader that we know of */
    ERR_FULL,             /* no room: disk, log bound, or size limit */
    ERR_BUSY,             /* a lock is held by somebody else; try again */
    ERR_CONFLICT,         /* lost the race: another transaction came first */
    ERR_UNKNOWN_OUTCOME,  /* may or may not have happened */
    ERR_MISMATCH,         /* two things that must agree do not */
    ERR_CLOSED,           /* the other side is gone */
    ERR_NOT_FOUND,        /* no such thing */
    ERR_READONLY,         /* this node must not write */
    ERR_FOREIGN,          /* the file was changed behind our back */
    ERR_IO,               /* the disk or SQLite's VFS failed */
    ERR_LAST
};

/* A short English text for any code above or a negative errno; never NULL.
 * Static memory. */
const char *err_str(int code);

#endif
