/* Appending one transaction to a live WAL, beside stock readers.
 *
 * Frames go to the file behind the last committed one, where nobody looks: the
 * wal-index still ends before them. Only when all of them are there are index
 * entries added and the header exchanged (wal_index.c), which makes the
 * transaction visible at once. A death or an error before that leaves bytes
 * that the next transaction overwrites.
 *
 * The last frame must carry the size of the database, and its checksum covers
 * that: the last frame in the buffer stays unsealed until it is known whether
 * another follows. An empty WAL begins with a new header under a salt that was
 * never used, also after an aborted first transaction, or its frames would
 * continue the new chain. That header is synced before any frame: a power loss
 * must not leave old frames behind a new header or the reverse. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/apply_internal.h"
#include "vfs/sqlite_code.h"

/* Load the header; ERR_FOREIGN when it is not the state that we left. */
static int load_expected(struct apply *a)
{
    struct wal_state found;
    bool torn = wal_index_read(&a->index, &a->h) == ERR_CORRUPT;
    int err = apply_load(a);

    if (err != 0) {
        return err;
    }
    wal_index_state(&a->h, &found);
    if (wal_state_equal(&found, &a->expected)) {
        return 0;
    }
    /* What the index knew about an empty WAL is not in the WAL: after a
     * recovery, empty is all that can be compared. */
    return torn && found.frame == 0 && a->expected.frame == 0 ? 0 : ERR_FOREIGN;
}

int apply_begin(struct apply *a, uint32_t db_pages)
{
    struct apply_txn *t = &a->txn;
    int err;

    assert(!t->open);
    if (db_pages == 0) {
        return ERR_CORRUPT;
    }
    err = load_expected(a);
    if (err != 0) {
        return err;
    }
    t->open = true;
    t->db_pages = db_pages;
    t->buffered = t->count = 0;
    t->cursor = (struct wal_cursor){
        .page_size = a->files.page_size,
        .salt = {get_be32(a->h.salt), get_be32(a->h.salt + 4)},
        .checksum = {a->h.frame_checksum[0], a->h.frame_checksum[1]},
        .frame = a->h.frames,
        .big_endian = a->h.big_endian != 0,
    };
    return 0;
}

static int start_log(struct apply *a)
{
    struct wal_cursor *c = &a->txn.cursor;
    sqlite3_file *wal = a->files.wal;
    uint8_t header[WAL_HEADER_BYTES];
    uint32_t salt[2] = {c->salt[0], 0};
    struct wal_state empty = {.frame = 0};
    int rc, err;

    if (c->salt[0] == 0 && c->salt[1] == 0) {
        sqlite3_randomness(sizeof salt[0], &salt[0]);
    }
    sqlite3_randomness(sizeof salt[1], &salt[1]);
    wal_header_encode(a->files.page_size, a->sequence++, salt, header, c);
    /* What a recovery would find, should we not get any further. */
    memcpy(empty.salt, header + WAL_HEADER_SALT, sizeof empty.salt);
    err = apply_tell(a, &empty, false);
    if (err != 0) {
        return err;
    }
    rc = wal->pMethods->xWrite(wal, header, sizeof header, 0);
    FAILPOINT("apply.header");
    if (rc == SQLITE_OK) {
        rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
    }
    return sqlite_code_err(rc);
}

static size_t frame_bytes(const struct apply *a)
{
    return WAL_FRAME_HEADER_BYTES + (size_t)a->files.page_size;
}

/* Give the last frame in the buffer its header. */
static void seal(struct apply *a, uint32_t db_pages)
{
    struct apply_txn *t = &a->txn;
    uint8_t *at = t->buffer + (t->buffered - 1) * frame_bytes(a);

    wal_frame_encode(&t->cursor, t->pages[t->count - 1], db_pages,
                     at + WAL_FRAME_HEADER_BYTES, at);
}

/* Write the buffer, all of whose frames are sealed. */
static int drain(struct apply *a)
{
    struct apply_txn *t = &a->txn;
    uint32_t first = t->cursor.frame - t->buffered + 1;
    int rc;

    FAILPOINT("apply.frames");
    rc = a->files.wal->pMethods->xWrite(
        a->files.wal, t->buffer, (int)(t->buffered * frame_bytes(a)),
        (sqlite3_int64)wal_frame_offset(a->files.page_size, first));
    t->buffered = 0;
    return sqlite_code_err(rc);
}

/* Memory for one more frame. Most transactions are small, and there may be many
 * databases: the buffer grows with need. */
static int grow_buffer(struct apply *a)
{
    struct apply_txn *t = &a->txn;
    uint32_t capacity = t->capacity == 0 ? 4 : 2 * t->capacity;
    uint8_t *grown;

    if (t->buffered < t->capacity) {
        return 0;
    }
    if (capacity > t->capacity_max) {
        capacity = t->capacity_max;
    }
    grown = realloc(t->buffer, capacity * frame_bytes(a));
    if (grown == NULL) {
        return -ENOMEM;
    }
    t->buffer = grown;
    t->capacity = capacity;
    return 0;
}

/* Note that the next frame holds page `number`, and have room for its index
 * entry: once the commit frame is in the file nothing may fail for space. */
static int note_page(struct apply *a, uint32_t number)
{
    struct apply_txn *t = &a->txn;
    int err;

    if (t->count == t->room) {
        uint32_t room = t->room == 0 ? 256 : 2 * t->room;
        uint32_t *grown = realloc(t->pages, (size_t)room * sizeof *grown);
        if (grown == NULL) {
            return -ENOMEM;
        }
        t->pages = grown;
        t->room = room;
    }
    err = wal_index_reserve(&a->index, a->h.frames + t->count + 1);
    if (err == 0) {
        t->pages[t->count++] = number;
    }
    return err;
}

int apply_page(struct apply *a, uint32_t number, const uint8_t *image)
{
    struct apply_txn *t = &a->txn;
    int err = 0;

    assert(t->open);
    if (number == 0 || (number == 1 && (image[18] != 2 || image[19] != 2))) {
        return ERR_CORRUPT;
    }
    if (number > t->db_pages || number == wal_lock_page(a->files.page_size)) {
        return 0;
    }
    if (t->count == 0 && t->cursor.frame == 0) {
        err = start_log(a);
    } else if (t->buffered > 0) {
        seal(a, 0);
        err = t->buffered == t->capacity_max ? drain(a) : 0;
    }
    if (err == 0) {
        err = grow_buffer(a);
    }
    if (err == 0) {
        err = note_page(a, number);
    }
    if (err == 0) {
        memcpy(
            t->buffer + t->buffered * frame_bytes(a) + WAL_FRAME_HEADER_BYTES,
            image, a->files.page_size);
        t->buffered++;
    }
    return err;
}

/* The frames are in the file: make them visible. */
static int publish(struct apply *a, const struct wal_state *state)
{
    struct apply_txn *t = &a->txn;
    struct wal_index_header h = a->h;

    FAILPOINT("apply.written");
    for (uint32_t i = 0; i < t->count; i++) {
        int err = wal_index_append(&a->index, h.frames, h.frames + 1 + i,
                                   t->pages[i]);
        if (err != 0) {
            return err;
        }
    }
    FAILPOINT("apply.indexed");
    h.frames = state->frame;
    h.db_pages = t->db_pages;
    h.change++;
    h.big_endian = t->cursor.big_endian;
    h.page_size = wal_index_stored_page_size(a->files.page_size);
    memcpy(h.frame_checksum, state->cksum, sizeof h.frame_checksum);
    memcpy(h.salt, state->salt, sizeof h.salt);
    wal_index_publish(&a->index, &h);
    FAILPOINT("apply.published");
    a->h = h;
    return 0;
}

/* No page of the transaction was kept. Possible only when nothing changes. */
static int commit_nothing(struct apply *a, struct wal_state *state)
{
    uint32_t pages;
    int err = apply_count_pages(a, &a->h, &pages);

    if (err == 0 && pages != a->txn.db_pages) {
        err = ERR_CORRUPT;
    }
    if (err == 0) {
        wal_index_state(&a->h, state);
        a->txn.open = false;
    }
    return err;
}

int apply_commit(struct apply *a, struct wal_state *state)
{
    struct apply_txn *t = &a->txn;
    struct wal_state next;
    int err;

    assert(t->open);
    if (t->count == 0) {
        return commit_nothing(a, state);
    }
    seal(a, t->db_pages);
    put_be32(next.salt, t->cursor.salt[0]);
    put_be32(next.salt + 4, t->cursor.salt[1]);
    next.frame = t->cursor.frame;
    memcpy(next.cksum, t->cursor.checksum, sizeof next.cksum);
    err = apply_tell(a, &next, true);
    if (err == 0) {
        err = drain(a);
    }
    if (err == 0) {
        err = publish(a, &next);
    }
    if (err != 0) {
        return err;
    }
    t->open = false;
    a->expected = next;
    *state = next;
    return 0;
}

void apply_abort(struct apply *a)
{
    a->txn.open = false;
    a->txn.buffered = a->txn.count = 0;
}

void apply_resize(struct apply *a, uint32_t db_pages)
{
    assert(a->txn.open && db_pages > 0);
    a->txn.db_pages = db_pages;
}

int apply_trim(struct apply *a)
{
    sqlite3_file *wal = a->files.wal;
    uint64_t end;
    sqlite3_int64 size;
    int err = load_expected(a), rc;

    if (err != 0) {
        return err;
    }
    end = a->h.frames == 0
              ? WAL_HEADER_BYTES
              : wal_frame_offset(a->files.page_size, a->h.frames + 1);
    rc = wal->pMethods->xFileSize(wal, &size);
    if (rc == SQLITE_OK && (uint64_t)size > end) {
        rc = wal->pMethods->xTruncate(wal, (sqlite3_int64)end);
    }
    return sqlite_code_err(rc);
}
