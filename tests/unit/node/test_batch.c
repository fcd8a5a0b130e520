/* Several transactions as one: whole pages and changes, upon real files. */
#include "tests/unit/vfs/databases.h"

#include <sys/wait.h>

#include "base/err.h"
#include "node/batch.h"
#include "node/database.h"
#include "wire/entry.h"

#define PAGES 8u /* before the first transaction */
#define STEPS_MAX 8u

/* What a transaction does to a page. */
struct step {
    uint32_t number; /* 0: no more */
    enum { WHOLE, CHANGE } how;
};

/* A node's copy, and what the log says of it. */
struct copy {
    char folder[PATH_MAX], path[PATH_MAX];
    struct apply *apply;
    uint32_t page_size;
    struct checksum sum;
    uint8_t *model;      /* all pages, one after the other */
    struct checksum log; /* of the model */
    struct list pending;
    uint64_t seed;
    const struct step *steps; /* of the transaction that is being made */
};

/* ---- the log ------------------------------------------------------------- */

static uint8_t *model_page(const struct copy *c, uint32_t number)
{
    return c->model + (size_t)(number - 1) * c->page_size;
}

static void model_resize(struct copy *c, uint32_t pages)
{
    size_t old = (size_t)c->log.pages * c->page_size;
    size_t new = (size_t)pages * c->page_size;

    c->model = realloc(c->model, new);
    assert_non_null(c->model);
    if (new > old) {
        memset(c->model + old, 0, new - old);
    }
    assert_int_equal(checksum_resize(&c->log, pages), 0);
}

static bool model_before(void *data, uint32_t number, uint8_t *image)
{
    const struct copy *c = data;
    const struct step *s = c->steps;

    while (s->number != number) {
        s++;
    }
    if (s->how == CHANGE) {
        memcpy(image, model_page(c, number), c->page_size);
    }
    return s->how == CHANGE;
}

/* Noise that is never the same; a change is of a few bytes of it. */
static void make_image(struct copy *c, const struct step *s, uint8_t *image)
{
    uint32_t from = s->number == 1 ? 100 : 0, to = c->page_size;

    memcpy(image, model_page(c, 1), from); /* the header of the file */
    if (s->how == CHANGE) {
        memcpy(image, model_page(c, s->number), c->page_size);
        from = 100 + (uint32_t)(c->seed % 7) * 50;
        to = from + 8;
    }
    for (uint32_t i = from; i < to; i++) {
        c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
        image[i] = (uint8_t)(c->seed >> 56);
    }
}

/* An entry with these pages, whose encodings are as wanted. */
static void encode_steps(struct copy *c, struct entry_txn *e,
                         enum entry_kind kind, const struct step *steps,
                         uint32_t count, struct pending *p)
{
    struct entry_before before = {.get = model_before, .data = c};
    uint8_t *images = malloc(STEPS_MAX * (size_t)c->page_size);
    uint32_t numbers[STEPS_MAX];
    struct entry_page_cursor cursor;
    struct entry_page page;
    struct entry back;
    struct buf out;

    assert_non_null(images);
    e->pages = (struct entry_pages){
        .page_size = c->page_size, .count = count, .before = &before};
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = steps[i].number;
        make_image(c, &steps[i], images + (size_t)i * c->page_size);
    }
    buf_init(&out, PACKET_BYTES_MAX);
    assert_int_equal(entry_encode_txn(kind, e, numbers, images, &out), 0);
    assert_int_equal(entry_decode(out.data, out.len, &back), 0);
    entry_pages_begin(&back.txn.pages, &cursor);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *image = images + (size_t)i * c->page_size;
        assert_int_equal(entry_pages_next(&cursor, &page), 0);
        assert_int_equal(page.encoding == PAGE_CHANGE, steps[i].how == CHANGE);
        memcpy(model_page(c, numbers[i]), image, c->page_size);
        assert_int_equal(
            checksum_set(&c->log, numbers[i],
                         page_hash(numbers[i], image, c->page_size)),
            0);
    }
    p->entries[p->n_entries].bytes =
        buf_take(&out, &p->entries[p->n_entries].len);
    p->n_entries++;
    buf_close(&out);
    free(images);
}

/* A transaction after which there are `db_pages`; what `parts` holds comes as a
 * part before it. */
static struct pending *commit_parts(struct copy *c, uint32_t db_pages,
                                    const struct step *parts,
                                    const struct step *steps)
{
    struct pending *p = calloc(1, sizeof *p + 2 * sizeof p->entries[0]);
    struct entry_txn part = {.db = {{1}}, .token = {1, 2, 3, 4}};
    struct entry_txn txn = {
        .db = {{1}}, .token = {1, 2, 3, 4}, .db_pages = db_pages};
    uint32_t n_parts = 0, count = 0;

    assert_non_null(p);
    model_resize(c, db_pages);
    while (parts != NULL && parts[n_parts].number != 0) {
        n_parts++;
    }
    while (steps[count].number != 0) {
        count++;
    }
    if (n_parts > 0) {
        c->steps = parts;
        txn.parts = 1;
        encode_steps(c, &part, ENTRY_PART, parts, n_parts, p);
    }
    c->steps = steps;
    encode_steps(c, &txn, ENTRY_TXN, steps, count, p);
    p->checksum = c->log.sum;
    p->db_pages = db_pages;
    p->page_size = c->page_size;
    p->brings_pages = true;
    list_push(&c->pending, &p->link);
    return p;
}

#define STEPS(...) ((const struct step[]){__VA_ARGS__, {0}})
#define COMMIT(c, db_pages, ...) \
    commit_parts(c, db_pages, NULL, STEPS(__VA_ARGS__))

static void forget_pending(struct copy *c)
{
    struct list *l;

    while ((l = list_pop(&c->pending)) != NULL) {
        struct pending *p = LIST_ENTRY(l, struct pending, link);
        for (unsigned i = 0; i < p->n_entries; i++) {
            free(p->entries[i].bytes);
        }
        free(p);
    }
}

/* ---- the copy ------------------------------------------------------------ */

static uint32_t frames_of(const struct copy *c)
{
    uint32_t frames, backfilled;

    apply_frames(c->apply, &frames, &backfilled);
    return frames;
}

static void copy_start(struct copy *c, uint32_t page_size)
{
    static const struct step grow[] = {{4, WHOLE}, {5, WHOLE}, {6, WHOLE},
                                       {7, WHOLE}, {8, WHOLE}, {0, WHOLE}};
    uint32_t damaged;
    size_t len;

    memset(c, 0, sizeof *c);
    list_init(&c->pending);
    make_folder(c->folder);
    join(c->path, c->folder, "copy.db");
    make_database(c->path, page_size, "CREATE TABLE t(a); CREATE TABLE u(b)");
    assert_int_equal(apply_open(c->path, &c->apply), 0);
    c->page_size = page_size;
    assert_int_equal(checksum_scan(&c->sum, c->apply), 0);
    assert_int_equal(checksum_scan(&c->log, c->apply), 0);
    assert_int_equal(c->log.pages, 3);
    c->model = slurp(c->path, &len);
    assert_int_equal(len, 3 * page_size);
    commit_parts(c, PAGES, NULL, grow);
    assert_int_equal(batch_apply(c->apply, &c->sum, &c->pending, &damaged), 0);
    forget_pending(c);
    assert_int_equal(apply_checkpoint(c->apply, true), 0);
    assert_int_equal(frames_of(c), 0);
}

static void copy_end(struct copy *c)
{
    forget_pending(c);
    assert_int_equal(apply_close(c->apply, false), 0);
    checksum_close(&c->sum);
    checksum_close(&c->log);
    free(c->model);
    drop_folder(c->folder);
}

static int setup(void **state)
{
    struct copy *c = malloc(sizeof *c);

    assert_non_null(c);
    copy_start(c, 1024);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    copy_end(*state);
    free(*state);
    return 0;
}

/* File, WAL and checksum are what the log says. */
static void assert_as_logged(struct copy *c)
{
    uint8_t *image = malloc(c->page_size);
    struct page_reader *r;

    assert_non_null(image);
    assert_int_equal(page_reader_open(c->apply, &r), 0);
    assert_int_equal(page_reader_count(r), c->log.pages);
    for (uint32_t n = 1; n <= c->log.pages; n++) {
        assert_int_equal(page_reader_get(r, n, image), 0);
        assert_memory_equal(image, model_page(c, n), c->page_size);
    }
    page_reader_close(r);
    free(image);
    assert_true(c->sum.sum == c->log.sum);
    assert_int_equal(c->sum.pages, c->log.pages);
    assert_memory_equal(c->sum.hashes, c->log.hashes,
                        c->log.pages * sizeof *c->log.hashes);
}

/* All that is pending, which writes so many frames. */
static void apply_all(struct copy *c, uint32_t frames)
{
    uint32_t before = frames_of(c), damaged = 99;

    assert_int_equal(batch_apply(c->apply, &c->sum, &c->pending, &damaged), 0);
    assert_int_equal(damaged, 0);
    assert_int_equal(frames_of(c) - before, frames);
    forget_pending(c);
    assert_as_logged(c);
}

/* From another process: closing the file here would drop our locks. */
static void flip(const char *path, const char *suffix, size_t at)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        char name[PATH_MAX + 8];
        uint8_t byte;
        int fd;
        snprintf(name, sizeof name, "%s%s", path, suffix);
        fd = open(name, O_RDWR);
        if (pread(fd, &byte, 1, (off_t)at) != 1) {
            _exit(1);
        }
        byte ^= 1;
        _exit(pwrite(fd, &byte, 1, (off_t)at) == 1 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- merging ------------------------------------------------------------- */

static void a_page_is_written_once_with_all_that_was_done_to_it(void **state)
{
    static const uint32_t sizes[] = {512, 4096, 65536};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct copy c;
        copy_start(&c, sizes[i]);
        COMMIT(&c, 8, {2, WHOLE}, {3, CHANGE}, {7, CHANGE});
        COMMIT(&c, 8, {2, CHANGE}, {3, CHANGE}, {6, WHOLE});
        COMMIT(&c, 9, {2, WHOLE}, {4, CHANGE}, {9, WHOLE});
        commit_parts(&c, 9, STEPS({2, CHANGE}, {9, CHANGE}),
                     STEPS({3, CHANGE}, {4, WHOLE}));
        COMMIT(&c, 9, {2, CHANGE}, {7, CHANGE});
        apply_all(&c, 6); /* 2, 3, 4, 6, 7, 9 */
        copy_end(&c);
    }
}

static void pages_may_come_in_any_order(void **state)
{
    struct copy *c = *state;

    COMMIT(c, 8, {7, CHANGE}, {5, WHOLE}, {2, CHANGE}, {6, WHOLE});
    apply_all(c, 4);
    COMMIT(c, 8, {5, CHANGE});
    COMMIT(c, 8, {7, CHANGE}, {6, WHOLE}, {5, CHANGE});
    COMMIT(c, 8, {6, CHANGE}, {5, CHANGE}, {7, CHANGE});
    apply_all(c, 3);
}

/* More than the list of versions has room for at first. */
static void many_transactions_are_one(void **state)
{
    struct copy *c = *state;

    for (int i = 0; i < 300; i++) {
        uint32_t one = (uint32_t)i % 7, other = (uint32_t)(i + 3) % 7;
        COMMIT(c, 8, {2 + one, i % 50 == 49 ? WHOLE : CHANGE},
               {2 + other, CHANGE});
    }
    apply_all(c, 7);
}

/* ---- what changes are upon ----------------------------------------------- */

static void changes_are_upon_what_the_wal_or_the_file_has(void **state)
{
    struct copy *c = *state;

    for (int round = 0; round < 3; round++) {
        COMMIT(c, 8, {2, CHANGE}, {3, CHANGE}); /* in the file */
        apply_all(c, 2);
        COMMIT(c, 8, {3, CHANGE}, {4, CHANGE}); /* 3: in the WAL */
        apply_all(c, 2);
        /* All is written back, and the WAL is as it was. */
        assert_int_equal(apply_checkpoint(c->apply, false), 0);
        assert_int_not_equal(frames_of(c), 0);
        COMMIT(c, 8, {3, CHANGE}, {4, CHANGE}, {5, CHANGE});
        apply_all(c, 3);
        assert_int_equal(apply_checkpoint(c->apply, true), 0);
        assert_int_equal(frames_of(c), 0);
    }
}

static void a_shrink_and_a_regrowth_in_one_batch(void **state)
{
    struct copy *c = *state;

    COMMIT(c, 8, {5, CHANGE}, {6, CHANGE}, {8, CHANGE});
    COMMIT(c, 3, {2, CHANGE});
    COMMIT(c, 6, {4, WHOLE}, {5, WHOLE}, {6, WHOLE});
    COMMIT(c, 7, {3, CHANGE}, {5, CHANGE}, {7, WHOLE});
    apply_all(c, 6); /* 2 to 7 */
}

static void what_is_beyond_the_end_is_not_looked_at(void **state)
{
    struct copy *c = *state;

    COMMIT(c, 10, {9, WHOLE}, {10, WHOLE}, {2, WHOLE});
    COMMIT(c, 10, {8, CHANGE}, {10, CHANGE});
    COMMIT(c, 6, {2, CHANGE});
    flip(c->path, "", 7 * 1024 + 500); /* page 8 */
    apply_all(c, 1);
}

/* ---- damage -------------------------------------------------------------- */

/* What is pending cannot be applied, and nothing has changed. */
static void assert_refused(struct copy *c, int want, uint32_t want_damaged)
{
    uint64_t sum = c->sum.sum, hashes[PAGES];
    uint32_t frames = frames_of(c), damaged = 99;
    struct checksum before, after;

    checksum_init(&before);
    checksum_init(&after);
    assert_int_equal(checksum_scan(&before, c->apply), 0);
    assert_int_equal(c->sum.pages, PAGES);
    memcpy(hashes, c->sum.hashes, sizeof hashes);
    assert_int_equal(batch_apply(c->apply, &c->sum, &c->pending, &damaged),
                     want);
    assert_int_equal(damaged, want_damaged);
    assert_int_equal(frames_of(c), frames);
    assert_int_equal(apply_pages(c->apply), PAGES);
    assert_true(c->sum.sum == sum);
    assert_int_equal(c->sum.pages, PAGES);
    assert_memory_equal(c->sum.hashes, hashes, sizeof hashes);
    assert_int_equal(checksum_scan(&after, c->apply), 0);
    assert_int_equal(after.pages, before.pages);
    assert_true(after.sum == before.sum);
    checksum_close(&before);
    checksum_close(&after);
}

static void no_change_is_laid_upon_a_damaged_page(void **state)
{
    struct copy *c = *state;

    COMMIT(c, 8, {2, WHOLE}, {3, CHANGE}, {5, CHANGE});
    flip(c->path, "", 4 * 1024 + 700); /* page 5 */
    assert_refused(c, ERR_MISMATCH, 5);
    flip(c->path, "", 4 * 1024 + 700);
    apply_all(c, 3);
}

static void nor_upon_a_damaged_frame(void **state)
{
    struct copy *c = *state;
    size_t image = wal_frame_offset(1024, 2) + WAL_FRAME_HEADER_BYTES;

    COMMIT(c, 8, {2, CHANGE}, {3, CHANGE});
    apply_all(c, 2);
    COMMIT(c, 8, {2, CHANGE}, {3, CHANGE}, {4, CHANGE});
    flip(c->path, "-wal", image + 1023);
    assert_refused(c, ERR_MISMATCH, 3);
    flip(c->path, "-wal", image + 1023);
    apply_all(c, 3);
}

static void a_whole_page_heals_a_damaged_one(void **state)
{
    struct copy *c = *state;

    flip(c->path, "", 4 * 1024 + 700);
    COMMIT(c, 8, {5, CHANGE}); /* is never made */
    COMMIT(c, 8, {5, WHOLE});
    COMMIT(c, 8, {5, CHANGE});
    apply_all(c, 1);
}

static void a_wrong_checksum_is_no_damaged_page(void **state)
{
    struct copy *c = *state;
    struct pending *p = COMMIT(c, 8, {2, CHANGE}, {3, WHOLE});

    p->checksum ^= 1;
    assert_refused(c, ERR_MISMATCH, 0);
    p->checksum ^= 1;
    apply_all(c, 2);
}

static void a_change_of_a_page_that_is_not_there_is_corrupt(void **state)
{
    struct copy *c = *state;

    COMMIT(c, 9, {2, CHANGE}, {9, CHANGE});
    assert_refused(c, ERR_CORRUPT, 0);
}

/* Shorter images than the others would be read beyond their end. */
static void all_parts_have_the_page_size_of_the_database(void **state)
{
    struct copy *c = *state;
    struct entry_txn part = {.db = {{1}},
                             .token = {1, 2, 3, 4},
                             .pages = {.page_size = 512, .count = 1}};
    struct pending *p;
    uint8_t image[512];
    uint32_t number = 4;
    struct buf out;

    p = commit_parts(c, 8, STEPS({2, WHOLE}), STEPS({3, WHOLE}));
    for (size_t i = 0; i < sizeof image; i++) {
        image[i] = (uint8_t)(i * i * 31 >> 3);
    }
    buf_init(&out, PACKET_BYTES_MAX);
    assert_int_equal(entry_encode_txn(ENTRY_PART, &part, &number, image, &out),
                     0);
    free(p->entries[0].bytes);
    p->entries[0].bytes = buf_take(&out, &p->entries[0].len);
    buf_close(&out);
    assert_refused(c, ERR_CORRUPT, 0);
}

/* ---- a new file ---------------------------------------------------------- */

static void a_new_file_has_whole_pages_and_changes_of_these(void **state)
{
    struct copy *c = *state;
    char path[PATH_MAX];
    uint8_t *bytes;
    size_t len;

    join(path, c->folder, "new.db");
    COMMIT(c, 3, {1, WHOLE}, {2, WHOLE}, {3, WHOLE});
    COMMIT(c, 4, {2, CHANGE}, {4, WHOLE});
    COMMIT(c, 4, {1, CHANGE}, {2, CHANGE}, {4, CHANGE});
    assert_int_equal(batch_create(path, &c->pending), 0);
    bytes = slurp(path, &len);
    assert_int_equal(len, 4 * 1024);
    assert_memory_equal(bytes, c->model, len);
    free(bytes);
}

static void a_change_of_nothing_makes_no_file(void **state)
{
    struct copy *c = *state;
    char path[PATH_MAX];

    join(path, c->folder, "new.db");
    COMMIT(c, 2, {1, WHOLE}, {2, CHANGE});
    assert_int_equal(batch_create(path, &c->pending), ERR_CORRUPT);
    assert_int_equal(count_files(c->folder, "new"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_written_once_with_all_that_was_done_to_it),
        TEST(pages_may_come_in_any_order),
        TEST(many_transactions_are_one),
        TEST(changes_are_upon_what_the_wal_or_the_file_has),
        TEST(a_shrink_and_a_regrowth_in_one_batch),
        TEST(what_is_beyond_the_end_is_not_looked_at),
        TEST(no_change_is_laid_upon_a_damaged_page),
        TEST(nor_upon_a_damaged_frame),
        TEST(a_whole_page_heals_a_damaged_one),
        TEST(a_wrong_checksum_is_no_damaged_page),
        TEST(a_change_of_a_page_that_is_not_there_is_corrupt),
        TEST(all_parts_have_the_page_size_of_the_database),
        TEST(a_new_file_has_whole_pages_and_changes_of_these),
        TEST(a_change_of_nothing_makes_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
