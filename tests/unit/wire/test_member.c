#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "tests/unit/wire/mangle.h"
#include "wire/member.h"
#include "wire/pack.h"

static const struct member_info sample = {.id = 7,
                                          .store = {{1, 2, 3}},
                                          .address = "[::1]:8610",
                                          .replica = true};

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 1 << 20);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static void assert_member(const struct member_info *a,
                          const struct member_info *b)
{
    assert_int_equal(a->id, b->id);
    assert_true(uuid_equal(&a->store, &b->store));
    assert_string_equal(a->address, b->address);
    assert_int_equal(a->replica, b->replica);
}

static void full_registry(struct registry *r)
{
    memset(r, 0, sizeof *r);
    r->n = r->n_departed = NODES_MAX;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        r->members[i].info = sample;
        r->members[i].info.id = i + 1;
        r->members[i].leaving = i % 2 == 1;
        r->members[i].left[i % sizeof r->members[i].left] = (uint8_t)i;
        r->departed[i].id = 100 + i;
        r->departed[i].store.b[15] = (uint8_t)i;
    }
}

static int unpack_registry(const uint8_t *bytes, size_t len)
{
    static struct registry r;
    struct unpack u;

    unpack_init(&u, bytes, len);
    unpack_array_of(&u, 2);
    registry_unpack(&u, &r);
    unpack_leave(&u);
    return unpack_end(&u);
}

static int decode_ask(const uint8_t *bytes, size_t len)
{
    struct member_info m;
    int rv = join_ask_decode(bytes, len, &m);

    assert_true(rv != 0 || member_valid(&m));
    return rv;
}

static int decode_answer(const uint8_t *bytes, size_t len)
{
    static struct join_answer a;

    return join_answer_decode(bytes, len, &a);
}

/* ---- registry ------------------------------------------------------------ */

static void a_full_registry_comes_back(void **state)
{
    static struct registry from, to;
    struct buf *out = *state;
    struct unpack u;

    full_registry(&from);
    pack_array(out, 2);
    registry_pack(out, &from);
    assert_int_equal(out->err, 0);
    unpack_init(&u, out->data, out->len);
    unpack_array_of(&u, 2);
    registry_unpack(&u, &to);
    unpack_leave(&u);
    assert_int_equal(unpack_end(&u), 0);
    assert_int_equal(to.n, NODES_MAX);
    assert_int_equal(to.n_departed, NODES_MAX);
    for (unsigned i = 0; i < NODES_MAX; i++) {
        assert_member(&to.members[i].info, &from.members[i].info);
        assert_int_equal(to.members[i].leaving, i % 2 == 1);
        assert_memory_equal(to.members[i].left, from.members[i].left,
                            sizeof from.members[i].left);
        assert_int_equal(to.departed[i].id, 100 + i);
        assert_true(uuid_equal(&to.departed[i].store, &from.departed[i].store));
    }
}

static void a_registry_of_too_many_is_refused(void **state)
{
    struct buf *out = *state;

    pack_array(out, 2);
    pack_array(out, NODES_MAX + 1);
    for (unsigned i = 0; i < NODES_MAX + 1; i++) {
        pack_array(out, 3);
        member_pack(out, &sample);
        pack_bool(out, false);
        pack_bin(out, "", 0);
    }
    pack_array(out, 0);
    assert_int_equal(unpack_registry(out->data, out->len), ERR_TOO_BIG);
}

static void a_damaged_registry_does_no_harm(void **state)
{
    static struct registry r;
    struct buf *out = *state;

    full_registry(&r);
    r.n = 3;
    r.n_departed = 2;
    pack_array(out, 2);
    registry_pack(out, &r);
    mangle(unpack_registry, out->data, out->len);
}

/* ---- one ----------------------------------------------------------------- */

static void what_is_no_address_is_not_valid(void **state)
{
    static const char *const bad[] = {"",         "host",      "ho st:1",
                                      "host:1\n", "h\x80st:1", "host:\x7f"};
    struct member_info m = sample;

    (void)state;
    assert_true(member_valid(&m));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(m.address, sizeof m.address, "%s", bad[i]);
        assert_false(member_valid(&m));
    }
    memset(m.address, ':', sizeof m.address); /* not terminated */
    assert_false(member_valid(&m));
    m = sample;
    m.id = 0;
    assert_false(member_valid(&m));
}

/* ---- joining ------------------------------------------------------------- */

static void a_question_comes_back(void **state)
{
    struct buf *out = *state;
    struct member_info m;

    assert_int_equal(join_ask_encode(&sample, out), 0);
    assert_int_equal(join_ask_decode(out->data, out->len, &m), 0);
    assert_member(&m, &sample);
    mangle(decode_ask, out->data, out->len);
}

static void a_question_with_a_bad_address_is_refused(void **state)
{
    struct buf *out = *state;
    struct member_info m = sample;

    snprintf(m.address, sizeof m.address, "a b:1");
    join_ask_encode(&m, out);
    assert_int_equal(decode_ask(out->data, out->len), ERR_CORRUPT);
}

static void another_version_is_told_apart(void **state)
{
    struct buf *out = *state;

    pack_array(out, 2);
    pack_uint(out, 2);
    member_pack(out, &sample);
    assert_int_equal(decode_ask(out->data, out->len), ERR_VERSION);
}

static void fill_answer(struct join_answer *a)
{
    memset(a, 0, sizeof *a);
    a->cluster.b[0] = 1;
    a->shards = SHARDS_MAX;
    a->n = NODES_MAX;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        a->members[i] = sample;
        a->members[i].id = i + 1;
    }
}

static void an_answer_of_all_members_comes_back(void **state)
{
    static struct join_answer from, to;
    struct buf *out = *state;

    fill_answer(&from);
    assert_int_equal(join_answer_encode(&from, out), 0);
    assert_int_equal(join_answer_decode(out->data, out->len, &to), 0);
    assert_true(uuid_equal(&to.cluster, &from.cluster));
    assert_int_equal(to.shards, SHARDS_MAX);
    assert_int_equal(to.n, NODES_MAX);
    for (unsigned i = 0; i < NODES_MAX; i++) {
        assert_member(&to.members[i], &from.members[i]);
    }
}

static void a_damaged_answer_does_no_harm(void **state)
{
    static struct join_answer a;
    struct buf *out = *state;

    fill_answer(&a);
    a.n = 2;
    assert_int_equal(join_answer_encode(&a, out), 0);
    mangle(decode_answer, out->data, out->len);
}

static void an_answer_without_a_cluster_or_shards_is_refused(void **state)
{
    static struct join_answer a;
    struct buf *out = *state;

    fill_answer(&a);
    a.n = 1;
    a.shards = 0;
    join_answer_encode(&a, out);
    assert_int_equal(decode_answer(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    a.shards = 1;
    a.cluster = (struct uuid){{0}};
    join_answer_encode(&a, out);
    assert_int_equal(decode_answer(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    a.cluster.b[3] = 1;
    a.shards = SHARDS_MAX + 1;
    join_answer_encode(&a, out);
    assert_int_not_equal(decode_answer(out->data, out->len), 0);
}

#define with_buffer(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_buffer(a_full_registry_comes_back),
        with_buffer(a_registry_of_too_many_is_refused),
        with_buffer(a_damaged_registry_does_no_harm),
        with_buffer(what_is_no_address_is_not_valid),
        with_buffer(a_question_comes_back),
        with_buffer(a_question_with_a_bad_address_is_refused),
        with_buffer(another_version_is_told_apart),
        with_buffer(an_answer_of_all_members_comes_back),
        with_buffer(a_damaged_answer_does_no_harm),
        with_buffer(an_answer_without_a_cluster_or_shards_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
