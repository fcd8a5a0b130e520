/* Snapshots of a state machine: what comes back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/unit/wire/mangle.h"
#include "wire/pack.h"
#include "wire/page.h"
#include "wire/snapshot.h"

/* A database at this position, whose last `ring` transactions are known. */
static struct snapshot_db db_at(const char *name, uint64_t txid, unsigned ring)
{
    struct snapshot_db db = {.position = {txid, 900 + txid},
                             .page_size = 4096,
                             .pages = 77,
                             .checksum = 0x123456789abcdef0u,
                             .enrolled_by = 3,
                             .n_holders = 2,
                             .holders = {3, 4}};

    strcpy(db.name, name);
    db.db.b[0] = (uint8_t)name[0];
    db.n_ring = ring;
    for (unsigned i = 0; i < ring; i++) {
        db.ring[i].hash = 900 + txid - ring + 1 + i;
        db.ring[i].token = (struct token){3, 8, 1, i + 1};
    }
    if (txid == 0) {
        db.position.hash = 0;
    }
    return db;
}

static void encode(struct buf *out, struct snapshot_head h,
                   const struct snapshot_db *dbs)
{
    buf_init(out, SNAPSHOT_BYTES_MAX);
    assert_int_equal(snapshot_encode_head(&h, out), 0);
    for (uint32_t i = 0; i < h.n_dbs; i++) {
        assert_int_equal(snapshot_encode_db(&dbs[i], out), 0);
    }
}

static int check_of(struct snapshot_db db)
{
    struct snapshot_head h = {.n_dbs = 1};
    struct buf out;
    int rv;

    encode(&out, h, &db);
    rv = snapshot_check(out.data, out.len);
    buf_close(&out);
    return rv;
}

static void assert_same(const struct snapshot_db *a,
                        const struct snapshot_db *b)
{
    assert_string_equal(a->name, b->name);
    assert_true(uuid_equal(&a->db, &b->db));
    assert_true(position_equal(&a->position, &b->position));
    assert_int_equal(a->page_size, b->page_size);
    assert_int_equal(a->pages, b->pages);
    assert_true(a->checksum == b->checksum);
    assert_int_equal(a->enrolled_by, b->enrolled_by);
    assert_int_equal(a->born_empty, b->born_empty);
    assert_int_equal(a->n_holders, b->n_holders);
    assert_memory_equal(a->holders, b->holders, sizeof a->holders);
    assert_int_equal(a->n_ring, b->n_ring);
    for (unsigned i = 0; i < a->n_ring; i++) {
        assert_true(a->ring[i].hash == b->ring[i].hash);
        assert_true(token_equal(&a->ring[i].token, &b->ring[i].token));
    }
}

/* ---- what comes back ----------------------------------------------------- */

static void what_was_written_is_read(void **state)
{
    struct snapshot_head h = {.cluster = {{7}}, .shards = 16, .n_dbs = 3}, got;
    struct snapshot_db dbs[3] = {db_at("main", 500, TOKEN_RING),
                                 db_at("fresh", 0, 0), db_at("young", 2, 2)};
    struct unpack u;
    struct buf out;

    (void)state;
    h.registry.n = h.registry.n_departed = 1;
    h.registry.members[0].info.id = 3;
    strcpy(h.registry.members[0].info.address, "127.0.0.1:8610");
    h.registry.members[0].leaving = true;
    h.registry.members[0].left[0] = 5;
    h.registry.departed[0].id = 9;
    dbs[1].born_empty = true;
    dbs[1].page_size = dbs[1].pages = 0;
    dbs[1].checksum = 0;
    encode(&out, h, dbs);
    assert_int_equal(snapshot_check(out.data, out.len), 0);
    snapshot_begin(&u, out.data, out.len, &got);
    assert_true(uuid_equal(&got.cluster, &h.cluster));
    assert_int_equal(got.shards, 16);
    assert_int_equal(got.n_dbs, 3);
    assert_memory_equal(&got.registry, &h.registry, sizeof h.registry);
    for (unsigned i = 0; i < 3; i++) {
        struct snapshot_db db;
        snapshot_next(&u, &db);
        assert_same(&db, &dbs[i]);
    }
    buf_close(&out);
}

static void a_group_without_anything_has_a_snapshot(void **state)
{
    struct snapshot_head h = {.n_dbs = 0}, got;
    struct unpack u;
    struct buf out;

    (void)state;
    encode(&out, h, NULL);
    assert_int_equal(snapshot_check(out.data, out.len), 0);
    snapshot_begin(&u, out.data, out.len, &got);
    assert_true(uuid_is_none(&got.cluster));
    assert_int_equal(got.shards + got.n_dbs, 0);
    buf_close(&out);
}

/* As many databases as a group takes, each with all that there can be. */
static void the_largest_one_fits_into_a_packet(void **state)
{
    struct snapshot_head h = {
        .cluster = {{255}}, .shards = SHARDS_MAX, .n_dbs = GROUP_DATABASES_MAX};
    struct snapshot_db db = db_at("x", UINT64_MAX, TOKEN_RING);
    struct buf out;

    (void)state;
    memset(db.name, 'n', DB_NAME_MAX);
    db.page_size = PAGE_SIZE_MAX;
    db.pages = 0xfffffffe;
    db.checksum = db.enrolled_by = UINT64_MAX;
    db.n_holders = NODES_MAX;
    memset(db.holders, 255, sizeof db.holders);
    memset(db.ring, 255, sizeof db.ring);
    db.position.hash = UINT64_MAX;
    buf_init(&out, SNAPSHOT_BYTES_MAX);
    snapshot_encode_head(&h, &out);
    for (uint32_t i = 0; i < h.n_dbs; i++) {
        assert_int_equal(snapshot_encode_db(&db, &out), 0);
    }
    assert_int_equal(snapshot_check(out.data, out.len), 0);
    buf_close(&out);
}

/* ---- what is refused ----------------------------------------------------- */

static void a_newer_version_is_told_from_damage(void **state)
{
    struct snapshot_head h = {.n_dbs = 0};
    struct buf out;

    (void)state;
    encode(&out, h, NULL);
    assert_int_equal(out.data[1], SNAPSHOT_VERSION);
    out.data[1] = SNAPSHOT_VERSION_MOVES + 1;
    assert_int_equal(snapshot_check(out.data, out.len), ERR_VERSION);
    buf_close(&out);
}

static void a_cluster_and_its_shards_come_together(void **state)
{
    struct snapshot_head only_shards = {.shards = 4};
    struct snapshot_head only_name = {.cluster = {{1}}};
    struct snapshot_head too_many = {.cluster = {{1}},
                                     .shards = SHARDS_MAX + 1};
    struct buf out;

    (void)state;
    encode(&out, only_shards, NULL);
    assert_int_equal(snapshot_check(out.data, out.len), ERR_CORRUPT);
    buf_close(&out);
    encode(&out, only_name, NULL);
    assert_int_equal(snapshot_check(out.data, out.len), ERR_CORRUPT);
    buf_close(&out);
    encode(&out, too_many, NULL);
    assert_int_not_equal(snapshot_check(out.data, out.len), 0);
    buf_close(&out);
}

static void a_ring_must_end_with_the_position(void **state)
{
    struct snapshot_db good = db_at("main", 9, 5), bad;

    (void)state;
    assert_int_equal(check_of(good), 0);
    bad = good;
    bad.position.hash++;
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.n_ring = 0; /* it has a last transaction, which is not named */
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.position.txid = 4; /* fewer than the ring has */
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = db_at("main", 0, 0);
    bad.position.hash = 1;
    assert_int_equal(check_of(bad), ERR_CORRUPT);
}

static void names_sizes_and_ids_must_be_possible(void **state)
{
    struct snapshot_db good = db_at("main", 9, 5), bad;

    (void)state;
    bad = good;
    strcpy(bad.name, "../main");
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.name[0] = '\0';
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.page_size = 4095;
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.db = (struct uuid){{0}};
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.enrolled_by = 0;
    assert_int_equal(check_of(bad), ERR_CORRUPT);
    bad = good;
    bad.pages = UINT32_MAX;
    assert_int_not_equal(check_of(bad), 0);
}

/* The head of a database with counts of the test's own. */
static int check_counts(uint32_t holders, uint32_t ring_fields)
{
    struct snapshot_head h = {.n_dbs = 1};
    struct buf out;
    int rv;

    buf_init(&out, SNAPSHOT_BYTES_MAX);
    snapshot_encode_head(&h, &out);
    pack_array(&out, 11);
    pack_str(&out, "main");
    pack_bin(&out, "0123456789abcdef", 16);
    pack_uint(&out, 1000);
    pack_uint(&out, 1); /* the hash, as in the ring */
    pack_uint(&out, 4096);
    pack_uint(&out, 1);
    pack_uint(&out, 5);
    pack_uint(&out, 1);
    pack_bool(&out, false);
    pack_array(&out, holders);
    for (uint32_t i = 0; i < holders; i++) {
        pack_uint(&out, i + 1);
    }
    pack_array(&out, ring_fields);
    for (uint32_t i = 0; i < ring_fields; i++) {
        pack_uint(&out, 1);
    }
    rv = snapshot_check(out.data, out.len);
    buf_close(&out);
    return rv;
}

static int check_databases(uint32_t n)
{
    struct snapshot_head h = {.n_dbs = n};
    struct snapshot_db db = db_at("main", 0, 0);
    struct buf out;
    int rv;

    buf_init(&out, SNAPSHOT_BYTES_MAX);
    snapshot_encode_head(&h, &out);
    for (uint32_t i = 0; i < n; i++) {
        snapshot_encode_db(&db, &out);
    }
    rv = snapshot_check(out.data, out.len);
    buf_close(&out);
    return rv;
}

static void one_more_than_there_is_room_for_is_refused(void **state)
{
    (void)state;
    assert_int_equal(check_counts(NODES_MAX, TOKEN_RING * 5), 0);
    assert_int_equal(check_counts(NODES_MAX + 1, TOKEN_RING * 5), ERR_TOO_BIG);
    assert_int_not_equal(check_counts(1, (TOKEN_RING + 1) * 5), 0);
    assert_int_equal(check_counts(1, 6), ERR_CORRUPT); /* not whole */
    assert_int_equal(check_databases(GROUP_DATABASES_MAX), 0);
    assert_int_equal(check_databases(GROUP_DATABASES_MAX + 1), ERR_TOO_BIG);
}

static int decode(const uint8_t *bytes, size_t len)
{
    return snapshot_check(bytes, len);
}

static void damaged_bytes_are_refused_or_read_but_never_overrun(void **state)
{
    struct snapshot_head h = {.cluster = {{7}}, .shards = 16, .n_dbs = 2};
    struct snapshot_db dbs[2] = {db_at("main", 70, 3), db_at("other", 1, 1)};
    struct buf out;

    (void)state;
    encode(&out, h, dbs);
    mangle(decode, out.data, out.len);
    assert_int_equal(buf_append(&out, "", 1), 0);
    assert_int_equal(snapshot_check(out.data, out.len), ERR_CORRUPT);
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_group_without_anything_has_a_snapshot),
        cmocka_unit_test(the_largest_one_fits_into_a_packet),
        cmocka_unit_test(a_newer_version_is_told_from_damage),
        cmocka_unit_test(a_cluster_and_its_shards_come_together),
        cmocka_unit_test(a_ring_must_end_with_the_position),
        cmocka_unit_test(names_sizes_and_ids_must_be_possible),
        cmocka_unit_test(one_more_than_there_is_room_for_is_refused),
        cmocka_unit_test(damaged_bytes_are_refused_or_read_but_never_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
