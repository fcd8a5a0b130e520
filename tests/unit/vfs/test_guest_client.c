/* One session's conversation with its node, good and bad. */
#include "base/clock.h"
#include "base/err.h"
#include "tests/unit/vfs/guest_fixture.h"
#include "vfs/guest_client.h"

static const struct session_hello hello = {.dev = 7, .inode = 8, .pid = 9};
static const uint8_t image[1024];
static const struct proposal_page one_page[] = {{1, 1, image}};
static const struct proposal small = {.page_size = 1024,
                                      .db_pages = 1,
                                      .count = 1,
                                      .pages = one_page};

struct talk {
    struct fixture *f;
    struct guest_client c;
};

static struct talk *talk_new(void)
{
    struct talk *t = calloc(1, sizeof *t);

    t->f = fixture_empty();
    serve(t->f);
    guest_client_init(&t->c, t->f->node.path);
    return t;
}

static void talk_free(struct talk *t)
{
    guest_client_close(&t->c);
    fixture_free(t->f);
    free(t);
}

static int lock(struct talk *t)
{
    struct position position;

    return guest_client_lock(&t->c, &hello, &position);
}

static void it_connects_at_the_first_question(void **state)
{
    struct talk *t = talk_new();
    struct position position;

    (void)state;
    t->f->node.txid = 42;
    assert_int_equal(t->c.fd, -1);
    assert_int_equal(guest_client_lock(&t->c, &hello, &position), 0);
    assert_int_equal(position.txid, 42);
    assert_int_equal(t->f->node.hello.inode, 8);
    assert_true(t->c.fd > 2);
    assert_int_equal(guest_client_propose(&t->c, &small), 0);
    talk_free(t);
}

static void bytes_that_are_no_message_end_the_connection(void **state)
{
    static const char zeros[64];
    struct talk *t = talk_new();

    (void)state;
    FAKE(&t->f->node, t->f->node.raw = zeros; t->f->node.raw_len = 64);
    assert_int_not_equal(lock(t), 0);
    assert_int_equal(t->c.fd, -1);
    FAKE(&t->f->node, t->f->node.raw = NULL);
    assert_int_equal(lock(t), 0);
    talk_free(t);
}

static void a_node_of_another_version_is_told_apart(void **state)
{
    static const char future[16] = {8, 0, 0, 0, 99, SESSION_GRANT};
    struct talk *t = talk_new();

    (void)state;
    FAKE(&t->f->node, t->f->node.raw = future; t->f->node.raw_len = 16);
    assert_int_equal(lock(t), ERR_VERSION);
    assert_non_null(strstr(t->c.text, "version"));
    talk_free(t);
}

static void an_answer_that_makes_no_sense_ends_the_connection(void **state)
{
    static const char welcome[40] = {32, 0, 0, 0, 1, SESSION_WELCOME};
    struct talk *t = talk_new();

    (void)state;
    FAKE(&t->f->node, t->f->node.raw = welcome; t->f->node.raw_len = 40);
    assert_int_equal(lock(t), ERR_NOT_FOUND);
    assert_int_equal(t->c.fd, -1);
    talk_free(t);
}

static void a_grant_that_crosses_the_park_is_taken(void **state)
{
    struct talk *t = talk_new();

    (void)state;
    FAKE(&t->f->node, t->f->node.grant_on_park = true);
    assert_int_equal(lock(t), 0);
    assert_true(guest_client_alive(&t->c));
    assert_int_equal(guest_client_propose(&t->c, &small), 0);
    guest_client_unlock(&t->c, UNLOCK_NOTHING, NULL, true);
    assert_false(guest_client_alive(&t->c));
    talk_free(t);
}

static void an_answer_too_many_is_not_taken_for_the_next_one(void **state)
{
    struct talk *t = talk_new();
    char text[TEXT_MAX + 1];
    bool ok;

    (void)state;
    FAKE(&t->f->node, t->f->node.stray = true);
    assert_int_equal(lock(t), ERR_BUSY);
    assert_false(t->c.parked);
    FAKE(&t->f->node, t->f->node.stray = false);
    assert_int_equal(
        guest_client_ask(&t->c, &hello, SESSION_STATUS, NULL, text, &ok), 0);
    assert_string_equal(text, "role=fake");
    assert_int_equal(lock(t), 0);
    talk_free(t);
}

static void a_commit_without_an_answer_is_unknown_in_the_end(void **state)
{
    struct talk *t = talk_new();
    uint64_t start;

    (void)state;
    t->c.answer_ms = 100;
    FAKE(&t->f->node, t->f->node.answer = FAKE_SILENCE);
    assert_int_equal(lock(t), 0);
    start = clock_ms();
    assert_int_equal(guest_client_propose(&t->c, &small), ERR_UNKNOWN_OUTCOME);
    assert_in_range(clock_ms() - start, 95, 5000);
    assert_int_equal(t->c.fd, -1);
    assert_int_equal(guest_client_propose(&t->c, &small), ERR_CLOSED);
    talk_free(t);
}

/* The answer to a commit is lost; the same node is there, but for `breaks`
 * questions. Returns what the session is told in the end. */
static int lose_answer(struct talk *t, enum fake_answer answer, uint8_t resume,
                       unsigned breaks)
{
    FAKE(&t->f->node, t->f->node.answer = answer; t->f->node.resume = resume;
         t->f->node.resume_breaks = breaks);
    return guest_client_propose(&t->c, &small);
}

static void a_question_that_breaks_off_is_asked_again(void **state)
{
    struct talk *t = talk_new();

    (void)state;
    assert_int_equal(lock(t), 0);
    assert_int_equal(lose_answer(t, FAKE_COMMIT_HANG_UP, SESSION_COMMITTED, 3),
                     0);
    assert_int_equal(t->f->node.resumes, 4);
    assert_int_equal(t->f->node.resumed.token.session, 1);
    assert_int_equal(t->f->node.resumed.token.sequence, 1);
    assert_int_equal(t->c.base.txid, 1);
    assert_int_equal(t->c.base.hash, ~1ull);
    talk_free(t);
}

static void a_question_without_an_answer_is_unknown_at_the_deadline(
    void **state)
{
    struct talk *t = talk_new();
    uint64_t start;

    (void)state;
    t->c.answer_ms = 200;
    t->f->node.resume_silent = true;
    assert_int_equal(lock(t), 0);
    start = clock_ms();
    assert_int_equal(lose_answer(t, FAKE_COMMIT_HANG_UP, 0, 0),
                     ERR_UNKNOWN_OUTCOME);
    assert_in_range(clock_ms() - start, 195, 5000);
    FAKE(&t->f->node, assert_int_equal(t->f->node.resumes, 1));
    assert_int_equal(t->c.fd, -1);
    talk_free(t);
}

static void a_node_that_takes_no_session_is_unknown_at_the_deadline(
    void **state)
{
    struct talk *t = talk_new();
    uint64_t start;

    (void)state;
    t->c.answer_ms = 200;
    assert_int_equal(lock(t), 0);
    FAKE(&t->f->node, t->f->node.never_connect = true);
    start = clock_ms();
    assert_int_equal(lose_answer(t, FAKE_HANG_UP, 0, 0), ERR_UNKNOWN_OUTCOME);
    assert_in_range(clock_ms() - start, 195, 5000);
    assert_int_equal(t->f->node.resumes, 0);
    assert_non_null(strstr(t->c.text, "went away"));
    talk_free(t);
}

/* What the node sees of the slot after a commit whose answer was lost. */
static void slot_after(enum fake_answer answer, uint8_t resume, int expected)
{
    const struct wal_state published = {.frame = 5};
    struct talk *t = talk_new();
    char path[sizeof t->f->node.path + 8];
    struct slot_page *page;
    struct wal_state state;
    int fd;

    snprintf(path, sizeof path, "%s" SLOT_SUFFIX, t->f->node.path);
    fd = slot_page_open(path, true, &page);
    assert_true(fd >= 0);
    assert_int_equal(lock(t), 0);
    slot_grant(page, 1);
    assert_int_equal(lose_answer(t, answer, resume, 0), expected);
    assert_int_equal(slot_state_of(page, 1), SLOT_OWNED);
    guest_client_unlock(&t->c,
                        expected == 0 ? UNLOCK_PUBLISHED : UNLOCK_NOTHING,
                        expected == 0 ? &published : NULL, true);
    /* Not kept: it was that of a session which is over. */
    assert_int_equal(slot_state_of(page, 1), SLOT_FREE);
    assert_int_equal(t->c.fd, -1);
    assert_int_equal(slot_recorded(page, 1, &state), expected == 0);
    assert_true(expected != 0 || state.frame == 5);
    assert_int_equal(lock(t), 0);
    assert_int_equal(t->c.session, 3);
    FAKE(&t->f->node, t->f->node.answer = FAKE_COMMIT);
    assert_int_equal(guest_client_propose(&t->c, &small), 0);
    slot_page_close(fd, page);
    talk_free(t);
}

static void the_slot_is_given_back_whatever_became_of_a_resumed_commit(
    void **state)
{
    (void)state;
    slot_after(FAKE_COMMIT_HANG_UP, SESSION_COMMITTED, 0);
    slot_after(FAKE_HANG_UP, SESSION_CONFLICT, ERR_CONFLICT);
    slot_after(FAKE_HANG_UP, SESSION_UNKNOWN, ERR_UNKNOWN_OUTCOME);
}

/* Pages for several messages, one of which the node does not live to see. */
static void a_proposal_that_was_cut_short_surely_failed(void **state)
{
    struct talk *t = talk_new();
    struct proposal_page *pages = calloc(8192, sizeof *pages);
    struct proposal p = {
        .page_size = 1024, .db_pages = 8192, .count = 8192, .pages = pages};

    (void)state;
    for (uint32_t i = 0; i < p.count; i++) {
        pages[i] = (struct proposal_page){i + 1, 0, image};
    }
    FAKE(&t->f->node, t->f->node.hang_up_at = 2);
    assert_int_equal(lock(t), 0);
    assert_int_equal(guest_client_propose(&t->c, &p), ERR_CLOSED);
    assert_int_equal(lock(t), 0);
    FAKE(&t->f->node, t->f->node.parts = 0; t->f->node.hang_up_at = 0);
    assert_int_equal(guest_client_propose(&t->c, &p), 0);
    assert_int_equal(t->f->node.parts, 8);
    assert_int_equal(t->f->node.pages, 8192);
    free(pages);
    talk_free(t);
}

static int read_failing(void *arg, uint32_t frame, uint8_t *bytes)
{
    (void)arg;
    (void)frame;
    (void)bytes;
    return ERR_IO;
}

static void an_image_that_cannot_be_read_back_fails_the_commit(void **state)
{
    static const struct proposal_page unread[] = {{1, 1, NULL}};
    static const struct proposal p = {.page_size = 1024,
                                      .db_pages = 1,
                                      .count = 1,
                                      .pages = unread,
                                      .read = read_failing};
    struct talk *t = talk_new();

    (void)state;
    assert_int_equal(lock(t), 0);
    assert_int_equal(guest_client_propose(&t->c, &p), ERR_IO);
    assert_int_equal(t->f->node.proposals, 0);
    talk_free(t);
}

static void a_transaction_above_the_limit_is_not_sent(void **state)
{
    uint32_t count = (uint32_t)(TXN_BYTES_MAX / 65536) + 1;
    struct proposal p = {.page_size = 65536, .db_pages = count, .count = count};
    struct talk *t = talk_new();

    (void)state;
    assert_int_equal(lock(t), 0);
    assert_int_equal(guest_client_propose(&t->c, &p), ERR_FULL);
    assert_int_equal(t->f->node.parts, 0);
    assert_true(guest_client_alive(&t->c));
    talk_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_connects_at_the_first_question),
        cmocka_unit_test(bytes_that_are_no_message_end_the_connection),
        cmocka_unit_test(a_node_of_another_version_is_told_apart),
        cmocka_unit_test(an_answer_that_makes_no_sense_ends_the_connection),
        cmocka_unit_test(a_grant_that_crosses_the_park_is_taken),
        cmocka_unit_test(an_answer_too_many_is_not_taken_for_the_next_one),
        cmocka_unit_test(a_commit_without_an_answer_is_unknown_in_the_end),
        cmocka_unit_test(a_question_that_breaks_off_is_asked_again),
        cmocka_unit_test(
            a_question_without_an_answer_is_unknown_at_the_deadline),
        cmocka_unit_test(
            a_node_that_takes_no_session_is_unknown_at_the_deadline),
        cmocka_unit_test(
            the_slot_is_given_back_whatever_became_of_a_resumed_commit),
        cmocka_unit_test(a_proposal_that_was_cut_short_surely_failed),
        cmocka_unit_test(an_image_that_cannot_be_read_back_fails_the_commit),
        cmocka_unit_test(a_transaction_above_the_limit_is_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
