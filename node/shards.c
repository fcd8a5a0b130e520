/* More groups, as this node sees it: what is decided is in the groups
 * (machine_shards.c); here it is driven, by whoever leads each of them, from
 * what the log says and from nothing else. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "node/node.h"

#define AGAIN_US 300000u

static const struct machine *zero(const struct node *n)
{
    return &n->group[0].machine;
}

static bool was_changed(const struct node *n)
{
    return zero(n)->moves.growing_from != 0 || zero(n)->moves.rule_to != 0;
}

/* ---- the groups begin ------------------------------------------------------
 */

static int by_id(const void *a, const void *b)
{
    const struct groups_member *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

/* More groups, and who is in them at first; nobody: they begin empty. Each time
 * is kept, as a log that is read may tell of several: the first members of each
 * are those of its own time. */
struct growth {
    struct list link;
    unsigned shards, n_members;
    struct groups_member members[NODES_MAX];
};

/* All nodes that read the entry have the same registry then. */
static void keep_members(struct growth *to, const struct registry *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        const struct registered *m = &r->members[i];
        if (!m->leaving) {
            to->members[to->n_members].id = m->info.id;
            to->members[to->n_members++].replica = m->info.replica;
        }
    }
    qsort(to->members, to->n_members, sizeof to->members[0], by_id);
}

void shards_decided(struct node *n, unsigned shards, bool exact)
{
    struct growth *g;

    if (shards <= n->options->shards) {
        return;
    }
    g = calloc(1, sizeof *g);
    if (g == NULL) {
        node_fatal(n, "out of memory"); /* a start says it again */
        return;
    }
    g->shards = shards;
    if (exact) {
        keep_members(g, &zero(n)->registry);
    }
    list_init(&g->link);
    list_push(&n->growths, &g->link);
    node_wake(n, NULL);
}

static void begin_groups(struct node *n, const struct growth *g)
{
    unsigned from = n->options->shards;

    if (g->shards <= from) {
        return;
    }
    log_info("shards", "from=%u to=%u begin=%s", from, g->shards,
             g->n_members > 0 ? "with-members" : "empty");
    for (unsigned i = from; i < g->shards; i++) {
        events_init_group(n, i);
    }
    n->own_options.shards = g->shards;
    FAILPOINT("shards.grow");
    groups_grow(n->groups, g->shards, g->members, g->n_members);
}

void shards_grow(struct node *n)
{
    unsigned shards = n->options->shards;
    struct list *l;

    if (n->groups == NULL || n->stopping) {
        return;
    }
    while ((l = list_pop(&n->growths)) != NULL) {
        struct growth *g = LIST_ENTRY(l, struct growth, link);
        begin_groups(n, g);
        free(g);
    }
    if (shards == n->options->shards) {
        return;
    }
    for (l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->m == NULL) {
            db->group = placement_group(db->name, n->options->shards);
            db->caught_up = n->group[db->group].caught_up;
        }
        node_wake(n, db);
    }
    membership_changed(n);
    move_wake(n);
}

/* ---- driving
 * ----------------------------------------------------------------- */

static void propose(struct node *n, unsigned group,
                    const struct entry_shards *e)
{
    struct buf out;
    size_t len;

    buf_init(&out, PACKET_BYTES_MAX);
    if (entry_encode_shards(e, &out) == 0) {
        void *bytes = buf_take(&out, &len);
        (void)groups_propose(n->groups, group, bytes, len); /* again, if lost */
    }
    buf_close(&out);
}

static const struct machine_db *first_stranger(const struct machine *m,
                                               unsigned shards)
{
    for (const struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
        const struct machine_db *db = LIST_ENTRY(l, struct machine_db, link);
        if (placement_group(db->name, shards) != m->group) {
            return db;
        }
    }
    return NULL;
}

static bool has_rule(const struct group_state *g, uint32_t from, uint32_t to)
{
    const struct moves *v = &g->machine.moves;

    return v->rule_to > to || (v->rule_to == to && v->rule_from >= from);
}

/* Everything that has to leave does, one after the other. */
static void give_away(struct group_state *g, unsigned from, unsigned to)
{
    struct node *n = g->node;
    const struct machine_db *m = first_stranger(&g->machine, to);
    struct entry_shards e = {
        .action = SHARDS_DONE, .group = g->group, .from = from, .to = to};

    if (g->machine.moves.active) {
        return;
    }
    if (m != NULL) {
        if (n->env.now_us(n) >= g->move.pause_us) {
            move_begin(g, m, m->name, placement_group(m->name, to));
            FAILPOINT("shards.move");
        }
    } else if (g->group < from && !machine_is_done(zero(n), g->group)) {
        propose(n, 0, &e);
        FAILPOINT("shards.done");
    }
}

void shards_drive(struct group_state *g)
{
    struct node *n = g->node;
    uint32_t to = zero(n)->shards, from = zero(n)->moves.growing_from;
    uint64_t now = n->env.now_us(n);
    struct entry_shards rule = {.action = SHARDS_RULE, .from = from, .to = to};

    if (!was_changed(n) || to != n->options->shards || !g->caught_up ||
        !n->group[0].caught_up || n->groups == NULL || n->stopping ||
        groups_leader(n->groups, g->group) != n->env.node_id ||
        now - g->move.shards_us < AGAIN_US) {
        return;
    }
    if (from == 0) {
        rule.from = to;
    }
    if (!has_rule(g, rule.from, to)) {
        g->move.shards_us = now;
        propose(n, g->group, &rule);
        FAILPOINT("shards.rule");
    } else if (from != 0) {
        g->move.shards_us = now - AGAIN_US / 2;
        give_away(g, from, to);
    }
}

bool shards_active(const struct node *n)
{
    uint32_t to = zero(n)->shards;

    if (!was_changed(n)) {
        return false;
    }
    for (unsigned i = 0; i < n->options->shards; i++) {
        if (!has_rule(&n->group[i], to, to)) {
            return true;
        }
    }
    return zero(n)->moves.growing_from != 0;
}

/* ---- what others ask
 * ------------------------------------------------------------ */

unsigned shards_to_move(const struct node *n)
{
    unsigned count = 0;

    for (unsigned i = 0; was_changed(n) && i < n->options->shards; i++) {
        const struct machine *m = &n->group[i].machine;
        for (const struct list *l = m->dbs.next; l != &m->dbs; l = l->next) {
            const struct machine_db *db =
                LIST_ENTRY(l, struct machine_db, link);
            count += placement_group(db->name, zero(n)->shards) != i;
        }
    }
    return count;
}

bool shards_may_enroll(const struct node *n, const char *name)
{
    uint32_t from = zero(n)->moves.growing_from, to = zero(n)->shards;
    unsigned group = placement_group(name, n->options->shards);

    if (!n->group[0].caught_up || !was_changed(n)) {
        return n->group[0].caught_up;
    }
    return to == n->options->shards &&
           (has_rule(&n->group[group], to, to) ||
            (from != 0 && placement_group(name, from) == group &&
             has_rule(&n->group[group], from, to)));
}

static int check(struct node *n, uint64_t shards, char *why, size_t size)
{
    unsigned now = n->options->shards;

    if (shards == 0 || shards > SHARDS_MAX) {
        snprintf(why, size, "a cluster has 1 to %d shards", SHARDS_MAX);
        return -EINVAL;
    }
    if (shards <= now) {
        snprintf(why, size, "there are %u shards; they can only become more",
                 now);
        return ERR_MISMATCH;
    }
    if (!n->group[0].caught_up || zero(n)->registry.n == 0) {
        snprintf(why, size, "this node has not read shard 0 yet; try again");
        return ERR_BUSY;
    }
    if (shards_active(n) || zero(n)->shards != now) {
        snprintf(why, size,
                 "shards are being added, %u databases are still to be moved; "
                 "ask again after that",
                 shards_to_move(n));
        return ERR_BUSY;
    }
    if (!groups_quorum_fresh(n->groups, 0)) {
        groups_why_no_quorum(n->groups, 0, why, size);
        return ERR_NO_LEADER;
    }
    return 0;
}

int shards_ask(struct node *n, uint64_t shards, char *why, size_t size)
{
    int rv = check(n, shards, why, size);
    struct entry_shards e = {.action = SHARDS_BEGIN,
                             .from = n->options->shards,
                             .to = (uint32_t)shards};

    if (rv == 0) {
        log_info("shards_asked", "from=%u to=%u", e.from, e.to);
        propose(n, 0, &e);
        FAILPOINT("shards.begin");
    }
    return rv;
}
