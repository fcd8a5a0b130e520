/* The store before its first write: opening, and reading what is there. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "consensus/alloc.h"
#include "consensus/reserve.h"
#include "consensus/store_internal.h"

int store_open(const struct store_options *options, struct store **out,
               char *why, size_t why_size)
{
    struct store *s = must_alloc(sizeof *s);
    int rv = store_db_open(&s->db, options, why, why_size);

    if (rv == ERR_FULL) {
        reserve_release(options->folder); /* it is for this */
        rv = store_db_open(&s->db, options, why, why_size);
    }
    if (rv != 0) {
        free(s);
        return rv;
    }
    s->options = *options;
    s->folder = must_alloc(strlen(options->folder) + 1);
    memcpy(s->folder, options->folder, strlen(options->folder) + 1);
    s->full = reserve_make(s->folder) == -ENOSPC;
    list_init(&s->queued);
    list_init(&s->batch);
    FAILPOINT("store.opened");
    *out = s;
    return 0;
}

void store_forget_loaded(struct store *s)
{
    for (uint32_t i = 0; s->loaded != NULL && i < s->options.shards; i++) {
        store_group_free(&s->loaded[i]);
    }
    free(s->loaded);
    s->loaded = NULL;
}

void store_discard(struct store *s)
{
    assert(!s->started);
    store_forget_loaded(s);
    store_db_close(&s->db);
    free(s->folder);
    free(s);
}

const struct store_identity *store_identity(const struct store *s)
{
    return &s->db.identity;
}

bool store_peer(const struct store *s, uint64_t node_id, struct store_peer *out)
{
    for (unsigned i = 0; i < s->db.n_peers; i++) {
        if (s->db.peers[i].node_id == node_id) {
            *out = s->db.peers[i];
            return true;
        }
    }
    return false;
}

int store_load(struct store *s, uint32_t group, struct store_group *out,
               char *why, size_t why_size)
{
    int rv;

    assert(!s->started && group < s->options.shards);
    if (s->loaded == NULL) {
        s->loaded = must_alloc(s->options.shards * sizeof *s->loaded);
        rv = store_db_load(&s->db, s->loaded, s->options.shards, why, why_size);
        if (rv != 0) {
            store_forget_loaded(s);
            return rv;
        }
        FAILPOINT("store.loaded");
    }
    *out = s->loaded[group];
    memset(&s->loaded[group], 0, sizeof s->loaded[group]);
    return 0;
}
