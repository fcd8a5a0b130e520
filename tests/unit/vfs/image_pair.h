/* A database that has what another one lacks, both open by the node's hand:
 * helpers of the tests of image_source and image_patch. Header only. */
#ifndef TESTS_VFS_IMAGE_PAIR_H
#define TESTS_VFS_IMAGE_PAIR_H

#include "base/bytes.h"
#include "base/err.h"
#include "tests/unit/vfs/databases.h"
#include "vfs/apply.h"
#include "vfs/image_patch.h"
#include "vfs/image_source.h"

#define SIZE 1024u
#define MAX 16u /* pages in one answer */

struct side {
    char path[PATH_MAX];
    struct apply *a;
    struct checksum sum;
};

struct image_pair {
    char folder[PATH_MAX];
    struct side here, there;
};

static const char base_sql[] =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
    "WITH n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<300)"
    " INSERT INTO t SELECT x, randomblob(800) FROM n;";

UNUSED static void side_open(struct side *s)
{
    checksum_init(&s->sum);
    assert_int_equal(apply_open(s->path, &s->a), 0);
    assert_int_equal(checksum_scan(&s->sum, s->a), 0);
}

UNUSED static void side_close(struct side *s)
{
    if (s->a != NULL) {
        apply_close(s->a, true);
    }
    s->a = NULL;
    checksum_close(&s->sum);
}

/* The same content on both sides, then what each is given. */
UNUSED static void pair_open(struct image_pair *p, const char *here_sql,
                             const char *there_sql)
{
    sqlite3 *db;

    make_folder(p->folder);
    join(p->here.path, p->folder, "here.db");
    join(p->there.path, p->folder, "there.db");
    make_database(p->here.path, SIZE, base_sql);
    copy_file(p->here.path, p->there.path);
    db = open_sql(p->here.path);
    run(db, here_sql);
    sqlite3_close(db);
    db = open_sql(p->there.path);
    run(db, there_sql);
    sqlite3_close(db);
    side_open(&p->here);
    side_open(&p->there);
}

UNUSED static void pair_close(struct image_pair *p)
{
    side_close(&p->here);
    side_close(&p->there);
    drop_folder(p->folder);
}

/* `count` hashes as a request carries them. */
UNUSED static uint8_t *request(const struct checksum *sum, uint32_t first,
                               uint32_t count)
{
    uint8_t *have = malloc(8u * count + 1);

    assert_non_null(have);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = first - 1 + i;
        put_le64(have + 8u * i, at < sum->pages ? sum->hashes[at] : 0);
    }
    return have;
}

/* Everything that `patch` lacks from `first` on, up to `stop` pages. Returns
 * how many came. */
UNUSED static uint32_t transfer(struct image_source *s,
                                struct image_patch *patch, uint32_t stop)
{
    uint32_t pages = image_source_pages(s), first = 1, total = 0;
    uint32_t numbers[MAX];
    uint8_t images[MAX * SIZE];

    while (first <= pages && total < stop) {
        uint32_t left = pages - first + 1, count = left < 100 ? left : 100;
        uint8_t *have = request(image_patch_sum(patch), first, count);
        struct image_found found;
        assert_int_equal(image_source_read(s, first, count, have, MAX, numbers,
                                           images, &found),
                         0);
        for (uint32_t i = 0; i < found.count; i++) {
            assert_int_equal(
                image_patch_page(patch, numbers[i], images + (size_t)i * SIZE),
                0);
        }
        assert_in_range(found.covered, 1, count);
        first += found.covered;
        total += found.count;
        free(have);
    }
    return total;
}

#endif
