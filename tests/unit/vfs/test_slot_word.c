/* The slot word between a session and its node, and between two processes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vfs/slot_word.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ME 7u
#define OTHER 8u

struct fixture {
    char folder[64];
    char path[96];
    int fd;
    struct slot_page *page;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->folder, sizeof f->folder, "/tmp/marmot-slot-XXXXXX");
    if (mkdtemp(f->folder) == NULL) {
        return -1;
    }
    snprintf(f->path, sizeof f->path, "%s/slot", f->folder);
    f->fd = slot_page_open(f->path, true, &f->page);
    if (f->fd >= 0) {
        slot_allow(f->page, 100);
    }
    *state = f;
    return f->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    slot_page_close(f->fd, f->page);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void a_slot_that_is_left_is_kept_and_can_be_taken_again(void **state)
{
    struct fixture *f = *state;

    slot_grant(f->page, ME);
    assert_false(slot_is_kept(f->page, ME));
    assert_false(slot_leave(f->page, ME, true));
    assert_true(slot_is_kept(f->page, ME));
    assert_int_equal(slot_state_of(f->page, ME), SLOT_KEPT);
    assert_int_equal(slot_state_of(f->page, OTHER), SLOT_FREE);
    assert_false(slot_retake(f->page, OTHER, 1));
    assert_true(slot_retake(f->page, ME, 1));
    assert_false(slot_retake(f->page, ME, 1));
    assert_int_equal(slot_state_of(f->page, ME), SLOT_OWNED);
}

static void a_slot_is_kept_for_a_time_only(void **state)
{
    struct fixture *f = *state;

    slot_grant(f->page, ME);
    slot_leave(f->page, ME, true);
    assert_false(slot_retake(f->page, ME, 100));
    slot_allow(f->page, 200);
    assert_true(slot_retake(f->page, ME, 199));
}

static void a_kept_slot_is_taken_back_once(void **state)
{
    struct fixture *f = *state;

    slot_grant(f->page, ME);
    slot_leave(f->page, ME, true);
    assert_int_equal(slot_take_back(f->page, ME), SLOT_TAKEN);
    assert_int_equal(slot_take_back(f->page, ME), SLOT_LEFT);
    assert_false(slot_retake(f->page, ME, 1));
}

static void a_wanted_slot_is_freed_and_told(void **state)
{
    struct fixture *f = *state;

    slot_grant(f->page, ME);
    assert_int_equal(slot_take_back(f->page, ME), SLOT_HELD);
    assert_int_equal(slot_take_back(f->page, ME), SLOT_HELD);
    assert_int_equal(slot_state_of(f->page, ME), SLOT_OWNED);
    assert_true(slot_leave(f->page, ME, true));
    assert_false(slot_leave(f->page, ME, true));
    assert_int_equal(slot_state_of(f->page, ME), SLOT_FREE);
}

static void without_keep_it_is_freed_and_told(void **state)
{
    struct fixture *f = *state;

    slot_grant(f->page, ME);
    assert_true(slot_leave(f->page, ME, false));
    assert_false(slot_retake(f->page, ME, 1));
}

static void what_another_session_has_is_left_alone(void **state)
{
    struct fixture *f = *state;

    slot_grant(f->page, OTHER);
    assert_false(slot_leave(f->page, ME, true));
    assert_int_equal(slot_take_back(f->page, ME), SLOT_LEFT);
    assert_int_equal(slot_state_of(f->page, OTHER), SLOT_OWNED);
}

static void a_record_names_its_transaction(void **state)
{
    struct fixture *f = *state;
    struct wal_state in = {.frame = 12, .cksum = {3, 4}}, out;

    slot_record(f->page, 5, &in);
    assert_false(slot_recorded(f->page, 4, &out));
    assert_true(slot_recorded(f->page, 5, &out));
    assert_int_equal(out.frame, 12);
    assert_int_equal(out.cksum[1], 4);
}

static void a_file_that_is_too_short_is_refused(void **state)
{
    struct fixture *f = *state;
    struct slot_page *page;

    assert_int_equal(truncate(f->path, 100), 0);
    assert_int_equal(slot_page_open(f->path, false, &page), -EINVAL);
    unlink(f->path);
    assert_int_equal(slot_page_open(f->path, false, &page), -ENOENT);
}

/* A process that holds the byte of session ME until it is told to end. */
static pid_t live(const struct fixture *f, int *tell)
{
    int ready[2], end[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready) + pipe(end), 0);
    pid = fork();
    if (pid == 0) {
        struct slot_page *page;
        int fd = slot_page_open(f->path, false, &page);
        close(end[1]);
        if (fd < 0 || slot_session_begin(fd, ME) != 0 ||
            write(ready[1], "", 1) != 1 || read(end[0], &byte, 1) > 0) {
            _exit(1);
        }
        _exit(0);
    }
    close(ready[1]);
    close(end[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *tell = end[1];
    return pid;
}

static void a_session_lives_as_long_as_its_process(void **state)
{
    struct fixture *f = *state;
    int tell;
    pid_t pid = live(f, &tell);

    assert_true(slot_session_lives(f->fd, ME));
    assert_false(slot_session_lives(f->fd, OTHER));
    close(tell);
    waitpid(pid, NULL, 0);
    assert_false(slot_session_lives(f->fd, ME));
}

/* The session keeps leaving and taking; the node keeps taking it back and
 * granting it. Whoever has it is alone: a plain counter loses nothing. */
static void session_and_node_never_have_it_both(void **state)
{
    struct fixture *f = *state;
    volatile uint64_t *counter = &f->page->record.txid;
    uint64_t taken = 0;
    const uint64_t rounds = 20000;
    int status;
    pid_t pid;

    slot_grant(f->page, ME);
    slot_leave(f->page, ME, true);
    pid = fork();
    if (pid == 0) {
        struct slot_page *page;
        if (slot_page_open(f->path, false, &page) < 0) {
            _exit(1);
        }
        for (uint64_t n = 0; n < rounds;) {
            if (slot_retake(page, ME, 1)) {
                page->record.txid++;
                slot_leave(page, ME, true);
                n++;
            }
        }
        _exit(0);
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        enum slot_claim got = slot_take_back(f->page, ME);
        if (got != SLOT_HELD) {
            (*counter)++;
            taken++;
            slot_grant(f->page, ME);
            slot_leave(f->page, ME, true);
        }
    }
    assert_int_equal(status, 0);
    assert_true(taken > 0);
    assert_int_equal(*counter, rounds + taken);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_slot_that_is_left_is_kept_and_can_be_taken_again),
        TEST(a_slot_is_kept_for_a_time_only),
        TEST(a_kept_slot_is_taken_back_once),
        TEST(a_wanted_slot_is_freed_and_told),
        TEST(without_keep_it_is_freed_and_told),
        TEST(what_another_session_has_is_left_alone),
        TEST(a_record_names_its_transaction),
        TEST(a_file_that_is_too_short_is_refused),
        TEST(a_session_lives_as_long_as_its_process),
        TEST(session_and_node_never_have_it_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
