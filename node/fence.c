#include "node/fence.h"

#include <inttypes.h>

#include "base/log.h"
#include "wire/entry.h"

#define IDLE_US 60000000u
#define IDLE_PRESSING_US 5000000u

int fence_propose(const struct db_env *env, unsigned group,
                  const struct machine_db *m, const struct token *token)
{
    struct entry_txn e = {.db = m->uuid,
                          .base = m->position,
                          .token = *token,
                          .db_pages = m->pages,
                          .checksum = m->checksum,
                          .pages = {.page_size = m->page_size}};
    struct buf out;
    size_t len;
    int rv;

    buf_init(&out, PACKET_BYTES_MAX);
    rv = entry_encode_txn(ENTRY_TXN, &e, NULL, NULL, &out);
    if (rv == 0) {
        void *bytes = buf_take(&out, &len);
        rv = env->propose(env->data, group, bytes, len);
    }
    buf_close(&out);
    return rv;
}

/* ---- abandoned parts ------------------------------------------------------
 */

static void clear(const struct db_env *env, unsigned group,
                  struct machine_db *db)
{
    /* No session has the number 0. The count makes it new at this position. */
    const struct token token = {.node = env->node_id,
                                .start = env->start,
                                .sequence = FENCE_SEQUENCE + db->parts_seen};

    log_info(
        "parts_dropped",
        "db=%s shard=%u txid=%" PRIu64
        " why=\"the rest of a transaction has not come; an empty one takes "
        "its place\"",
        db->name, group, db->position.txid);
    (void)fence_propose(env, group, db, &token);
}

static void look_at(const struct db_env *env, unsigned group,
                    struct machine_db *db, uint64_t patience)
{
    uint64_t now = env->now_us(env->data);

    if (db->watch.seen != db->parts_seen) {
        db->watch.seen = db->parts_seen;
        db->watch.since_us = now;
    } else if (now - db->watch.since_us >= patience) {
        db->watch.since_us = now; /* should it be lost: again */
        if (env->leader(env->data, group) == env->node_id) {
            clear(env, group, db);
        }
    }
}

void fence_abandoned(const struct db_env *env, unsigned group,
                     struct machine *m, bool pressing)
{
    for (struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
        struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        if (!list_empty(&db->parts)) {
            look_at(env, group, db, pressing ? IDLE_PRESSING_US : IDLE_US);
        }
    }
}
