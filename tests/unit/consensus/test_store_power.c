/* Cutting the power under store.db: what was completed is there after any cut,
 * and nothing but what was queued, in its order; the count of starts has gone
 * up. Checkpoints are cut like everything else. The control leaves a sync out
 * and must lose something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/store.h"
#include "tests/unit/vfs/crash_disk.h"

#define SHARDS 3u
#define CUTS 120
#define CONTROL_CUTS 40
#define TURNS 420
#define LARGE ((size_t)200 << 10) /* not written by the loop itself */

/* Notes in the record: writes that were queued, and completed. */
enum { NOTE_PUSHED, NOTE_DONE };

struct model_entry {
    uint64_t term;
    size_t len;
    uint8_t fill;
};

/* What the groups must hold after some number of writes. */
struct model {
    struct {
        uint64_t term, vote;
        size_t n;
        struct model_entry entries[2048]; /* from index 1 */
    } groups[SHARDS];
};

struct item {
    struct store_write write;
    struct raft_entry entry;
    struct model_entry content;
    uint8_t *bytes;
};

struct life {
    uv_loop_t loop;
    char folder[PATH_MAX], cut[PATH_MAX];
    struct store_options options;
    struct store *store;
    struct disk disk;
    sqlite3_vfs vfs;
    struct item items[4000]; /* item i is write number i + 1 */
    uint64_t pushed, starts;
    bool closed;
};

static void on_fatal(void *data, const char *why)
{
    (void)data;
    fail_msg("%s", why);
}

static void on_done(struct store_write *write)
{
    struct item *item = write->data;

    disk_note(NOTE_DONE, write->sequence);
    free(item->bytes);
    item->bytes = NULL;
}

static void on_closed(void *data)
{
    struct life *l = data;

    l->closed = true;
}

/* ---- a life ----------------------------------------------------------------
 */

static void push(struct life *l, struct item *item)
{
    item->write.done = on_done;
    item->write.data = item;
    disk_note(NOTE_PUSHED, ++l->pushed);
    assert_int_equal(store_push(l->store, &item->write), l->pushed);
}

static void push_append(struct life *l, uint32_t group, uint64_t index,
                        uint64_t term, size_t len)
{
    struct item *item = &l->items[l->pushed];

    item->content = (struct model_entry){term, len, (uint8_t)disk_dice(256)};
    item->bytes = malloc(len + 1);
    assert_non_null(item->bytes);
    memset(item->bytes, item->content.fill, len);
    item->entry = (struct raft_entry){.term = term,
                                      .type = RAFT_COMMAND,
                                      .buf = {.base = item->bytes, .len = len}};
    item->write.kind = STORE_APPEND;
    item->write.group = group;
    item->write.index = index;
    item->write.entries = &item->entry;
    item->write.n = 1;
    push(l, item);
}

static void push_other(struct life *l, enum store_write_kind kind,
                       uint32_t group, uint64_t first, uint64_t second)
{
    struct item *item = &l->items[l->pushed];

    item->write.kind = kind;
    item->write.group = group;
    item->write.index = item->write.term = first;
    item->write.vote = second;
    push(l, item);
}

static void model_start(struct model *m)
{
    memset(m, 0, sizeof *m);
    for (uint32_t g = 0; g < SHARDS; g++) {
        m->groups[g].term = m->groups[g].n = 1;
        m->groups[g].entries[0] = (struct model_entry){1, 4, 'c'};
    }
}

static void model_do(struct model *m, const struct item *item)
{
    const struct store_write *w = &item->write;

    if (w->kind == STORE_META) {
        m->groups[w->group].term = w->term;
        m->groups[w->group].vote = w->vote;
    } else if (w->kind == STORE_TRUNCATE) {
        m->groups[w->group].n = w->index - 1;
    } else {
        m->groups[w->group].entries[m->groups[w->group].n++] = item->content;
    }
}

/* Some writes of one turn of the loop. */
static void push_some(struct life *l, struct model *m)
{
    for (uint32_t n = 1 + disk_dice(4); n > 0; n--) {
        uint32_t group = disk_dice(SHARDS);
        size_t have = m->groups[group].n;
        uint64_t before = l->pushed;
        switch (disk_dice(12)) {
        case 0:
            push_other(l, STORE_META, group, m->groups[group].term + 1,
                       disk_dice(4));
            break;
        case 1:
            if (have > 3) {
                push_other(l, STORE_TRUNCATE, group,
                           have - disk_dice(have > 9 ? 8 : 2), 0);
            }
            break;
        case 2:
            push_append(l, group, have + 1, m->groups[group].term,
                        disk_dice(8) == 0 ? LARGE : disk_dice(60000));
            break;
        default:
            push_append(l, group, have + 1, m->groups[group].term,
                        disk_dice(6000));
        }
        if (l->pushed > before) {
            model_do(m, &l->items[before]);
        }
    }
}

static void sync_all(struct life *l)
{
    store_submit(l->store);
    while (store_durable(l->store) < store_pushed(l->store)) {
        uv_run(&l->loop, UV_RUN_ONCE);
        store_submit(l->store);
    }
}

static void open_store(struct life *l)
{
    char why[256] = "";

    if (store_open(&l->options, &l->store, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
    l->starts = store_identity(l->store)->starts;
    assert_int_equal(store_start(l->store), 0);
}

static void close_store(struct life *l)
{
    l->closed = false;
    store_close(l->store, on_closed, l);
    while (!l->closed) {
        uv_run(&l->loop, UV_RUN_ONCE);
    }
}

/* Made once and recorded; the file itself is made before, since its write-ahead
 * log is written full then. */
static int setup(void **state)
{
    static struct life l;
    static struct model m;
    char path[PATH_MAX];

    disk_seed();
    make_folder(l.folder);
    uv_loop_init(&l.loop);
    join(path, l.folder, "follower");
    join(l.cut, l.folder, "follower-cut");
    assert_int_equal(mkdir(l.cut, 0700), 0);
    l.options = (struct store_options){.loop = &l.loop,
                                       .folder = strdup(path),
                                       .node_id = 1,
                                       .shards = SHARDS,
                                       .members = "1,2,3",
                                       .conf = "cccc",
                                       .conf_len = 4,
                                       .fatal = on_fatal};
    disk_watch();
    stand_in_front(&l.vfs, "unix");
    open_store(&l);
    close_store(&l);
    join(path, l.folder, "follower/store.db");
    open_store(&l);
    disk_begin(&l.disk, path);
    model_start(&m);
    for (int i = 0; i < TURNS; i++) {
        push_some(&l, &m);
        if (disk_dice(3) != 0) {
            sync_all(&l);
        }
    }
    sync_all(&l);
    disk_recording = NULL;
    close_store(&l);
    print_message("%llu writes, %d operations on the disk\n",
                  (unsigned long long)l.pushed, l.disk.count);
    *state = &l;
    return 0;
}

static int teardown(void **state)
{
    struct life *l = *state;

    uv_run(&l->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&l->loop), 0);
    sqlite3_vfs_unregister(&l->vfs);
    disk_free(&l->disk);
    drop_folder(l->folder);
    free((void *)(uintptr_t)l->options.folder);
    return 0;
}

/* ---- after a cut ------------------------------------------------------------
 */

static bool entry_is(const struct raft_entry *e, const struct model_entry *m)
{
    const uint8_t *bytes = e->buf.base;

    if (e->term != m->term || e->buf.len != m->len) {
        return false;
    }
    for (size_t i = 0; i < m->len; i++) {
        if (bytes[i] != m->fill) {
            return false;
        }
    }
    return true;
}

static bool group_is(const struct store_group *g, const struct model *m,
                     uint32_t group)
{
    bool same = g->n == m->groups[group].n &&
                g->term == m->groups[group].term &&
                g->vote == m->groups[group].vote;

    for (size_t i = 0; same && i < g->n; i++) {
        same = entry_is(&g->entries[i], &m->groups[group].entries[i]);
    }
    return same;
}

static void free_group(struct store_group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        raft_free(g->entries[i].buf.base);
    }
    raft_free(g->entries);
}

struct tally {
    int cuts, in_checkpoints, corrupt, lost;
};

/* Is it what `from`, or any later number of writes up to `to`, made of it? */
static bool is_a_prefix(const struct life *l, const struct store_group *groups,
                        uint64_t from, uint64_t to)
{
    static struct model m;
    bool found = false;

    model_start(&m);
    for (uint64_t i = 0; i <= to && !found; i++) {
        found = i >= from;
        for (uint32_t g = 0; found && g < SHARDS; g++) {
            found = group_is(&groups[g], &m, g);
        }
        if (i < to) {
            model_do(&m, &l->items[i]);
        }
    }
    return found;
}

/* Open what the cut left, and compare. */
static void judge(struct life *l, uint64_t done, uint64_t pushed,
                  struct tally *t)
{
    struct store_options o = l->options;
    struct store_group groups[SHARDS];
    struct store *s;
    char why[256] = "";
    uint32_t n = 0;

    memset(groups, 0, sizeof groups);
    o.folder = l->cut;
    if (store_open(&o, &s, why, sizeof why) != 0) {
        t->corrupt++;
        return;
    }
    while (n < SHARDS && store_load(s, n, &groups[n], why, sizeof why) == 0) {
        n++;
    }
    if (n < SHARDS) {
        t->corrupt++;
    } else {
        t->lost += !is_a_prefix(l, groups, done, pushed) ||
                   store_identity(s)->starts <= l->starts;
    }
    for (uint32_t i = 0; i < n; i++) {
        free_group(&groups[i]);
    }
    store_discard(s);
}

/* Between the first write to the database itself and the next sync of it. */
static bool in_checkpoint(const struct disk *d, int at)
{
    for (int i = at - 1; i >= 0; i--) {
        if (d->ops[i].kind <= DISK_SYNC && d->ops[i].file == ON_DB) {
            return d->ops[i].kind != DISK_SYNC;
        }
    }
    return false;
}

static void cut_many(struct life *l, int cuts, unsigned unsynced,
                     struct tally *t)
{
    static const double survivals[] = {0, 0.05, 0.5, 0.95, 1};
    char path[PATH_MAX];

    memset(t, 0, sizeof *t);
    join(path, l->cut, "store.db");
    for (int i = 0; i < cuts; i++) {
        struct cut cut = {.at = (int)disk_dice((uint32_t)l->disk.count + 1),
                          .survival = survivals[i % 5],
                          .unsynced = unsynced};
        t->cuts++;
        t->in_checkpoints += in_checkpoint(&l->disk, cut.at);
        disk_cut(&l->disk, &cut, path);
        judge(l, disk_noted(&l->disk, NOTE_DONE, cut.at),
              disk_noted(&l->disk, NOTE_PUSHED, cut.at), t);
    }
    print_message("%d cuts (%d in a checkpoint): %d corrupt, %d lost\n",
                  t->cuts, t->in_checkpoints, t->corrupt, t->lost);
}

static void what_was_completed_is_there_after_any_cut(void **state)
{
    struct tally t;

    cut_many(*state, disk_cuts(CUTS), 0, &t);
    assert_true(t.in_checkpoints > 0);
    assert_int_equal(t.corrupt, 0);
    assert_int_equal(t.lost, 0);
}

static void without_the_syncs_of_commits_something_is_lost(void **state)
{
    struct tally t;

    cut_many(*state, CONTROL_CUTS, 1u << SYNC_WAL, &t);
    assert_true(t.lost > 0);
}

static void without_the_syncs_of_checkpoints_something_is_lost(void **state)
{
    struct tally t;

    cut_many(*state, CONTROL_CUTS, 1u << SYNC_DB, &t);
    assert_true(t.lost + t.corrupt > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_completed_is_there_after_any_cut),
        cmocka_unit_test(without_the_syncs_of_commits_something_is_lost),
        cmocka_unit_test(without_the_syncs_of_checkpoints_something_is_lost),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
