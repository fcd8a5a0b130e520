#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "node/roster.h"

static char folder[64], path[96];
static struct roster from, to;
static char why[512];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/marmot-roster-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/members", folder);
    memset(&from, 0, sizeof from);
    from.cluster.b[0] = 0xab;
    from.store.b[15] = 1;
    from.shards = 16;
    from.n = 2;
    from.members[0] = (struct member_info){.id = 1, .address = "[::1]:8610"};
    from.members[1] = (struct member_info){
        .id = UINT64_MAX, .address = "b.example:1", .replica = true};
    from.members[1].store.b[3] = 0xff;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int read_back(void)
{
    why[0] = '\0';
    return roster_read(folder, &to, why, sizeof why);
}

static void write_text(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    assert_int_equal(roster_write(folder, &from), 0);
    assert_int_equal(read_back(), 0);
    assert_memory_equal(&to, &from, sizeof to);
    from.joining = true;
    from.n = 0;
    memset(from.members, 0, sizeof from.members);
    assert_int_equal(roster_write(folder, &from), 0);
    assert_int_equal(read_back(), 0);
    assert_memory_equal(&to, &from, sizeof to);
}

static void a_full_one_is_read(void **state)
{
    (void)state;
    from.n = NODES_MAX;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        struct member_info *m = &from.members[i];
        m->id = i + 1;
        memset(m->address, 'h', ADDRESS_MAX - 1);
        memcpy(m->address + ADDRESS_MAX - 4, ":12", 4);
    }
    assert_int_equal(roster_write(folder, &from), 0);
    assert_int_equal(read_back(), 0);
    assert_memory_equal(&to, &from, sizeof to);
}

static void without_a_file_there_is_none(void **state)
{
    (void)state;
    assert_int_equal(read_back(), ERR_NOT_FOUND);
}

#define ID "00000000-0000-0000-0000-000000000001"
#define HEAD "cluster " ID "\nshards 4\nstore " ID "\n"

static void a_damaged_file_is_named(void **state)
{
    static const char *const bad[] = {
        "",
        "nonsense\n",
        HEAD "more\n",
        "cluster " ID "\nshards 4\n",
        HEAD "node 1 king " ID " a:1\n",
        HEAD "node 0 voter " ID " a:1\n",
        HEAD "node 1 voter " ID " a\n",
        HEAD "node 1 voter 1234 a:1\n",
        HEAD "node 1 voter " ID "\n",
        "shards 100000\nstore " ID "\n",
        "cluster " ID "\nstore " ID "\nnode 1 voter " ID " a:1\n",
        "cluster xyz\nshards 4\nstore " ID "\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text(bad[i]);
        assert_int_equal(read_back(), ERR_CORRUPT);
        assert_non_null(strstr(why, "members is damaged"));
    }
    write_text(HEAD "node 1 voter " ID " a:1\n");
    assert_int_equal(read_back(), 0);
}

static void one_node_more_than_there_is_room_for_is_damage(void **state)
{
    FILE *f;

    (void)state;
    from.n = NODES_MAX;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        from.members[i] = (struct member_info){.id = i + 1, .address = "a:1"};
    }
    assert_int_equal(roster_write(folder, &from), 0);
    f = fopen(path, "a");
    assert_non_null(f);
    fputs("node 999 voter " ID " a:1\n", f);
    fclose(f);
    assert_int_equal(read_back(), ERR_CORRUPT);
}

static void a_failed_write_leaves_the_old_one(void **state)
{
    (void)state;
    assert_int_equal(roster_write(folder, &from), 0);
    assert_int_not_equal(roster_write("/nowhere/at/all", &from), 0);
    assert_int_equal(read_back(), 0);
    assert_int_equal(to.n, 2);
}

static void a_removed_one_is_gone(void **state)
{
    (void)state;
    assert_int_equal(roster_write(folder, &from), 0);
    roster_remove(folder);
    assert_int_equal(read_back(), ERR_NOT_FOUND);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(what_was_written_is_read),
        in_folder(a_full_one_is_read),
        in_folder(without_a_file_there_is_none),
        in_folder(a_damaged_file_is_named),
        in_folder(one_node_more_than_there_is_room_for_is_damage),
        in_folder(a_failed_write_leaves_the_old_one),
        in_folder(a_removed_one_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
