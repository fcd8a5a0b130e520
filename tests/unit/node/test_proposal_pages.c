/* Which pages of a transaction go into the log as changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/node.h"
#include "tests/unit/node/fake_guest.h"
#include "tests/unit/vfs/databases.h"

#define PAGES 3u

/* The local file, as far as it can be read. */
struct ground {
    uint8_t images[PAGES + 1][WORLD_PAGE]; /* by number */
    unsigned asked;
    bool busy;
};

static bool ground_page(void *data, struct database *db, uint32_t number,
                        uint8_t *image)
{
    struct world *w = data;
    struct ground *ground = w->user;

    assert_ptr_equal(db, &w->db);
    assert_in_range(number, 1, PAGES);
    ground->asked++;
    memcpy(image, ground->images[number], WORLD_PAGE);
    return !ground->busy;
}

static int setup(void **state)
{
    struct world *w = world_open(PAGES);
    struct ground *ground = calloc(1, sizeof *ground);
    uint32_t x = 1;

    assert_non_null(ground);
    w->user = ground;
    w->env.page_before = ground_page;
    for (uint32_t n = 1; n <= PAGES; n++) {
        for (size_t i = 0; i < WORLD_PAGE; i++) {
            x = x * 1664525 + 1013904223;
            ground->images[n][i] = (uint8_t)(x >> 24);
        }
        ground->images[n][18] = ground->images[n][19] = 2;
        assert_int_equal(
            checksum_set(&w->db.checksum, n,
                         page_hash(n, ground->images[n], WORLD_PAGE)),
            0);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    free(w->user);
    world_close(w);
    return 0;
}

/* What a session makes of a page that it read. */
static void changed(const struct world *w, uint32_t number,
                    uint8_t image[WORLD_PAGE])
{
    const struct ground *ground = w->user;

    memcpy(image, ground->images[number <= PAGES ? number : 1], WORLD_PAGE);
    image[300] ^= 1;
}

/* A part with this page of what the session read, `image`. */
static void send_image(struct world *w, struct guest *g, uint32_t number,
                       const uint8_t *image, bool last)
{
    uint8_t le[4];
    struct session_propose m = {.page_size = WORLD_PAGE,
                                .db_pages = last ? PAGES : 0,
                                .count = 1,
                                .number = g->parts,
                                .last = last,
                                .numbers = le,
                                .images = image};

    put_le32(le, number);
    if (last && number > PAGES) {
        m.db_pages = number;
    }
    g->sequence += g->parts == 0;
    g->parts = last ? 0 : g->parts + 1;
    m.sequence = g->sequence;
    guest_send(w, g, &m);
}

static void send_changed(struct world *w, struct guest *g, uint32_t number,
                         bool last)
{
    uint8_t image[WORLD_PAGE];

    changed(w, number, image);
    send_image(w, g, number, image, last);
}

/* How the only page of proposed entry `at` is encoded. */
static struct entry_page proposed(struct world *w, unsigned at)
{
    struct entry e = world_peek(w, at);
    struct entry_page_cursor c;
    struct entry_page page, none;

    entry_pages_begin(&e.txn.pages, &c);
    assert_int_equal(entry_pages_next(&c, &page), 0);
    assert_int_equal(entry_pages_next(&c, &none), ERR_NOT_FOUND);
    return page;
}

/* It is whole, and what the session sent. */
static void assert_went_whole(struct world *w, const uint8_t *image)
{
    struct entry_page page = proposed(w, 0);
    uint8_t back[WORLD_PAGE] = {0};

    assert_int_not_equal(page.encoding, PAGE_CHANGE);
    assert_int_equal(entry_page_unpack(&page, WORLD_PAGE, back), 0);
    assert_memory_equal(back, image, WORLD_PAGE);
}

static void what_the_file_has_is_the_ground_of_a_change(void **state)
{
    struct world *w = *state;
    struct ground *ground = w->user;
    struct guest *g = guest_owner(w);
    uint8_t image[WORLD_PAGE], back[WORLD_PAGE];
    struct entry_page page;
    struct entry e;

    changed(w, 2, image);
    send_changed(w, g, 2, true);
    assert_int_equal(world_in_flight(w), 1);
    page = proposed(w, 0);
    assert_int_equal(page.encoding, PAGE_CHANGE);
    assert_int_equal(page.number, 2);
    assert_int_equal(ground->asked, 1);
    memcpy(back, ground->images[2], WORLD_PAGE);
    assert_int_equal(entry_page_unpack(&page, WORLD_PAGE, back), 0);
    assert_memory_equal(back, image, WORLD_PAGE);
    /* The checksum is that of the image, not of the change. */
    e = world_peek(w, 0);
    assert_true(e.txn.checksum ==
                (w->db.checksum.sum ^ w->db.checksum.hashes[1] ^
                 page_hash(2, image, WORLD_PAGE)));
}

static void every_part_of_a_large_transaction_has_changes(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);

    send_changed(w, g, 1, false);
    send_changed(w, g, 2, false);
    send_changed(w, g, 3, true);
    assert_int_equal(world_in_flight(w), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(proposed(w, i).encoding, PAGE_CHANGE);
    }
}

/* The same bytes, whatever the file holds by then (fake_env.h compares). */
static void a_change_is_proposed_again_as_it_was(void **state)
{
    struct world *w = *state;
    struct ground *ground = w->user;
    struct guest *g = guest_owner(w);

    send_changed(w, g, 2, true);
    memset(ground->images, 0, sizeof ground->images);
    world_lose_all(w);
    world_lead(w, NODE_THERE);
    assert_int_equal(world_in_flight(w), 1);
    assert_int_equal(proposed(w, 0).encoding, PAGE_CHANGE);
    assert_int_equal(ground->asked, 1);
}

/* A change of it would only fit where the same damage is. */
static void a_page_without_its_hash_is_no_ground(void **state)
{
    struct world *w = *state;
    struct ground *ground = w->user;
    struct guest *g = guest_owner(w);
    uint8_t image[WORLD_PAGE];

    changed(w, 2, image);
    ground->images[2][77] ^= 1;
    send_image(w, g, 2, image, true);
    assert_int_equal(ground->asked, 1);
    assert_went_whole(w, image);
}

static void a_page_that_cannot_be_read_now_goes_whole(void **state)
{
    struct world *w = *state;
    struct ground *ground = w->user;
    struct guest *g = guest_owner(w);
    uint8_t image[WORLD_PAGE];

    changed(w, 2, image);
    ground->busy = true;
    send_changed(w, g, 2, true);
    assert_int_equal(ground->asked, 1);
    assert_went_whole(w, image);
}

static void without_a_file_to_look_into_pages_go_whole(void **state)
{
    struct world *w = *state;
    struct guest *g = guest_owner(w);
    uint8_t image[WORLD_PAGE];

    changed(w, 2, image);
    w->env.page_before = NULL;
    send_changed(w, g, 2, true);
    assert_went_whole(w, image);
}

static void a_new_page_goes_whole(void **state)
{
    struct world *w = *state;
    struct ground *ground = w->user;
    struct guest *g = guest_owner(w);
    uint8_t image[WORLD_PAGE];

    changed(w, PAGES + 1, image);
    send_changed(w, g, PAGES + 1, true);
    assert_int_equal(ground->asked, 0);
    assert_went_whole(w, image);
}

/* The file, and the hashes that tell what is in it, are somewhere else. */
static void a_file_that_is_not_at_the_base_is_no_ground(void **state)
{
    struct world *w = *state;
    struct ground *ground = w->user;
    struct guest *g = guest_owner(w);
    uint8_t image[WORLD_PAGE];

    assert_true(position_equal(&g->session.base, &w->db.applied));
    changed(w, 2, image);
    w->db.applied.hash ^= 1;
    send_changed(w, g, 2, true);
    assert_int_equal(ground->asked, 0);
    assert_went_whole(w, image);
    w->db.applied.hash ^= 1;
}

/* A job may write the WAL back, and start it over; and somebody else's writes
 * are not in our hashes. */
static void a_file_is_not_looked_into_beside_a_job(void **state)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct database db = {.job = NULL};
    uint8_t image[4096], *bytes;
    size_t len;

    (void)state;
    make_folder(folder);
    join(path, folder, "main.db");
    make_database(path, 4096, "CREATE TABLE t(a)");
    bytes = slurp(path, &len);
    assert_false(applier_page(NULL, &db, 2, image));
    assert_int_equal(apply_open(path, &db.apply), 0);
    assert_true(applier_page(NULL, &db, 2, image));
    assert_memory_equal(image, bytes + 4096, sizeof image);
    db.job = &db;
    assert_false(applier_page(NULL, &db, 2, image));
    db.job_beside = true;
    assert_false(applier_page(NULL, &db, 2, image));
    db.job = NULL;
    db.job_beside = false;
    db.look_again = true;
    assert_false(applier_page(NULL, &db, 2, image));
    db.look_again = false;
    assert_true(applier_page(NULL, &db, 2, image));
    assert_int_equal(apply_close(db.apply, false), 0);
    free(bytes);
    drop_folder(folder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_file_has_is_the_ground_of_a_change),
        TEST(every_part_of_a_large_transaction_has_changes),
        TEST(a_change_is_proposed_again_as_it_was),
        TEST(a_page_without_its_hash_is_no_ground),
        TEST(a_page_that_cannot_be_read_now_goes_whole),
        TEST(without_a_file_to_look_into_pages_go_whole),
        TEST(a_new_page_goes_whole),
        TEST(a_file_that_is_not_at_the_base_is_no_ground),
        cmocka_unit_test(a_file_is_not_looked_into_beside_a_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
