/* struct apply, shared by apply.c, apply_write.c, checkpoint.c and
 * page_reader.c. */
#ifndef VFS_APPLY_INTERNAL_H
#define VFS_APPLY_INTERNAL_H

#include <sys/stat.h>

#include "vfs/apply.h"
#include "vfs/base_files.h"
#include "vfs/wal_format.h"
#include "vfs/wal_index.h"

/* Files whose replacement is noticed: database, -wal, -shm. */
#define IDENTITIES 3

struct file_identity {
    dev_t device;
    ino_t inode;
};

/* The transaction being written; see apply_write.c. */
struct apply_txn {
    bool open;
    uint32_t db_pages;
    struct wal_cursor cursor; /* behind the last sealed frame */
    uint8_t *buffer;          /* frames that are not in the file yet */
    uint32_t buffered;        /* frames in it */
    uint32_t capacity;        /* frames that it has memory for */
    uint32_t capacity_max;    /* frames that one write may have */
    uint32_t *pages;          /* page number of each frame, in order */
    uint32_t count, room;
};

struct apply {
    struct base_files files;
    struct wal_index index;
    struct wal_index_header h; /* as read last */
    struct wal_state expected;
    struct file_identity identity[IDENTITIES];
    uint64_t identified_us; /* they were still there */
    uint32_t sequence;      /* of resets; only informs */
    apply_record_cb record;
    void *record_arg;
    struct apply_txn txn;
    bool holds_write, holds_ckpt; /* SHARED */
    bool sync_failed;             /* nobody knows what the disk holds */
};

/* Read the header into a->h, rebuilding a torn index first: only while no
 * session has the write slot. */
int apply_load(struct apply *a);

/* Pages in the database by header `h`, which says 0 after a recovery that
 * found an empty WAL: the file's size counts then. ERR_CORRUPT when the header
 * names more than file and WAL can hold. */
int apply_count_pages(const struct apply *a, const struct wal_index_header *h,
                      uint32_t *pages);

/* fsync; after one that failed all others fail too. */
int apply_sync_file(struct apply *a, sqlite3_file *file);

int apply_tell(struct apply *a, const struct wal_state *state, bool advances);

#endif
