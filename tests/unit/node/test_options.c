/* The command line: every flag, its default, and what is said of bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/options.h"

#define ARGS_MAX 200

struct line {
    struct options o;
    char why[1024];
    int rv;
};

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct line));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct line *l = *state;

    options_close(&l->o);
    free(l);
    return 0;
}

/* Parse words that are separated by spaces. */
static int parse(struct line *l, const char *words)
{
    char *argv[ARGS_MAX + 2] = {(char *)"marmot"};
    char *copy = strdup(words), *rest = copy, *word;
    int argc = 1;

    assert_non_null(copy);
    while ((word = strsep(&rest, " ")) != NULL) {
        assert_true(argc <= ARGS_MAX);
        argv[argc++] = word;
    }
    options_close(&l->o);
    l->why[0] = '\0';
    l->rv = options_parse(&l->o, argc, argv, l->why, sizeof l->why);
    free(copy);
    return l->rv;
}

static void good(struct line *l, const char *words)
{
    if (parse(l, words) != 0) {
        fail_msg("%s: %s", words, l->why);
    }
    assert_string_equal(l->why, "");
}

/* Refused, in one line that holds `part`. */
static void bad(struct line *l, const char *words, const char *part)
{
    if (parse(l, words) == 0) {
        fail_msg("accepted: %s", words);
    }
    assert_int_equal(l->rv, -1);
    if (strstr(l->why, part) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", words, l->why, part);
    }
    assert_null(strchr(l->why, '\n'));
}

/* A flag with a value of `len` letters. */
static char *with_long(const char *before, size_t len, const char *after)
{
    size_t room = strlen(before) + len + strlen(after) + 1;
    char *out = malloc(room);

    assert_non_null(out);
    snprintf(out, room, "%s%*s%s", before, (int)len, "", after);
    for (char *at = out + strlen(before); *at == ' ' && len > 0; at++, len--) {
        *at = 'x';
    }
    return out;
}

/* ---- what is given ------------------------------------------------------- */

static void without_flags_everything_has_the_documented_default(void **state)
{
    struct line *l = *state;

    good(l, "-node-id 7");
    assert_int_equal(l->o.node_id, 7);
    assert_int_equal(l->o.n_dbs, 1);
    assert_string_equal(l->o.dbs[0].path, "/tmp/marmot.db");
    assert_string_equal(l->o.dbs[0].name, "main");
    assert_true(l->o.default_path);
    assert_string_equal(l->o.bind, "127.0.0.1:8610");
    assert_string_equal(l->o.advertise, "127.0.0.1:8610");
    assert_int_equal(l->o.shards, 16);
    assert_string_equal(l->o.raft_path, "/tmp/marmot.db-raft");
    assert_int_equal(l->o.max_log_bytes, 16 << 20);
    assert_int_equal(l->o.max_log_entries, 16384);
    assert_int_equal(l->o.image_rate, 0);
    assert_int_equal(l->o.scrub_hours, 24);
    assert_string_equal(l->o.pane, "localhost:6010");
    assert_false(l->o.replica || l->o.verbose || l->o.cleanup ||
                 l->o.insecure || l->o.accept_cluster_copy || l->o.help ||
                 l->o.pane_given || l->o.replicate_given);
    assert_int_equal(l->o.n_members, 1);
    assert_int_equal(l->o.members[0].id, 7);
    assert_string_equal(l->o.members[0].address, "127.0.0.1:8610");
    assert_false(l->o.members[0].replica);
}

static void every_flag_is_taken(void **state)
{
    struct line *l = *state;

    good(l,
         "-node-id 3 -db-path /a.db -db-path two=/b.db -bind 10.0.0.3:99 "
         "-insecure -advertise host-3:100 "
         "-bootstrap 1@host-1:8610,2@host-2:8610/replica -role voter "
         "-shards 4 -raft-path /raft -max-log-bytes 2097152 "
         "-image-rate 1000000 -scrub-hours 6 "
         "-accept-cluster-copy -bind-pane 0.0.0.0:6001 -replicate t1,t2 "
         "-verbose");
    assert_int_equal(l->o.node_id, 3);
    assert_int_equal(l->o.n_dbs, 2);
    assert_string_equal(l->o.dbs[0].name, "main");
    assert_string_equal(l->o.dbs[0].path, "/a.db");
    assert_string_equal(l->o.dbs[1].name, "two");
    assert_string_equal(l->o.dbs[1].path, "/b.db");
    assert_false(l->o.default_path);
    assert_string_equal(l->o.bind, "10.0.0.3:99");
    assert_string_equal(l->o.advertise, "host-3:100");
    assert_false(l->o.replica);
    assert_int_equal(l->o.shards, 4);
    assert_string_equal(l->o.raft_path, "/raft");
    assert_int_equal(l->o.max_log_bytes, 2097152);
    assert_int_equal(l->o.image_rate, 1000000);
    assert_int_equal(l->o.scrub_hours, 6);
    assert_true(l->o.accept_cluster_copy);
    assert_true(l->o.insecure);
    assert_int_equal(l->o.n_members, 3);
    assert_string_equal(l->o.members[2].address, "host-3:100"); /* ourselves */
    assert_string_equal(l->o.pane, "0.0.0.0:6001");
    assert_true(l->o.pane_given);
    assert_true(l->o.replicate_given);
    assert_true(l->o.verbose);
}

static void one_or_two_dashes_equals_or_a_space(void **state)
{
    static const char *const ways[] = {"-node-id 5", "--node-id 5",
                                       "-node-id=5", "--node-id=5"};
    struct line *l = *state;

    for (size_t i = 0; i < 4; i++) {
        good(l, ways[i]);
        assert_int_equal(l->o.node_id, 5);
    }
}

static void switches_take_true_and_false(void **state)
{
    static const struct {
        const char *words;
        bool on;
    } ways[] = {{"-node-id 1 -verbose", true},
                {"-node-id 1 -verbose=true", true},
                {"-node-id 1 -verbose=1", true},
                {"-node-id 1 -verbose=false", false},
                {"-node-id 1 -verbose=0", false},
                {"-node-id 1 -verbose -verbose=false", false}};
    struct line *l = *state;

    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        good(l, ways[i].words);
        assert_int_equal(l->o.verbose, ways[i].on);
    }
    bad(l, "-node-id 1 -verbose=maybe", "-verbose maybe: must be true");
    bad(l, "-node-id 1 -insecure=2", "-insecure 2: must be true");
    bad(l, "-node-id 1 -cleanup=yes", "-cleanup yes: must be true");
    bad(l, "-node-id 1 -accept-cluster-copy=no",
        "-accept-cluster-copy no: must be true");
}

static void help_needs_nothing_else_and_lists_every_flag(void **state)
{
    static const char *const flags[] = {
        "-db-path",       "-node-id",   "-bind",    "-advertise",
        "-bootstrap",     "-role",      "-shards",  "-raft-path",
        "-max-log-bytes", "-insecure",  "-cleanup", "-accept-cluster-copy",
        "-bind-pane",     "-replicate", "-verbose", "-image-rate",
        "-scrub-hours"};
    struct line *l = *state;

    good(l, "-help");
    assert_true(l->o.help);
    good(l, "--help");
    assert_true(l->o.help);
    good(l, "-h");
    assert_true(l->o.help);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        assert_non_null(strstr(options_help, flags[i]));
    }
}

static void the_original_s_commands_are_understood(void **state)
{
    struct line *l = *state;

    good(l,
         "-bootstrap 2@127.0.0.1:8162 -bind 127.0.0.1:8161 "
         "-bind-pane localhost:6001 -node-id 1 -db-path /tmp/cache-1.db");
    assert_int_equal(l->o.n_members, 2);
    assert_string_equal(l->o.raft_path, "/tmp/cache-1.db-raft");
}

static void members_are_sorted_by_id_with_this_node_among_them(void **state)
{
    struct line *l = *state;

    good(l,
         "-node-id 5 -bind 127.0.0.1:5 -role replica "
         "-bootstrap 9@h:9,2@h:2/replica,7@h:7,1@h:1");
    assert_int_equal(l->o.n_members, 5);
    for (unsigned i = 1; i < 5; i++) {
        assert_true(l->o.members[i - 1].id < l->o.members[i].id);
    }
    assert_true(l->o.replica);
    assert_string_equal(l->o.members[2].address, "127.0.0.1:5");
    assert_true(l->o.members[2].replica);
    assert_true(l->o.members[1].replica);
    assert_false(l->o.members[0].replica);
    assert_string_equal(l->o.members[4].address, "h:9");
}

static void a_bootstrap_may_come_in_pieces_and_with_empty_ones(void **state)
{
    struct line *l = *state;

    good(l, "-node-id 1 -bootstrap ,2@h:2,,3@h:3, -bootstrap 4@h:4");
    assert_int_equal(l->o.n_members, 4);
    good(l, "-node-id 1 -bootstrap=");
    assert_int_equal(l->o.n_members, 1);
}

static void addresses_may_be_names_or_either_kind_of_number(void **state)
{
    struct line *l = *state;

    good(l, "-node-id 1 -bind localhost:1");
    good(l, "-node-id 1 -bind 127.0.0.2:65535");
    good(l, "-node-id 1 -bind [::1]:8610");
    assert_string_equal(l->o.advertise, "[::1]:8610");
}

static void a_path_with_an_equals_sign_behind_a_slash_is_no_name(void **state)
{
    struct line *l = *state;

    good(l, "-node-id 1 -db-path /data/x=y.db");
    assert_string_equal(l->o.dbs[0].name, "main");
    assert_string_equal(l->o.dbs[0].path, "/data/x=y.db");
    good(l, "-node-id 1 -db-path a.B_9-=/data/x=y.db");
    assert_string_equal(l->o.dbs[0].name, "a.B_9-");
    good(l, "-node-id 1 -db-path relative.db");
    assert_string_equal(l->o.raft_path, "relative.db-raft");
}

static void cleanup_asks_for_no_cluster(void **state)
{
    struct line *l = *state;

    good(l, "-cleanup -db-path /a.db");
    assert_true(l->o.cleanup);
    assert_string_equal(l->o.raft_path, "/a.db-raft");
    good(l, "-cleanup -db-path /a.db -raft-path /r");
    assert_string_equal(l->o.raft_path, "/r");
}

/* ---- what is refused ----------------------------------------------------- */

static void a_node_id_is_required_and_positive(void **state)
{
    struct line *l = *state;

    bad(l, "-db-path /a.db", "-node-id is required");
    bad(l, "-node-id 0", "-node-id 0: must be a number from 1");
    bad(l, "-node-id -1", "-node-id -1: must be a number");
    bad(l, "-node-id -18446744073709551615", "must be a number"); /* wraps */
    bad(l, "-node-id one", "-node-id one: must be a number");
    bad(l, "-node-id 1x", "-node-id 1x: must be a number");
    bad(l, "-node-id=", "-node-id : must be a number");
    bad(l, "-node-id 9223372036854775808", "must be a number");
    bad(l, "-node-id 99999999999999999999", "must be a number");
    good(l, "-node-id 9223372036854775807");
    assert_int_equal(l->o.node_id, INT64_MAX);
}

static void numbers_have_bounds(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -shards 0", "-shards 0: must be a number from 1 to");
    bad(l, "-node-id 1 -shards 1025", "from 1 to 1024");
    bad(l, "-node-id 1 -shards many", "-shards many");
    good(l, "-node-id 1 -shards 1024");
    assert_int_equal(l->o.shards, SHARDS_MAX);
    good(l, "-node-id 1 -shards 1");
    bad(l, "-node-id 1 -max-log-bytes 1048575", "-max-log-bytes 1048575");
    bad(l, "-node-id 1 -max-log-bytes 1GiB", "-max-log-bytes 1GiB");
    good(l, "-node-id 1 -max-log-bytes 1048576");
    assert_int_equal(l->o.max_log_bytes, 1048576);
    bad(l, "-node-id 1 -image-rate 65535", "-image-rate 65535");
    bad(l, "-node-id 1 -image-rate 0", "-image-rate 0");
    good(l, "-node-id 1 -image-rate 65536");
    bad(l, "-node-id 1 -scrub-hours 8761", "-scrub-hours 8761");
    good(l, "-node-id 1 -scrub-hours 0");
    assert_int_equal(l->o.scrub_hours, 0);
}

static void addresses_need_a_port(void **state)
{
    static const char *const flags[] = {"bind", "advertise", "bind-pane"};
    struct line *l = *state;
    char words[128], flag[32];

    for (size_t i = 0; i < 3; i++) {
        snprintf(flag, sizeof flag, "-%s ", flags[i]);
        snprintf(words, sizeof words, "-node-id 1 -%s localhost", flags[i]);
        bad(l, words, flag);
        bad(l, words, "must be HOST:PORT");
        snprintf(words, sizeof words, "-node-id 1 -%s localhost:", flags[i]);
        bad(l, words, flag);
        snprintf(words, sizeof words, "-node-id 1 -%s localhost:0", flags[i]);
        bad(l, words, "from 1 to 65535");
        snprintf(words, sizeof words, "-node-id 1 -%s h:65536", flags[i]);
        bad(l, words, "from 1 to 65535");
        snprintf(words, sizeof words, "-node-id 1 -%s h:http", flags[i]);
        bad(l, words, "from 1 to 65535");
    }
}

static void the_pane_may_be_left_out(void **state)
{
    struct line *l = *state;

    good(l, "-node-id 1");
    assert_string_equal(l->o.pane, "localhost:6010");
    assert_false(l->o.pane_given);
    assert_false(l->o.pane_compat);
    good(l, "-node-id 1 -bind-pane none -pane-compat");
    assert_string_equal(l->o.pane, "");
    assert_true(l->o.pane_given);
    assert_true(l->o.pane_compat);
    bad(l, "-node-id 1 -pane-compat=maybe", "-pane-compat maybe");
}

static void an_address_has_a_length(void **state)
{
    struct line *l = *state;
    char *fits = with_long("-node-id 1 -advertise ", ADDRESS_MAX - 3, ":1");
    char *over = with_long("-node-id 1 -advertise ", ADDRESS_MAX - 2, ":1");

    good(l, fits);
    assert_int_equal(strlen(l->o.advertise), ADDRESS_MAX - 1);
    bad(l, over, "must be HOST:PORT");
    free(fits);
    free(over);
}

static void a_bind_that_others_reach_must_be_wanted(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -bind 10.0.0.1:8610", "-insecure");
    bad(l, "-node-id 1 -bind 0.0.0.0:8610", "-insecure");
    bad(l, "-node-id 1 -bind :8610", "-insecure");
    bad(l, "-node-id 1 -bind localhost.example.com:8610", "-insecure");
    good(l, "-node-id 1 -bind 10.0.0.1:8610 -insecure");
    assert_string_equal(l->o.advertise, "10.0.0.1:8610");
}

static void a_wildcard_bind_needs_an_advertised_address(void **state)
{
    static const char *const binds[] = {"0.0.0.0:8610", "[::]:8610", ":8610"};
    struct line *l = *state;
    char words[128];

    for (size_t i = 0; i < 3; i++) {
        snprintf(words, sizeof words, "-node-id 1 -insecure -bind %s",
                 binds[i]);
        bad(l, words, "-advertise HOST:PORT");
        snprintf(words, sizeof words,
                 "-node-id 1 -insecure -bind %s -advertise h:1", binds[i]);
        good(l, words);
        assert_string_equal(l->o.bind, binds[i]);
        assert_string_equal(l->o.advertise, "h:1");
    }
}

static void a_role_is_voter_or_replica(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -role leader", "-role leader: must be voter or replica");
    bad(l, "-node-id 1 -role=", "must be voter or replica");
    good(l, "-node-id 1 -role replica -bootstrap 2@h:2");
    assert_true(l->o.replica);
    good(l, "-node-id 1 -role replica -bootstrap 2@h:2 -role voter");
    assert_false(l->o.replica);
}

static void a_member_is_an_id_an_address_and_perhaps_replica(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -bootstrap h:2", "must be ID@HOST:PORT[/replica]");
    bad(l, "-node-id 1 -bootstrap two@h:2", "two: must be a number");
    bad(l, "-node-id 1 -bootstrap 0@h:2", "0: must be a number");
    bad(l, "-node-id 1 -bootstrap @h:2", "must be a number");
    bad(l, "-node-id 1 -bootstrap 2@h", "must be HOST:PORT");
    bad(l, "-node-id 1 -bootstrap 2@h:0", "must be a number");
    bad(l, "-node-id 1 -bootstrap 2@h:2/voter", "only /replica is known");
    bad(l, "-node-id 1 -bootstrap 2@h:2/", "only /replica is known");
}

static void an_id_names_one_node(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -bootstrap 2@h:2,2@h:3", "id 2 is used twice");
    bad(l, "-node-id 1 -bootstrap 2@h:2,1@h:1", "names node 1");
}

static void a_cluster_needs_a_voter(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -role replica", "no voter");
    bad(l, "-node-id 1 -role replica -bootstrap 2@h:2/replica", "no voter");
    good(l, "-node-id 1 -bootstrap 2@h:2/replica,3@h:3/replica");
}

static void a_cluster_has_a_largest_size(void **state)
{
    struct line *l = *state;
    char words[2048] = "-node-id 1 -bootstrap ";

    for (int id = 2; id <= NODES_MAX + 1; id++) {
        snprintf(words + strlen(words), sizeof words - strlen(words), "%d@h:1,",
                 id);
        if (id == NODES_MAX) {
            good(l, words);
            assert_int_equal(l->o.n_members, NODES_MAX);
        }
    }
    bad(l, words, "at most 64 nodes");
    snprintf(words + strlen(words), sizeof words - strlen(words), "99@h:1");
    bad(l, words, "at most 64 nodes");
}

static void databases_have_names_of_their_own(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -db-path /a.db -db-path /b.db",
        "two databases are called main");
    bad(l, "-node-id 1 -db-path x=/a.db -db-path x=/b.db",
        "two databases are called x");
    bad(l, "-node-id 1 -db-path x=/a.db -db-path y=/a.db",
        "/a.db is named twice");
    good(l, "-node-id 1 -db-path x=/a.db -db-path /b.db");
    assert_string_equal(l->o.raft_path, "/a.db-raft");
}

static void a_database_s_name_has_few_letters(void **state)
{
    struct line *l = *state;
    char *fits = with_long("-node-id 1 -db-path ", DB_NAME_MAX, "=/a.db");
    char *over = with_long("-node-id 1 -db-path ", DB_NAME_MAX + 1, "=/a.db");

    bad(l, "-node-id 1 -db-path =/a.db", "a name has 1 to 128");
    bad(l, "-node-id 1 -db-path a:b=/a.db", "A-Z a-z 0-9 . _ -");
    bad(l, "-node-id 1 -db-path caf\xc3\xa9=/a.db", "A-Z a-z 0-9 . _ -");
    good(l, fits);
    assert_int_equal(strlen(l->o.dbs[0].name), DB_NAME_MAX);
    bad(l, over, "a name has 1 to 128");
    free(fits);
    free(over);
}

static void paths_are_neither_empty_nor_endless(void **state)
{
    struct line *l = *state;
    char *db = with_long("-node-id 1 -db-path /", PATH_MAX, "");
    char *raft = with_long("-node-id 1 -raft-path /", PATH_MAX, "");

    bad(l, "-node-id 1 -db-path=", "not a usable path");
    bad(l, "-node-id 1 -db-path x=", "not a usable path");
    bad(l, "-node-id 1 -raft-path=", "not a usable path");
    bad(l, db, "-db-path /xxx");
    bad(l, raft, "-raft-path /xxx");
    free(db);
    free(raft);
}

static void what_is_no_flag_is_named(void **state)
{
    struct line *l = *state;

    bad(l, "-node-id 1 -colour red", "unknown flag -colour");
    bad(l, "--node-id 1 --colour", "unknown flag --colour");
    bad(l, "-node-id 1 app.db", "app.db: not a flag");
    bad(l, "app.db -node-id 1", "app.db: not a flag");
    bad(l, "-node-id", "-node-id needs a value");
    bad(l, "-node-id 1 -db-path", "-db-path needs a value");
}

static void a_second_line_starts_afresh(void **state)
{
    struct line *l = *state;

    good(l, "-node-id 1 -db-path /a.db -verbose -bootstrap 2@h:2 -shards 3");
    good(l, "-node-id 2");
    assert_int_equal(l->o.n_members, 1);
    assert_int_equal(l->o.n_dbs, 1);
    assert_int_equal(l->o.shards, 16);
    assert_false(l->o.verbose);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(without_flags_everything_has_the_documented_default),
        T(every_flag_is_taken),
        T(one_or_two_dashes_equals_or_a_space),
        T(switches_take_true_and_false),
        T(help_needs_nothing_else_and_lists_every_flag),
        T(the_original_s_commands_are_understood),
        T(members_are_sorted_by_id_with_this_node_among_them),
        T(a_bootstrap_may_come_in_pieces_and_with_empty_ones),
        T(addresses_may_be_names_or_either_kind_of_number),
        T(a_path_with_an_equals_sign_behind_a_slash_is_no_name),
        T(cleanup_asks_for_no_cluster),
        T(a_node_id_is_required_and_positive),
        T(numbers_have_bounds),
        T(addresses_need_a_port),
        T(the_pane_may_be_left_out),
        T(an_address_has_a_length),
        T(a_bind_that_others_reach_must_be_wanted),
        T(a_wildcard_bind_needs_an_advertised_address),
        T(a_role_is_voter_or_replica),
        T(a_member_is_an_id_an_address_and_perhaps_replica),
        T(an_id_names_one_node),
        T(a_cluster_needs_a_voter),
        T(a_cluster_has_a_largest_size),
        T(databases_have_names_of_their_own),
        T(a_database_s_name_has_few_letters),
        T(paths_are_neither_empty_nor_endless),
        T(what_is_no_flag_is_named),
        T(a_second_line_starts_afresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
