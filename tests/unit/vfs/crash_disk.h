/* A disk that loses its power: everything that was done to a database and its
 * -wal is recorded, and what a cut at any moment leaves of them is built from
 * that. Header only, over front_vfs.h.
 *
 * What was synced is there after the cut. Of the rest each sector of 512 bytes
 * of each write, and each change of the size, is there with a given
 * probability, in any combination. The -shm is gone. */
#ifndef TESTS_VFS_CRASH_DISK_H
#define TESTS_VFS_CRASH_DISK_H

#include <pthread.h>

#include "tests/unit/vfs/front_vfs.h"

#define SECTOR 512u
#define DISK_FILES 2 /* ON_DB, ON_WAL */

enum disk_op_kind { DISK_WRITE, DISK_TRUNCATE, DISK_SYNC, DISK_NOTE };

/* What a sync is for: a control leaves one kind of them out. */
enum disk_sync { SYNC_HEADER, SYNC_WAL, SYNC_DB };

struct disk_op {
    enum disk_op_kind kind;
    int file;        /* DISK_NOTE: which of the test's own */
    uint64_t offset; /* or size, enum disk_sync, the note's value */
    size_t len;
    uint8_t *bytes;
};

struct disk_image {
    uint8_t *bytes;
    size_t len, room;
};

struct disk {
    struct disk_op *ops;
    int count, room;
    bool header_written; /* the last write to the -wal was its header */
    struct disk_image start[DISK_FILES];
};

/* What is recorded to; NULL: nowhere. */
static struct disk *disk_recording;

/* xorshift: the same on every machine. */
static uint64_t disk_random = 88172645463325252u;

static uint32_t disk_dice(uint32_t n)
{
    disk_random ^= disk_random << 13;
    disk_random ^= disk_random >> 7;
    disk_random ^= disk_random << 17;
    return (uint32_t)(disk_random >> 32) % n;
}

static bool disk_happens(double probability)
{
    return disk_dice(1u << 24) < probability * (1u << 24);
}

/* ---- recording ----------------------------------------------------------- */

/* A store's thread writes beside what the test notes. */
static pthread_mutex_t disk_mutex = PTHREAD_MUTEX_INITIALIZER;

static void disk_add(struct disk *d, enum disk_op_kind kind, int file,
                     uint64_t offset, const void *bytes, size_t len)
{
    struct disk_op *op;

    if (d->count == d->room) {
        d->room = d->room == 0 ? 1024 : 2 * d->room;
        d->ops = realloc(d->ops, (size_t)d->room * sizeof *d->ops);
        assert_non_null(d->ops);
    }
    op = &d->ops[d->count++];
    *op = (struct disk_op){kind, file, offset, len, NULL};
    if (len > 0) {
        op->bytes = malloc(len);
        assert_non_null(op->bytes);
        memcpy(op->bytes, bytes, len);
    }
}

static void disk_record(enum disk_op_kind kind, int file, uint64_t offset,
                        const void *bytes, size_t len)
{
    if (disk_recording != NULL) {
        pthread_mutex_lock(&disk_mutex);
        disk_add(disk_recording, kind, file, offset, bytes, len);
        pthread_mutex_unlock(&disk_mutex);
    }
}

static void disk_on_write(int which, const void *bytes, size_t len, uint64_t at)
{
    if (disk_recording != NULL && which == ON_WAL) {
        disk_recording->header_written = at == 0 && len == WAL_HEADER_BYTES;
    }
    disk_record(DISK_WRITE, which, at, bytes, len);
}

static void disk_on_truncate(int which, uint64_t size)
{
    disk_record(DISK_TRUNCATE, which, size, NULL, 0);
}

static void disk_on_sync(int which)
{
    enum disk_sync what = SYNC_DB;

    if (disk_recording != NULL && which == ON_WAL) {
        what = disk_recording->header_written ? SYNC_HEADER : SYNC_WAL;
        disk_recording->header_written = false;
    }
    disk_record(DISK_SYNC, which, what, NULL, 0);
}

UNUSED static void disk_note(int what, uint64_t value)
{
    disk_record(DISK_NOTE, what, value, NULL, 0);
}

/* To be called before stand_in_front. */
UNUSED static void disk_watch(void)
{
    front.write = disk_on_write;
    front.truncate = disk_on_truncate;
    front.sync = disk_on_sync;
}

static void image_resize(struct disk_image *m, size_t len)
{
    if (len > m->room) {
        m->room = 2 * len;
        m->bytes = realloc(m->bytes, m->room);
        assert_non_null(m->bytes);
    }
    if (len > m->len) {
        memset(m->bytes + m->len, 0, len - m->len);
    }
    m->len = len;
}

static void image_copy(struct disk_image *to, const struct disk_image *from)
{
    to->len = 0;
    image_resize(to, from->len);
    if (from->len > 0) {
        memcpy(to->bytes, from->bytes, from->len);
    }
}

/* The files as they are now are on the disk for good, and what follows is
 * recorded. */
UNUSED static void disk_begin(struct disk *d, const char *path)
{
    static const char *const suffixes[DISK_FILES] = {"", "-wal"};

    memset(d, 0, sizeof *d);
    for (int i = 0; i < DISK_FILES; i++) {
        char name[PATH_MAX + 8];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        if (access(name, F_OK) == 0) {
            d->start[i].bytes = slurp(name, &d->start[i].len);
            d->start[i].room = d->start[i].len;
        }
    }
    disk_recording = d;
}

UNUSED static void disk_free(struct disk *d)
{
    for (int i = 0; i < d->count; i++) {
        free(d->ops[i].bytes);
    }
    for (int i = 0; i < DISK_FILES; i++) {
        free(d->start[i].bytes);
    }
    free(d->ops);
    memset(d, 0, sizeof *d);
}

/* ---- cutting --------------------------------------------------------------
 */

struct cut {
    int at;            /* before this operation */
    double survival;   /* of what was not synced */
    unsigned unsynced; /* bits of enum disk_sync: syncs that never happened */
};

/* The sector that holds `at`, as the system had it in memory. */
static void image_sector(struct disk_image *m, const struct disk_image *now,
                         size_t at)
{
    size_t from = at - at % SECTOR;
    size_t n = now->len - from < SECTOR ? now->len - from : SECTOR;

    if (from + n > m->len) {
        image_resize(m, from + n);
    }
    memcpy(m->bytes + from, now->bytes + from, n);
}

/* `now`: the file as programs see it; `m`: what is on the disk. */
static void image_do(struct disk_image *m, struct disk_image *now,
                     const struct disk_op *op, double survival)
{
    size_t end = op->offset + op->len;

    if (op->kind == DISK_TRUNCATE) {
        image_resize(now, op->offset);
        if (disk_happens(survival)) {
            image_resize(m, op->offset);
        }
        return;
    }
    if (end > now->len) {
        image_resize(now, end);
    }
    memcpy(now->bytes + op->offset, op->bytes, op->len);
    for (size_t at = op->offset; at < end; at += SECTOR - at % SECTOR) {
        if (disk_happens(survival)) {
            image_sector(m, now, at);
        }
    }
}

static bool syncs(const struct disk_op *op, int file, unsigned unsynced)
{
    return op->kind == DISK_SYNC && op->file == file &&
           (unsynced & (1u << op->offset)) == 0;
}

static void cut_file(const struct disk *d, int file, const struct cut *cut,
                     struct disk_image *m)
{
    static struct disk_image now; /* kept for the next one */
    int synced = 0;

    image_copy(m, &d->start[file]);
    image_copy(&now, &d->start[file]);
    for (int i = 0; i < cut->at; i++) {
        if (syncs(&d->ops[i], file, cut->unsynced)) {
            synced = i;
        }
    }
    for (int i = 0; i < cut->at; i++) {
        if (d->ops[i].kind <= DISK_TRUNCATE && d->ops[i].file == file) {
            image_do(m, &now, &d->ops[i], i < synced ? 1 : cut->survival);
        }
    }
}

/* What the cut leaves, as a database of its own at `path`. */
UNUSED static void disk_cut(const struct disk *d, const struct cut *cut,
                            const char *path)
{
    static struct disk_image m; /* kept for the next one */
    char name[PATH_MAX + 8];

    cut_file(d, ON_DB, cut, &m);
    spill(path, m.bytes, m.len);
    cut_file(d, ON_WAL, cut, &m);
    snprintf(name, sizeof name, "%s-wal", path);
    spill(name, m.bytes, m.len);
    snprintf(name, sizeof name, "%s-shm", path);
    unlink(name);
}

/* The value of the last note of that kind before operation `at`; 0 if there is
 * none. */
UNUSED static uint64_t disk_noted(const struct disk *d, int what, int at)
{
    for (int i = at - 1; i >= 0; i--) {
        if (d->ops[i].kind == DISK_NOTE && d->ops[i].file == what) {
            return d->ops[i].offset;
        }
    }
    return 0;
}

/* Cuts in a run; $MARMOT_POWER_CUTS sets another number. */
UNUSED static int disk_cuts(int usual)
{
    const char *text = getenv("MARMOT_POWER_CUTS");

    return text == NULL ? usual : atoi(text);
}

/* $MARMOT_POWER_SEED chooses other cuts; prints the seed. */
UNUSED static void disk_seed(void)
{
    const char *text = getenv("MARMOT_POWER_SEED");
    uint64_t seed = text == NULL ? 1 : strtoull(text, NULL, 10);

    disk_random = 88172645463325252u ^ (seed * 0x9e3779b97f4a7c15u);
    print_message("seed %llu\n", (unsigned long long)seed);
}

#endif
