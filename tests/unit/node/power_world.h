/* Two nodes' copies of one database and the log between them, for
 * test_power_cuts.c: real sessions (the guest VFS, granted by a fake node) and
 * the real applier on both, and a disk under the first that can be cut. Header
 * only. */
#ifndef TESTS_UNIT_NODE_POWER_WORLD_H
#define TESTS_UNIT_NODE_POWER_WORLD_H

#include "tests/unit/vfs/crash_disk.h"

#include "base/err.h"
#include "node/batch.h"
#include "node/database.h"
#include "tests/unit/node/place.h"
#include "tests/unit/vfs/fake_node.h"
#include "vfs/marmot.h"
#include "wire/entry.h"

#define PAGE_BYTES 1024u

/* Notes in the record: how long the log may be, and what the copy shows. */
enum { NOTE_LOGGED, NOTE_DONE };

/* A transaction that was accepted. */
struct logged {
    uint8_t *bytes; /* the encoded ENTRY_TXN */
    size_t len;
    uint64_t checksum; /* of the whole database afterwards */
    uint32_t db_pages;
};

/* A node's copy. */
struct side {
    char path[256];
    struct fake_node node;
    sqlite3 *session;
    struct apply *apply;
    struct checksum sum;
    uint64_t applied;
    unsigned proposals; /* of the session, seen */
};

struct power_world {
    char folder[PATH_MAX];
    sqlite3_vfs vfs;
    struct side here, there;
    sqlite3 *reader;        /* of the copy here; in a transaction or not */
    struct disk_image base; /* the database before the first transaction */
    struct disk_image last; /* and after the last one */
    uint64_t base_sum;
    struct logged *log;
    uint64_t logged, room;
    struct disk disk;
};

/* ---- the log ------------------------------------------------------------- */

static struct pending *pending_of(const struct power_world *w, uint64_t txid)
{
    struct pending *p = calloc(1, sizeof *p + sizeof p->entries[0]);
    const struct logged *l = &w->log[txid - 1];

    assert_non_null(p);
    p->position = (struct position){txid, ~txid};
    p->checksum = l->checksum;
    p->db_pages = l->db_pages;
    p->page_size = PAGE_BYTES;
    p->brings_pages = true;
    p->n_entries = 1;
    p->entries[0].bytes = malloc(l->len);
    assert_non_null(p->entries[0].bytes);
    memcpy(p->entries[0].bytes, l->bytes, l->len);
    p->entries[0].len = l->len;
    return p;
}

static void free_pending(struct list *pending)
{
    struct list *l;

    while ((l = list_pop(pending)) != NULL) {
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        free(p->entries[0].bytes);
        free(p);
    }
}

static bool image_before(void *data, uint32_t number, uint8_t *image)
{
    const struct power_world *w = data;

    if ((size_t)number * PAGE_BYTES > w->last.len) {
        return false;
    }
    memcpy(image, w->last.bytes + (size_t)(number - 1) * PAGE_BYTES,
           PAGE_BYTES);
    return true;
}

static void log_append(struct power_world *w, struct side *s,
                       const uint32_t *numbers, const uint8_t *images,
                       uint32_t count, uint32_t db_pages)
{
    struct entry_before before = {.get = image_before, .data = w};
    struct entry_txn e = {
        .db = {{1}},
        .base = {w->logged, ~w->logged},
        .token = {1, 2, 3, w->logged + 1},
        .db_pages = db_pages,
        .pages = {.page_size = PAGE_BYTES, .count = count, .before = &before}};
    struct buf out;
    struct logged *l;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash =
            page_hash(numbers[i], images + (size_t)i * PAGE_BYTES, PAGE_BYTES);
        assert_int_equal(checksum_set(&s->sum, numbers[i], hash), 0);
    }
    assert_int_equal(checksum_resize(&s->sum, db_pages), 0);
    e.checksum = s->sum.sum;
    buf_init(&out, 1u << 26);
    assert_int_equal(entry_encode_txn(ENTRY_TXN, &e, numbers, images, &out), 0);
    if (w->logged == w->room) {
        w->room = w->room == 0 ? 256 : 2 * w->room;
        w->log = realloc(w->log, w->room * sizeof *w->log);
        assert_non_null(w->log);
    }
    l = &w->log[w->logged++];
    l->checksum = e.checksum;
    l->db_pages = db_pages;
    l->bytes = buf_take(&out, &l->len);
    image_resize(&w->last, (size_t)db_pages * PAGE_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(w->last.bytes + (size_t)(numbers[i] - 1) * PAGE_BYTES,
               images + (size_t)i * PAGE_BYTES, PAGE_BYTES);
    }
    buf_close(&out);
}

/* The database after `txid` transactions, by the log alone. */
static void model_at(const struct power_world *w, uint64_t txid,
                     struct disk_image *m)
{
    image_copy(m, &w->base);
    for (uint64_t i = 0; i < txid; i++) {
        struct entry_page_cursor c;
        struct entry_page page;
        struct entry e;

        image_resize(m, (size_t)w->log[i].db_pages * PAGE_BYTES);
        assert_int_equal(entry_decode(w->log[i].bytes, w->log[i].len, &e), 0);
        entry_pages_begin(&e.txn.pages, &c);
        while (entry_pages_next(&c, &page) == 0) {
            uint8_t *at = m->bytes + (size_t)(page.number - 1) * PAGE_BYTES;
            assert_int_equal(entry_page_unpack(&page, PAGE_BYTES, at), 0);
        }
    }
}

/* ---- what the nodes do --------------------------------------------------- */

/* What the fake node was proposed since the last time, if anything. */
static bool take_proposal(struct power_world *w, struct side *s)
{
    struct fake_node *f = &s->node;
    uint32_t numbers[4096], count;
    bool fresh;

    pthread_mutex_lock(&f->mutex);
    fresh = f->proposals != s->proposals;
    s->proposals = f->proposals;
    if (fresh) {
        count = (uint32_t)(f->part_numbers.len / 4);
        assert_in_range(count, 1, 4096);
        for (uint32_t i = 0; i < count; i++) {
            numbers[i] = get_le32(f->part_numbers.data + 4u * (size_t)i);
        }
        log_append(w, s, numbers, f->part_images.data, count, f->pages);
        apply_expect(s->apply, &f->state);
    }
    pthread_mutex_unlock(&f->mutex);
    return fresh;
}

/* A transaction of this side's session; may come to nothing. From the first
 * moment on the log may hold it. */
static void commit_here(struct power_world *w, struct side *s, const char *sql)
{
    char answer[256];

    disk_note(NOTE_LOGGED, w->logged + 1);
    run(s->session, sql);
    /* Answered after all that the session said before. */
    ask(s->session, "PRAGMA marmot_status", answer);
    if (take_proposal(w, s)) {
        s->applied = w->logged;
        if (s == &w->here) {
            disk_note(NOTE_DONE, s->applied);
        }
    }
    disk_note(NOTE_LOGGED, w->logged);
}

/* Append what the other side committed, as one transaction or as several. */
static void catch_up(struct power_world *w, struct side *s)
{
    while (s->applied < w->logged) {
        uint64_t count = 1 + disk_dice((uint32_t)(w->logged - s->applied));
        struct list batch;
        uint32_t damaged;

        list_init(&batch);
        for (uint64_t i = 1; i <= count; i++) {
            list_push(&batch, &pending_of(w, s->applied + i)->link);
        }
        assert_int_equal(batch_apply(s->apply, &s->sum, &batch, &damaged), 0);
        free_pending(&batch);
        s->applied += count;
        if (s == &w->here) {
            disk_note(NOTE_DONE, s->applied);
        }
    }
}

#define SERIES(n)                                          \
    "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n " \
    "WHERE x<" #n ") "

/* Small ones, ones that spill into the WAL before they commit, ones after which
 * the database is smaller. */
static const char *some_change(void)
{
    static const char *const changes[] = {
        "UPDATE counter SET n = n + 1",
        "UPDATE counter SET n = n + 2",
        "UPDATE t SET v = zeroblob(200 + id) WHERE id = 31",
        "UPDATE t SET v = randomblob(120) WHERE id = 5",
        "UPDATE t SET v = randomblob(300) WHERE id % 23 = 4",
        "INSERT INTO t(v) VALUES (randomblob(900))",
        "INSERT INTO t(v) VALUES (randomblob(90))",
        SERIES(20) "INSERT INTO t(v) SELECT randomblob(500) FROM n",
        "DELETE FROM t WHERE id > (SELECT max(id) - 25 FROM t)",
        "DELETE FROM t WHERE id > 130",
    };

    return changes[disk_dice(sizeof changes / sizeof *changes)];
}

static void rolled_back(struct power_world *w)
{
    commit_here(
        w, &w->here,
        "BEGIN; " SERIES(
            20) "INSERT INTO t(v) SELECT randomblob(700) FROM n; ROLLBACK");
}

/* Frames of a transaction that is not committed are in the WAL meanwhile. */
static void write_back_beside_a_session(struct power_world *w)
{
    run(w->here.session,
        "BEGIN; " SERIES(15) "INSERT INTO t(v) SELECT randomblob(700) FROM n");
    assert_int_equal(apply_checkpoint(w->here.apply, false), 0);
    commit_here(w, &w->here, "COMMIT");
}

static void turn_reader(struct power_world *w)
{
    char answer[256];

    if (sqlite3_get_autocommit(w->reader)) {
        run(w->reader, "BEGIN");
        ask(w->reader, "SELECT count(*) FROM t", answer);
    } else {
        run(w->reader, "COMMIT");
    }
}

static void step(struct power_world *w)
{
    switch (disk_dice(12)) {
    case 0:
        rolled_back(w);
        break;
    case 1:
        write_back_beside_a_session(w);
        break;
    case 2:
        turn_reader(w);
        break;
    case 3:
        assert_int_equal(apply_checkpoint(w->here.apply, false), 0);
        break;
    case 4:
    case 5:
        assert_int_equal(apply_checkpoint(w->here.apply, true), 0);
        break;
    case 6:
    case 7:
    case 8:
        for (uint32_t i = disk_dice(4) + 1; i > 0; i--) {
            commit_here(w, &w->there, some_change());
        }
        break;
    default:
        commit_here(w, &w->here, some_change());
    }
    catch_up(w, &w->here);
    catch_up(w, &w->there);
}

/* ---- life -----------------------------------------------------------------
 */

static void side_open(struct power_world *w, struct side *s, const char *name)
{
    assert_true((size_t)snprintf(s->path, sizeof s->path, "%s/%s", w->folder,
                                 name) < sizeof s->path);
    spill(s->path, w->base.bytes, w->base.len);
    assert_int_equal(apply_open(s->path, &s->apply), 0);
    checksum_init(&s->sum);
    assert_int_equal(checksum_scan(&s->sum, s->apply), 0);
    s->node.page_size = PAGE_BYTES;
    s->node.bytes = slurp(s->path, &s->node.capacity);
    s->node.pages = (uint32_t)(s->node.capacity / PAGE_BYTES);
    fake_node_start(&s->node, s->path);
    assert_int_equal(
        sqlite3_open_v2(s->path, &s->session, SQLITE_OPEN_READWRITE, "marmot"),
        SQLITE_OK);
    run(s->session, "PRAGMA cache_size = 8");
}

static void side_close(struct side *s)
{
    sqlite3_close(s->session);
    fake_node_stop(&s->node);
    free(s->node.bytes);
    assert_int_equal(apply_close(s->apply, false), 0);
    checksum_close(&s->sum);
}

static void make_base(struct power_world *w)
{
    char path[PATH_MAX];

    join(path, w->folder, "base.db");
    make_database(path, PAGE_BYTES,
                  "PRAGMA auto_vacuum = 1; VACUUM;"
                  "CREATE TABLE counter(n); INSERT INTO counter VALUES (0);"
                  "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
                  "CREATE INDEX i ON t(v);" SERIES(
                      90) "INSERT INTO t(v) SELECT randomblob(300) FROM n");
    w->base.bytes = slurp(path, &w->base.len);
    w->base.room = w->base.len;
    image_copy(&w->last, &w->base);
}

/* Let both live for so many steps, and record what reaches the disk here. */
static void power_world_run(struct power_world *w, int steps)
{
    memset(w, 0, sizeof *w);
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)disk_dice(1u << 30),
                         NULL);
    make_folder(w->folder);
    make_base(w);
    disk_watch();
    stand_in_front(&w->vfs, "unix");
    assert_int_equal(marmot_register(0), SQLITE_OK);
    side_open(w, &w->here, "follower.db");
    side_open(w, &w->there, "other.db");
    w->base_sum = w->here.sum.sum;
    w->reader = open_sql(w->here.path);
    disk_begin(&w->disk, w->here.path);
    for (int i = 0; i < steps; i++) {
        step(w);
    }
    disk_recording = NULL;
    sqlite3_close(w->reader);
    side_close(&w->here);
    side_close(&w->there);
}

static void power_world_end(struct power_world *w)
{
    for (uint64_t i = 0; i < w->logged; i++) {
        free(w->log[i].bytes);
    }
    free(w->log);
    free(w->base.bytes);
    free(w->last.bytes);
    disk_free(&w->disk);
    sqlite3_vfs_unregister(&w->vfs);
    drop_folder(w->folder);
}

#endif
