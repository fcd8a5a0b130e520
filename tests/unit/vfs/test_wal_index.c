/* The wal-index against the one that SQLite keeps: we look into its shared
 * memory, rebuild it, and write to it. */
#include "tests/unit/vfs/databases.h"

#include "base/err.h"
#include "vfs/base_files.h"
#include "vfs/wal_index.h"

/* More frames than two blocks of the index hold. */
#define MANY_ROWS "8500"

struct shared {
    char folder[PATH_MAX];
    char path[PATH_MAX];
    struct source source; /* SQLite's side, kept open */
    struct base_files files;
    struct wal_index index;
    struct wal_index_header h;
    uint32_t *pages; /* of each frame, 1-based, from the WAL itself */
};

static void read_pages(struct shared *s)
{
    struct wal_cursor c;
    struct wal_frame f;
    char name[PATH_MAX + 8];
    uint8_t *bytes;
    size_t len;

    snprintf(name, sizeof name, "%s-wal", s->path);
    bytes = slurp(name, &len);
    s->pages = calloc(s->h.frames + 100, sizeof *s->pages);
    assert_non_null(s->pages);
    assert_int_equal(wal_cursor_begin(&c, bytes), 0);
    while (c.frame < s->h.frames) {
        size_t at = wal_frame_offset(c.page_size, c.frame + 1);
        assert_int_equal(wal_cursor_next(&c, bytes + at, len - at, &f), 0);
        s->pages[f.number] = f.page;
    }
    assert_memory_equal(c.checksum, s->h.frame_checksum, sizeof c.checksum);
    free(bytes);
}

static int set_up(void **state)
{
    static struct shared s;

    make_folder(s.folder);
    join(s.path, s.folder, "s.db");
    source_open(&s.source, s.path, 512, 0);
    run(s.source.db,
        "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<" MANY_ROWS
        ") INSERT INTO t(v) SELECT randomblob(400) FROM n;"
        "UPDATE t SET v=1 WHERE id%9=0; UPDATE t SET v=2 WHERE id%5=0");
    assert_int_equal(base_files_open(s.path, &s.files), 0);
    wal_index_init(&s.index, s.files.db);
    assert_int_equal(wal_index_map(&s.index), 0);
    assert_int_equal(wal_index_read(&s.index, &s.h), 0);
    assert_true(s.h.frames > 4062 + 4096);
    read_pages(&s);
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    struct shared *s = *state;

    wal_index_close(&s->index);
    base_files_close(&s->files);
    source_close(&s->source);
    free(s->pages);
    drop_folder(s->folder);
    return 0;
}

static uint32_t find_slowly(const struct shared *s, uint32_t min, uint32_t max,
                            uint32_t page)
{
    for (uint32_t f = max; f >= min && f > 0; f--) {
        if (s->pages[f] == page) {
            return f;
        }
    }
    return 0;
}

static void assert_finds(struct shared *s, uint32_t min, uint32_t max,
                         uint32_t page)
{
    uint32_t frame = 99;

    assert_int_equal(wal_index_find(&s->index, min, max, page, &frame), 0);
    assert_int_equal(frame, find_slowly(s, min, max, page));
}

static void assert_finds_all(struct shared *s)
{
    uint32_t mx = s->h.frames;

    for (uint32_t page = 1; page <= s->h.db_pages + 3; page += 7) {
        assert_finds(s, 1, mx, page);
        assert_finds(s, 1, mx - 1 - page % 5000, page);
        assert_finds(s, mx / 2, mx, page);
        assert_finds(s, 4062, 4063, s->pages[4062 + page % 2]);
        assert_finds(s, 1, 0, page);
    }
    for (uint32_t f = 1; f <= mx; f += 13) {
        uint32_t page;
        assert_int_equal(wal_index_page(&s->index, f, &page), 0);
        assert_int_equal(page, s->pages[f]);
    }
}

static void pages_are_found_in_sqlites_index(void **state)
{
    assert_finds_all(*state);
}

static void a_rebuilt_index_is_the_one_that_was(void **state)
{
    struct shared *s = *state;
    struct wal_index_header h;
    char answer[256];
    uint8_t *shared = (uint8_t *)s->index.blocks[0];

    assert_int_equal(base_shm_exclusive(s->files.db, SLOT_WRITE, 1), 0);
    /* Everything that a recovery must not believe. */
    memset(shared, 0x5a, 96);
    assert_int_equal(wal_index_reserve(&s->index, 5000), 0);
    memset((uint8_t *)s->index.blocks[1], 0xff, 32768);
    assert_int_equal(wal_index_read(&s->index, &h), ERR_CORRUPT);
    assert_int_equal(
        wal_index_recover(&s->index, s->files.wal, s->source.page_size, &h), 0);
    base_shm_unlock_exclusive(s->files.db, SLOT_WRITE, 1);
    assert_int_equal(h.change, 0);
    h.change = s->h.change;
    memcpy(h.checksum, s->h.checksum, sizeof h.checksum);
    assert_memory_equal(&h, &s->h, sizeof h);
    assert_finds_all(s);
    ask(s->source.db, "PRAGMA integrity_check", answer);
    assert_string_equal(answer, "ok");
    run(s->source.db, "UPDATE t SET v=3 WHERE id%4=0");
    assert_other_process(s->path, "PRAGMA integrity_check", "ok");
}

static void a_recovery_stops_before_an_unfinished_transaction(void **state)
{
    struct shared *s = *state;
    struct wal_index_header h;
    char name[PATH_MAX + 8];
    uint64_t end = wal_frame_offset(512, s->h.frames);
    uint32_t page;

    snprintf(name, sizeof name, "%s-wal", s->path);
    assert_int_equal(truncate(name, (off_t)end), 0);
    assert_int_equal(base_shm_exclusive(s->files.db, SLOT_WRITE, 1), 0);
    assert_int_equal(wal_index_recover(&s->index, s->files.wal, 512, &h), 0);
    base_shm_unlock_exclusive(s->files.db, SLOT_WRITE, 1);
    assert_true(h.frames > 0 && h.frames < s->h.frames);
    /* What is behind the last commit is cleared. */
    assert_int_equal(wal_index_page(&s->index, h.frames, &page), 0);
    assert_int_equal(page, s->pages[h.frames]);
    assert_int_equal(wal_index_page(&s->index, h.frames + 1, &page), 0);
    assert_int_equal(page, 0);
    assert_other_process(s->path, "PRAGMA integrity_check", "ok");
}

static void a_recovery_beside_another_one_is_busy(void **state)
{
    struct shared *s = *state;
    struct base_files other;
    struct wal_index index;
    struct wal_index_header h;

    assert_int_equal(base_files_open(s->path, &other), 0);
    wal_index_init(&index, other.db);
    assert_int_equal(wal_index_map(&index), 0);
    assert_int_equal(base_shm_exclusive(other.db, SLOT_RECOVER, 1), 0);
    assert_int_equal(wal_index_recover(&s->index, s->files.wal, 512, &h),
                     ERR_BUSY);
    base_shm_unlock_exclusive(other.db, SLOT_RECOVER, 1);
    assert_int_equal(wal_index_recover(&s->index, s->files.wal, 1024, &h),
                     ERR_MISMATCH);
    assert_int_equal(wal_index_recover(&s->index, s->files.wal, 512, &h), 0);
    wal_index_close(&index);
    base_files_close(&other);
}

static void what_a_dead_writer_left_is_cleared(void **state)
{
    struct shared *s = *state;
    uint32_t mx = s->h.frames, frame;

    for (uint32_t i = 1; i <= 50; i++) {
        assert_int_equal(wal_index_append(&s->index, mx, mx + i, 7), 0);
    }
    assert_int_equal(wal_index_find(&s->index, 1, mx + 50, 7, &frame), 0);
    assert_int_equal(frame, mx + 50);
    for (uint32_t i = 1; i <= 3; i++) {
        s->pages[mx + i] = 10 + i;
        assert_int_equal(wal_index_append(&s->index, mx, mx + i, 10 + i), 0);
    }
    assert_finds(s, 1, mx + 50, 7);
    assert_finds(s, 1, mx + 50, 12);
    assert_int_equal(wal_index_cleanup(&s->index, mx), 0);
    memset(s->pages + mx + 1, 0, 3 * sizeof *s->pages);
    assert_finds(s, 1, mx + 50, 12);
    assert_finds_all(s);
}

static void both_copies_must_agree(void **state)
{
    struct shared *s = *state;
    uint8_t *shared = (uint8_t *)s->index.blocks[0];
    struct wal_index_header h, next = s->h;

    assert_true(wal_index_unchanged(&s->index, &s->h));
    for (size_t i = 0; i < 96; i++) {
        shared[i] ^= 1;
        assert_int_equal(wal_index_read(&s->index, &h), ERR_CORRUPT);
        shared[i] ^= 1;
    }
    next.change++;
    wal_index_publish(&s->index, &next);
    assert_false(wal_index_unchanged(&s->index, &s->h));
    assert_int_equal(wal_index_read(&s->index, &h), 0);
    assert_memory_equal(&h, &next, sizeof h);
    assert_other_process(s->path, "PRAGMA quick_check", "ok");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_are_found_in_sqlites_index,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rebuilt_index_is_the_one_that_was,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_recovery_stops_before_an_unfinished_transaction, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_recovery_beside_another_one_is_busy,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_dead_writer_left_is_cleared,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_copies_must_agree, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
