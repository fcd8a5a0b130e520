/* What is due for one database. Every event only notes what happened and wakes
 * the database; the decisions are taken here, from the loop, in one order. */
#include "node/node.h"

void database_step(struct node *n, struct database *db)
{
    slot_look(db);
    move_step(n, db);
    if (db->detaching) {
        return;
    }
    catalog_rename_step(n, db);
    contact_step(n, db);
    proposal_step(db);
    resume_step(db);
    if (db->state == DB_READY) {
        applier_step(n, db);
        scrub_step(n, db);
    }
    image_send_step(n, db);
    still_step(n, db);
    if (db->state == DB_OPENING && db->job == NULL) {
        uint64_t now = db->env->now_us(db->env->data);
        if (now >= db->job_not_before_us) {
            applier_open(n, db, false);
        } else {
            db->env->wake_after(db->env->data, db, db->job_not_before_us - now);
        }
    }
    settle_step(n, db);
    slot_step(db);
    server_step(db);
}
