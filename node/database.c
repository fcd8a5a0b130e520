#include "node/database.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct db_times db_times_default = {
    .quantum_us = 5000,
    .offer_us = 50000,
    .deadline_us = 10000000,
    .idle_us = 5000000,
    .propose_again_us = 1000000,
    .ask_again_us = 50000,
    .lease_us = 300000,
    .unused_us = 1000000,
    .keep_us = 50000,
};

void database_init(struct database *db, const struct db_env *env,
                   const char *name, unsigned group)
{
    memset(db, 0, sizeof *db);
    db->env = env;
    db->group = group;
    snprintf(db->name, sizeof db->name, "%s", name);
    checksum_init(&db->checksum);
    list_init(&db->link);
    list_init(&db->pending);
    list_init(&db->image_asks);
    list_init(&db->sessions);
    list_init(&db->waiters);
    list_init(&db->wake_link);
    db->slot = &db->own_slot;
    db->slot_fd = -1;
}

void database_close(struct database *db)
{
    pending_drop(db, UINT64_MAX);
    proposal_free(db);
    list_remove(&db->wake_link);
    free(db->order);
    slot_page_close(db->slot_fd, db->slot);
    checksum_close(&db->checksum);
    free(db->limbo);
}

const char *database_state(const struct database *db)
{
    static const char *const names[] = {
        [DB_OPENING] = "opening",     [DB_PLACING] = "catching-up",
        [DB_ENROLLING] = "enrolling", [DB_FETCHING] = "fetching",
        [DB_READY] = "ready",         [DB_REFUSED] = "refused",
    };

    if (db->m == NULL && db->state == DB_PLACING && db->why[0] != '\0') {
        return "not-enrolled";
    }
    return names[db->state];
}

bool database_disk_full(const struct database *db, char *out, size_t size)
{
    const struct db_env *env = db->env;

    return env->disk_full != NULL && env->disk_full(env->data, out, size);
}

void database_why_locked(struct database *db, char *out, size_t size)
{
    const struct db_env *env = db->env;

    out[0] = '\0';
    if (db->state == DB_REFUSED || (db->m == NULL && db->why[0] != '\0')) {
        snprintf(out, size, "%s", db->why);
    } else if (env->replica) {
        snprintf(out, size, "this node is a replica");
    } else if (database_disk_full(db, out, size)) {
        return;
    } else if (!env->quorum_fresh(env->data, db->group)) {
        env->why_no_quorum(env->data, db->group, out, size);
    } else if (db->ordered.wanted) {
        snprintf(out, size,
                 "marmot recover -from: the file is on its way into the "
                 "cluster");
    } else if (db->state != DB_READY || db->m == NULL) {
        snprintf(out, size, "the local copy is %s", database_state(db));
    } else if (db->m->frozen) {
        snprintf(out, size, "it is on its way to another shard");
    } else if (!placing_majority_holds(db)) {
        snprintf(out, size, "%u of %u voters hold the content so far",
                 db->m->n_holders, env->voters);
    } else if (db->proposal != NULL && db->proposal->session == NULL) {
        snprintf(out, size, "the outcome of a commit is in doubt");
    } else if (db->owner != NULL) {
        snprintf(out, size, "pid %u on this node is writing", db->owner->pid);
    } else if (!list_empty(&db->waiters) && !lease_is_good(db)) {
        snprintf(out, size, "another node is writing");
    }
}

void database_status(struct database *db, char *out, size_t size)
{
    const struct db_env *env = db->env;
    uint64_t known = db->m == NULL ? 0 : db->m->position.txid;
    char why[TEXT_MAX / 2], image[32] = "";

    database_why_locked(db, why, sizeof why);
    if (db->image.pages > 0) {
        snprintf(image, sizeof image, " image=%u%%", db->image.percent);
    }
    snprintf(out, size,
             "node=%" PRIu64 " role=%s db=%s state=%s shard=%u leader=%" PRIu64
             " lease=%s position=%" PRIu64 ":%016" PRIx64 " lag=%" PRIu64
             " commits=%" PRIu64 " conflicts=%" PRIu64 "%s%s%s%s",
             env->node_id, env->replica ? "replica" : "voter", db->name,
             database_state(db), db->group, env->leader(env->data, db->group),
             lease_is_good(db) ? "here" : "elsewhere", db->applied.txid,
             db->applied.hash,
             known > db->applied.txid ? known - db->applied.txid : 0,
             db->commits, db->conflicts, image, why[0] ? " why=\"" : "", why,
             why[0] ? "\"" : "");
}
