/* What becomes of a proposal outside the order of the log: a snapshot tells, or
 * the session is done with it. */
#include "node/database.h"

void proposal_jumped(struct database *db)
{
    struct proposal *p = db->proposal;
    struct position after;
    struct token token;

    if (p == NULL || p->accepted || p->base.txid >= db->m->position.txid) {
        return;
    }
    after.txid = p->base.txid + 1;
    if (!p->complete) {
        proposal_overtaken(db);
    } else if (!machine_token(db->m, after.txid, &token, &after.hash)) {
        proposal_decided(db, &p->token, VERDICT_FORGOTTEN);
    } else if (token_equal(&token, &p->token)) {
        proposal_accepted(db, &after);
    } else {
        proposal_decided(db, &p->token, VERDICT_CONFLICT);
    }
}

void proposal_moved(struct database *db)
{
    if (db->proposal == NULL) {
        return;
    }
    db->proposal->sent_leader = 0;
    proposal_jumped(db);
    db->env->wake(db->env->data, db);
}

void proposal_published(struct database *db, const struct wal_state *state)
{
    struct proposal *p = db->proposal;

    for (uint32_t i = 0; i < p->n_pages; i++) {
        if (p->numbers[i] <= p->db_pages) {
            checksum_set(&db->checksum, p->numbers[i], p->hashes[i]);
        }
    }
    checksum_resize(&db->checksum, p->db_pages);
    placing_applied(db, &p->position, db->checksum.sum, p->db_pages);
    pending_drop(db, p->position.txid);
    if (db->apply != NULL) {
        apply_expect(db->apply, state);
    } else {
        db->look_again = true; /* the session has made the file: open it */
    }
    db->commits++;
    proposal_free(db);
}
