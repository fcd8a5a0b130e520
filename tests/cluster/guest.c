/* Applications: sessions that run transactions on real pages.
 *
 *   IDLE -> LOCKING -> (PARKED) -> WRITING -> WAITING -> PUBLISHING -> LEAVING
 *    ^ |                             ^                                   |
 *    | +--- the slot was kept -------+                                   |
 *    +-------------------------------------------------------------------+
 *
 * They follow the protocol of wire/session.h and vfs/slot_word.h as vfs/guest_*
 * does: a snapshot first, the slot retaken or asked for, PARK after 10 ms, a
 * stale snapshot given back, parts, RESUME when the node went away, and the
 * publishing of what was committed even when it is gone. They may be killed, or
 * stand still, in any state.
 *
 * A transaction adds one to a counter on page 1, moves an amount between pages
 * 2 and 3, and changes some others (pages.c). */
#include <stdlib.h>
#include <string.h>

#include "consensus/alloc.h"
#include "tests/cluster/guest.h"

#define LOCK_WAIT_US (10 * MS)
#define PARK_WAIT_US (3 * SECOND)
#define BUSY_WAIT_US (5 * SECOND)
#define RESUME_PAUSE_US (20 * MS)

/* A session of its own: from now on its number is its life. */
static void attach(struct guest *g)
{
    g->session = (uint32_t)g->conn->session.id;
    g->lives = true;
    g->token = (struct token){.node = g->node->number + 1,
                              .start = g->node->node.env.start,
                              .session = g->session};
}

static void become(struct guest *g, enum guest_state next)
{
    g->state = next;
    g->step++;
}

static void on_step(struct sim *s, void *data);

static void step_after(struct guest *g, uint64_t us)
{
    struct guest_step *t = sim_after(g->node->sim, us, on_step, sizeof *t);

    *t = (struct guest_step){.guest = g, .step = g->step};
}

static void let_go(struct guest *g)
{
    if (g->writing) {
        g->writing = false;
        g->node->files[g->db].writers--;
    }
}

static void rest(struct guest *g)
{
    struct sim *s = g->node->sim;

    let_go(g);
    become(g, GUEST_IDLE);
    if (g->reads) {
        step_after(g, draw(s, 2 * MS));
        return;
    }
    step_after(
        g, chance(s, 1, 4) ? draw(s, 50 * s->rest_us) : draw(s, s->rest_us));
}

static struct slot_page *slot_of(const struct guest *g)
{
    return &g->node->slots[g->db];
}

/* As guest_client_unlock in vfs/guest_client.c. */
static void leave(struct guest *g, enum unlock_kind kind, bool keep)
{
    bool granted = g->conn != NULL && g->granted && !g->resumed;
    struct wal_state state = {.frame = 1};
    bool tell;

    if (kind == UNLOCK_PUBLISHED) {
        slot_record(slot_of(g), g->base.txid, &state);
    }
    tell = slot_leave(slot_of(g), g->session, keep && granted);
    if (tell && granted) {
        post_to_node(g, SESSION_UNLOCK)->unlock = (uint8_t)kind;
    }
    if (g->resumed) {
        hang_up(g);
        g->resumed = false;
    }
    g->granted = false;
}

static void unlock(struct guest *g, enum unlock_kind kind)
{
    leave(g, kind, true);
    rest(g);
}

static void go_on(struct guest *g)
{
    struct sim *s = g->node->sim;

    become(g, GUEST_WRITING);
    if (g->reads) {
        step_after(g, draw(s, 200));
        return;
    }
    step_after(g, chance(s, 1, 40) ? draw(s, 8 * SECOND) : draw(s, 10 * MS));
}

/* It has the slot. Does it have the newest snapshot? */
static void got_slot(struct guest *g)
{
    struct sim *s = g->node->sim;

    g->granted = true;
    if (g->node->files[g->db].version != g->seen) {
        leave(g, UNLOCK_STALE, false);
        let_go(g);
        become(g, GUEST_IDLE);
        step_after(g, draw(s, 2 * MS));
        return;
    }
    check_granted(g->node, g->db, &g->base, g->least);
    go_on(g);
}

static void hold(struct guest *g)
{
    g->node->files[g->db].writers++;
    g->writing = true;
}

/* As retake in vfs/guest_lock.c. */
static bool retake(struct guest *g)
{
    if (g->conn == NULL || !slot_is_kept(slot_of(g), g->session)) {
        return false;
    }
    hold(g);
    if (g->conn->node_side &&
        slot_retake(slot_of(g), g->session, g->node->sim->now_us)) {
        g->node->sim->report.retaken++;
        faults_moment(g->node);
        return true;
    }
    let_go(g);
    return false;
}

static void begin(struct guest *g)
{
    struct sim *s = g->node->sim;

    g->seen = g->node->files[g->db].version;
    g->least = check_acknowledged(s, g->db);
    if ((!s->calm || g->asked > 0) && retake(g)) {
        got_slot(g);
        return;
    }
    if (!node_listens(g->node) || (s->calm && g->asked == 0)) {
        step_after(g, draw_between(s, 50 * MS, 500 * MS));
        return;
    }
    if (g->conn == NULL) {
        dial(g);
        attach(g);
    }
    g->granted = false;
    post_to_node(g, SESSION_LOCK);
    become(g, GUEST_LOCKING);
    step_after(g, LOCK_WAIT_US);
}

static void park(struct guest *g)
{
    post_to_node(g, SESSION_PARK);
    become(g, GUEST_PARKING);
    step_after(g, PARK_WAIT_US);
}

static void propose(struct guest *g)
{
    struct sim *s = g->node->sim;
    unsigned parts;

    if (g->conn == NULL || (!s->calm && chance(s, g->reads ? 9 : 1, 10))) {
        unlock(g, UNLOCK_NOTHING); /* a rollback */
        return;
    }
    guest_write(g);
    parts = guest_parts(g);
    g->token.sequence++;
    for (unsigned i = 0; i < parts; i++) {
        struct letter *l = post_to_node(g, SESSION_PROPOSE);
        l->part = guest_part(g, i, parts);
        l->token = g->token;
    }
    g->deadline_us = s->now_us + s->answer_us;
    become(g, GUEST_WAITING);
    step_after(g, s->answer_us);
}

/* The commit frame is written: readers of this node see the transaction. */
static void publish(struct guest *g)
{
    struct sim *s = g->node->sim;

    if (s->faulty && chance(s, 1, 50)) {
        hang_up(g); /* it could not be shown: the node shall look for itself */
        unlock(g, UNLOCK_NOTHING);
        return;
    }
    if (g->node->files[g->db].version != g->seen) {
        violation(s, "node %u db %u: the file changed while a session had it",
                  g->node->number + 1, g->db);
    }
    file_become(&g->node->files[g->db], &g->next);
    check_published(g->node, g->db, &g->base);
    faults_moment(g->node);
    if (g->dies) {
        g->dies = false;
        guest_kill(g); /* between the frame and UNLOCK */
        return;
    }
    become(g, GUEST_LEAVING);
    step_after(g, chance(s, 1, 60) ? draw(s, 6 * SECOND) : draw(s, 200));
}

static void committed(struct guest *g, const struct position *p)
{
    struct sim *s = g->node->sim;

    check_committed(g->node, g->db, &g->token, p);
    g->base = *p;
    g->commits++;
    g->asked -= g->asked > 0;
    s->report.commits++;
    s->report.resumed += g->resumed;
    g->dies = s->faulty && chance(s, 1, 60);
    become(g, GUEST_PUBLISHING);
    step_after(g, chance(s, 1, 60) ? draw(s, 6 * SECOND) : draw(s, 2 * MS));
}

static void failed(struct guest *g, bool conflict)
{
    check_failed(g->node, g->db, &g->token);
    if (conflict) {
        g->node->sim->report.conflicts++;
    } else {
        g->node->sim->report.failures++;
    }
    become(g, GUEST_ROLLING_BACK);
    step_after(g, draw(g->node->sim, 2 * MS));
}

/* Nobody will ever say what became of it. */
static void in_doubt(struct guest *g)
{
    g->node->sim->report.unknown++;
    hang_up(g);
    unlock(g, UNLOCK_NOTHING);
}

/* As resume in vfs/guest_client.c: over a new connection, which has a number of
 * its own. */
static void resume(struct guest *g)
{
    struct sim *s = g->node->sim;
    struct letter *l;

    if (s->now_us >= g->deadline_us) {
        in_doubt(g);
        return;
    }
    if (!node_listens(g->node)) {
        step_after(g, RESUME_PAUSE_US);
        return;
    }
    dial(g);
    l = post_to_node(g, SESSION_RESUME);
    l->token = g->token;
    l->position = g->base;
    become(g, GUEST_WAITING);
    step_after(g, g->deadline_us - s->now_us);
    faults_moment(g->node);
}

static void on_step(struct sim *s, void *data)
{
    struct guest_step *t = data;
    struct guest *g = t->guest;

    (void)s;
    if (t->step != g->step) {
        return;
    }
    switch (g->state) {
    case GUEST_IDLE:
        begin(g);
        break;
    case GUEST_LOCKING:
        park(g);
        break;
    case GUEST_PARKING:
    case GUEST_PARKED: /* the busy timeout is over */
        if (g->state == GUEST_PARKING) {
            hang_up(g);
        }
        rest(g);
        break;
    case GUEST_WRITING:
        propose(g);
        break;
    case GUEST_WAITING:
        in_doubt(g);
        break;
    case GUEST_RESUMING:
        resume(g);
        break;
    case GUEST_PUBLISHING:
        publish(g);
        break;
    case GUEST_LEAVING:
        unlock(g, UNLOCK_PUBLISHED);
        break;
    case GUEST_ROLLING_BACK:
        unlock(g, UNLOCK_NOTHING);
        break;
    }
}

/* ---- what a session is told ---------------------------------------------- */

static void while_locking(struct guest *g, uint8_t kind,
                          const struct position *position)
{
    if (kind == SESSION_GRANT) {
        g->base = *position;
        hold(g);
        got_slot(g);
    } else if (kind == SESSION_REFUSED) {
        rest(g);
    } else if (kind == SESSION_PARKED && g->state == GUEST_PARKING) {
        become(g, GUEST_PARKED);
        step_after(g, BUSY_WAIT_US);
    } else if (kind == SESSION_OFFER && g->state == GUEST_PARKED) {
        become(g, GUEST_IDLE); /* the transaction begins again */
        step_after(g, chance(g->node->sim, 1, 10) ? 60 * MS : 100);
    }
}

void guest_told(struct guest *g, uint8_t kind, const struct position *position)
{
    if (g->state >= GUEST_LOCKING && g->state <= GUEST_PARKED) {
        while_locking(g, kind, position);
    } else if (g->state == GUEST_WAITING && kind == SESSION_COMMITTED) {
        committed(g, position);
    } else if (g->state == GUEST_WAITING && kind == SESSION_UNKNOWN) {
        in_doubt(g);
    } else if (g->state == GUEST_WAITING &&
               (kind == SESSION_CONFLICT || kind == SESSION_FAILED)) {
        failed(g, kind == SESSION_CONFLICT);
    } else if (g->state == GUEST_IDLE && kind == SESSION_GRANT) {
        violation(g->node->sim,
                  "a session that did not wait was granted a turn");
    }
}

void guest_cut_off(struct guest *g)
{
    if (g->state == GUEST_WAITING) {
        g->resumed = true;
        become(g, GUEST_RESUMING);
        step_after(g, 0);
    } else if (g->state >= GUEST_LOCKING && g->state <= GUEST_PARKED) {
        rest(g);
    } /* a writer notices at its commit; what is committed is published */
}

/* ---- life ---------------------------------------------------------------- */

void guest_kill(struct guest *g)
{
    if (g == NULL) {
        return;
    }
    g->node->sim->report.guests_killed++;
    trace(g->node->sim, g->node->number + 1, "guest_kill", g->number, g->state,
          0);
    hang_up(g);
    let_go(g);
    g->lives = g->granted = g->resumed = false;
    become(g, GUEST_IDLE);
    step_after(g, draw_between(g->node->sim, 100 * MS, 2 * SECOND));
}

void guest_ask(struct guest *g)
{
    g->asked++;
}

bool guest_is_idle(const struct guest *g)
{
    return g->state == GUEST_IDLE && g->asked == 0;
}

uint64_t guest_commits(const struct guest *g)
{
    return g->commits;
}

void guests_init(struct sim_node *n)
{
    for (unsigned i = 0; i < SIM_DBS * SIM_GUESTS; i++) {
        struct guest *g = n->guests[i] = must_alloc(sizeof *g);
        g->node = n;
        g->number = i;
        g->db = i % SIM_DBS;
        g->reads = n->sim->plan.readers && i / SIM_DBS == 1;
        step_after(g, draw(n->sim, 3 * SECOND));
    }
}

void guests_free(struct sim_node *n)
{
    for (unsigned i = 0; i < SIM_DBS * SIM_GUESTS; i++) {
        if (n->guests[i] != NULL) {
            guest_disconnect(n->guests[i]);
        }
        free(n->guests[i]);
    }
}
