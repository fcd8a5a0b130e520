/* The WAL format against logs that SQLite wrote, and logs that SQLite reads. */
#include "tests/unit/vfs/databases.h"

#include "base/bytes.h"
#include "base/err.h"

struct sqlite_log {
    char folder[PATH_MAX];
    char path[PATH_MAX];
    uint32_t page_size;
    uint8_t *bytes; /* of the -wal */
    size_t len;
};

static void make_log(struct sqlite_log *log, uint32_t page_size)
{
    struct source s;
    char name[PATH_MAX + 8];

    log->page_size = page_size;
    make_folder(log->folder);
    join(log->path, log->folder, "s.db");
    source_open(&s, log->path, page_size, 0);
    for (int i = 0; i < 10; i++) {
        run(s.db,
            "INSERT INTO t(v) VALUES(randomblob(3000));"
            "DELETE FROM t WHERE id%3=1");
    }
    snprintf(name, sizeof name, "%s-wal", log->path);
    log->bytes = slurp(name, &log->len);
    source_close(&s);
}

static void drop_log(struct sqlite_log *log)
{
    free(log->bytes);
    drop_folder(log->folder);
}

static int set_up(void **state)
{
    static struct sqlite_log log;

    make_log(&log, 1024);
    *state = &log;
    return 0;
}

static int tear_down(void **state)
{
    drop_log(*state);
    return 0;
}

static size_t frame_bytes(const struct sqlite_log *log)
{
    return WAL_FRAME_HEADER_BYTES + log->page_size;
}

/* Walk to the end of the chain; `last` is the last frame of it. */
static void walk(const struct sqlite_log *log, struct wal_cursor *c,
                 struct wal_frame *last)
{
    assert_int_equal(wal_cursor_begin(c, log->bytes), 0);
    for (;;) {
        size_t at = wal_frame_offset(log->page_size, c->frame + 1);
        if (wal_cursor_next(c, log->bytes + at, log->len - at, last) != 0) {
            break;
        }
    }
}

static void the_whole_log_of_sqlite_is_one_chain(void **state)
{
    static const uint32_t sizes[] = {512, 1024, 4096, 65536};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct sqlite_log log;
        struct wal_cursor c;
        struct wal_frame last;
        make_log(&log, sizes[i]);
        walk(&log, &c, &last);
        assert_int_equal(c.page_size, sizes[i]);
        assert_int_equal(wal_frame_offset(sizes[i], c.frame + 1), log.len);
        assert_true(c.frame >= 20);
        assert_int_equal(last.number, c.frame);
        assert_true(last.db_pages > 0);
        drop_log(&log);
    }
}

static void chain_stops_at_a_flipped_bit(void **state)
{
    struct sqlite_log *log = *state;
    struct wal_cursor whole, cut;
    struct wal_frame frame;
    /* In the page, its number, the database size, the salt, the checksum. */
    static const size_t places[] = {24 + 700, 3, 7, 8, 15, 16, 23};

    walk(log, &whole, &frame);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t at = wal_frame_offset(log->page_size, whole.frame - 3);
        log->bytes[at + places[i]] ^= 1;
        walk(log, &cut, &frame);
        assert_int_equal(cut.frame, whole.frame - 4);
        log->bytes[at + places[i]] ^= 1;
    }
    walk(log, &cut, &frame);
    assert_memory_equal(&cut, &whole, sizeof cut);
}

static void a_refused_frame_changes_nothing(void **state)
{
    struct sqlite_log *log = *state;
    struct wal_cursor c, before;
    struct wal_frame frame = {.number = 77};
    const uint8_t *second = log->bytes + wal_frame_offset(log->page_size, 2);

    assert_int_equal(wal_cursor_begin(&c, log->bytes), 0);
    before = c;
    assert_int_equal(wal_cursor_next(&c, second, frame_bytes(log), &frame),
                     ERR_CORRUPT);
    assert_int_equal(wal_cursor_next(&c, log->bytes + WAL_HEADER_BYTES,
                                     frame_bytes(log) - 1, &frame),
                     ERR_SHORT);
    assert_memory_equal(&c, &before, sizeof c);
    assert_int_equal(frame.number, 77);
    assert_int_equal(wal_cursor_next(&c, log->bytes + WAL_HEADER_BYTES,
                                     frame_bytes(log), &frame),
                     0);
    assert_int_equal(frame.number, 1);
}

static void a_bad_header_is_refused(void **state)
{
    struct sqlite_log *log = *state;
    struct wal_cursor c = {.frame = 5};
    uint8_t header[WAL_HEADER_BYTES];
    uint32_t sum[2] = {0, 0};

    for (size_t i = 0; i < sizeof header; i++) {
        memcpy(header, log->bytes, sizeof header);
        header[i] ^= 4;
        assert_int_equal(wal_cursor_begin(&c, header), ERR_CORRUPT);
    }
    memcpy(header, log->bytes, sizeof header);
    put_be32(header + 4, WAL_FORMAT_VERSION + 1);
    wal_checksum(false, header, 24, sum);
    put_be32(header + 24, sum[0]);
    put_be32(header + 28, sum[1]);
    assert_int_equal(wal_cursor_begin(&c, header), ERR_VERSION);
    assert_int_equal(c.frame, 5);
}

/* Encode the decoded frames again; `c` stands before the first one. */
static uint8_t *encode_again(const struct sqlite_log *log,
                             const uint8_t header[WAL_HEADER_BYTES],
                             struct wal_cursor *c)
{
    uint8_t *out = malloc(log->len);
    struct wal_cursor in;
    struct wal_frame f;

    assert_non_null(out);
    memcpy(out, header, WAL_HEADER_BYTES);
    assert_int_equal(wal_cursor_begin(&in, log->bytes), 0);
    for (size_t at = WAL_HEADER_BYTES; at < log->len; at += frame_bytes(log)) {
        assert_int_equal(
            wal_cursor_next(&in, log->bytes + at, log->len - at, &f), 0);
        wal_frame_encode(c, f.page, f.db_pages, f.image, out + at);
        memcpy(out + at + WAL_FRAME_HEADER_BYTES, f.image, log->page_size);
    }
    return out;
}

static void what_we_encode_is_what_sqlite_wrote(void **state)
{
    struct sqlite_log *log = *state;
    uint8_t header[WAL_HEADER_BYTES], *again;
    struct wal_cursor c, sqlite;

    assert_int_equal(wal_cursor_begin(&sqlite, log->bytes), 0);
    wal_header_encode(log->page_size, get_be32(log->bytes + 12), sqlite.salt,
                      header, &c);
    assert_memory_equal(header, log->bytes, sizeof header);
    assert_memory_equal(&c, &sqlite, sizeof c);
    again = encode_again(log, header, &c);
    assert_memory_equal(again, log->bytes, log->len);
    free(again);
}

/* The same log in the other byte order: SQLite reads it all. */
static void big_endian_checksums_are_sqlites(void **state)
{
    struct sqlite_log log;
    uint8_t header[WAL_HEADER_BYTES], *again;
    struct wal_cursor c;
    uint32_t sum[2] = {0, 0};
    char seed[PATH_MAX], name[PATH_MAX + 8];
    struct source s;

    (void)state;
    make_folder(log.folder);
    join(log.path, log.folder, "s.db");
    join(seed, log.folder, "copy.db");
    log.page_size = 512;
    source_open(&s, log.path, 512, 0);
    source_seed(&s, seed);
    run(s.db, "INSERT INTO t(v) VALUES('read me')");
    snprintf(name, sizeof name, "%s-wal", log.path);
    log.bytes = slurp(name, &log.len);
    source_close(&s);

    memcpy(header, log.bytes, sizeof header);
    header[3] |= 1;
    wal_checksum(true, header, 24, sum);
    put_be32(header + 24, sum[0]);
    put_be32(header + 28, sum[1]);
    assert_int_equal(wal_cursor_begin(&c, header), 0);
    assert_true(c.big_endian);
    again = encode_again(&log, header, &c);
    snprintf(name, sizeof name, "%s-wal", seed);
    spill(name, again, log.len);
    assert_other_process(seed, "SELECT v FROM t WHERE id=2", "read me");
    free(again);
    drop_log(&log);
}

static void the_lock_page_is_where_its_byte_is(void **state)
{
    (void)state;
    for (uint32_t size = 512; size <= 65536; size *= 2) {
        uint32_t page = wal_lock_page(size);
        assert_true((uint64_t)(page - 1) * size <= WAL_LOCK_BYTE);
        assert_true((uint64_t)page * size > WAL_LOCK_BYTE);
        assert_true(wal_page_size_ok(size));
        assert_false(wal_page_size_ok(size + 1));
    }
    assert_false(wal_page_size_ok(0));
    assert_false(wal_page_size_ok(256));
    assert_false(wal_page_size_ok(131072));
    /* Far beyond 4 GiB. */
    assert_true(wal_frame_offset(65536, 200000) ==
                32 + 199999ull * (65536 + 24));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_log_of_sqlite_is_one_chain),
        cmocka_unit_test_setup_teardown(chain_stops_at_a_flipped_bit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_refused_frame_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_bad_header_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_we_encode_is_what_sqlite_wrote,
                                        set_up, tear_down),
        cmocka_unit_test(big_endian_checksums_are_sqlites),
        cmocka_unit_test(the_lock_page_is_where_its_byte_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
