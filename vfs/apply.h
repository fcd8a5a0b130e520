/* Node side: one managed database file, and committed pages appended to its
 * live WAL beside stock readers (algorithm and evidence on top of apply.c).
 *
 * Works through the base VFS ("unix") only; the files are never opened by hand,
 * since closing any descriptor drops the process's POSIX locks. Not
 * thread-safe: one thread at a time uses a given object (the caller's queue).
 * Return values are ours (base/err.h): ERR_BUSY, ERR_IO, ERR_FULL, ... */
#ifndef VFS_APPLY_H
#define VFS_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/session.h" /* struct wal_state */

struct apply;

enum file_kind {
    FILE_MISSING,
    FILE_EMPTY,     /* 0 bytes */
    FILE_ROLLBACK,  /* an SQLite database in rollback-journal mode */
    FILE_WAL,       /* an SQLite database in WAL mode */
    FILE_NOT_SQLITE /* something else, or a torn header */
};

/* What is at `path`; *page_size is set for ROLLBACK and WAL. A WAL-mode
 * database with a rollback journal that may be hot counts as ROLLBACK: SQLite
 * must see to it first. Takes and leaves no lock: call it only for a file that
 * this process has not open. */
int file_classify(const char *path, enum file_kind *kind, uint32_t *page_size);

/* Turn a rollback-mode database into WAL mode by SQLite itself (a hot journal
 * is rolled back on the way). ERR_BUSY while others use it: nothing changed. */
int file_convert_to_wal(const char *path);

/* Open a WAL-mode database. Takes, for the life of the object: SHARED on the
 * database file, and the -shm slots WRITE and CKPT SHARED, after having had
 * WRITE exclusively for a moment: ERR_BUSY when another node or a session of an
 * earlier one still holds it, or a program that writes at this moment: worth
 * trying again for a while. A torn or missing wal-index is recovered. What the
 * WAL holds then is the state that apply_begin expects. ERR_CORRUPT when the
 * file is not in WAL mode. */
int apply_open(const char *path, struct apply **out);

/* Lets the locks go. `checkpoint`: first write everything back into the
 * database and, when no reader prevents it, remove the -wal (the orderly
 * stop). Frees the object in any case. */
int apply_close(struct apply *a, bool checkpoint);

uint32_t apply_page_size(const struct apply *a);

/* Pages in the database, WAL included. */
uint32_t apply_pages(const struct apply *a);

/* Page `number`, 1-based, of the last committed state into `image`; zeros where
 * the file ends before. Call only while nobody can start the WAL over: no job
 * writes back, and a session has the write slot or nobody has. ERR_BUSY while
 * the header is being written. */
int apply_read(struct apply *a, uint32_t number, uint8_t *image);

/* Read the wal-index header; a torn one (a session died while publishing) is
 * recovered first. Call only while no session has the write slot. */
int apply_state(struct apply *a, struct wal_state *state);

/* Called with each state that `a` is about to produce, before it can be seen or
 * survive a power loss: before a commit frame is written (`advances`: the state
 * holds the transaction at hand), and before the WAL starts over (not
 * `advances`: another name for the content as it is). Not 0: that code is
 * returned and the state does not come to be. The place to write the position
 * ring. */
typedef int (*apply_record_cb)(void *arg, const struct wal_state *state,
                               bool advances);
void apply_set_record(struct apply *a, apply_record_cb record, void *arg);

/* One transaction, after which the database has `db_pages` pages. Call only
 * while no session has the write slot. begin fails with ERR_FOREIGN when the
 * WAL state is not the one of the last apply_commit / apply_expect (and nothing
 * is written). Any number of pages, each once, in any order; those beyond
 * db_pages and the lock page are dropped. A page 1 that is not in WAL mode is
 * ERR_CORRUPT. The images are copied. After a failed page or commit: abort.
 * Nothing is visible before commit, and abort leaves the file as it was. */
int apply_begin(struct apply *a, uint32_t db_pages);
int apply_page(struct apply *a, uint32_t number, const uint8_t *image);
int apply_commit(struct apply *a, struct wal_state *state);
void apply_abort(struct apply *a);

/* The open transaction ends with `db_pages` pages instead. Pages that were
 * given and are beyond that end count no more; a page may be given again, and
 * its last image is the one that counts. */
void apply_resize(struct apply *a, uint32_t db_pages);

/* Give back the room that an aborted transaction took in the WAL. Call only
 * while no session has the write slot and no transaction is open. */
int apply_trim(struct apply *a);

/* fsync the WAL: everything committed before the call survives a power loss
 * once it returns 0. After a sync that failed, of the WAL or of the database in
 * a checkpoint, this and apply_checkpoint only give ERR_IO: close `a` without a
 * checkpoint, and read the file again. */
int apply_sync(struct apply *a);

/* `state` is ours: a session has published it. */
void apply_expect(struct apply *a, const struct wal_state *state);

/* Frames in the WAL now, and how many of them are in the database file. */
void apply_frames(const struct apply *a, uint32_t *frames,
                  uint32_t *backfilled);

/* Write WAL frames back into the database (PASSIVE: never waits for readers),
 * then, when all are there and no reader uses the WAL, reset the wal-index so
 * that the next frame starts the WAL over. Only while no session has the
 * slot for the reset part; `may_reset` says so. Returns 0 also when readers
 * kept it from getting all the way: see apply_frames. ERR_BUSY when a session
 * is in the middle of publishing; ERR_FOREIGN as in apply_begin instead of a
 * reset. */
int apply_checkpoint(struct apply *a, bool may_reset);

/* Has a file at the path been replaced or unlinked? Compares st_dev and st_ino
 * of the database, its -wal and its -shm with those of the open files. */
int apply_check_identity(struct apply *a); /* 0 or ERR_FOREIGN */

/* The same, believing a 0 that is at most 50 ms old: for what happens with
 * every transaction. What is written meanwhile to a file that was replaced is
 * in the log. */
int apply_check_identity_lately(struct apply *a);

/* Is the open database that file? */
bool apply_is_file(const struct apply *a, uint64_t device, uint64_t inode);

/* One consistent read of the whole database at the current state, while
 * writers go on. open: call while nothing is being written. The state read is
 * the one at open. Holds a read mark until close. May be used from another
 * thread than `a`, which must outlive it. Not thread-safe in itself. */
struct page_reader;
int page_reader_open(struct apply *a, struct page_reader **out);
uint32_t page_reader_count(const struct page_reader *r);
/* Page `number`, 1-based, into `image`. The lock page reads as zeros. */
int page_reader_get(struct page_reader *r, uint32_t number, uint8_t *image);
/* `count` pages from `first` on, one after the other, at far lower cost. */
int page_reader_run(struct page_reader *r, uint32_t first, uint32_t count,
                    uint8_t *images);
void page_reader_close(struct page_reader *r);

#endif
