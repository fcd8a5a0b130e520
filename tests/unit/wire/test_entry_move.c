/* Entries of databases that move, and what a snapshot says of them: what comes
 * back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "wire/entry.h"
#include "wire/moves.h"
#include "wire/pack.h"
#include "wire/snapshot.h"

static const struct uuid db = {{3, 4}};

static struct entry decoded(struct buf *out)
{
    struct entry e;

    assert_int_equal(out->err, 0);
    assert_int_equal(entry_decode(out->data, out->len, &e), 0);
    return e;
}

/* ---- what comes back ----------------------------------------------------- */

static void a_move_comes_back(void **state)
{
    struct entry_move in = {.db = db, .number = 9, .group = 1023};
    struct entry e;
    struct buf out;

    (void)state;
    strcpy(in.name, "new.name");
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_move(&in, &out);
    e = decoded(&out);
    assert_int_equal(e.kind, ENTRY_MOVE);
    assert_true(uuid_equal(&e.move.db, &db));
    assert_int_equal(e.move.number, 9);
    assert_int_equal(e.move.group, 1023);
    assert_string_equal(e.move.name, "new.name");
    buf_close(&out);
}

static void its_other_steps_come_back(void **state)
{
    struct entry_move in = {.db = db, .number = 9, .node = 7, .adopted = true};
    struct entry e;
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_held(&in, &out);
    e = decoded(&out);
    assert_int_equal(e.kind, ENTRY_HELD);
    assert_int_equal(e.move.node, 7);
    buf_close(&out);
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_moved(&in, &out);
    e = decoded(&out);
    assert_int_equal(e.kind, ENTRY_MOVED);
    assert_true(e.move.adopted);
    buf_close(&out);
}

static void what_is_adopted_comes_back_as_in_a_snapshot(void **state)
{
    struct snapshot_db got, in = {.name = "new",
                                  .db = db,
                                  .position = {1, 77},
                                  .page_size = 512,
                                  .pages = 3,
                                  .checksum = 99,
                                  .enrolled_by = 2,
                                  .n_holders = 1,
                                  .holders = {4},
                                  .n_ring = 1,
                                  .ring = {{77, {1, 2, 3, 4}}}};
    struct entry_move how = {
        .number = 5, .group = 6, .adopted = true, .renamed = true};
    struct entry e;
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_adopt(&how, &in, &out);
    e = decoded(&out);
    assert_int_equal(e.kind, ENTRY_ADOPT);
    assert_int_equal(e.move.number, 5);
    assert_int_equal(e.move.group, 6);
    assert_true(e.move.adopted && e.move.renamed);
    assert_true(uuid_equal(&e.move.db, &db));
    snapshot_next(&e.move.state, &got);
    assert_int_equal(e.move.state.err, 0);
    assert_memory_equal(&got, &in, sizeof in);
    buf_close(&out);
}

static void more_shards_come_back(void **state)
{
    struct entry_shards in = {SHARDS_DONE, 3, 4, 1024};
    struct entry e;
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    entry_encode_shards(&in, &out);
    e = decoded(&out);
    assert_int_equal(e.kind, ENTRY_SHARDS);
    assert_memory_equal(&e.shards, &in, sizeof in);
    buf_close(&out);
}

static struct moves *everything(void)
{
    struct moves *m = calloc(1, sizeof *m);

    assert_non_null(m);
    m->number = 7;
    m->active = true;
    m->db = db;
    m->to = 3;
    strcpy(m->name, "new");
    m->n_held = 2;
    m->held[0] = 1;
    m->held[1] = UINT64_MAX;
    m->n_decided = SHARDS_MAX;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        m->decided[i] = (struct move_decided){i, i + 1, i % 2 == 0};
    }
    m->n_left = MOVES_LEFT_MAX;
    for (uint32_t i = 0; i < MOVES_LEFT_MAX; i++) {
        m->left[i] = (struct move_left){{{(uint8_t)i}}, i, i + 1};
    }
    m->rule_from = 4;
    m->rule_to = 8;
    m->growing_from = 4;
    m->done[0] = 5;
    return m;
}

static void what_is_under_way_comes_back(void **state)
{
    struct moves *in = everything(), got;
    struct unpack u;
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    moves_pack(&out, in);
    unpack_init(&u, out.data, out.len);
    moves_unpack(&u, &got);
    assert_int_equal(unpack_end(&u), 0);
    assert_memory_equal(&got, in, sizeof got);
    assert_true(out.len < 65536); /* beside the databases of a snapshot */
    buf_close(&out);
    free(in);
}

static void a_snapshot_without_moves_is_as_ever(void **state)
{
    struct snapshot_head *h = calloc(1, sizeof *h);
    struct moves *all = everything();
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    snapshot_encode_head(h, &out);
    assert_int_equal(out.data[1], SNAPSHOT_VERSION);
    assert_int_equal(snapshot_check(out.data, out.len), 0);
    buf_close(&out);
    h->moves = *all;
    buf_init(&out, PACKET_BYTES_MAX);
    snapshot_encode_head(h, &out);
    assert_int_equal(out.data[1], SNAPSHOT_VERSION_MOVES);
    assert_int_equal(snapshot_check(out.data, out.len), 0);
    out.data[1] = SNAPSHOT_VERSION;
    assert_int_equal(snapshot_check(out.data, out.len), ERR_CORRUPT);
    buf_close(&out);
    free(all);
    free(h);
}

/* ---- what is refused ----------------------------------------------------- */

static int try_move(struct entry_move e, const char *name)
{
    struct buf out;
    int rv;

    strcpy(e.name, name);
    buf_init(&out, PACKET_BYTES_MAX);
    rv = entry_encode_move(&e, &out);
    buf_close(&out);
    return rv;
}

static void nonsense_is_not_written(void **state)
{
    struct entry_move good = {.db = db, .number = 1, .group = 2};
    struct entry_move e;

    (void)state;
    assert_int_equal(try_move(good, "new"), 0);
    assert_int_equal(try_move(good, ""), ERR_CORRUPT);
    assert_int_equal(try_move(good, "a/b"), ERR_CORRUPT);
    e = good;
    e.number = 0;
    assert_int_equal(try_move(e, "new"), ERR_CORRUPT);
    e = good;
    e.group = SHARDS_MAX;
    assert_int_equal(try_move(e, "new"), ERR_CORRUPT);
    e = good;
    memset(&e.db, 0, sizeof e.db);
    assert_int_equal(try_move(e, "new"), ERR_CORRUPT);
}

static int try_shards(uint32_t action, uint32_t group, uint32_t from,
                      uint32_t to)
{
    struct buf out;
    struct entry e;
    int rv;

    buf_init(&out, PACKET_BYTES_MAX);
    pack_array(&out, 6);
    pack_uint(&out, ENTRY_SHARDS);
    pack_uint(&out, ENTRY_VERSION);
    pack_uint(&out, action);
    pack_uint(&out, group);
    pack_uint(&out, from);
    pack_uint(&out, to);
    rv = entry_decode(out.data, out.len, &e);
    buf_close(&out);
    return rv;
}

static void shards_out_of_their_bounds_are_refused(void **state)
{
    (void)state;
    assert_int_equal(try_shards(1, 0, 4, 8), 0);
    assert_int_equal(try_shards(3, 0, 8, 8), 0);
    assert_true(try_shards(0, 0, 4, 8) != 0);
    assert_true(try_shards(4, 0, 4, 8) != 0);
    assert_true(try_shards(1, SHARDS_MAX, 4, 8) != 0);
    assert_true(try_shards(1, 0, 0, 8) != 0);
    assert_true(try_shards(1, 0, 8, 4) != 0);
    assert_true(try_shards(1, 0, 4, SHARDS_MAX + 1) != 0);
}

static void what_is_cut_off_is_refused(void **state)
{
    struct moves *in = everything(), got;
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    moves_pack(&out, in);
    for (size_t len = 0; len < out.len; len += 1 + len / 16) {
        struct unpack u;
        unpack_init(&u, out.data, len);
        moves_unpack(&u, &got);
        assert_true(unpack_end(&u) != 0);
    }
    buf_close(&out);
    free(in);
}

static void more_than_there_is_room_for_is_refused(void **state)
{
    struct unpack u;
    struct moves got;
    struct buf out;

    (void)state;
    buf_init(&out, PACKET_BYTES_MAX);
    pack_array(&out, 5);
    pack_uint(&out, 1);
    pack_array(&out, 0);
    pack_array(&out, 3 * (SHARDS_MAX + 1));
    for (uint32_t i = 0; i < 3 * (SHARDS_MAX + 1); i++) {
        pack_uint(&out, 1);
    }
    unpack_init(&u, out.data, out.len);
    moves_unpack(&u, &got);
    assert_int_equal(u.err, ERR_TOO_BIG);
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_comes_back),
        cmocka_unit_test(its_other_steps_come_back),
        cmocka_unit_test(what_is_adopted_comes_back_as_in_a_snapshot),
        cmocka_unit_test(more_shards_come_back),
        cmocka_unit_test(what_is_under_way_comes_back),
        cmocka_unit_test(a_snapshot_without_moves_is_as_ever),
        cmocka_unit_test(nonsense_is_not_written),
        cmocka_unit_test(shards_out_of_their_bounds_are_refused),
        cmocka_unit_test(what_is_cut_off_is_refused),
        cmocka_unit_test(more_than_there_is_room_for_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
