/* The socket between a session and its node, and the node's end of it (in place
 * of node/server.c). Messages arrive in order, a little later; an end that is
 * closed is read behind all that was sent. */
#include <stdlib.h>
#include <string.h>

#include "consensus/alloc.h"
#include "tests/cluster/guest.h"

static void conn_drop(struct conn *c)
{
    if (--c->references == 0) {
        free(c);
    }
}

static uint64_t next_in_line(struct sim *s, uint64_t *last)
{
    uint64_t at = s->now_us + draw_between(s, 10, 300);

    at = at > *last ? at : *last + 1;
    *last = at;
    return at - s->now_us;
}

static void on_node_letter(struct sim *s, void *data);
static void on_guest_letter(struct sim *s, void *data);

struct letter *post_to_node(struct guest *g, uint8_t kind)
{
    struct conn *c = g->conn;
    struct letter *l =
        sim_after(g->node->sim, next_in_line(g->node->sim, &c->last_out),
                  on_node_letter, sizeof *l);

    c->references++;
    l->conn = c;
    l->life = g->node->life;
    l->kind = kind;
    return l;
}

void server_send(void *data, struct session *session,
                 const struct session_message *m)
{
    struct conn *c = LIST_ENTRY(session, struct conn, session);
    struct sim_node *n = sim_node_of(data);
    struct letter *l;

    if (!c->node_side || n->mute) {
        return;
    }
    l = sim_after(n->sim, next_in_line(n->sim, &c->last_in), on_guest_letter,
                  sizeof *l);
    c->references++;
    l->conn = c;
    l->kind = m->kind;
    if (n->sim->plan.mutant == MUTANT_SAY_FAILED &&
        m->kind == SESSION_UNKNOWN) {
        l->kind = SESSION_CONFLICT;
    }
    faults_moment(n);
    if (m->kind == SESSION_GRANT || m->kind == SESSION_COMMITTED) {
        l->position = m->position;
    }
}

/* The node's end goes: by its death, or because it read the end. */
static void node_side_close(struct conn *c)
{
    if (!c->node_side) {
        return;
    }
    c->node_side = false;
    list_remove(&c->session.wait);
    list_remove(&c->session.link);
    conn_drop(c);
}

static void on_node_eof(struct sim *s, void *data)
{
    struct letter *l = data;
    struct conn *c = l->conn;

    (void)s;
    if (c->node_side && c->node->life == l->life && !c->node->dying) {
        list_remove(&c->session.link);
        slot_gone(&c->session);
        node_side_close(c);
        node_turn_soon(c->node);
    }
    conn_drop(c);
}

void hang_up(struct guest *g)
{
    struct conn *c = g->conn;
    struct letter *l;

    if (c == NULL) {
        return;
    }
    g->conn = NULL;
    c->guest = NULL;
    l = sim_after(g->node->sim, next_in_line(g->node->sim, &c->last_out),
                  on_node_eof, sizeof *l);
    l->conn = c; /* the guest's reference */
    l->life = g->node->life;
}

void dial(struct guest *g)
{
    struct database *db = &g->node->dbs[g->db];
    struct conn *c = must_alloc(sizeof *c);

    c->references = 2; /* the guest's and the node's */
    c->node = g->node;
    c->guest = g;
    c->node_side = true;
    list_init(&c->session.wait);
    list_init(&c->session.link);
    c->session.db = db;
    c->session.id = (uint32_t)++db->next_session;
    c->session.welcomed = true;
    list_push(&db->sessions, &c->session.link);
    g->conn = c;
}

/* In place of the lock on a byte of the slot's file (linked with --wrap). */
bool session_lives(int fd,
                   uint32_t session) __asm__("__wrap_slot_session_lives");

bool session_lives(int fd, uint32_t session)
{
    struct sim_node *n = &sim_now->nodes[(unsigned)fd / SIM_DBS];

    for (unsigned i = 0; i < SIM_DBS * SIM_GUESTS; i++) {
        const struct guest *g = n->guests[i];
        if (g != NULL && g->db == (unsigned)fd % SIM_DBS && g->lives &&
            g->session == session) {
            return true;
        }
    }
    return false;
}

/* ---- on the node's side -------------------------------------------------- */

/* As on_propose in node/server.c. */
static void take_part(struct conn *c, const struct letter *l)
{
    const struct guest_part *p = l->part;
    struct session_propose m = {.page_size = SIM_PAGE,
                                .db_pages = p->db_pages,
                                .count = p->count,
                                .number = p->number,
                                .sequence = l->token.sequence,
                                .last = p->db_pages != 0,
                                .numbers = p->numbers,
                                .images = p->images};

    slot_look(c->session.db);
    proposal_part(&c->session, &m);
}

static void take_resume(struct conn *c, const struct letter *l)
{
    struct session_resume r = {.token = l->token, .base = l->position};
    struct session_message no = {.kind = SESSION_CONFLICT};

    if (c->node->sim->plan.mutant == MUTANT_NO_FENCE) {
        server_send(&c->node->node, &c->session, &no);
        return;
    }
    resume_begin(&c->session, &r);
}

static void on_node_letter(struct sim *s, void *data)
{
    struct letter *l = data;
    struct conn *c = l->conn;
    struct session_unlock u = {.kind = l->unlock};

    (void)s;
    if (c->node_side && c->node->life == l->life && !c->node->dying) {
        if (l->kind == SESSION_LOCK) {
            slot_lock(&c->session);
        } else if (l->kind == SESSION_PARK) {
            slot_park(&c->session);
        } else if (l->kind == SESSION_PROPOSE) {
            take_part(c, l);
        } else if (l->kind == SESSION_RESUME) {
            take_resume(c, l);
        } else {
            slot_unlock(&c->session, &u);
        }
        node_turn_soon(c->node);
    }
    free(l->part);
    conn_drop(c);
}

/* ---- on the session's side ----------------------------------------------- */

static void on_guest_letter(struct sim *s, void *data)
{
    struct letter *l = data;
    struct conn *c = l->conn;
    struct guest *g = c->guest;

    if (g != NULL && g->conn == c) {
        trace(s, g->node->number + 1, "told", g->number, l->kind,
              l->position.txid);
        guest_told(g, l->kind, &l->position);
    }
    conn_drop(c);
}

/* The node is gone. */
static void on_guest_eof(struct sim *s, void *data)
{
    struct letter *l = data;
    struct conn *c = l->conn;
    struct guest *g = c->guest;

    if (g != NULL && g->conn == c) {
        g->conn = NULL;
        c->guest = NULL;
        trace(s, g->node->number + 1, "eof", g->number, g->state, 0);
        conn_drop(c); /* its own */
        guest_cut_off(g);
    }
    conn_drop(c);
}

/* ---- life ---------------------------------------------------------------- */

/* The sessions of one database see their sockets close. */
static void tell_eof(struct sim_node *n, unsigned db)
{
    for (unsigned i = 0; i < SIM_DBS * SIM_GUESTS; i++) {
        struct guest *g = n->guests[i];
        struct letter *l;
        if (g == NULL || g->conn == NULL || g->db != db) {
            continue;
        }
        l = sim_after(n->sim, next_in_line(n->sim, &g->conn->last_in),
                      on_guest_eof, sizeof *l);
        l->conn = g->conn;
        g->conn->references++;
    }
}

/* As node/server.c, in a stop. */
void server_stop(struct database *db)
{
    struct sim_node *n = sim_node_of(db->env->data);
    struct list *l;

    tell_eof(n, (unsigned)(db - n->dbs));
    while ((l = list_first(&db->sessions)) != NULL) {
        struct conn *c = LIST_ENTRY(l, struct conn, session.link);
        slot_gone(&c->session);
        node_side_close(c);
    }
}

void guests_eof(struct sim_node *n)
{
    for (unsigned i = 0; i < SIM_DBS; i++) {
        tell_eof(n, i);
    }
    for (unsigned i = 0; i < SIM_DBS; i++) {
        struct list *l;
        while ((l = list_first(&n->dbs[i].sessions)) != NULL) {
            node_side_close(LIST_ENTRY(l, struct conn, session.link));
        }
        list_init(&n->dbs[i].waiters);
        n->dbs[i].owner = n->dbs[i].keeper = NULL;
        if (n->dbs[i].proposal != NULL) {
            n->dbs[i].proposal->session = NULL;
        }
    }
}

void guest_disconnect(struct guest *g)
{
    if (g->conn != NULL) {
        g->conn->guest = NULL;
        conn_drop(g->conn);
    }
}

/* Events that never ran hold references. */
void guests_forget_events(struct sim *s)
{
    for (size_t i = 0; i < s->n_events; i++) {
        const struct sim_event *e = &s->events[i];
        if (e->run == on_node_letter || e->run == on_guest_letter ||
            e->run == on_node_eof || e->run == on_guest_eof) {
            struct letter *l = e->data;
            free(l->part);
            conn_drop(l->conn);
        }
    }
}
