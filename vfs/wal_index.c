/* Shared memory in blocks of 32 KiB. A block maps frames to pages by an array,
 * page number of frame, and pages to frames by a hash table with linear
 * probing, whose values are 1-based places in the array. The first block gives
 * up 136 bytes to the headers and so holds 34 frames less.
 *
 * Readers look only at frames up to the mxFrame of the header that they copied
 * when they began, and need no lock for that. Hence the order: entries first,
 * header copy 1, barrier, header copy 0. Whoever dies in between leaves entries
 * above mxFrame, which readers ignore and the next writer clears, or two
 * different header copies, after which the index is rebuilt from the WAL.
 * Rebuilding happens in private memory, block by block: readers with an open
 * snapshot keep using the shared one, where the same content replaces itself.
 */
#include "vfs/wal_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "vfs/base_files.h"
#include "vfs/sqlite_code.h"
#include "vfs/wal_format.h"

#define BLOCK_BYTES 32768
#define BLOCK_FRAMES 4096u
#define HASH_SLOTS 8192u
#define HASH_FACTOR 383u
#define HASH_OFFSET ((size_t)BLOCK_FRAMES * 4)
#define HEADERS_BYTES 136u
#define FIRST_FRAMES (BLOCK_FRAMES - HEADERS_BYTES / 4)
#define SUMMED_BYTES 40

static_assert(sizeof(struct wal_index_header) == 48, "SQLite's layout");
static_assert(sizeof(struct wal_index_info) == 40, "SQLite's layout");
static_assert(HASH_OFFSET + (size_t)HASH_SLOTS * 2 == BLOCK_BYTES,
              "SQLite's layout");

/* One block, seen as its two tables. */
struct block {
    volatile uint32_t *pages; /* of frame base+1, base+2, ... */
    volatile uint16_t *hash;
    uint32_t base;
    uint32_t frames; /* how many it can hold */
};

void wal_index_init(struct wal_index *x, sqlite3_file *db)
{
    *x = (struct wal_index){.db = db};
}

void wal_index_close(struct wal_index *x)
{
    if (x->count > 0) {
        x->db->pMethods->xShmUnmap(x->db, 0);
    }
    free((void *)x->blocks);
    *x = (struct wal_index){.db = NULL};
}

static uint32_t block_of(uint32_t frame)
{
    return (frame + BLOCK_FRAMES - FIRST_FRAMES - 1) / BLOCK_FRAMES;
}

static int map_block(struct wal_index *x, uint32_t number)
{
    volatile void *block = NULL;
    int rc;

    if (number < x->count && x->blocks[number] != NULL) {
        return 0;
    }
    if (number >= x->count) {
        void *grown =
            realloc((void *)x->blocks, sizeof *x->blocks * (number + 1));
        if (grown == NULL) {
            return -ENOMEM;
        }
        x->blocks = grown;
        while (x->count <= number) {
            x->blocks[x->count++] = NULL;
        }
    }
    rc = x->db->pMethods->xShmMap(x->db, (int)number, BLOCK_BYTES, 1, &block);
    if (rc == SQLITE_OK && block == NULL) {
        return ERR_IO;
    }
    x->blocks[number] = block;
    if (number == 0) {
        x->first = block;
    }
    return sqlite_code_err(rc);
}

static struct block view(volatile void *bytes, uint32_t number)
{
    struct block b = {
        .pages = bytes,
        .hash = (volatile uint16_t *)((volatile uint8_t *)bytes + HASH_OFFSET),
        .base = FIRST_FRAMES + (number - 1) * BLOCK_FRAMES,
        .frames = BLOCK_FRAMES,
    };

    if (number == 0) {
        b.pages += HEADERS_BYTES / 4;
        b.base = 0;
        b.frames = FIRST_FRAMES;
    }
    return b;
}

static int block_at(struct wal_index *x, uint32_t number, struct block *b)
{
    int err = map_block(x, number);

    if (err == 0) {
        *b = view(x->blocks[number], number);
    }
    return err;
}

static uint32_t hash_slot(uint32_t page)
{
    return (page * HASH_FACTOR) & (HASH_SLOTS - 1);
}

static uint32_t next_slot(uint32_t slot)
{
    return (slot + 1) & (HASH_SLOTS - 1);
}

static void block_zero(const struct block *b)
{
    memset((void *)b->pages, 0, (size_t)b->frames * 4);
    memset((void *)b->hash, 0, (size_t)HASH_SLOTS * 2);
}

/* Drop all entries behind the first `keep`. */
static void block_cut(const struct block *b, uint32_t keep)
{
    for (uint32_t i = 0; i < HASH_SLOTS; i++) {
        if (b->hash[i] > keep) {
            __atomic_store_n(&b->hash[i], 0, __ATOMIC_RELAXED);
        }
    }
    memset((void *)(b->pages + keep), 0, (size_t)(b->frames - keep) * 4);
}

/* `place` is 1-based. The array first: who finds the hash entry looks there. */
static int block_put(const struct block *b, uint32_t place, uint32_t page)
{
    uint32_t slot = hash_slot(page), left = place;

    while (b->hash[slot] != 0) {
        if (left-- == 0) {
            return ERR_CORRUPT;
        }
        slot = next_slot(slot);
    }
    b->pages[place - 1] = page;
    __atomic_store_n(&b->hash[slot], (uint16_t)place, __ATOMIC_RELEASE);
    return 0;
}

static int block_find(const struct block *b, uint32_t min, uint32_t max,
                      uint32_t page, uint32_t *frame)
{
    uint32_t slot = hash_slot(page), left = HASH_SLOTS, found = 0, place;

    while ((place = __atomic_load_n(&b->hash[slot], __ATOMIC_ACQUIRE)) != 0) {
        uint32_t at = b->base + place;
        if (place > b->frames || left-- == 0) {
            return ERR_CORRUPT;
        }
        if (at >= min && at <= max && b->pages[place - 1] == page &&
            at > found) {
            found = at;
        }
        slot = next_slot(slot);
    }
    *frame = found;
    return 0;
}

int wal_index_map(struct wal_index *x)
{
    return map_block(x, 0);
}

volatile struct wal_index_info *wal_index_info(const struct wal_index *x)
{
    return (
        volatile struct wal_index_info *)((volatile uint8_t *)x->first +
                                          2 * sizeof(struct wal_index_header));
}

static void header_checksum(const struct wal_index_header *h, uint32_t sum[2])
{
    sum[0] = sum[1] = 0;
    wal_checksum(wal_native_big_endian(), (const uint8_t *)h, SUMMED_BYTES,
                 sum);
}

int wal_index_read(const struct wal_index *x, struct wal_index_header *h)
{
    const uint8_t *shared = (const uint8_t *)x->first;
    struct wal_index_header first, second;
    uint32_t sum[2];

    memcpy(&first, shared, sizeof first);
    x->db->pMethods->xShmBarrier(x->db);
    memcpy(&second, shared + sizeof first, sizeof second);
    header_checksum(&first, sum);
    if (memcmp(&first, &second, sizeof first) != 0 || !first.is_init ||
        sum[0] != first.checksum[0] || sum[1] != first.checksum[1]) {
        return ERR_CORRUPT;
    }
    if (first.version != WAL_FORMAT_VERSION) {
        return ERR_VERSION;
    }
    *h = first;
    return 0;
}

bool wal_index_unchanged(const struct wal_index *x,
                         const struct wal_index_header *h)
{
    x->db->pMethods->xShmBarrier(x->db);
    return memcmp((const void *)x->first, h, sizeof *h) == 0;
}

void wal_index_publish(struct wal_index *x, struct wal_index_header *h)
{
    uint8_t *shared = (uint8_t *)x->first;

    h->is_init = 1;
    h->version = WAL_FORMAT_VERSION;
    header_checksum(h, h->checksum);
    x->db->pMethods->xShmBarrier(x->db);
    memcpy(shared + sizeof *h, h, sizeof *h);
    FAILPOINT("index.between_headers");
    x->db->pMethods->xShmBarrier(x->db);
    memcpy(shared, h, sizeof *h);
    x->db->pMethods->xShmBarrier(x->db);
}

int wal_index_reserve(struct wal_index *x, uint32_t frame)
{
    return map_block(x, block_of(frame));
}

int wal_index_cleanup(struct wal_index *x, uint32_t committed)
{
    struct block b;
    int err;

    if (committed == 0) {
        return 0; /* the first entry of a block clears all of it */
    }
    err = block_at(x, block_of(committed), &b);
    if (err == 0) {
        block_cut(&b, committed - b.base);
    }
    return err;
}

int wal_index_append(struct wal_index *x, uint32_t committed, uint32_t frame,
                     uint32_t page)
{
    struct block b;
    int err = block_at(x, block_of(frame), &b);
    uint32_t place;

    if (err != 0) {
        return err;
    }
    place = frame - b.base;
    if (place == 1) {
        block_zero(&b);
    } else if (b.pages[place - 1] != 0) {
        assert(frame > committed);
        block_cut(&b, place - 1);
    }
    return block_put(&b, place, page);
}

int wal_index_find(struct wal_index *x, uint32_t min, uint32_t max,
                   uint32_t page, uint32_t *frame)
{
    uint32_t found = 0;

    if (max < min || max == 0) {
        *frame = 0;
        return 0;
    }
    for (uint32_t n = block_of(max) + 1; n-- > block_of(min) && found == 0;) {
        struct block b;
        int err = block_at(x, n, &b);
        if (err == 0) {
            err = block_find(&b, min, max, page, &found);
        }
        if (err != 0) {
            return err;
        }
    }
    *frame = found;
    return 0;
}

int wal_index_page(struct wal_index *x, uint32_t frame, uint32_t *page)
{
    struct block b;
    int err = block_at(x, block_of(frame), &b);

    if (err == 0) {
        *page = b.pages[frame - b.base - 1];
    }
    return err;
}

uint16_t wal_index_stored_page_size(uint32_t page_size)
{
    return (uint16_t)((page_size & 0xff00) | (page_size >> 16));
}

void wal_index_state(const struct wal_index_header *h, struct wal_state *s)
{
    memcpy(s->salt, h->salt, sizeof s->salt);
    s->frame = h->frames;
    s->cksum[0] = h->frame_checksum[0];
    s->cksum[1] = h->frame_checksum[1];
}

bool wal_state_equal(const struct wal_state *a, const struct wal_state *b)
{
    return memcmp(a->salt, b->salt, sizeof a->salt) == 0 &&
           a->frame == b->frame && a->cksum[0] == b->cksum[0] &&
           a->cksum[1] == b->cksum[1];
}

/* What a recovery works with; all of it private until it is copied over. */
struct recovery {
    sqlite3_file *wal;
    struct wal_cursor cursor;
    uint64_t size;     /* of the WAL in bytes */
    uint8_t *frame;    /* one frame as read */
    void *block;       /* BLOCK_BYTES: the block being built */
    uint32_t building; /* its number */
    struct wal_index_header h;
};

/* Read the WAL's header. ERR_NOT_FOUND: there is no log in the file. */
static int recovery_begin(struct recovery *r, uint32_t page_size)
{
    uint8_t header[WAL_HEADER_BYTES];
    sqlite3_int64 size;
    int err = sqlite_code_err(r->wal->pMethods->xFileSize(r->wal, &size));

    if (err != 0) {
        return err;
    }
    r->size = (uint64_t)size;
    if (r->size <= WAL_HEADER_BYTES) {
        return ERR_NOT_FOUND;
    }
    err = sqlite_code_err(
        r->wal->pMethods->xRead(r->wal, header, sizeof header, 0));
    if (err == 0) {
        err = wal_cursor_begin(&r->cursor, header);
    }
    if (err != 0) {
        return err == ERR_CORRUPT ? ERR_NOT_FOUND : err;
    }
    if (r->cursor.page_size != page_size) {
        return ERR_MISMATCH;
    }
    put_be32(r->h.salt, r->cursor.salt[0]);
    put_be32(r->h.salt + 4, r->cursor.salt[1]);
    r->h.big_endian = r->cursor.big_endian;
    return 0;
}

/* The block being built takes the shared one's place. */
static int recovery_copy_block(struct recovery *r, struct wal_index *x)
{
    size_t skip = r->building == 0 ? HEADERS_BYTES : 0;
    int err = map_block(x, r->building);

    if (err == 0) {
        memcpy((uint8_t *)x->blocks[r->building] + skip,
               (uint8_t *)r->block + skip, BLOCK_BYTES - skip);
    }
    return err;
}

/* The next frame of the chain; ERR_CORRUPT or ERR_SHORT at its end. */
static int recovery_next(struct recovery *r, struct wal_frame *frame)
{
    size_t bytes = WAL_FRAME_HEADER_BYTES + (size_t)r->cursor.page_size;
    uint64_t at = wal_frame_offset(r->cursor.page_size, r->cursor.frame + 1);
    int err;

    if (at + bytes > r->size) {
        return ERR_SHORT;
    }
    err = sqlite_code_err(r->wal->pMethods->xRead(r->wal, r->frame, (int)bytes,
                                                  (sqlite3_int64)at));
    if (err != 0) {
        return err;
    }
    return wal_cursor_next(&r->cursor, r->frame, bytes, frame);
}

static int recovery_scan(struct recovery *r, struct wal_index *x)
{
    struct wal_frame frame;
    int err;

    while ((err = recovery_next(r, &frame)) == 0) {
        struct block b;
        if (block_of(frame.number) != r->building) {
            err = recovery_copy_block(r, x);
            if (err != 0) {
                return err;
            }
            r->building = block_of(frame.number);
            memset(r->block, 0, BLOCK_BYTES);
        }
        b = view(r->block, r->building);
        err = block_put(&b, frame.number - b.base, frame.page);
        if (err != 0) {
            return err;
        }
        if (frame.db_pages != 0) {
            r->h.frames = frame.number;
            r->h.db_pages = frame.db_pages;
            r->h.page_size = wal_index_stored_page_size(r->cursor.page_size);
            memcpy(r->h.frame_checksum, r->cursor.checksum,
                   sizeof r->h.frame_checksum);
        }
    }
    if (err != ERR_CORRUPT && err != ERR_SHORT) {
        return err;
    }
    return recovery_copy_block(r, x);
}

/* Nothing counts as backfilled, and marks that nobody holds are free. */
static void recovery_reset_info(struct wal_index *x, uint32_t frames)
{
    volatile struct wal_index_info *info = wal_index_info(x);

    info->backfilled = 0;
    info->backfill_attempted = frames;
    info->read_mark[0] = 0;
    for (int i = 1; i < READ_SLOTS; i++) {
        if (base_shm_exclusive(x->db, SLOT_READ0 + i, 1) == 0) {
            info->read_mark[i] =
                i == 1 && frames != 0 ? frames : READ_MARK_UNUSED;
            base_shm_unlock_exclusive(x->db, SLOT_READ0 + i, 1);
        }
    }
}

static int recovery_run(struct recovery *r, struct wal_index *x,
                        uint32_t page_size)
{
    int err = recovery_begin(r, page_size);

    if (err == 0) {
        err = recovery_scan(r, x);
    } else if (err == ERR_NOT_FOUND) {
        err = recovery_copy_block(r, x);
    }
    if (err != 0) {
        return err;
    }
    wal_index_publish(x, &r->h);
    recovery_reset_info(x, r->h.frames);
    return wal_index_cleanup(x, r->h.frames);
}

int wal_index_recover(struct wal_index *x, sqlite3_file *wal,
                      uint32_t page_size, struct wal_index_header *h)
{
    struct recovery r = {.wal = wal};
    int err = base_shm_exclusive(x->db, SLOT_RECOVER, 1);

    if (err != 0) {
        return err;
    }
    r.frame = malloc(WAL_FRAME_HEADER_BYTES + page_size);
    r.block = calloc(1, BLOCK_BYTES);
    if (r.frame == NULL || r.block == NULL) {
        err = -ENOMEM;
    } else {
        err = recovery_run(&r, x, page_size);
    }
    if (err == 0) {
        *h = r.h;
    }
    free(r.frame);
    free(r.block);
    base_shm_unlock_exclusive(x->db, SLOT_RECOVER, 1);
    return err;
}
