/* A session asks what became of a transaction whose answer it never got,
 * because its connection, or the node behind it, went away.
 *
 * The log knows: the token that took the database past the transaction's base
 * is recorded. As long as the database still stands at that base, a copy of the
 * transaction may be on its way and win. So an empty transaction is proposed
 * upon the same base, as a fence: whichever of the two is first excludes the
 * other, by the compare-and-swap that decides everything here. */
#include <string.h>

#include "base/failpoint.h"
#include "node/database.h"
#include "node/fence.h"

static void answer(struct session *s, uint8_t kind,
                   const struct position *position)
{
    struct session_message m = {.kind = kind};

    if (position != NULL) {
        m.position = *position;
    }
    s->resume.wanted = false;
    s->db->env->session_send(s->db->env->data, s, &m);
}

/* The database is past the base: who took it there? */
static void answer_from_log(struct database *db, struct session *s)
{
    struct position after = {.txid = s->resume.base.txid + 1};
    struct token token;

    if (!machine_token(db->m, after.txid, &token, &after.hash)) {
        answer(s, SESSION_UNKNOWN, NULL);
    } else if (token_equal(&token, &s->resume.token)) {
        if (s->resume.found_us == 0) {
            s->resume.found_us = db->env->now_us(db->env->data);
        }
        if (lease_answer_wait(db, s->resume.found_us) == 0) {
            answer(s, SESSION_COMMITTED, &after);
        }
    } else {
        answer(s, SESSION_CONFLICT, NULL);
    }
}

static int propose_fence(struct database *db, struct session *s)
{
    const struct token token = {
        .node = db->env->node_id,
        .start = db->env->start,
        .session = s->id,
        .sequence = FENCE_SEQUENCE + s->resume.fences++};

    return fence_propose(db->env, db->group, db->m, &token);
}

static void fence(struct database *db, struct session *s)
{
    const struct db_env *env = db->env;
    uint64_t now = env->now_us(env->data);
    uint64_t leader = env->leader(env->data, db->group);
    bool due = now - s->resume.fenced_us >= env->times.propose_again_us;

    if (leader != 0 && (due || leader != s->resume.leader) &&
        propose_fence(db, s) == 0) {
        FAILPOINT("node.fence");
        s->resume.leader = leader;
        s->resume.fenced_us = now;
    }
    env->wake_after(env->data, db, env->times.propose_again_us);
}

static void decide(struct database *db, struct session *s)
{
    const struct position *base = &s->resume.base;
    const struct machine_db *m = db->m;

    if (!db->caught_up || (m != NULL && proposal_is(db, &s->resume.token))) {
        return; /* we are woken when that changes */
    }
    if (m != NULL && m->position.txid > base->txid) {
        answer_from_log(db, s);
    } else if (m == NULL || m->page_size == 0 ||
               !position_equal(&m->position, base)) {
        /* An empty database has no empty transaction: the first one makes
         * it. */
        answer(s, SESSION_UNKNOWN, NULL);
    } else {
        fence(db, s);
    }
}

void resume_begin(struct session *s, const struct session_resume *r)
{
    FAILPOINT("node.resume");
    s->resume.leader = s->resume.found_us = 0;
    s->resume.wanted = true;
    s->resume.token = r->token;
    s->resume.base = r->base;
    s->db->env->wake(s->db->env->data, s->db);
}

void resume_step(struct database *db)
{
    struct list *next;

    for (struct list *l = db->sessions.next; l != &db->sessions; l = next) {
        struct session *s = LIST_ENTRY(l, struct session, link);
        next = l->next; /* a broken socket takes the session out */
        if (s->resume.wanted) {
            decide(db, s);
        }
    }
}
