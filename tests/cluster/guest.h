/* One application's session, for guest.c and pages.c. */
#ifndef TESTS_CLUSTER_GUEST_H
#define TESTS_CLUSTER_GUEST_H

#include "tests/cluster/sim.h"

enum guest_state {
    GUEST_IDLE,
    GUEST_LOCKING,
    GUEST_PARKING,
    GUEST_PARKED,
    GUEST_WRITING,
    GUEST_WAITING,
    GUEST_RESUMING, /* the node went away: looks for another one */
    GUEST_PUBLISHING,
    GUEST_LEAVING,
    GUEST_ROLLING_BACK
};

/* A socket between a session and its node: both ends hold it, and so does what
 * is on its way. */
struct conn {
    struct session session; /* the node's end */
    struct sim_node *node;
    struct guest *guest; /* NULL: it has hung up */
    bool node_side;      /* the node has not closed it */
    unsigned references;
    uint64_t last_in, last_out; /* when the last message arrives */
};

struct guest {
    struct sim_node *node;
    struct conn *conn;
    unsigned number, db;
    enum guest_state state;
    uint64_t step;    /* counts states: what waits in an older one is void */
    uint64_t seen;    /* version of the file in its snapshot */
    uint64_t least;   /* acknowledged when its transaction began */
    uint32_t session; /* its number: in tokens and in the slot word */
    bool reads;       /* most of its transactions only read */
    bool lives;       /* the lock that says so is held, for that number */
    bool granted;     /* over this connection */
    bool resumed;     /* over another one */
    bool writing;     /* holds the write lock's slot in the -shm */
    bool dies;        /* after publishing */
    unsigned asked;   /* transactions to be made while all is calm */
    uint64_t commits, attempts;
    uint64_t deadline_us; /* for the answer to its commit */
    struct token token;
    struct position base;
    struct file_state next; /* the file after its transaction */
    uint32_t changed[SIM_PAGES_MAX];
    uint32_t n_changed;
};

struct guest_step {
    struct guest *guest;
    uint64_t step;
};

/* A part of a proposal, as it travels. */
struct guest_part {
    uint32_t number, count, db_pages;
    uint8_t numbers[4 * SIM_PAGES_MAX];
    uint8_t images[SIM_PAGES_MAX * SIM_PAGE];
};

/* What a node or a session hears, and when. */
struct letter {
    struct conn *conn;
    uint64_t life; /* of the node that it goes to */
    uint8_t kind;
    struct position position;
    uint8_t unlock;
    struct token token; /* to be resumed, from `position` */
    struct guest_part *part;
};

/* ---- session.c: the socket ----------------------------------------------- */

/* A message to the node: the caller fills in the rest of it. */
struct letter *post_to_node(struct guest *g, uint8_t kind);
/* Close the socket. */
void hang_up(struct guest *g);
/* Open one; the node must be alive. */
void dial(struct guest *g);
/* At the end of a run. */
void guest_disconnect(struct guest *g);

/* ---- guest.c ------------------------------------------------------------- */

void guest_told(struct guest *g, uint8_t kind, const struct position *position);
/* Its node is gone. */
void guest_cut_off(struct guest *g);

/* ---- pages.c: what is in a database -------------------------------------- */

/* Make g->next and the list of changed pages from the local file. */
void guest_write(struct guest *g);
/* In how many parts it is proposed this time. */
unsigned guest_parts(struct guest *g);
struct guest_part *guest_part(const struct guest *g, unsigned part,
                              unsigned parts);

/* A database that was there before its first contact. */
void pages_fill(struct sim *s, struct file_state *f);
uint64_t pages_counter(const struct file_state *f);
/* The sum of the two accounts. */
uint64_t pages_total(const struct file_state *f);

#define ACCOUNTS_TOTAL 1000u

#endif
