/* Cutting the power of a node in the middle of its life, and its restart.
 *
 * Sessions commit with an unsynced WAL, the applier appends what others
 * committed, the WAL is written back beside both and starts over. For each cut
 * the database that it leaves is opened as a node does at its start: found in
 * the log by its checksum, and given what is missing. Counted are
 *
 *   corrupt   not a state of the log, or not a database any more
 *   lost      older than the last sync of the WAL
 *   beyond    said to be at a position that the pages are not at
 *   differ    not the log's state after the rest was applied
 *
 * The controls leave one of the syncs out, or one of the rules, and must fail:
 * the rig sees what it claims to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/node/power_world.h"

#define STEPS 400
#define CUTS 200
#define CONTROL_CUTS 150

struct tally {
    int cuts, corrupt, lost, beyond, differ, second;
};

/* One restart. */
struct restart {
    const struct power_world *w;
    struct place *place;
    struct apply *apply;
    char path[PATH_MAX];
    uint64_t begin;   /* the log before was forgotten: there is a snapshot */
    uint64_t safe;    /* the copy must be there at least */
    uint64_t highest; /* what the log held when the power went */
    uint64_t end;     /* what it holds now */
    struct tally *tally;
};

/* What was done before the last sync of the WAL. */
static uint64_t safe_at(const struct disk *d, int at)
{
    for (int i = at - 1; i >= 0; i--) {
        if (d->ops[i].kind == DISK_SYNC && d->ops[i].file == ON_WAL) {
            return disk_noted(d, NOTE_DONE, i);
        }
    }
    return 0;
}

/* As a node opens its file. */
static bool open_copy(struct restart *r)
{
    enum file_kind kind;
    uint32_t page_size;

    return file_classify(r->path, &kind, &page_size) == 0 && kind == FILE_WAL &&
           apply_open(r->path, &r->apply) == 0;
}

static void read_log(struct restart *r)
{
    for (uint64_t i = r->begin + 1; i <= r->end; i++) {
        const struct logged *l = &r->w->log[i - 1];
        struct entry_txn txn = {.db_pages = l->db_pages,
                                .checksum = l->checksum,
                                .pages = {.page_size = PAGE_BYTES, .count = 1}};
        struct list parts;
        struct machine_accept a = {.txn = &txn,
                                   .bytes = l->bytes,
                                   .len = l->len,
                                   .parts = &parts,
                                   .position = {i, ~i}};
        list_init(&parts);
        r->place->m.position = a.position;
        placing_accepted(&r->place->db, &a);
    }
}

static bool scan(struct restart *r)
{
    struct database *db = &r->place->db;

    if (checksum_scan(&db->checksum, r->apply) != 0) {
        return false;
    }
    db->scanned = true;
    placing_scanned(db);
    return true;
}

/* Find the copy's place in the log; the log may be read before or after. */
static bool find_place(struct restart *r)
{
    struct place *p = r->place;
    bool log_first = disk_dice(2) == 0;

    p->m.position = (struct position){r->begin, ~r->begin};
    p->m.pages = (uint32_t)(r->w->base.len / PAGE_BYTES);
    p->m.checksum = r->w->base_sum;
    if (r->begin > 0) {
        p->m.pages = r->w->log[r->begin - 1].db_pages;
        p->m.checksum = r->w->log[r->begin - 1].checksum;
    }
    if (!log_first && !scan(r)) {
        return false;
    }
    place_enroll(p);
    read_log(r);
    if (log_first && !scan(r)) {
        return false;
    }
    return p->db.placed;
}

/* Does the copy hold just what the log says of this position? */
static bool same_as_model(struct restart *r, uint64_t txid)
{
    struct disk_image m = {.bytes = NULL};
    struct page_reader *reader;
    uint8_t image[PAGE_BYTES];
    bool same;

    model_at(r->w, txid, &m);
    if (page_reader_open(r->apply, &reader) != 0) {
        free(m.bytes);
        return false;
    }
    same = page_reader_count(reader) * (size_t)PAGE_BYTES == m.len;
    for (uint32_t i = 1; same && i <= page_reader_count(reader); i++) {
        same = page_reader_get(reader, i, image) == 0 &&
               memcmp(image, m.bytes + (size_t)(i - 1) * PAGE_BYTES,
                      PAGE_BYTES) == 0;
    }
    page_reader_close(reader);
    free(m.bytes);
    return same;
}

/* Apply what is missing, in one transaction or in several. */
static bool redo(struct restart *r)
{
    struct database *db = &r->place->db;
    int rv = 0;

    while (rv == 0 && !list_empty(&db->pending)) {
        struct list batch;
        uint64_t last = 0;
        uint32_t damaged;
        list_init(&batch);
        for (uint32_t n = 1 + disk_dice(8); n > 0; n--) {
            struct list *l = list_pop(&db->pending);
            if (l != NULL) {
                last = LIST_ENTRY(l, struct pending, link)->position.txid;
                list_push(&batch, l);
            }
        }
        rv = batch_apply(r->apply, &db->checksum, &batch, &damaged);
        free_pending(&batch);
        disk_note(NOTE_DONE, last);
        if (rv == 0 && disk_dice(6) == 0) {
            rv = apply_checkpoint(r->apply, true);
        }
    }
    return rv == 0;
}

static bool intact(const char *path)
{
    char answer[256];
    sqlite3 *db = open_sql(path);

    ask(db, "PRAGMA integrity_check", answer);
    sqlite3_close(db);
    return strcmp(answer, "ok") == 0;
}

static void judge(struct restart *r)
{
    struct tally *t = r->tally;
    uint64_t at;

    if (!open_copy(r) || !find_place(r)) {
        t->corrupt++;
        return;
    }
    at = r->place->db.applied.txid;
    disk_note(NOTE_DONE, at);
    t->lost += at < r->safe;
    /* Two positions may have the same pages: the later one is no lie then. */
    if (!same_as_model(r, at) ||
        (at > r->highest && !same_as_model(r, r->highest))) {
        t->beyond++;
    } else if (!redo(r) || !same_as_model(r, r->end)) {
        t->differ++;
    }
    r->safe = at;
}

/* The power comes back: start on the files at r->path. */
static void restart(struct restart *r)
{
    void *state;

    place_setup(&state);
    r->place = state;
    r->apply = NULL;
    r->tally->cuts++;
    judge(r);
    if (r->apply != NULL) {
        assert_int_equal(apply_close(r->apply, false), 0);
    }
    place_teardown(&state);
}

/* And goes once more while what was missing is written. */
static void cut_again(struct restart *r, struct disk *d)
{
    struct cut cut = {.at = (int)disk_dice((uint32_t)d->count + 1),
                      .survival = disk_dice(5) / 4.0};
    uint64_t safe = safe_at(d, cut.at), floor = r->safe;

    disk_cut(d, &cut, r->path);
    r->safe = safe > floor ? safe : floor;
    r->highest = r->end;
    r->tally->second++;
    restart(r);
}

/* Half of them where something was just committed, or else most would be in the
 * middle of the largest transactions. */
static int some_moment(const struct disk *d)
{
    int at = (int)disk_dice((uint32_t)d->count + 1);
    bool anywhere = disk_dice(2) == 0;

    while (!anywhere && at < d->count && d->ops[at].kind != DISK_NOTE) {
        at++;
    }
    return at + (anywhere ? 0 : (int)disk_dice(4) * (at + 4 < d->count));
}

static void one_cut(const struct power_world *w, struct cut *cut, bool again,
                    struct tally *tally)
{
    struct restart r = {.w = w, .tally = tally};
    struct disk second;
    int bad = tally->corrupt + tally->beyond + tally->differ;

    join(r.path, w->folder, "follower-cut.db");
    disk_cut(&w->disk, cut, r.path);
    r.safe = safe_at(&w->disk, cut->at);
    r.begin = disk_dice((uint32_t)r.safe + 1); /* no further: settle.c */
    r.begin = disk_dice(3) == 0 ? r.safe : r.begin;
    r.highest = disk_noted(&w->disk, NOTE_LOGGED, cut->at);
    if (r.highest > w->logged) {
        r.highest = w->logged; /* the last one came to nothing */
    }
    /* The others went on. */
    r.end = r.highest + disk_dice((uint32_t)(w->logged - r.highest) + 1) / 3;
    if (again) {
        disk_begin(&second, r.path);
    }
    restart(&r);
    disk_recording = NULL;
    if (tally->corrupt + tally->beyond + tally->differ == bad) {
        if (again) {
            cut_again(&r, &second);
        }
        tally->corrupt += !intact(r.path);
    }
    if (again) {
        disk_free(&second);
    }
}

/* A cut is a control when it leaves out syncs. */
static void cut_many(const struct power_world *w, int cuts, unsigned unsynced,
                     struct tally *tally)
{
    static const double usual[] = {0, 0.05, 0.5, 0.95, 1};
    static const double worst[] = {0.01, 0.02, 0.05, 0.1, 0.5};
    const double *survivals = unsynced == 0 ? usual : worst;

    memset(tally, 0, sizeof *tally);
    for (int i = 0; tally->cuts < cuts; i++) {
        struct cut cut = {.at = some_moment(&w->disk),
                          .survival = survivals[i % 5],
                          .unsynced = unsynced};
        one_cut(w, &cut, unsynced == 0 && i % 4 == 3, tally);
    }
    print_message(
        "%d cuts (%d while starting): %d corrupt, %d lost, %d beyond "
        "the data, %d different afterwards\n",
        tally->cuts, tally->second, tally->corrupt, tally->lost, tally->beyond,
        tally->differ);
}

static void any_cut_leaves_a_state_of_the_log_and_the_rest_is_redone(void **s)
{
    struct tally t;

    cut_many(*s, disk_cuts(CUTS), 0, &t);
    assert_int_equal(t.corrupt, 0);
    assert_int_equal(t.lost, 0);
    assert_int_equal(t.beyond, 0);
    assert_int_equal(t.differ, 0);
}

/* ---- controls --------------------------------------------------------------
 */

static void control(const struct power_world *w, enum disk_sync left_out)
{
    struct tally t;

    cut_many(w, 2 * CONTROL_CUTS, 1u << left_out, &t);
    assert_true(t.corrupt > 0);
    /* Whatever the disk does: nothing is claimed that is not there. */
    assert_int_equal(t.beyond, 0);
    assert_int_equal(t.differ, 0);
}

static void without_the_sync_of_a_new_header_copies_are_corrupt(void **s)
{
    control(*s, SYNC_HEADER);
}

static void without_the_sync_before_write_back_copies_are_corrupt(void **s)
{
    control(*s, SYNC_WAL);
}

static void without_the_sync_before_starting_over_copies_are_corrupt(void **s)
{
    control(*s, SYNC_DB);
}

/* Open the copy that a cut leaves and say where it stands. */
static uint64_t place_after(const struct power_world *w, const struct cut *cut,
                            struct restart *r, void **state)
{
    *r = (struct restart){.w = w, .end = w->logged};
    place_setup(state);
    r->place = *state;
    join(r->path, w->folder, "follower-cut.db");
    disk_cut(&w->disk, cut, r->path);
    assert_true(open_copy(r));
    assert_true(find_place(r));
    return r->place->db.applied.txid;
}

static void leave(struct restart *r, void **state)
{
    assert_int_equal(apply_close(r->apply, false), 0);
    place_teardown(state);
}

/* A position written durably with each append says more than an unsynced WAL
 * holds; one taken when a sync of the WAL began, and written after it, never
 * does. */
static void a_position_noted_at_each_append_is_beyond_the_data(void **s)
{
    const struct power_world *w = *s;
    int at_append = 0, at_sync = 0;

    for (int i = 0; i < CONTROL_CUTS; i++) {
        struct cut cut = {.at = (int)disk_dice((uint32_t)w->disk.count + 1),
                          .survival = i % 2 * 0.5};
        struct restart r;
        void *state;
        uint64_t at = place_after(w, &cut, &r, &state);
        at_append += disk_noted(&w->disk, NOTE_DONE, cut.at) > at;
        at_sync += safe_at(&w->disk, cut.at) > at;
        leave(&r, &state);
    }
    print_message(
        "%d cuts: %d beyond the data when noted at each append, %d "
        "when noted at each sync\n",
        CONTROL_CUTS, at_append, at_sync);
    assert_true(at_append > 0);
    assert_int_equal(at_sync, 0);
}

/* Append the pages of `txid` without asking whether they belong here. Returns
 * whether the copy is the log's state then. */
static bool append_blindly(struct restart *r, uint64_t txid)
{
    struct entry_page_cursor c;
    uint8_t image[PAGE_BYTES];
    struct wal_state state;
    struct entry e;
    struct entry_page page;

    assert_int_equal(
        entry_decode(r->w->log[txid - 1].bytes, r->w->log[txid - 1].len, &e),
        0);
    assert_int_equal(apply_begin(r->apply, e.txn.db_pages), 0);
    entry_pages_begin(&e.txn.pages, &c);
    while (entry_pages_next(&c, &page) == 0) {
        assert_int_equal(apply_read(r->apply, page.number, image), 0);
        assert_int_equal(entry_page_unpack(&page, PAGE_BYTES, image), 0);
        if (page.number == 1) {
            image[18] = image[19] = 2; /* a change upon another page 1 */
        }
        assert_int_equal(apply_page(r->apply, page.number, image), 0);
    }
    assert_int_equal(apply_commit(r->apply, &state), 0);
    return same_as_model(r, txid);
}

/* From the last durable position on, entry by entry, upon a copy that is
 * further: readers would see states that never were. */
static void replay_without_a_known_state_shows_states_that_never_were(void **s)
{
    const struct power_world *w = *s;
    int wrong = 0, replays = 0, refused = 0;

    while (replays < CONTROL_CUTS / 4) {
        struct cut cut = {.at = (int)disk_dice((uint32_t)w->disk.count + 1),
                          .survival = 1};
        uint64_t from = safe_at(&w->disk, cut.at), at;
        struct list batch;
        struct restart r;
        uint32_t damaged;
        void *state;
        at = place_after(w, &cut, &r, &state);
        if (at > from + 1) {
            replays++;
            /* The product's way of appending compares checksums. */
            list_init(&batch);
            list_push(&batch, &pending_of(w, from + 1)->link);
            refused += batch_apply(r.apply, &r.place->db.checksum, &batch,
                                   &damaged) == ERR_MISMATCH;
            free_pending(&batch);
            for (uint64_t i = from + 1; i < at; i++) {
                wrong += !append_blindly(&r, i);
            }
        }
        leave(&r, &state);
    }
    print_message(
        "%d replays: %d states that never were; refused by the "
        "checksum: %d\n",
        replays, wrong, refused);
    assert_true(wrong > 0);
    assert_true(refused > 0);
}

/* ---- */

static int setup(void **state)
{
    static struct power_world w;

    disk_seed();
    power_world_run(&w, STEPS);
    print_message("%llu transactions, %d operations on the disk\n",
                  (unsigned long long)w.logged, w.disk.count);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    power_world_end(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            any_cut_leaves_a_state_of_the_log_and_the_rest_is_redone),
        cmocka_unit_test(without_the_sync_of_a_new_header_copies_are_corrupt),
        cmocka_unit_test(without_the_sync_before_write_back_copies_are_corrupt),
        cmocka_unit_test(
            without_the_sync_before_starting_over_copies_are_corrupt),
        cmocka_unit_test(a_position_noted_at_each_append_is_beyond_the_data),
        cmocka_unit_test(
            replay_without_a_known_state_shows_states_that_never_were),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
